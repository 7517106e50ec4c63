//! A unit of work somebody asked for.

use std::collections::BTreeSet;

use crate::id::{AgentName, RunId, TaskId};
use crate::run::Failure;
use crate::text_enum::text_enum;
use crate::time::Timestamp;

text_enum! {
    /// Where a task stands.
    pub enum TaskStatus {
        /// Waits for its turn; `wait` says for what.
        Todo = "todo",
        /// A run of it is under way.
        InProgress = "in_progress",
        /// A run failed and the next one waits for its time.
        Retrying = "retrying",
        /// The work is done and waits for approval, or for its landing.
        Review = "review",
        /// Approved and landed.
        Done = "done",
        /// No attempt is left.
        Failed = "failed",
        /// Somebody did not want it any more.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// Whether nothing happens to it any more unless a person asks.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

text_enum! {
    /// Where an agent works.
    pub enum WorkspaceMode {
        /// A git worktree of the task's own.
        Worktree = "worktree",
        /// The user's own checkout, together with everybody else.
        Shared = "shared",
    }
}

text_enum! {
    /// Who says that finished work is good.
    pub enum ReviewMode {
        /// A person runs `orch task approve`.
        Manual = "manual",
        /// Success is approval.
        Auto = "auto",
    }
}

text_enum! {
    /// What happens to a task whose run was lost.
    pub enum OnLost {
        /// Retry in a worktree of its own, ask a person in the shared directory.
        Default = "default",
        /// Always try again.
        Retry = "retry",
        /// Always ask a person.
        Ask = "ask",
    }
}

text_enum! {
    /// What a success must have left behind to count as one.
    pub enum Require {
        /// Nothing: the agent's word is enough.
        Nothing = "nothing",
        /// A changed file, whoever committed it.
        Changes = "changes",
        /// A commit of the agent's own.
        Commit = "commit",
    }
}

/// 1 is urgent, 4 is whenever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// What a task has unless told otherwise.
    pub const NORMAL: Self = Self(3);

    /// A priority from 1 to 4, `None` for any other number.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= 4 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, 1 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Why a task that is not running does not run, when it is neither order nor slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Nothing starts before this moment.
    pub until: Timestamp,
    /// Why: the limit or failure that asked for the wait.
    pub failure: Failure,
}

/// What finished work waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// A person's word.
    Person,
    /// orch is landing the branch on the target.
    Landing,
    /// The branch could not be landed; a person must mend it.
    Blocked {
        /// What is in the way, in words.
        message: String,
        /// The files that conflict, if that is what is in the way.
        files: Vec<String>,
    },
    /// The run was lost; a person must look at what is there.
    Lost {
        /// What is known.
        failure: Failure,
    },
}

/// What a task is doing. Each state carries what only it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for its turn.
    Todo {
        /// A limit that must pass first.
        hold: Option<Hold>,
    },
    /// This run works on it.
    InProgress {
        /// The run.
        run: RunId,
    },
    /// The next attempt waits for its time.
    Retrying {
        /// When, and after which failure.
        hold: Hold,
    },
    /// The work is done.
    Review(Review),
    /// Landed.
    Done,
    /// No attempt left.
    Failed {
        /// Why the last one failed.
        failure: Failure,
    },
    /// Not wanted any more.
    Cancelled {
        /// Who cancelled it and what was under way.
        failure: Failure,
    },
}

impl TaskState {
    /// Where the task stands.
    #[must_use]
    pub const fn status(&self) -> TaskStatus {
        match self {
            Self::Todo { .. } => TaskStatus::Todo,
            Self::InProgress { .. } => TaskStatus::InProgress,
            Self::Retrying { .. } => TaskStatus::Retrying,
            Self::Review(_) => TaskStatus::Review,
            Self::Done => TaskStatus::Done,
            Self::Failed { .. } => TaskStatus::Failed,
            Self::Cancelled { .. } => TaskStatus::Cancelled,
        }
    }

    /// The failure this state tells of, if it tells of one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Todo { hold: Some(hold) } | Self::Retrying { hold } => Some(&hold.failure),
            Self::Failed { failure }
            | Self::Cancelled { failure }
            | Self::Review(Review::Lost { failure }) => Some(failure),
            _ => None,
        }
    }

    /// The moment before which nothing starts, for states that have one.
    #[must_use]
    pub const fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Todo { hold: Some(hold) } | Self::Retrying { hold } => Some(hold),
            _ => None,
        }
    }
}

