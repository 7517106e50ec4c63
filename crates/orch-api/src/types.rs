//! Requests, answers and events as JSON. Times are RFC 3339 in UTC.

use serde::{Deserialize, Serialize};

/// A task. Every listing of tasks is an array of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// `tsk_…`
    pub id: String,
    /// One line.
    pub title: String,
    /// What the agent is to do.
    pub description: String,
    /// `todo`, `in_progress`, `retrying`, `review`, `done`, `failed`, `cancelled`.
    pub status: String,
    /// 1 (urgent) to 4.
    pub priority: u8,
    /// The agent it asks for by name.
    pub agent: Option<String>,
    /// What it is about.
    pub labels: Vec<String>,
    /// Tasks that must be done first.
    pub depends_on: Vec<String>,
    /// Tasks that must have ended first, however.
    pub after_any: Vec<String>,
    /// Paths it is expected to touch.
    pub scope: Vec<String>,
    /// Files given along.
    pub attachments: Vec<String>,
    /// `worktree` or `shared`.
    pub workspace: String,
    /// `manual` or `auto`.
    pub review: String,
    /// Attempts that counted.
    pub attempts: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Longest a run may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Longest a run may be silent, milliseconds.
    pub stall_ms: Option<u64>,
    /// What a success must have left behind: `nothing`, `changes` or `commit`; null where its
    /// agent's configuration says.
    #[serde(default)]
    pub require: Option<String>,
    /// The agent's final text in full.
    pub result: Option<String>,
    /// Why it failed, is held back or was cancelled.
    pub failure: Option<Failure>,
    /// Why it does not move; null once it has ended.
    pub wait: Option<Wait>,
    /// The words of the last rejection.
    pub feedback: Option<String>,
    /// Its last run.
    pub last_run: Option<String>,
    /// The branch its work is on, for worktree tasks.
    pub branch: Option<String>,
    /// The commit on the target branch that carries its work.
    pub landed: Option<String>,
    /// When it was added.
    pub created_at: String,
    /// When anything about it last changed.
    pub updated_at: String,
}

/// Why something did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// From a closed list; see the user guide.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What was seen.
    pub evidence: String,
}

/// Why a task does not move and who acts next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// From a closed list; see the user guide.
    pub code: String,
    /// One sentence, with what to do where a person must.
    pub message: String,
    /// `person`, `orch`, `agent`, `timer` or `task`.
    pub actor: String,
    /// Until when, if that is known.
    pub until: Option<String>,
}

/// One attempt of a task by one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `run_…`
    pub id: String,
    /// The task it is an attempt of.
    pub task_id: String,
    /// Who works.
    pub agent: String,
    /// The kind of agent.
    pub adapter: String,
    /// 1 for the first run of the task, counting every run.
    pub attempt: u32,
    /// `starting`, `running`, `completed`, `failed`, `limited`, `timed_out`, `cancelled`,
    /// `not_started`, `lost`.
    pub status: String,
    /// The exit status the kernel gave; null if a signal ended it or nobody saw it.
    pub exit_code: Option<i32>,
    /// The signal that ended it; null otherwise.
    pub signal: Option<i32>,
    /// Why it was not a success.
    pub failure: Option<Failure>,
    /// The agent's final text in full.
    pub result: Option<String>,
    /// What the agent says it used; null where it does not say.
    pub usage: Usage,
    /// US dollars: as the agent reported them, or estimated.
    pub cost_usd: Option<f64>,
    /// Whether `cost_usd` was computed from tokens and a table of prices; null where there is none.
    #[serde(default)]
    pub cost_estimated: Option<bool>,
    /// The agent's own session.
    pub session_id: Option<String>,
    /// The session of an earlier run that it was started to go on with.
    #[serde(default)]
    pub resumed_session: Option<String>,
    /// The branch it worked on.
    pub branch: Option<String>,
    /// The last commit of that branch when the run ended.
    pub commit: Option<String>,
    /// What it did to that branch; null if it was not counted.
    #[serde(default)]
    pub changes: Option<Changes>,
    /// What a person should know although it did not change the outcome.
    pub warnings: Vec<String>,
    /// How many events the run has.
    pub events: u64,
    /// When it was recorded.
    pub created_at: String,
    /// When the agent's process was started.
    pub started_at: Option<String>,
    /// When it ended; null while it has not, and for a lost run, whose end nobody saw.
    pub finished_at: Option<String>,
    /// When orch learned that it was over: the same, but for a lost run.
    #[serde(default)]
    pub noticed_at: Option<String>,
}

/// What a run did to its branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Files that differ from what they were before the run, whoever committed them.
    pub files: u64,
    /// Commits the agent made itself.
    pub commits: u64,
}

