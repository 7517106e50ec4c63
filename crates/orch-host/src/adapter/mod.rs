//! How to start one kind of agent and how to read what it says.
//!
//! One file per kind, one row in [`all`]. An adapter is a few pure functions: from settings to a
//! command line, from a line of output to events, from all lines to a verdict. Adapters must not
//! know that there are files, processes, a clock or a database.

mod acp;
mod arguments;
mod believed;
mod bypass;
mod calls;
mod claude;
mod codex;
mod copilot;
mod cursor;
mod documented;
mod explain;
mod gemini;
pub(crate) mod json;
mod mcp;
mod messages;
mod opencode;
mod own;
mod pi;
mod provider;
mod qwen;
mod shell;
mod stream;
#[cfg(test)]
mod testing;

pub use documented::{DOCUMENTED, Documented};
pub use mcp::{McpServer, McpTransport, McpUnreadable};
pub use own::{Definition, PromptBy, Rule};
pub use shell::plain_program;

use std::collections::BTreeMap;
use std::path::Path;

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use serde_json::value::RawValue;

use crate::supervise::StopSignal;

/// Every kind of agent, in the order of the documentation.
static ALL: &[Adapter] = &[
    claude::ADAPTER,
    codex::ADAPTER,
    opencode::ADAPTER,
    gemini::ADAPTER,
    qwen::ADAPTER,
    pi::ADAPTER,
    copilot::ADAPTER,
    cursor::ADAPTER,
    acp::ADAPTER,
    shell::ADAPTER,
];

/// Every kind of agent that can be configured.
#[must_use]
pub fn all() -> &'static [Adapter] {
    ALL
}

/// The kind of agent called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Adapter> {
    ALL.iter().find(|adapter| adapter.name == name)
}

/// What an event of a run says, in words for people; `None` where there is nothing worth a line.
/// `adapter` is the kind that the run names: one that is not built in is of the user's own.
#[must_use]
pub fn describe(adapter: &str, kind: EventType, data: &serde_json::Value) -> Option<String> {
    let describe = find(adapter).map_or(own::DESCRIBE, |adapter| adapter.describe);
    describe(kind, data)
}

/// One kind of agent.
#[derive(Debug, Clone, Copy)]
pub struct Adapter {
    /// What `adapter = "…"` says in the configuration.
    pub name: &'static str,
    /// One sentence for a person who chooses.
    pub description: &'static str,
    /// The program that is started when no `command` is set; `None` where one must be set.
    pub program: Option<&'static str>,
    /// Whether it always ends its output with a result. If not, the exit status decides.
    pub has_result_event: bool,
    /// Variables it takes over from the daemon's environment besides the common ones: exact
    /// names, or the beginning of a name and `*`.
    pub inherits: &'static [&'static str],
    /// Exact names it never takes over although `inherits` says so.
    pub never_inherits: &'static [&'static str],
    /// What it can do and tell.
    pub capabilities: Capabilities,
    /// From settings to what is started; to be called by way of [`Adapter::start`].
    pub invocation: fn(&AgentSettings, &Occasion<'_>) -> Result<Invocation, SettingsError>,
    /// A reader for one run, at the beginning of the output.
    pub reader: fn() -> Box<dyn Reader + Send>,
    /// What an exit status means that came without a result, from the status and the end of what
    /// was printed on stderr. For what a program says in a fixed form only; `None` where that is
    /// all that can be said.
    pub explain: fn(code: i32, errors: &str) -> Option<(FailureCode, String)>,
    /// What an error of its result is about, from the exit status and its words, where the result
    /// does not say so in a form made for programs. `None` where the status says nothing more.
    pub status_verdict: fn(code: i32, words: &str) -> Option<Verdict>,
    /// What it used, from the text of [`USAGE_FILE`], for one that writes it there.
    pub usage_file: Option<fn(&str) -> Option<Usage>>,
    /// An event's data in words, for people; `None` where there is nothing worth a line.
    pub describe: fn(EventType, &serde_json::Value) -> Option<String>,
}

