//! Any command of the user's own.
//!
//! The command is the user's words from the configuration, and `/bin/sh -c` is the one shell that
//! orch ever starts. Nothing of a task is put into it: the prompt comes by stdin, and its path is
//! in `ORCH_PROMPT_FILE`. Every line of output is a `text` event, the output is the result, and
//! the exit status decides.

use orch_core::outcome::Verdict;
use orch_core::run::Usage;

use super::json::text_data;
use super::{
    Adapter, AgentEvent, AgentSettings, Capabilities, Counting, EventType, Invocation, LimitSignal,
    Occasion, Reader, SettingsError, Summary, no_explanation, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "shell",
    description: "any command: the prompt on its stdin, its output is the result, exit status 0 is success",
    program: None,
    has_result_event: false,
    inherits: &[],
    never_inherits: &[],
    capabilities: Capabilities {
        tested: None,
        version: &[],
        usage: Counting::Nothing,
        cost: false,
        resume: false,
        takes_back: false,
        limits: LimitSignal::Nothing,
        mcp: false,
        effort: false,
        max_turns: false,
        permissions: &[],
        endings: "the exit status decides, and nothing else is known",
    },
    invocation,
    reader: || Box::new(ShellReader),
    explain: no_explanation,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe,
};

fn invocation(
    settings: &AgentSettings,
    _occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let Some(command) = &settings.command else {
        return Err(SettingsError::CommandMissing {
            agent: settings.name.clone(),
            adapter: ADAPTER.name,
        });
    };
    settings.check_required("command", command)?;
    refuse_what_a_command_cannot_know(settings)?;
    let mut argv = match plain_words(command) {
        Some(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        None => by_shell(command, !settings.args.is_empty()),
    };
    for argument in &settings.args {
        settings.check_argument("args", argument)?;
        argv.push(argument.clone());
    }
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        env: Vec::new(),
        files: Vec::new(),
        prompt_on_stdin: true,
        preamble: settings.preamble(),
        stop_signal: StopSignal::Terminate,
    })
}

fn by_shell(command: &str, arguments_follow: bool) -> Vec<String> {
    let mut argv: Vec<String> = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
    if arguments_follow {
        // `$0` first, so that the arguments are `$1`, `$2`, … of the command.
        argv.push("sh".to_owned());
    }
    argv
}

/// Words that only a shell understands as the first of a command (POSIX, Shell Command Language:
/// reserved words, special built-ins, and built-ins that have no program of their own).
const SHELL_WORDS: &[&str] = &[
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "elif",
    "else", "esac", "eval", "exec", "exit", "export", "fc", "fg", "fi", "for", "function",
    "getopts", "hash", "if", "in", "jobs", "local", "read", "readonly", "return", "select", "set",
    "shift", "source", "then", "time", "times", "trap", "type", "typeset", "ulimit", "umask",
    "unalias", "unset", "until", "wait", "while",
];

/// The program that a command starts by itself; `None` if a shell must read the command first, and
/// so nobody else can tell what it will start.
#[must_use]
pub fn plain_program(command: &str) -> Option<&str> {
    plain_words(command)?.first().copied()
}

/// The words of a command that means the same without a shell: nothing to expand, redirect or
/// join. Such a command is started by itself: a command that is not there is then told apart from
/// one that failed, and a signal from an exit status.
pub(super) fn plain_words(command: &str) -> Option<Vec<&str>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,= ".contains(c);
    if !command.chars().all(plain) {
        return None;
    }
    let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
    let first = words.first()?;
    (!first.contains('=') && !SHELL_WORDS.contains(first)).then_some(words)
}

/// A setting that would silently do nothing is a mistake that should be seen.
fn refuse_what_a_command_cannot_know(settings: &AgentSettings) -> Result<(), SettingsError> {
    match settings.model {
        Some(_) => Err(settings.not_supported(ADAPTER.name, "model")),
        None => Ok(()),
    }
}

pub(super) fn describe(_kind: EventType, data: &serde_json::Value) -> Option<String> {
    data.get("text")?.as_str().map(str::to_owned)
}

/// Takes each line as it is, and remembers nothing.
pub(super) struct ShellReader;

impl Reader for ShellReader {
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        vec![AgentEvent {
            kind: EventType::Text,
            data: text_data(line.strip_suffix(b"\r").unwrap_or(line)),
        }]
    }

    fn skim(&mut self, _line: &[u8]) -> bool {
        true
    }

    fn unreadable(&mut self, _length: u64, _tail: &[u8]) {}

    fn terminal_seen(&self) -> bool {
        false
    }

    fn summary(&self) -> Summary {
        Summary {
            verdict: Verdict::ByExitStatus,
            result: None,
            usage: Usage::default(),
            session_id: None,
            warnings: Vec::new(),
            unread_lines: 0,
        }
    }

    fn output_is_result(&self) -> bool {
        true
    }
}
