//! One attempt of a task by one agent.

use crate::id::{AgentName, RunId, TaskId};
use crate::text_enum::text_enum;
use crate::time::Timestamp;

text_enum! {
    /// Where a run stands. Everything but the first two is final.
    pub enum RunStatus {
        /// Recorded; its process may or may not exist yet.
        Starting = "starting",
        /// The agent's process was started.
        Running = "running",
        /// The agent did the work.
        Completed = "completed",
        /// The agent ended without doing it.
        Failed = "failed",
        /// A rate or usage limit stopped it.
        Limited = "limited",
        /// It took too long or fell silent too long.
        TimedOut = "timed_out",
        /// A person, or orch itself, stopped it.
        Cancelled = "cancelled",
        /// The agent's process never came to be.
        NotStarted = "not_started",
        /// Nobody could see how it ended.
        Lost = "lost",
    }
}

impl RunStatus {
    /// Whether nothing can change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Starting | Self::Running)
    }
}

text_enum! {
    /// Why something did not succeed. The list is closed; the schema refuses any other word.
    pub enum FailureCode {
        /// The agent itself said that it failed, for a reason that has no word of its own here.
        AgentError = "agent_error",
        /// The provider does not accept the key or the login.
        AuthFailed = "auth_failed",
        /// The provider refuses the request as it is.
        BadRequest = "bad_request",
        /// The provider has no such model, or not for this account.
        ModelNotFound = "model_not_found",
        /// The provider had too much to do, and the agent gave up.
        Overloaded = "overloaded",
        /// The provider failed in another way.
        ProviderError = "provider_error",
        /// The connection to the provider did not come to be, broke, or said nothing that can be
        /// understood.
        ConnectionFailed = "connection_failed",
        /// The conversation is longer than the model can read.
        ContextTooLong = "context_too_long",
        /// The model, or a filter before it, refused to answer.
        Refused = "refused",
        /// The answer was cut off at its longest.
        AnswerCut = "answer_cut",
        /// The agent took as many turns as it may.
        TurnLimit = "turn_limit",
        /// The agent spent as much as it may.
        BudgetLimit = "budget_limit",
        /// The session that was to be continued is not there any more.
        SessionGone = "session_gone",
        /// It says success and left nothing behind, where something is required.
        NoChanges = "no_changes",
        /// The agent ended without the result it always gives.
        NoResult = "no_result",
        /// A command without a result of its own ended with this exit status.
        ExitNonzero = "exit_nonzero",
        /// A signal that orch did not send ended it.
        Signaled = "signaled",
        /// It ran longer than its timeout.
        Timeout = "timeout",
        /// It wrote nothing for longer than its stall timeout.
        Stalled = "stalled",
        /// It wrote more than its output limit.
        OutputLimit = "output_limit",
        /// The provider asked to slow down.
        RateLimit = "rate_limit",
        /// The account has used up what it may.
        UsageLimit = "usage_limit",
        /// A person cancelled it.
        CancelledByUser = "cancelled_by_user",
        /// orch was told to stop and stopped it; costs no attempt.
        Interrupted = "interrupted",
        /// No such command.
        CommandNotFound = "command_not_found",
        /// The command exists and cannot be executed, or not with the environment it is to have.
        NotExecutable = "not_executable",
        /// The machine refused a process, a descriptor or memory.
        NoResources = "no_resources",
        /// The worktree could not be made ready.
        WorkspaceFailed = "workspace_failed",
        /// What is in the repository would have the agent run code that nobody agreed to.
        NeedsConsent = "needs_consent",
        /// What the run needs could not be written or started.
        SpawnFailed = "spawn_failed",
        /// The supervisor died before the agent was started.
        SupervisorDiedAtLaunch = "supervisor_died_at_launch",
        /// The supervisor died while the agent ran and nobody saw the end.
        SupervisorDied = "supervisor_died",
        /// The machine was restarted while the agent ran.
        HostRebooted = "host_rebooted",
        /// The record of the end is there and cannot be trusted.
        RecordCorrupt = "record_corrupt",
        /// The run's directory is gone.
        RecordMissing = "record_missing",
    }
}

impl FailureCode {
    /// Whether trying again without changing anything can only fail again.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::CommandNotFound
                | Self::NotExecutable
                | Self::AuthFailed
                | Self::BadRequest
                | Self::ModelNotFound
                | Self::ContextTooLong
                | Self::BudgetLimit
        )
    }
}

/// Why something did not succeed, in words and with what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// From the closed list.
    pub code: FailureCode,
    /// One sentence for a person.
    pub message: String,
    /// What was seen: exit status, rule, measured value, log range. Never empty.
    pub evidence: String,
}