impl Adapter {
    /// From settings to what is started, for settings that this kind of agent has.
    ///
    /// # Errors
    /// A setting that would silently do nothing, or a value that cannot travel.
    pub fn start(
        &self,
        settings: &AgentSettings,
        occasion: &Occasion<'_>,
    ) -> Result<Invocation, SettingsError> {
        let can = &self.capabilities;
        let unused = [
            ("effort", settings.effort.is_some() && !can.effort),
            ("max_turns", settings.max_turns.is_some() && !can.max_turns),
            ("mcp", !occasion.mcp.is_empty() && !can.mcp),
            (
                "permission",
                settings.permission.is_some() && can.permissions.is_empty(),
            ),
        ];
        if let Some((field, _)) = unused.iter().find(|(_, is_unused)| *is_unused) {
            return Err(settings.not_supported(self.name, field));
        }
        if let Some(asked) = settings.permission
            && !can.permissions.contains(&asked)
        {
            let (agent, adapter) = (settings.name.clone(), self.name);
            let known = can.permissions;
            return Err(SettingsError::NoSuchPermission {
                agent,
                adapter,
                asked,
                known,
            });
        }
        (self.invocation)(settings, occasion)
    }
}

/// The name, in [`Occasion::files`], of the file that [`Adapter::usage_file`] reads.
pub const USAGE_FILE: &str = "usage.json";

/// For [`Adapter::explain`] where a status says nothing more.
const fn no_explanation(_code: i32, _errors: &str) -> Option<(FailureCode, String)> {
    None
}

/// For [`Adapter::status_verdict`] where a status says nothing more.
const fn no_status_verdict(_code: i32, _words: &str) -> Option<Verdict> {
    None
}

/// What one kind of agent can do and tell, as far as it was seen or is documented.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// The newest version that orch was run with; `None` if only its documentation was read.
    pub tested: Option<&'static str>,
    /// Arguments with which it prints its version and does nothing else.
    pub version: &'static [&'static str],
    /// How it counts the tokens it used.
    pub usage: Counting,
    /// Whether it says what it cost.
    pub cost: bool,
    /// Whether it can go on with an earlier session.
    pub resume: bool,
    /// Whether it takes a session back, which it has named, when a call fails before one was
    /// answered.
    pub takes_back: bool,
    /// What it says about a rate or usage limit.
    pub limits: LimitSignal,
    /// Whether it can be given MCP servers.
    pub mcp: bool,
    /// Whether it can be told how hard to think.
    pub effort: bool,
    /// Whether it can be told how many turns it may take.
    pub max_turns: bool,
    /// What it may be allowed.
    pub permissions: &'static [Permission],
    /// One sentence on how well its endings can be told apart.
    pub endings: &'static str,
}

impl Counting {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::PerRun => "run",
            Self::PerSession => "session",
        }
    }
}

impl LimitSignal {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Status => "status",
            Self::ResetTime => "reset_time",
        }
    }
}

/// How an agent counts the tokens it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// It does not say.
    Nothing,
    /// For each run.
    PerRun,
    /// For the whole session, so that a run which goes on with one includes the runs before it.
    PerSession,
}

/// What an agent says about a rate or usage limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSignal {
    /// Nothing that a program can rely on.
    Nothing,
    /// That there is one.
    Status,
    /// That there is one and when it is lifted.
    ResetTime,
}

/// What an agent may do without asking. Nobody is there to be asked, so what is not allowed is
/// refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// What the agent's own configuration allows and nothing more.
    Ask,
    /// It may change files in its directory and commit them.
    Edits,
    /// It may do everything its user may do.
    Full,
}

impl Permission {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Ask, Self::Edits, Self::Full];

    /// The one spelling of this value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Edits => "edits",
            Self::Full => "full",
        }
    }
}

impl std::str::FromStr for Permission {
    type Err = orch_core::text::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|value| value.as_str() == text);
        found.copied().ok_or_else(|| {
            orch_core::text::UnknownWord::new("Permission", text, &["ask", "edits", "full"])
        })
    }
}

/// What the configuration says about an agent, as far as its command line is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentSettings {
    /// The agent's name, for messages.
    pub name: String,
    /// `shell`: the command itself. Others: the program in place of the usual one.
    pub command: Option<String>,
    /// The model to ask for.
    pub model: Option<String>,
    /// What it is told before every task.
    pub system_prompt: Option<String>,
    /// What it may do; `None` is the strictest that lets it work unattended.
    pub permission: Option<Permission>,
    /// How hard it is to think, in its own words.
    pub effort: Option<String>,
    /// Most turns it may take.
    pub max_turns: Option<u32>,
    /// Arguments appended as they are.
    pub args: Vec<String>,
    /// Variables for it; see [`crate::environment`].
    pub env: BTreeMap<String, String>,
    /// What the user defines its kind to be, if it is one of the user's own.
    pub own: Option<Definition>,
}

