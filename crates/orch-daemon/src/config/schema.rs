//! Every key of `orch.toml`: its type, range, default and meaning. Reading, writing, listing and
//! the user's page are all made from this one table, so that they cannot disagree.

use orch_core::limits;
use orch_core::task::{OnLost, Require, ReviewMode, WorkspaceMode};
use orch_host::adapter::{Permission, PromptBy};

use super::units::{format_duration, format_size};

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text that says something, on one line.
    Line {
        /// Longest, bytes.
        most: usize,
    },
    /// Any text.
    Text {
        /// Longest, bytes.
        most: usize,
    },
    /// A word without spaces.
    Label,
    /// The name of a git branch.
    Branch,
    /// The kind of agent.
    Adapter,
    /// One of a closed list.
    Word(fn() -> Vec<&'static str>),
    /// A whole number.
    Count {
        /// Least.
        least: u32,
        /// Most.
        most: u32,
    },
    /// A length of time.
    Duration {
        /// Shortest, milliseconds.
        least: u64,
        /// Longest, milliseconds.
        most: u64,
        /// Whether "none" is allowed.
        optional: bool,
    },
    /// An amount of data.
    Size {
        /// Least, bytes.
        least: u64,
        /// Most, bytes.
        most: u64,
    },
    /// Yes or no.
    Switch,
    /// Several labels.
    Labels,
    /// Several texts, order kept.
    Arguments,
    /// A table of variables.
    Environment,
    /// A table from adapter to number of runs.
    Caps,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in its section.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// The value in force without it, as TOML; `None` if there is none.
    pub default: Option<&'static str>,
    /// What it is for, one sentence without a full stop.
    pub about: &'static str,
}

/// One table of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        about,
    }
}

/// Longest name of a project, bytes.
const PROJECT_NAME_BYTES: usize = 128;
/// Longest path, bytes, as Linux has it.
const PATH_BYTES: usize = 4096;
/// Longest model name, bytes.
const MODEL_BYTES: usize = 256;
/// Longest command, system prompt, argument or variable, bytes. Linux gives one argument or
/// variable 128 KiB; adapters add words of their own to some of them.
pub(super) const ARGUMENT_BYTES: usize = 64 * 1024;
/// Most arguments, and most variables, of one agent.
pub(super) const ARGUMENTS: usize = 256;
/// Most turns an agent may be allowed in one run.
const MAX_TURNS: u32 = 10_000;
/// Longest grace, milliseconds: what lingers for longer than ten minutes is not ending.
const GRACE_MAX_MS: u64 = 10 * 60_000;
/// Least output to keep, bytes: enough for any error message.
const OUTPUT_MIN_BYTES: u64 = 4 << 10;
/// Most output to keep, bytes.
const OUTPUT_MAX_BYTES: u64 = 1 << 40;
/// Most free space that can be asked for.
const FREE_SPACE_MAX_BYTES: u64 = 1 << 40;

const RUN_TIME: Kind = Kind::Duration {
    least: limits::TIMEOUT_MIN_MS,
    most: limits::TIMEOUT_MAX_MS,
    optional: true,
};
const WAIT: Kind = Kind::Duration {
    least: limits::TIMEOUT_MIN_MS,
    most: limits::TIMEOUT_MAX_MS,
    optional: false,
};
const GRACE: Kind = Kind::Duration {
    least: 0,
    most: GRACE_MAX_MS,
    optional: false,
};
const RUNS: Kind = Kind::Count {
    least: 1,
    most: limits::MAX_AGENTS,
};

/// `[project]`
pub const PROJECT: Section = Section {
    name: "project",
    keys: &[
        key(
            "name",
            Kind::Line {
                most: PROJECT_NAME_BYTES,
            },
            None,
            "what the project is called; the name of its directory unless given",
        ),
        key(
            "target",
            Kind::Branch,
            None,
            "the branch that finished work lands on; the one checked out unless given",
        ),
        key(
            "max_agents",
            RUNS,
            Some("4"),
            "runs at once in the whole project",
        ),
    ],
};

/// `[defaults]`
pub const DEFAULTS: Section = Section {
    name: "defaults",
    keys: &[
        key(
            "workspace",
            Kind::Word(|| WorkspaceMode::ALL.iter().map(|w| w.as_str()).collect()),
            Some("\"worktree\""),
            "where agents work: a git worktree per task, or your own checkout",
        ),
        key(
            "review",
            Kind::Word(|| ReviewMode::ALL.iter().map(|w| w.as_str()).collect()),
            Some("\"manual\""),
            "who says that finished work is good: you, or success itself",
        ),
        key(
            "max_attempts",
            Kind::Count {
                least: 1,
                most: limits::MAX_ATTEMPTS,
            },
            Some("3"),
            "attempts a task may have",
        ),
        key(
            "timeout",
            RUN_TIME,
            Some("\"2h\""),
            "longest a run may take",
        ),
        key(
            "stall_timeout",
            RUN_TIME,
            Some("\"none\""),
            "longest a run may print nothing",
        ),
        key(
            "on_lost",
            Kind::Word(|| OnLost::ALL.iter().map(|w| w.as_str()).collect()),
            Some("\"default\""),
            "what happens to a task whose run nobody saw the end of: default retries it in a \
             worktree and asks you in a shared directory",
        ),
    ],
};