/// How the kernel said the process ended. Never folded, never invented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal {
                number,
                core: false,
            } => write!(f, "signal {number}"),
            Self::Signal { number, core: true } => write!(f, "signal {number}, core dumped"),
        }
    }
}

/// What an agent said it used. `None` means it did not say; it is never 0 instead.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Tokens read that were not cached.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Tokens read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Tokens written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// US dollars.
    pub cost_usd: Option<f64>,
}

/// What an agent did to its branch, in one run or in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Files that differ from what they were, whoever committed them.
    pub files: u64,
    /// Commits the agent made itself; what orch commits for it is not among them.
    pub commits: u64,
}

/// How a run ended. A value that is not success carries its failure by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The agent did the work.
    Completed,
    /// The agent ended without doing it.
    Failed(Failure),
    /// A limit stopped it.
    Limited {
        /// Which limit and the words of the provider.
        failure: Failure,
        /// When the limit is lifted, if the provider said so.
        until: Option<Timestamp>,
    },
    /// A timeout or stall timeout ended it.
    TimedOut(Failure),
    /// A person or orch stopped it.
    Cancelled(Failure),
    /// It never came to be.
    NotStarted(Failure),
    /// Nobody knows.
    Lost(Failure),
}

impl Outcome {
    /// The status a run with this outcome has.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        match self {
            Self::Completed => RunStatus::Completed,
            Self::Failed(_) => RunStatus::Failed,
            Self::Limited { .. } => RunStatus::Limited,
            Self::TimedOut(_) => RunStatus::TimedOut,
            Self::Cancelled(_) => RunStatus::Cancelled,
            Self::NotStarted(_) => RunStatus::NotStarted,
            Self::Lost(_) => RunStatus::Lost,
        }
    }

    /// Why it is not a success, unless it is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Completed => None,
            Self::Failed(failure)
            | Self::Limited { failure, .. }
            | Self::TimedOut(failure)
            | Self::Cancelled(failure)
            | Self::NotStarted(failure)
            | Self::Lost(failure) => Some(failure),
        }
    }
}

text_enum! {
    /// Why the daemon asked a run to end. Recorded before the first signal is sent.
    pub enum StopReason {
        /// A person cancelled the task.
        Cancel = "cancel",
        /// orch was told to stop at once.
        Interrupt = "interrupt",
        /// The result is in and the process does not leave.
        Linger = "linger",
    }
}

/// Everything that is known about a run once it has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// What the kernel said, if anybody heard it.
    pub exit: Option<Exit>,
    /// The agent's final text in full.
    pub result: Option<String>,
    /// What the agent used.
    pub usage: Usage,
    /// Whether what it cost was computed from tokens and a table of prices, and not reported.
    pub cost_estimated: bool,
    /// The agent's own session, for a later resume.
    pub session_id: Option<String>,
    /// The last commit of the run's branch.
    pub commit: Option<String>,
    /// What this run did to its branch; `None` if it was not counted.
    pub changes: Option<Changes>,
    /// How many events `events.jsonl` holds.
    pub events: u64,
    /// What a person should know although it did not change the outcome.
    pub warnings: Vec<String>,
    /// When the process ended; for a lost run, when that was found out.
    pub finished_at: Timestamp,
}

/// What a run is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// Recorded; its process may or may not exist yet.
    Starting,
    /// The agent's process runs.
    Running,
    /// It is over.
    Ended(Box<Ending>),
}

/// One attempt of a task by one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The task it is an attempt of.
    pub task: TaskId,
    /// The agent that works.
    pub agent: AgentName,
    /// The kind of agent, copied so that caps hold when the configuration changes.
    pub adapter: String,
    /// 1 for the first run of the task, counting every run.
    pub attempt: u32,
    /// What it is doing.
    pub state: RunState,
    /// Why it was asked to end, if it was.
    pub stop: Option<StopReason>,
    /// The branch it works on, if it has one of its own.
    pub branch: Option<String>,
    /// The boot of the machine in which it was recorded, and in no other of which it is ever
    /// started. `None` where the system has no name for it, and in rows from before there was one.
    pub boot: Option<String>,
    /// The session of an earlier run that it was started to go on with.
    pub resumed_session: Option<String>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When the agent's process was started.
    pub started_at: Option<Timestamp>,
}

impl Run {
    /// Where it stands.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        match &self.state {
            RunState::Starting => RunStatus::Starting,
            RunState::Running => RunStatus::Running,
            RunState::Ended(ending) => ending.outcome.status(),
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        match &self.state {
            RunState::Ended(ending) => Some(ending),
            RunState::Starting | RunState::Running => None,
        }
    }
}