/// Tokens; null means that the agent did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Read, not cached.
    pub input_tokens: Option<u64>,
    /// Written.
    pub output_tokens: Option<u64>,
    /// Read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
}

/// A fact that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Gapless from 1.
    pub seq: u64,
    /// When it was recorded.
    pub time: String,
    /// From a closed list; see the user guide.
    pub event: String,
    /// To which task.
    pub task: Option<String>,
    /// In which run.
    pub run: Option<String>,
    /// By which agent.
    pub agent: Option<String>,
    /// A status or failure code.
    pub word: Option<String>,
    /// A sentence.
    pub message: Option<String>,
}

/// An agent as configured, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// The kind of agent.
    pub adapter: String,
    /// The model it asks for.
    pub model: Option<String>,
    /// What it is for.
    pub role: Option<String>,
    /// The command, for the `shell` adapter.
    pub command: Option<String>,
    /// What it can do.
    pub labels: Vec<String>,
    /// Runs it may have at once.
    pub max_parallel: u32,
    /// Whether it may be given work.
    pub enabled: bool,
    /// The runs it works on.
    pub runs: Vec<String>,
}

/// The project at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The project's name.
    pub project: String,
    /// The branch work lands on.
    pub target: Option<String>,
    /// `serving`, `draining` or `stopped`.
    pub service: String,
    /// The daemon's process, if one serves.
    pub pid: Option<u32>,
    /// Runs at once.
    pub max_agents: u32,
    /// Tasks by status.
    pub tasks: Counts,
    /// The agents.
    pub agents: Vec<Agent>,
    /// Runs that have not ended, oldest first.
    pub runs: Vec<Run>,
    /// Tasks that need a person, most urgent first, at most 20.
    pub needs_you: Vec<Task>,
    /// The number of the newest event.
    pub last_event: u64,
    /// What is wrong with the configuration file, if the running one is an older one.
    pub config_error: Option<String>,
    /// Why nothing is started at present although somebody serves: too little room on the disk.
    #[serde(default)]
    pub paused: Option<String>,
}

/// How many tasks there are in each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Waiting for their turn.
    pub todo: u64,
    /// Being worked on.
    pub in_progress: u64,
    /// Waiting for their next attempt.
    pub retrying: u64,
    /// Waiting for approval or landing.
    pub review: u64,
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// A task to be added; what is left out comes from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// One line, at most 512 bytes.
    pub title: String,
    /// What the agent is to do.
    #[serde(default)]
    pub description: String,
    /// 1 (urgent) to 4.
    pub priority: Option<u8>,
    /// The agent it must have.
    pub agent: Option<String>,
    /// What it is about.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Tasks that must be done first: ids or unique prefixes.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// Tasks that must have ended first.
    #[serde(default)]
    pub after_any: Vec<String>,
    /// Paths it is expected to touch.
    #[serde(default)]
    pub scope: Vec<String>,
    /// Files given along, as absolute paths.
    #[serde(default)]
    pub attachments: Vec<String>,
    /// `worktree` or `shared`.
    pub workspace: Option<String>,
    /// `manual` or `auto`.
    pub review: Option<String>,
    /// `default`, `retry` or `ask`.
    pub on_lost: Option<String>,
    /// What a success must have left behind: `nothing`, `changes` or `commit`.
    pub require: Option<String>,
    /// Attempts it may have.
    pub max_attempts: Option<u32>,
    /// Longest a run may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Longest a run may be silent, milliseconds.
    pub stall_ms: Option<u64>,
}

/// What to change about a task; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditTask {
    /// One line.
    pub title: Option<String>,
    /// What the agent is to do.
    pub description: Option<String>,
    /// 1 to 4.
    pub priority: Option<u8>,
    /// The agent it must have; the empty text takes the pin away.
    pub agent: Option<String>,
    /// What it is about; replaces all labels.
    pub labels: Option<Vec<String>>,
    /// Tasks that must be done first; replaces all dependencies.
    pub depends_on: Option<Vec<String>>,
    /// Tasks that must have ended first; replaces all dependencies.
    pub after_any: Option<Vec<String>>,
    /// Attempts it may have.
    pub max_attempts: Option<u32>,
    /// Longest a run may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// `nothing`, `changes` or `commit`; the empty text leaves it to the agent's configuration.
    pub require: Option<String>,
}

/// Why work is sent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// What is wrong, for the agent.
    pub reason: String,
}

/// With what a task goes back to its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// What the agent is to know.
    pub message: String,
}

/// What a change led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// `done`, `unchanged` (already so), `stopping` or `deleted`.
    pub change: String,
    /// The task as it is now; null when it is deleted.
    pub task: Option<Task>,
}