/// `[retry]`
pub const RETRY: Section = Section {
    name: "retry",
    keys: &[
        key(
            "base",
            WAIT,
            Some("\"10s\""),
            "the wait after the first failure; it doubles with every further one",
        ),
        key("max", WAIT, Some("\"10m\""), "the longest wait"),
    ],
};

/// `[limits]`
pub const LIMITS: Section = Section {
    name: "limits",
    keys: &[
        key(
            "output",
            Kind::Size {
                least: OUTPUT_MIN_BYTES,
                most: OUTPUT_MAX_BYTES,
            },
            Some("\"256MiB\""),
            "most an agent may print in one run before it is stopped",
        ),
        key(
            "stop_grace",
            GRACE,
            Some("\"10s\""),
            "how long a process may take to end when asked, before it is killed",
        ),
        key(
            "leak_grace",
            GRACE,
            Some("\"2s\""),
            "how long what an agent leaves running may live on after it",
        ),
        key(
            "free_space",
            Kind::Size {
                least: 0,
                most: FREE_SPACE_MAX_BYTES,
            },
            None,
            "space that must be free on the disk for anything to be started; 2GiB, or a twentieth \
             of a disk smaller than 40GiB, unless given",
        ),
        key(
            "adapters",
            Kind::Caps,
            Some("{}"),
            "runs at once per kind of agent",
        ),
    ],
};

/// Longest that something which was taken away is kept, milliseconds: ten years.
const KEEP_MAX_MS: u64 = 3_650 * 86_400_000;
/// Largest trash, bytes.
const TRASH_MAX_BYTES: u64 = 1 << 50;

/// `[cleanup]`
pub const CLEANUP: Section = Section {
    name: "cleanup",
    keys: &[
        key(
            "keep",
            Kind::Duration {
                least: 1_000,
                most: KEEP_MAX_MS,
                optional: true,
            },
            Some("\"14d\""),
            "how long 'orch rescue' can bring back what orch removed; \"none\" keeps it for ever",
        ),
        key(
            "trash",
            Kind::Size {
                least: 0,
                most: TRASH_MAX_BYTES,
            },
            Some("\"10GiB\""),
            "how large the trash may grow before worktrees whose work is in git go early",
        ),
    ],
};

/// `[prompt]`
pub const PROMPT: Section = Section {
    name: "prompt",
    keys: &[
        key(
            "system",
            Kind::Line { most: PATH_BYTES },
            None,
            "a template in the repository, by its path from the top, in place of what every agent is \
             told about itself and how to work here",
        ),
        key(
            "task",
            Kind::Line { most: PATH_BYTES },
            None,
            "a template in the repository, by its path from the top, in place of what an agent is told \
             about its task and about earlier attempts",
        ),
    ],
};

/// `[agents.NAME]`
pub const AGENT: Section = Section {
    name: "agents",
    keys: &[
        key("adapter", Kind::Adapter, None, "which kind of agent it is"),
        key(
            "model",
            Kind::Line { most: MODEL_BYTES },
            None,
            "the model it asks for",
        ),
        key(
            "role",
            Kind::Label,
            None,
            "what it is for: told to it, and counts as a label",
        ),
        key(
            "labels",
            Kind::Labels,
            Some("[]"),
            "what it can do; a task with labels goes to an agent that has them all, and if there is \
             none to one without labels",
        ),
        key(
            "command",
            Kind::Text {
                most: ARGUMENT_BYTES,
            },
            None,
            "the command of a shell agent; for other kinds the program to start instead of the \
             usual one",
        ),
        key(
            "system_prompt",
            Kind::Text {
                most: ARGUMENT_BYTES,
            },
            None,
            "what it is told before every task",
        ),
        key(
            "permission",
            Kind::Word(|| Permission::ALL.iter().map(|p| p.as_str()).collect()),
            None,
            "what it may do without asking: what its own settings allow, change files, or \
             everything; the least that lets it work unattended unless given",
        ),
        key(
            "effort",
            Kind::Label,
            None,
            "how hard it is to think, in the words of its own program",
        ),
        key(
            "mcp",
            Kind::Line { most: PATH_BYTES },
            None,
            "a file of MCP servers for it, {\"mcpServers\": {…}}, from the top of the repository",
        ),
        key(
            "require",
            Kind::Word(|| Require::ALL.iter().map(|r| r.as_str()).collect()),
            Some("\"nothing\""),
            "what a success must have left behind: nothing, changes, or a commit of its own",
        ),
        key(
            "resume",
            Kind::Switch,
            Some("true"),
            "whether a later run of a task goes on with the session of the one before",
        ),
        key(
            "max_turns",
            Kind::Count {
                least: 1,
                most: MAX_TURNS,
            },
            None,
            "most turns in one run",
        ),
        key("max_parallel", RUNS, Some("1"), "runs of it at once"),
        key(
            "env",
            Kind::Environment,
            Some("{}"),
            "variables it is started with; \"$NAME\" takes the value of yours",
        ),
        key(
            "args",
            Kind::Arguments,
            Some("[]"),
            "arguments to add to its command line",
        ),
        key(
            "enabled",
            Kind::Switch,
            Some("true"),
            "whether it may be given work",
        ),
    ],
};

