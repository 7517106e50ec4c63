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
    Occasion, Reader, SettingsError, Summary, no_explanation,
};
use crate::supervise::StopSignal;

/// Most of the output that is kept as the result, bytes: the end of it.
const RESULT_BYTES: usize = super::TAIL_BYTES;
/// How far the kept output may grow before its beginning is thrown away, so that throwing away
/// costs little per byte.
const KEPT_BYTES: usize = RESULT_BYTES + (1 << 20);

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
        limits: LimitSignal::Nothing,
        mcp: false,
        effort: false,
        max_turns: false,
        permissions: &[],
        endings: "the exit status decides, and nothing else is known",
    },
    invocation,
    reader: || Box::new(ShellReader::default()),
    explain: no_explanation,
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

/// Keeps the end of the output.
#[derive(Default)]
pub(super) struct ShellReader {
    /// The last bytes, every line with its `\n`.
    kept: Vec<u8>,
    /// Bytes before those.
    dropped: u64,
}

impl ShellReader {
    fn keep(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len() + 1);
        self.kept.extend_from_slice(bytes);
        self.kept.push(b'\n');
        if self.kept.len() > KEPT_BYTES {
            self.drop_first(self.kept.len() - RESULT_BYTES);
            self.kept.shrink_to(KEPT_BYTES);
        }
    }

    /// A vector that grows by itself doubles, which here is half as much again as is ever used, for
    /// every agent that writes much.
    fn make_room(&mut self, bytes: usize) {
        let wanted = self.kept.len() + bytes;
        if wanted > self.kept.capacity() {
            let doubled = (2 * self.kept.capacity()).clamp(1 << 10, KEPT_BYTES);
            self.kept
                .reserve_exact(doubled.max(wanted) - self.kept.len());
        }
    }

    fn drop_first(&mut self, count: usize) {
        self.kept.drain(..count);
        self.dropped += count as u64;
    }

    fn result(&self) -> Option<String> {
        let excess = self.kept.len().saturating_sub(RESULT_BYTES);
        let text = String::from_utf8_lossy(&self.kept[excess..]);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        match self.dropped + excess as u64 {
            0 if self.kept.is_empty() => None,
            0 => Some(text.to_owned()),
            // The cut may fall into a line or a character; the result begins with a whole line
            // if there is one.
            before => {
                let whole = text.split_once('\n').map_or(text, |(_, rest)| rest);
                let cut = before + (text.len() - whole.len()) as u64;
                Some(format!(
                    "[orch: about {cut} bytes of output before this are only in out.log]\n{whole}"
                ))
            }
        }
    }
}

impl Reader for ShellReader {
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        self.keep(line);
        vec![AgentEvent {
            kind: EventType::Text,
            data: text_data(line.strip_suffix(b"\r").unwrap_or(line)),
        }]
    }

    fn skim(&mut self, line: &[u8]) -> bool {
        self.keep(line);
        true
    }

    fn unreadable(&mut self, length: u64, tail: &[u8]) {
        self.drop_first(self.kept.len());
        self.dropped += length.saturating_sub(tail.len() as u64);
        self.keep(tail);
    }

    fn terminal_seen(&self) -> bool {
        false
    }

    fn summary(&self) -> Summary {
        Summary {
            verdict: Verdict::ByExitStatus,
            result: self.result(),
            usage: Usage::default(),
            session_id: None,
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_no_more_memory_is_held_than_is_used() {
        let mut reader = ShellReader::default();
        let line = vec![b'x'; 200];
        for _ in 0..3 * KEPT_BYTES / line.len() {
            reader.skim(&line);
            assert!(reader.kept.capacity() <= KEPT_BYTES + line.len() + 1);
        }
        reader.skim(&vec![b'x'; 3 * KEPT_BYTES]);
        assert!(reader.kept.capacity() <= KEPT_BYTES);
        assert_eq!(reader.kept.len(), RESULT_BYTES);
    }
}