/// What came of a person's consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Tasks that waited for it and go on.
    pub tasks: u64,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ApiError,
}

/// What went wrong, for programs (`code`) and for people (the rest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// A stable word: `title_empty`, `not_found`, `conflict`, …
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// The field it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit that was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What was given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// Why, if there is a deeper reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What `orch why` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The task as it is now, with its `wait`.
    pub task: Task,
    /// Its last run, if it had one.
    pub run: Option<Run>,
    /// What it waits for in other tasks.
    pub dependencies: Vec<WhyDependency>,
}

/// One task another waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyDependency {
    /// The other task.
    pub id: String,
    /// Its title.
    pub title: String,
    /// How it stands.
    pub status: String,
    /// `succeeded` or `ended`: what must become of it.
    pub kind: String,
    /// Whether that has happened.
    pub met: bool,
}

/// One line of a run's `events.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentEvent {
    /// Gapless from 1.
    pub seq: u64,
    /// When orch read it.
    pub time: String,
    /// `text`, `thinking`, `tool_call`, `tool_result`, `file_change`, `command`, `usage`, `limit`,
    /// `question`, `session`, `result`, `error` or `raw`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the agent said, verbatim.
    pub data: serde_json::Value,
}

/// What a prefix of an id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// `task` or `run`.
    pub kind: String,
    /// The whole id.
    pub id: String,
}

/// Who serves a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// The daemon's process; null when a command answers for itself.
    pub pid: Option<u32>,
    /// The version of orch.
    pub version: String,
    /// The version of this interface.
    pub api_version: u32,
}

/// Something that orch removed and still keeps: commits under a rescue ref, or files in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// Its name, like `tsk_….1` (commits) or `tsk_….t1` (files).
    pub id: String,
    /// `commits`, `worktree`, `run`, `aside`, or `unknown` for what orch did not write.
    pub kind: String,
    /// Whose it was.
    pub task: Option<String>,
    /// Which run's, for the directory of one.
    pub run: Option<String>,
    /// Why it is kept.
    pub why: Option<String>,
    /// Since when it is kept; null where nobody knows.
    pub at: Option<String>,
    /// When it is given up; null for what never is by itself.
    pub expires_at: Option<String>,
    /// The ref that keeps commits.
    pub reference: Option<String>,
    /// The commit it leads to.
    pub commit: Option<String>,
    /// Commits that the target branch does not have; null where they were not counted.
    pub commits: Option<u64>,
    /// Where its files are.
    pub path: Option<String>,
    /// Bytes of disk its files take; null where they could not be measured.
    pub bytes: Option<u64>,
    /// How many files there are.
    pub files: Option<u64>,
}

/// One commit of rescued work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescuedCommit {
    /// Its name.
    pub commit: String,
    /// When it was made.
    pub at: String,
    /// The first line of its message.
    pub subject: String,
}

/// One file of what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescuedFile {
    /// Its path in the repository or in the directory.
    pub path: String,
    /// Its length; null for a file that commits change.
    pub bytes: Option<u64>,
}

/// What is in something that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescueContents {
    /// What it is.
    #[serde(flatten)]
    pub rescue: Rescue,
    /// Its commits, newest first, if it is commits.
    pub list_of_commits: Vec<RescuedCommit>,
    /// Its files.
    pub list_of_files: Vec<RescuedFile>,
    /// Whether there are more commits or files than are listed.
    pub more: bool,
}

/// How something is given back. Nothing is ever overwritten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRescue {
    /// The branch that is made of commits; `rescued/ID` unless given.
    #[serde(default)]
    pub branch: Option<String>,
    /// Where files are put, an absolute path; in `.orch/restored` unless given.
    #[serde(default)]
    pub to: Option<String>,
}

/// What was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// What it was.
    pub id: String,
    /// The branch that was made.
    pub branch: Option<String>,
    /// The commit it stands at.
    pub commit: Option<String>,
    /// Where the files are now.
    pub path: Option<String>,
}

/// Which of what is kept is to be given up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRescues {
    /// What is older than this, milliseconds; the configured lifetime unless given.
    #[serde(default)]
    pub older_than_ms: Option<u64>,
}

/// What was given up for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Their names.
    pub given_up: Vec<String>,
}

/// What an agent would be told if a task were started now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The task.
    pub task_id: String,
    /// The agent that would be told.
    pub agent: String,
    /// Its kind.
    pub adapter: String,
    /// The directory it would work in.
    pub directory: String,
    /// Whether it would go on with the session of the run before.
    pub resumes: bool,
    /// What its program is told beside the prompt, as its system prompt.
    pub system_prompt: Option<String>,
    /// The text on its standard input.
    pub prompt: String,
}