/// `[adapters.NAME]`
pub const ADAPTER: Section = Section {
    name: "adapters",
    keys: &[
        key(
            "command",
            Kind::Arguments,
            None,
            "the program and its arguments; no shell reads them",
        ),
        key(
            "prompt",
            Kind::Word(|| PromptBy::WORDS.to_vec()),
            Some("\"stdin\""),
            "how it is given the prompt: on its standard input, as a file whose path stands for \
             {prompt_file} in the command, or as an argument that stands for {prompt}",
        ),
        key(
            "output",
            Kind::Word(|| vec!["text", "jsonl"]),
            Some("\"text\""),
            "what it prints: text, which is its result, or a JSON object per line",
        ),
        path(
            "text",
            "where in a line something it says is, like message.content.0.text",
        ),
        path("result", "where its final text is"),
        path("session", "where its session is"),
        path("error", "where the words of an error are"),
        path("input_tokens", "where the tokens it read are counted"),
        path("output_tokens", "where the tokens it wrote are counted"),
        path("cost", "where its cost in US dollars is"),
        key(
            "success",
            Kind::Line { most: PATH_BYTES },
            None,
            "PATH=VALUE: the first line that has something at PATH ends the run, and is a success if \
             it is VALUE; the exit status decides unless given",
        ),
        key(
            "limit",
            Kind::Line { most: PATH_BYTES },
            None,
            "PATH=VALUE: a line in which PATH is VALUE says that a limit of its provider stops it; \
             needs success",
        ),
        path(
            "limit_reset",
            "where in such a line the time is at which the limit is lifted: seconds since 1970, or \
             a text like 2026-11-23T12:00:00Z",
        ),
        key(
            "resume",
            Kind::Arguments,
            Some("[]"),
            "arguments with which it goes on with {session}",
        ),
        key(
            "model",
            Kind::Arguments,
            Some("[]"),
            "arguments that ask for {model}",
        ),
        key(
            "version",
            Kind::Arguments,
            Some("[]"),
            "arguments with which it says its version and does nothing else",
        ),
    ],
};

const fn path(name: &'static str, about: &'static str) -> Key {
    key(name, Kind::Line { most: MODEL_BYTES }, None, about)
}

/// The sections that are one table each.
pub const SECTIONS: &[Section] = &[PROJECT, DEFAULTS, RETRY, LIMITS, CLEANUP, PROMPT];

impl Kind {
    /// What a value of this kind is, in words. `adapters` are the known ones.
    #[must_use]
    pub fn expected(&self, adapters: &[&str]) -> String {
        match self {
            Self::Line { most } => format!("a line of text, at most {most} bytes"),
            Self::Text { most } => format!("text, at most {most} bytes"),
            Self::Label => format!("one word, at most {} bytes", limits::LABEL_BYTES),
            Self::Branch => "the name of a branch, like \"main\"".to_owned(),
            Self::Adapter => one_of(adapters),
            Self::Word(words) => one_of(&words()),
            Self::Count { least, most } => format!("a whole number from {least} to {most}"),
            Self::Duration {
                least,
                most,
                optional,
            } => {
                let (least, most) = (format_duration(*least), format_duration(*most));
                let none = if *optional { ", or \"none\"" } else { "" };
                format!("a duration from {least} to {most} like \"90s\" or \"1h30m\"{none}")
            }
            Self::Size { least, most } => {
                let (least, most) = (format_size(*least), format_size(*most));
                format!("a size from {least} to {most} like \"64MiB\"")
            }
            Self::Switch => "true or false".to_owned(),
            Self::Labels => {
                let (count, bytes) = (limits::LABELS, limits::LABEL_BYTES);
                format!("a list of at most {count} words of at most {bytes} bytes, like [\"rust\"]")
            }
            Self::Arguments => format!("a list of at most {ARGUMENTS} texts, like [\"--verbose\"]"),
            Self::Environment => "a table of texts, like { LANG = \"C.UTF-8\" }".to_owned(),
            Self::Caps => "a table of whole numbers, like { claude = 2 }".to_owned(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}
