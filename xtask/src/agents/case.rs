//! What is tried with each program.

use std::fmt;
use std::path::Path;

use orch_model::script;

/// One trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// A tool call that writes a file and commits it, then a final text.
    Work,
    /// A final text and nothing else.
    Text,
    /// Two tool calls in one answer.
    Parallel,
    /// The key is not accepted.
    BadKey,
    /// Too many requests; no word about when to try again.
    Limited,
    /// Too many requests; try again in an hour.
    LimitedAnHour,
    /// The account is used up for an hour, in the provider's own words.
    UsedUp,
    /// The provider breaks.
    Broken,
    /// The provider is too busy.
    Busy,
    /// The answer breaks off.
    Cut,
    /// The provider says nothing, and the task has a timeout.
    Silent,
    /// A final text of a megabyte.
    Big,
    /// A final text of odd characters.
    Unicode,
    /// A final text with half an emoji.
    Surrogate,
    /// It works for ever and may take three turns.
    Turns,
    /// Its work is sent back: the second run must know the first.
    Resume,
    /// The task is cancelled while a tool runs.
    Cancel,
    /// Somebody else sends TERM to the agent while a tool runs.
    Term,
    /// Somebody else sends KILL to the agent while a tool runs.
    Kill,
    /// A tool leaves a child running.
    Background,
    /// A tool of an MCP server.
    Mcp,
    /// It may do what its own settings allow, which is nothing here.
    Ask,
}

/// What is done besides waiting for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Wait,
    /// The task is cancelled once the tool runs.
    Cancel,
    /// This signal goes to the agent's process once the tool runs.
    Signal(rustix::process::Signal),
    /// The work is sent back once it is done.
    Reject,
}

/// How a trial is made.
pub struct Plan {
    /// What the model plays.
    pub scenario: String,
    /// How long a run may take.
    pub timeout: &'static str,
    /// What is done meanwhile.
    pub act: Act,
    /// What the agent may do.
    pub permission: &'static str,
    /// Most turns, where the trial is about them.
    pub turns: Option<&'static str>,
    /// Whether it is given an MCP server.
    pub mcp: bool,
    /// Whether its user has a subscription and not a key, where the program knows the difference.
    pub login: bool,
}

impl Case {
    /// Every trial, in the order of the table.
    pub const ALL: &'static [Self] = &[
        Self::Work,
        Self::Text,
        Self::Parallel,
        Self::BadKey,
        Self::Limited,
        Self::LimitedAnHour,
        Self::UsedUp,
        Self::Broken,
        Self::Busy,
        Self::Cut,
        Self::Silent,
        Self::Big,
        Self::Unicode,
        Self::Surrogate,
        Self::Turns,
        Self::Resume,
        Self::Cancel,
        Self::Term,
        Self::Kill,
        Self::Background,
        Self::Mcp,
        Self::Ask,
    ];

    /// Its name on the command line and in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Text => "text",
            Self::Parallel => "parallel",
            Self::BadKey => "401",
            Self::Limited => "429",
            Self::LimitedAnHour => "429-hour",
            Self::UsedUp => "used-up",
            Self::Broken => "500",
            Self::Busy => "529",
            Self::Cut => "cut",
            Self::Silent => "silent",
            Self::Big => "big",
            Self::Unicode => "unicode",
            Self::Surrogate => "surrogate",
            Self::Turns => "turns",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Term => "term",
            Self::Kill => "kill",
            Self::Background => "background",
            Self::Mcp => "mcp",
            Self::Ask => "ask",
        }
    }

    /// How it is made. A tool that is to be found running writes its number into `started`.
    pub fn plan(self, started: &Path) -> Plan {
        let long = format!("echo $$ > '{}'; exec tail -f /dev/null", started.display());
        let shell = |command: &str| format!("shell;cmd={}", script::encode(command));
        let left = "setsid tail -f /dev/null > /dev/null 2>&1 & echo left one behind";
        let scenario = match self {
            Self::Work | Self::Ask => "ok".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Parallel => "parallel".to_owned(),
            Self::BadKey => "e401".to_owned(),
            Self::Limited => "e429".to_owned(),
            Self::LimitedAnHour => "e429;retry=3600".to_owned(),
            Self::UsedUp => "limit".to_owned(),
            Self::Broken => "e500".to_owned(),
            Self::Busy => "e529".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Silent => "hang".to_owned(),
            Self::Big => "big".to_owned(),
            Self::Unicode => "unicode".to_owned(),
            Self::Surrogate => "surrogate".to_owned(),
            Self::Turns => "loop".to_owned(),
            Self::Resume => "remember".to_owned(),
            Self::Cancel | Self::Term | Self::Kill => shell(&long),
            Self::Background => shell(left),
            Self::Mcp => "mcp".to_owned(),
        };
        Plan {
            scenario,
            timeout: if self == Self::Silent { "15s" } else { "100s" },
            act: match self {
                Self::Cancel => Act::Cancel,
                Self::Term => Act::Signal(rustix::process::Signal::TERM),
                Self::Kill => Act::Signal(rustix::process::Signal::KILL),
                Self::Resume => Act::Reject,
                _ => Act::Wait,
            },
            permission: if self == Self::Ask { "ask" } else { "full" },
            turns: (self == Self::Turns).then_some("3"),
            mcp: self == Self::Mcp,
            login: self == Self::UsedUp,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
