//! What a fake agent does, from its start to its end.

use orch_core::run::{Exit, FailureCode};

use crate::random::Random;

/// Whether the agent's program can be started at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launch {
    Works,
    Fails(FailureCode),
}

/// The agent's result event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Success,
    Error(FailureCode),
    /// A limit, lifted so many milliseconds after it was said, if that is said.
    Limited(FailureCode, Option<i64>),
}

/// What the agent does when it is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTerm {
    Dies,
    Exits(i32),
    SaysAndExits(Words, i32),
    Ignores,
}

/// One agent's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    pub(crate) launch: Launch,
    /// What it says and when, milliseconds after its start.
    pub(crate) says: Option<(i64, Words)>,
    /// How and when it ends by itself, milliseconds after its start; never, if it hangs.
    pub(crate) ends: Option<(i64, Exit)>,
    pub(crate) on_term: OnTerm,
    /// It leaves a child that holds its output.
    pub(crate) leaks: bool,
}

const SEGFAULT: Exit = Exit::Signal {
    number: 11,
    core: true,
};

impl Script {
    /// A good agent: works a moment, says success, leaves.
    pub(crate) fn good(random: &mut Random) -> Self {
        let end = random.between(20, 2_000);
        Self {
            launch: Launch::Works,
            says: Some((end - random.between(0, 15), Words::Success)),
            ends: Some((end, Exit::Code(0))),
            on_term: OnTerm::Dies,
            leaks: false,
        }
    }

    /// An agent that does not find its session.
    pub(crate) fn without_session(random: &mut Random) -> Self {
        let end = random.between(20, 200);
        Self {
            says: Some((end - 1, Words::Error(FailureCode::SessionGone))),
            ends: Some((end, Exit::Code(1))),
            ..Self::good(random)
        }
    }

    /// Any agent.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let end = random.between(10, 9_000);
        let said = (end - random.between(0, 9)).max(1);
        let mut script = Self {
            on_term: on_term(random),
            leaks: random.chance(100),
            ..Self::good(random)
        };
        let says = |words| Some((said, words));
        let ends = |exit| Some((end, exit));
        (script.says, script.ends) = match random.below(16) {
            0 => (says(error(random)), ends(Exit::Code(1))),
            1 => (says(error(random)), ends(Exit::Code(0))),
            2 => (None, ends(Exit::Code(0))),
            3 => (None, ends(Exit::Code(3))),
            4 => (None, ends(SEGFAULT)),
            5 => (says(Words::Success), ends(Exit::Code(1))),
            6 => (says(Words::Success), None),
            7 => (None, None),
            8 => (says(limit(random)), ends(Exit::Code(1))),
            _ => (says(Words::Success), ends(Exit::Code(0))),
        };
        script.launch = match random.below(40) {
            0 => Launch::Fails(FailureCode::CommandNotFound),
            1 => Launch::Fails(FailureCode::NotExecutable),
            2 => Launch::Fails(FailureCode::NoResources),
            _ => Launch::Works,
        };
        script
    }
}

/// What an agent may call the error it ends with.
const ERRORS: [FailureCode; 13] = [
    FailureCode::AgentError,
    FailureCode::AgentError,
    FailureCode::AuthFailed,
    FailureCode::BadRequest,
    FailureCode::ModelNotFound,
    FailureCode::Overloaded,
    FailureCode::ProviderError,
    FailureCode::ConnectionFailed,
    FailureCode::ContextTooLong,
    FailureCode::Refused,
    FailureCode::AnswerCut,
    FailureCode::TurnLimit,
    FailureCode::BudgetLimit,
];

fn error(random: &mut Random) -> Words {
    let code = random.pick(&ERRORS).copied();
    Words::Error(code.unwrap_or(FailureCode::AgentError))
}

fn on_term(random: &mut Random) -> OnTerm {
    match random.below(6) {
        0 => OnTerm::Ignores,
        1 => OnTerm::Exits(143),
        2 => OnTerm::SaysAndExits(Words::Error(FailureCode::AgentError), 1),
        3 => OnTerm::SaysAndExits(Words::Success, 0),
        _ => OnTerm::Dies,
    }
}

fn limit(random: &mut Random) -> Words {
    let code = if random.chance(500) {
        FailureCode::RateLimit
    } else {
        FailureCode::UsageLimit
    };
    // A reset in the past is a thing providers say.
    let until = random.chance(600).then(|| random.between(-5_000, 20_000));
    Words::Limited(code, until)
}
