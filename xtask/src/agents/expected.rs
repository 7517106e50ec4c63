//! What orch must have recorded of each trial, and why: the reviewed table.
//!
//! An expectation is a rule with a reason. A program that behaves unlike the others has a line of
//! its own, with what it is that it does.

use orch_field::text;
use orch_model::{mcp, script};
use serde_json::Value;

use super::case::Case;
use super::play::{PROMPT, Recorded};

/// What must have been recorded of a trial.
#[derive(Debug)]
pub struct Expected {
    case: Case,
    /// The programs it is about; all that have no line of their own, if there are none.
    programs: &'static [&'static str],
    /// Status and code: one of these, where two things happen at once and either may be first.
    outcomes: &'static [&'static str],
    /// Why that is the truth.
    pub because: &'static str,
    /// What must hold besides.
    checks: &'static [Check],
}

/// One thing that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The result is this text.
    Result(&'static str),
    /// The result holds this text.
    ResultHolds(&'static str),
    /// The result has this many bytes.
    ResultLength(usize),
    /// The agent made a commit, and this file is in it.
    Committed(&'static str),
    /// The agent made no commit, and this file, which it left, is on its branch.
    Saved(&'static str),
    /// Nothing was committed.
    NothingCommitted,
    /// Tokens are those of two answers of the model.
    TwoAnswersCounted,
    /// Something is warned of.
    WarnsOfSomething,
    /// The provider's pause is known.
    KnowsUntil,
    /// The second run went on with the session of the first.
    SameSession,
    /// The model was told this.
    ModelTold(&'static str),
}

use Check::*;

/// The reviewed table.
const TABLE: &[Expected] = &[
    Expected {
        case: Case::Work,
        programs: ALL,
        outcomes: &["completed"],
        because: "it did the work and said so",
        checks: &[
            Result(script::FINAL),
            Committed("out.txt"),
            TwoAnswersCounted,
            ModelTold(PROMPT),
        ],
    },
    Expected {
        case: Case::Text,
        programs: ALL,
        outcomes: &["completed"],
        because: "it said so, and that nothing was committed can be seen",
        checks: &[Result(script::FINAL), NothingCommitted],
    },
    Expected {
        case: Case::Parallel,
        programs: ALL,
        outcomes: &["completed"],
        because: "both calls were made",
        checks: &[
            Result(script::FINAL),
            Committed("a.txt"),
            Committed("b.txt"),
        ],
    },
    Expected {
        case: Case::BadKey,
        programs: ALL,
        outcomes: &["failed auth_failed"],
        because: "the provider does not accept the key",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Limited,
        programs: ALL,
        outcomes: &["limited rate_limit"],
        because: "a limit is no failure",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::LimitedAnHour,
        programs: ALL,
        outcomes: &["limited rate_limit"],
        because: "a limit is no failure",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::UsedUp,
        programs: ALL,
        outcomes: &["limited usage_limit"],
        because: "an account that is used up is no failure",
        checks: &[NothingCommitted, KnowsUntil],
    },
    Expected {
        case: Case::Broken,
        programs: ALL,
        outcomes: &["failed provider_error"],
        because: "the provider broke",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Busy,
        programs: ALL,
        outcomes: &["failed overloaded"],
        because: "the provider was too busy",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Cut,
        programs: ALL,
        outcomes: &["failed connection_failed"],
        because: "the answer never came to its end",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Silent,
        programs: ALL,
        outcomes: &["timed_out timeout"],
        because: "nothing came, and orch ended it",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Big,
        programs: ALL,
        outcomes: &["completed"],
        because: "a long text is a text",
        checks: &[ResultLength(1_000_011), ResultHolds("SCRIPT-END")],
    },
    Expected {
        case: Case::Unicode,
        programs: ALL,
        outcomes: &["completed"],
        because: "odd characters are characters",
        checks: &[
            ResultHolds("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}"),
            ResultHolds(script::UNICODE_END),
        ],
    },
    Expected {
        case: Case::Surrogate,
        programs: ALL,
        outcomes: &["completed"],
        because: "half an emoji does not make the rest unreadable",
        checks: &[ResultHolds("SCRIPT-END")],
    },
    Expected {
        case: Case::Turns,
        programs: ALL,
        outcomes: &["failed turn_limit"],
        because: "it took all the turns it may; what it had done is saved",
        checks: &[Saved("turns.txt")],
    },
    Expected {
        case: Case::Resume,
        programs: ALL,
        outcomes: &["completed"],
        because: "the second run knew what the first had said",
        checks: &[ResultHolds("I remember"), SameSession],
    },
    Expected {
        case: Case::Cancel,
        programs: ALL,
        outcomes: &["cancelled cancelled_by_user"],
        because: "somebody cancelled it",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Term,
        programs: ALL,
        outcomes: &["failed no_result"],
        because: "it was asked to leave by somebody else, and left without a result",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Kill,
        programs: ALL,
        outcomes: &["failed signaled"],
        because: "somebody else killed it",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Background,
        programs: ALL,
        outcomes: &["completed"],
        because: "it said so; what it left behind was ended and named",
        checks: &[Result(script::FINAL), WarnsOfSomething],
    },
    Expected {
        case: Case::Mcp,
        programs: ALL,
        outcomes: &["completed"],
        because: "the answer of the server's tool reached the model",
        checks: &[Result(script::FINAL), ModelTold(mcp::ANSWER)],
    },
    Expected {
        case: Case::Ask,
        programs: ALL,
        outcomes: &["completed"],
        because: "it said so, and that it was refused its tools can be seen",
        checks: &[NothingCommitted, WarnsOfSomething],
    },
    Expected {
        case: Case::Limited,
        programs: &["opencode", "opencode-acp", "qwen"],
        outcomes: &["timed_out timeout"],
        because: PATIENT,
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::LimitedAnHour,
        programs: &["opencode", "opencode-acp", "qwen", "pi", "codex"],
        outcomes: &["timed_out timeout"],
        because: PATIENT,
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::UsedUp,
        programs: &["opencode", "opencode-acp", "qwen", "pi"],
        outcomes: &["timed_out timeout"],
        because: PATIENT,
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Busy,
        programs: &["opencode", "opencode-acp"],
        outcomes: &["timed_out timeout"],
        because: PATIENT,
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Surrogate,
        programs: &["codex", "copilot"],
        outcomes: &["failed connection_failed"],
        because: "it takes an answer with half an emoji for a broken one",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Turns,
        programs: &[
            "codex",
            "opencode",
            "pi",
            "copilot",
            "gemini-acp",
            "opencode-acp",
        ],
        outcomes: &["refused"],
        because: "it has no such limit, and orch says so before anything starts",
        checks: &[],
    },
    Expected {
        case: Case::Term,
        programs: &["codex", "opencode"],
        outcomes: &["failed signaled"],
        because: "the signal that somebody else sent ended it",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Term,
        programs: &["copilot"],
        outcomes: &["failed signaled", "failed agent_error", "failed no_result"],
        because: "the signal that somebody else sent ended it, or it left before and may have said so",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Mcp,
        programs: &["pi"],
        outcomes: &["refused"],
        because: "it speaks no MCP, and orch says so before anything starts",
        checks: &[],
    },
    Expected {
        case: Case::Ask,
        programs: &["gemini", "opencode", "qwen"],
        outcomes: &["completed"],
        because: "it shows the model no tool that it may not use; that nothing was committed is seen",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Ask,
        programs: &["pi"],
        outcomes: &["refused"],
        because: "it asks nobody, and orch says so before anything starts",
        checks: &[],
    },
    Expected {
        case: Case::Work,
        programs: &["gemini-acp", "opencode-acp"],
        outcomes: &["completed"],
        because: "it did the work and said so; it counts only some of its tokens",
        checks: &[
            Result(script::FINAL),
            Committed("out.txt"),
            ModelTold(PROMPT),
        ],
    },
    Expected {
        case: Case::Broken,
        programs: &["opencode-acp"],
        outcomes: &["failed agent_error"],
        because: "over ACP its error is a text and nothing else",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Broken,
        programs: &["codex"],
        outcomes: &["failed overloaded"],
        because: "it says of whatever breaks at the provider that there is high demand",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Ask,
        programs: &["codex"],
        outcomes: &["completed"],
        because: "what its sandbox stops leaves no trace; that nothing was committed is seen",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::UsedUp,
        programs: &["gemini-acp"],
        outcomes: &["limited rate_limit"],
        because: "over ACP its error is a status and a text; which limit it is only the text says",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::BadKey,
        programs: &["opencode-acp"],
        outcomes: &["failed agent_error"],
        because: "over ACP its error is a text and nothing else",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Cut,
        programs: &["gemini-acp"],
        outcomes: &["failed provider_error"],
        because: "over ACP it says status 500 of a connection that broke",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Term,
        programs: &["gemini-acp", "opencode-acp"],
        outcomes: &["failed agent_error"],
        because: "the signal went to orch's driver, which had the agent cancel its turn",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Ask,
        programs: &["opencode-acp"],
        outcomes: &["completed"],
        because: "its own settings allow everything unless its user says otherwise",
        checks: &[Result(script::FINAL), Committed("out.txt")],
    },
    Expected {
        case: Case::Cut,
        programs: &["opencode-acp"],
        outcomes: &["failed agent_error"],
        because: "over ACP its error is a text and nothing else",
        checks: &[NothingCommitted],
    },
    Expected {
        case: Case::Resume,
        programs: &["gemini-acp"],
        // A minute may have passed.
        outcomes: &["failed session_gone", "completed"],
        because: "over ACP it overwrites a session of the same minute; a further attempt begins afresh",
        checks: &[],
    },
];

/// Programs that repeat a call for longer than anybody would wait, and have no setting for that.
const PATIENT: &str = "it still waited in silence when its time was over, and orch ended it";

/// Programs that have no line of their own.
const ALL: &[&str] = &[];

/// What must have been recorded of this trial with this program.
pub fn of(program: &str, case: Case) -> &'static Expected {
    let lines = || TABLE.iter().filter(move |line| line.case == case);
    let own = lines().find(|line| line.programs.contains(&program));
    own.or_else(|| lines().find(|line| line.programs.is_empty()))
        .expect("the tests see to it that every trial has a line for all programs")
}

impl Expected {
    /// How long a run may take: long enough to end by itself, or short if it is not to.
    pub fn timeout(&self) -> &'static str {
        match self.outcomes {
            ["timed_out timeout"] => "40s",
            _ => "4m",
        }
    }

    /// What is not as it must be.
    pub fn judge(&self, recorded: &Recorded) -> Vec<String> {
        let mut wrong = Vec::new();
        let outcome = recorded.outcome();
        if !self.outcomes.contains(&outcome.as_str()) {
            let outcomes = self.outcomes.join("' or '");
            wrong.push(format!("recorded '{outcome}', not '{outcomes}'"));
        }
        if let Some(refusal) = &recorded.refusal {
            if self.outcomes != ["refused"] {
                wrong.push(refusal.trim().to_owned());
            }
            return wrong;
        }
        let checks = self.checks.iter();
        wrong.extend(checks.filter_map(|check| check.judge(recorded)));
        if !recorded.left.is_empty() {
            wrong.push(format!("still running: {}", recorded.left.join("; ")));
        }
        wrong
    }
}

impl Check {
    fn judge(self, recorded: &Recorded) -> Option<String> {
        let run = &recorded.run;
        let result = run["result"].as_str();
        let holds = match self {
            Result(text) => result == Some(text),
            ResultHolds(part) => result.is_some_and(|result| result.contains(part)),
            ResultLength(bytes) => result.is_some_and(|result| result.len() == bytes),
            Committed(file) => {
                recorded.commits.iter().any(|subject| subject == "scripted")
                    && recorded.files.iter().any(|path| path == file)
            }
            Saved(file) => {
                !recorded.commits.iter().any(|subject| subject == "scripted")
                    && recorded.files.iter().any(|path| path == file)
            }
            NothingCommitted => recorded.commits.is_empty(),
            TwoAnswersCounted => counts_two_answers(&run["usage"]),
            WarnsOfSomething => run["warnings"]
                .as_array()
                .is_some_and(|all| !all.is_empty()),
            KnowsUntil => recorded.why["task"]["wait"]["until"].is_string(),
            SameSession => {
                run["session_id"].is_string() && run["session_id"] == recorded.before["session_id"]
            }
            ModelTold(part) => recorded.seen.iter().any(|seen| seen.asked.contains(part)),
        };
        (!holds).then(|| format!("{self:?} does not hold: {}", self.evidence(recorded)))
    }

    /// What there is instead.
    fn evidence(self, recorded: &Recorded) -> String {
        let run = &recorded.run;
        match self {
            Result(_) | ResultHolds(_) => short(&run["result"].to_string()),
            ResultLength(_) => format!("{} bytes", run["result"].as_str().map_or(0, str::len)),
            Committed(_) | Saved(_) | NothingCommitted => {
                format!("commits {:?}, files {:?}", recorded.commits, recorded.files)
            }
            TwoAnswersCounted => run["usage"].to_string(),
            WarnsOfSomething => short(&run["warnings"].to_string()),
            KnowsUntil => short(&recorded.why["task"]["wait"].to_string()),
            SameSession => {
                let sessions = (&recorded.before["session_id"], &run["session_id"]);
                format!("first {}, then {}", sessions.0, sessions.1)
            }
            ModelTold(_) => format!("{} requests", recorded.seen.len()),
        }
    }
}

/// Whether these are the tokens of two answers: cached ones counted apart, written ones with or
/// without thoughts, those written to the cache with the others where the provider has no word
/// for them.
fn counts_two_answers(usage: &Value) -> bool {
    use script::tokens::{CACHE_READ, CACHE_WRITE, INPUT, OUTPUT, REASONING};
    let is = |field: &str, numbers: &[u64]| {
        let number = usage[field].as_u64();
        number.is_some_and(|number| numbers.iter().any(|one| 2 * one == number))
    };
    is("input_tokens", &[INPUT, INPUT + CACHE_WRITE])
        && is("output_tokens", &[OUTPUT, OUTPUT - REASONING])
        && is("cache_read_tokens", &[CACHE_READ])
}

fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a person wants to read of a run that is not as it must be.
pub fn details(recorded: &Recorded) -> String {
    let run = &recorded.run;
    if !run.is_object() {
        return String::new();
    }
    format!(
        "run {}: exit {} signal {}, failure {}, warnings {}",
        text(run, "id"),
        run["exit_code"],
        run["signal"],
        short(&run["failure"].to_string()),
        short(&run["warnings"].to_string()),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::programs;

    #[test]
    fn every_trial_has_a_line_and_every_line_a_program() {
        for case in Case::ALL {
            let lines = TABLE.iter().filter(|line| line.case == *case);
            let general = lines.filter(|line| line.programs.is_empty());
            assert_eq!(general.count(), 1, "{case}");
        }
        for name in TABLE.iter().flat_map(|line| line.programs) {
            let known = programs::ALL.iter().any(|program| program.name == *name);
            assert!(known, "{name}");
        }
    }

    fn worked() -> Recorded {
        Recorded {
            run: json!({
                "id": "run_1", "status": "completed", "failure": null, "warnings": [],
                "result": script::FINAL,
                "usage": {"input_tokens": 2000, "output_tokens": 80, "cache_read_tokens": 400},
            }),
            commits: vec!["scripted".into()],
            files: vec!["out.txt".into()],
            seen: vec![orch_model::Seen {
                protocol: "chat",
                model: "m".into(),
                step: 0,
                tools: Vec::new(),
                asked: PROMPT.into(),
                has_key: true,
            }],
            ..Recorded::default()
        }
    }

    #[test]
    fn a_lie_in_any_field_is_found() {
        let wrong = |change: fn(&mut Recorded)| {
            let mut recorded = worked();
            change(&mut recorded);
            of("any", Case::Work).judge(&recorded).len()
        };
        assert_eq!(wrong(|_| {}), 0);
        assert_eq!(wrong(|it| it.run["status"] = json!("failed")), 1);
        assert_eq!(wrong(|it| it.run["result"] = json!("All done")), 1);
        assert_eq!(wrong(|it| it.run["usage"]["input_tokens"] = json!(1000)), 1);
        assert_eq!(wrong(|it| it.commits = vec!["Trial".into()]), 1);
        assert_eq!(wrong(|it| it.files = vec!["readme.txt".into()]), 1);
        assert_eq!(wrong(|it| it.seen.clear()), 1);
        assert_eq!(wrong(|it| it.left = vec!["12 tail".into()]), 1);
        assert_eq!(wrong(|it| it.refusal = Some("no such thing".into())), 2);
    }
}