text_enum! {
    /// What a task waits for in another.
    pub enum DependencyKind {
        /// `--depends-on`: the other must be done.
        Succeeded = "succeeded",
        /// `--after-any`: the other must have ended, however.
        Ended = "ended",
    }
}

impl DependencyKind {
    /// Whether a task in `status` satisfies a dependency of this kind.
    #[must_use]
    pub const fn is_met_by(self, status: TaskStatus) -> bool {
        match self {
            Self::Succeeded => matches!(status, TaskStatus::Done),
            Self::Ended => status.is_ended(),
        }
    }
}

/// One thing a task waits for in another task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The other task.
    pub on: TaskId,
    /// What must become of it.
    pub kind: DependencyKind,
}

/// Who may take a task: the agent it names, or the labels it asks for, or anyone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Any agent.
    Any,
    /// This agent and no other.
    Agent(AgentName),
    /// Agents with all of these labels.
    Labels(BTreeSet<String>),
}

impl Lane {
    /// The lane as one sortable text, for an index. [`Lane::from_key`] reads it back.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Agent(name) => format!("@{name}"),
            Self::Labels(labels) => {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                format!("#{}", labels.join(","))
            }
        }
    }

    /// Reads what [`Lane::key`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        match key.split_at_checked(1)? {
            ("*", "") => Some(Self::Any),
            ("@", name) => name.parse().ok().map(Self::Agent),
            ("#", labels) => Some(Self::Labels(labels.split(',').map(str::to_owned).collect())),
            _ => None,
        }
    }
}

/// A unit of work somebody asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// Order of arrival: the age that decides among equal priorities. Set by the ledger.
    pub seq: u64,
    /// One line for people and branch names.
    pub title: String,
    /// What the agent is to do.
    pub description: String,
    /// What it is doing.
    pub state: TaskState,
    /// How urgent.
    pub priority: Priority,
    /// The agent it asks for by name.
    pub agent: Option<AgentName>,
    /// What it is about; also what an agent must have to take it.
    pub labels: BTreeSet<String>,
    /// Paths it is expected to touch; told to the agent.
    pub scope: Vec<String>,
    /// Files given along, as absolute paths; told to the agent.
    pub attachments: Vec<String>,
    /// How many dependencies are not met yet.
    pub unmet: u32,
    /// Where its agent works.
    pub workspace: WorkspaceMode,
    /// Who approves.
    pub review: ReviewMode,
    /// What happens when a run is lost.
    pub on_lost: OnLost,
    /// What a success must have left behind; `None` is what its agent's configuration says.
    pub require: Option<Require>,
    /// Attempts that counted.
    pub attempts: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Runs it has had, counted or not.
    pub runs: u32,
    /// Starts in a row that came to nothing: for want of a resource, or because of a limit.
    pub start_failures: u32,
    /// Longest a run may take, milliseconds of active time.
    pub timeout_ms: Option<u64>,
    /// Longest a run may be silent, milliseconds of active time.
    pub stall_ms: Option<u64>,
    /// The final text of its last successful run.
    pub result: Option<String>,
    /// The words of the last rejection, for the next attempt.
    pub feedback: Option<String>,
    /// The last run that was recorded for it.
    pub last_run: Option<RunId>,
    /// The commit that carries its work on the target branch.
    pub landed: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
}

impl Task {
    /// Where it stands.
    #[must_use]
    pub const fn status(&self) -> TaskStatus {
        self.state.status()
    }

    /// Who may take it.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match &self.agent {
            Some(name) => Lane::Agent(name.clone()),
            None if self.labels.is_empty() => Lane::Any,
            None => Lane::Labels(self.labels.clone()),
        }
    }

    /// Whether nothing but a free agent is missing.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.unmet == 0 && matches!(self.state, TaskState::Todo { hold: None })
    }

    /// The branch its work is on.
    #[must_use]
    pub fn branch(&self) -> String {
        match crate::text::slug(&self.title).as_str() {
            "" => format!("orch/{}", self.id),
            slug => format!("orch/{}-{slug}", self.id),
        }
    }
}