/// What a command line depends on besides the settings.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// The session to go on with; only where [`Capabilities::resume`] says that it can.
    pub session: Option<&'a str>,
    /// The directory it works in.
    pub directory: &'a Path,
    /// The directory of [`Invocation::files`], the run's own.
    pub files: &'a Path,
    /// The MCP servers it is given.
    pub mcp: &'a [McpServer],
    /// This very program, for what needs one of its hidden commands.
    pub orch: &'a Path,
}

impl Occasion<'static> {
    /// None in particular: for looking at what settings come to, where nothing is started.
    #[must_use]
    pub fn example() -> Self {
        Self {
            session: None,
            directory: Path::new("/repository"),
            files: Path::new("/repository/.orch/runs/run/agent"),
            mcp: &[],
            orch: Path::new("orch"),
        }
    }
}

/// What is started for a run. The task's words are in none of it: they come by stdin and file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables this kind of agent needs; the configuration may set others over them.
    pub env: Vec<(String, String)>,
    /// Files it needs, each with its text: they are written into [`Occasion::files`], for nobody
    /// but the user to read.
    pub files: Vec<(&'static str, String)>,
    /// Whether stdin is the prompt file; otherwise it is `/dev/null`.
    pub prompt_on_stdin: bool,
    /// Text that belongs at the head of the prompt because the command line cannot carry it.
    pub preamble: Option<String>,
    /// How it is asked to leave.
    pub stop_signal: StopSignal,
}

/// Longest single argument, bytes: Linux refuses more than 128 KiB with its NUL.
pub const ARGUMENT_BYTES: usize = 128 * 1024 - 1;
/// Most bytes of all arguments together: a quarter of the usual 2 MiB, which the environment
/// shares.
pub const ARGUMENTS_BYTES: usize = 512 * 1024;

/// Why settings cannot become a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The kind of agent needs a command and none is set.
    #[error("agent '{agent}': adapter '{adapter}' needs a `command`")]
    CommandMissing {
        /// The agent.
        agent: String,
        /// Its adapter.
        adapter: &'static str,
    },
    /// A command that only a shell can read, for a kind of agent that is started without one.
    #[error(
        "agent '{agent}': adapter '{adapter}' starts `command` without a shell, and this one has \
         characters or words that only a shell understands: put such arguments into `args`, or \
         everything into a script"
    )]
    NotPlain {
        /// The agent.
        agent: String,
        /// Its adapter.
        adapter: &'static str,
    },
    /// A value is empty where it must say something.
    #[error("agent '{agent}': `{field}` is empty")]
    Empty {
        /// The agent.
        agent: String,
        /// The field.
        field: &'static str,
    },
    /// A NUL cannot travel through argv.
    #[error("agent '{agent}': `{field}` contains a NUL byte")]
    Nul {
        /// The agent.
        agent: String,
        /// The field.
        field: &'static str,
    },
    /// A value would be taken for an option.
    #[error("agent '{agent}': `{field}` is '{value}', which its program would take for an option")]
    LooksLikeOption {
        /// The agent.
        agent: String,
        /// The field.
        field: &'static str,
        /// The beginning of what was given.
        value: String,
    },
    /// An argument that orch itself sets or that would make the output unreadable.
    #[error("agent '{agent}': `args` may not contain {argument}: {instead}")]
    ReservedArgument {
        /// The agent.
        agent: String,
        /// The argument.
        argument: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A variable that orch itself sets, or that would undo a setting.
    #[error("agent '{agent}': `env` may not set {variable}: {instead}")]
    ReservedVariable {
        /// The agent.
        agent: String,
        /// The variable.
        variable: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A path that cannot be told to the agent's program.
    #[error("agent '{agent}': its program cannot be told the path '{path}', which is not UTF-8")]
    PathNotUtf8 {
        /// The agent.
        agent: String,
        /// The path, as far as it can be shown.
        path: String,
    },
    /// This kind of agent has no such setting.
    #[error("agent '{agent}': adapter '{adapter}' has no setting `{field}`")]
    NotSupported {
        /// The agent.
        agent: String,
        /// Its adapter.
        adapter: String,
        /// The field.
        field: &'static str,
    },
    /// This kind of agent has permissions, and not this one.
    #[error(
        "agent '{agent}': adapter '{adapter}' has no permission \"{}\"; it has {}",
        asked.as_str(),
        words(known)
    )]
    NoSuchPermission {
        /// The agent.
        agent: String,
        /// Its adapter.
        adapter: &'static str,
        /// What was asked for.
        asked: Permission,
        /// What there is.
        known: &'static [Permission],
    },
    /// The machine would refuse a command line of this size.
    #[error("agent '{agent}': `{field}` is {got} bytes long; at most {limit} are allowed")]
    TooLong {
        /// The agent.
        agent: String,
        /// The field, or `argv` for all of it.
        field: &'static str,
        /// The limit, bytes.
        limit: usize,
        /// What was given, bytes.
        got: usize,
    },
}

/// Permissions as they are written.
fn words(permissions: &[Permission]) -> String {
    let words = permissions.iter().map(|it| format!("\"{}\"", it.as_str()));
    words.collect::<Vec<_>>().join(" and ")
}

macro_rules! event_types {
    ($( $(#[$meta:meta])* $variant:ident = $text:literal, )+) => {
        /// What an event is about: one vocabulary for all kinds of agents.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType { $( $(#[$meta])* $variant, )+ }

        impl EventType {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The one spelling of this value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl std::str::FromStr for EventType {
            type Err = orch_core::text::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $text => Ok(Self::$variant), )+
                    _ => Err(orch_core::text::UnknownWord::new("EventType", text, &[$( $text, )+])),
                }
            }
        }
    };
}

event_types! {
    /// The agent said something.
    Text = "text",
    /// It thought something.
    Thinking = "thinking",
    /// It called a tool.
    ToolCall = "tool_call",
    /// A tool answered, or was refused.
    ToolResult = "tool_result",
    /// It changes a file.
    FileChange = "file_change",
    /// It runs a command.
    Command = "command",
    /// What it used.
    Usage = "usage",
    /// A rate or usage limit showed itself.
    Limit = "limit",
    /// It asks a person something.
    Question = "question",
    /// Its session began.
    Session = "session",
    /// Its final word.
    Result = "result",
    /// Something went wrong.
    Error = "error",
    /// Anything else it printed.
    Raw = "raw",
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing an agent did.
#[derive(Debug, Clone)]
pub struct AgentEvent {
    /// What it is about.
    pub kind: EventType,
    /// What the agent said, in its own JSON where it speaks JSON. It holds no line break, and
    /// [`serde_json::Value`] can read it.
    pub data: Box<RawValue>,
}

/// What a whole output amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What the agent says about its end.
    pub verdict: Verdict,
    /// Its final text in full.
    pub result: Option<String>,
    /// What it says it used.
    pub usage: Usage,
    /// Its own session, for a later resume.
    pub session_id: Option<String>,
    /// What a person should know although it did not change the verdict.
    pub warnings: Vec<String>,
    /// Lines that were too long to be read. The final word may have been one of them.
    pub unread_lines: u64,
}

/// How much of the end of an unreadable line a [`Reader`] is shown, bytes.
pub const TAIL_BYTES: usize = 4 << 20;

/// Reads the output of one run, line by line. It follows from the lines alone, so that reading
/// them again gives the same events and the same summary.
pub trait Reader {
    /// Takes one line without its `\n` and says what it tells. It never fails: what it does not
    /// understand becomes a `raw` event.
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent>;

    /// Takes note of a plain line for the summary, if that is all it is good for. `false` means
    /// that the line was not taken, and is to be told by [`Reader::line`].
    fn skim(&mut self, line: &[u8]) -> bool {
        let _ = line;
        false
    }

    /// Takes note of a line that is too long to be held in memory: its length in bytes without
    /// its `\n`, and the last [`TAIL_BYTES`] of it.
    fn unreadable(&mut self, length: u64, tail: &[u8]);

    /// Whether the agent has said its final word and its process should leave. Never goes back.
    fn terminal_seen(&self) -> bool;

    /// What everything read so far amounts to.
    fn summary(&self) -> Summary;

    /// Whether the agent has no final text but its output as it is. The summary has none then:
    /// whoever has the output takes the end of it.
    fn output_is_result(&self) -> bool {
        false
    }
}
