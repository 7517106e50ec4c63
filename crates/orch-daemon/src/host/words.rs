//! What an agent says of its end elsewhere than in its output: in the file of what it used, by
//! its exit status, and at the end of what it printed on stderr.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use orch_core::outcome::Verdict;
use orch_core::run::{Exit, FailureCode, Usage};
use orch_host::adapter::{Adapter, Summary, USAGE_FILE};
use orch_host::run_dir::RunDir;
use orch_host::transcript::LINE_BYTES;

use crate::careful;

/// Most of a file of usage that is read, bytes. Those that were seen have a few hundred.
const USAGE_BYTES: u64 = 1 << 20;
/// How much of the end of stderr is looked at, bytes.
const ERRORS_BYTES: u64 = 16 << 10;
/// Lines of stderr that are quoted.
const QUOTED_LINES: usize = 3;
/// Most characters of each.
const QUOTED_CHARS: usize = 300;

/// Adds to a summary what is only said elsewhere. Returns what belongs to the evidence.
pub(super) fn complete(
    summary: &mut Summary,
    adapter: &Adapter,
    dir: &RunDir,
    exit: Exit,
) -> Option<String> {
    if summary.usage == Usage::default()
        && let Some(usage) = used(adapter, dir)
    {
        summary.usage = usage;
    }
    if let (Verdict::Error { code, message }, Exit::Code(status)) = (&summary.verdict, exit)
        && *code == FailureCode::AgentError
        && let Some(verdict) = (adapter.status_verdict)(status, message)
    {
        summary.verdict = verdict;
    }
    let says_nothing = matches!(summary.verdict, Verdict::NoResult);
    let failed_by_status = summary.verdict == Verdict::ByExitStatus && exit != Exit::Code(0);
    if !(says_nothing || failed_by_status) {
        return None;
    }
    let errors = end_of(&dir.err_log(), ERRORS_BYTES).unwrap_or_default();
    if says_nothing
        && let Exit::Code(code) = exit
        && let Some((code, message)) = (adapter.explain)(code, &errors)
    {
        summary.verdict = Verdict::Explained { code, message };
    }
    if let (Verdict::NoResult, Exit::Code(code)) = (&summary.verdict, exit)
        && summary.unread_lines > 0
    {
        summary.verdict = unread(summary.unread_lines, code);
    }
    quoted(&errors)
}

/// There was no result in what could be read.
fn unread(lines: u64, code: i32) -> Verdict {
    let most = LINE_BYTES >> 20;
    let message = format!(
        "the agent ended with exit status {code}, and its result event is not in what could be \
         read: lines of more than {most} MiB are not read, and it wrote {lines} of them; out.log \
         has them"
    );
    Verdict::Explained {
        code: FailureCode::NoResult,
        message,
    }
}

fn used(adapter: &Adapter, dir: &RunDir) -> Option<Usage> {
    let read = adapter.usage_file?;
    let file = careful::open_regular(&dir.agent_files().join(USAGE_FILE)).ok()?;
    let mut text = String::new();
    file.take(USAGE_BYTES).read_to_string(&mut text).ok()?;
    read(&text)
}

/// The last bytes of a file as text.
fn end_of(path: &Path, most: u64) -> io::Result<String> {
    let mut file = careful::open_regular(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines that say something, on one line and without anything a terminal would obey.
fn quoted(errors: &str) -> Option<String> {
    let lines: Vec<&str> = errors
        .split(['\n', '\r'])
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines.get(lines.len().saturating_sub(QUOTED_LINES)..)?;
    let last: Vec<String> = last
        .iter()
        .map(|line| {
            let line: String = line.trim().chars().flat_map(harmless).collect();
            format!("\"{}\"", orch_core::text::excerpt(&line, QUOTED_CHARS))
        })
        .collect();
    (!last.is_empty()).then(|| format!("err.log ends with: {}", last.join(", ")))
}

fn harmless(character: char) -> Vec<char> {
    match character {
        '\t' => vec![' '],
        _ if character.is_control() || orch_core::text::is_invisible(character) => {
            character.escape_default().collect()
        }
        _ => vec![character],
    }
}

#[cfg(test)]
mod tests {
    use orch_host::adapter;

    use super::*;

    fn place() -> (tempfile::TempDir, RunDir) {
        let place = tempfile::tempdir().unwrap();
        let dir = RunDir::at(place.path());
        dir.create_agent_files().unwrap();
        (place, dir)
    }

    fn summary(verdict: Verdict) -> Summary {
        Summary {
            verdict,
            ..(adapter::find("shell").unwrap().reader)().summary()
        }
    }

    fn explaining() -> Adapter {
        Adapter {
            explain: |code, errors| {
                let known = code == 41 && errors.contains("no key");
                known.then(|| (FailureCode::AuthFailed, "there is no key".to_owned()))
            },
            usage_file: Some(|text| {
                let input_tokens = text.trim().parse().ok();
                input_tokens.is_some().then(|| Usage {
                    input_tokens,
                    ..Usage::default()
                })
            }),
            status_verdict: |code, words| {
                let known = code == 145 && words == "what?";
                known.then(|| error(FailureCode::AuthFailed))
            },
            ..*adapter::find("claude").unwrap()
        }
    }

    fn error(code: FailureCode) -> Verdict {
        let message = "what?".to_owned();
        Verdict::Error { code, message }
    }

    #[test]
    fn an_error_of_no_kind_is_told_by_the_exit_status() {
        let (_place, dir) = place();
        let verdict = |verdict, exit| {
            let mut summary = summary(verdict);
            complete(&mut summary, &explaining(), &dir, exit);
            summary.verdict
        };
        let unknown = || error(FailureCode::AgentError);
        let refused = error(FailureCode::AuthFailed);
        assert_eq!(verdict(unknown(), Exit::Code(145)), refused);
        assert_eq!(verdict(unknown(), Exit::Code(1)), unknown());
        let (number, core) = (9, false);
        let killed = Exit::Signal { number, core };
        assert_eq!(verdict(unknown(), killed), unknown());
        // What the result itself says in a form made for programs is not overruled.
        let turns = error(FailureCode::TurnLimit);
        assert_eq!(verdict(turns.clone(), Exit::Code(145)), turns);
        assert_eq!(verdict(Verdict::Success, Exit::Code(145)), Verdict::Success);
    }

    #[test]
    fn an_exit_status_is_explained_only_where_there_is_no_result() {
        let (_place, dir) = place();
        std::fs::write(dir.err_log(), "warming up\nno key\n").unwrap();
        let verdict = |verdict, exit| {
            let mut summary = summary(verdict);
            complete(&mut summary, &explaining(), &dir, exit);
            summary.verdict
        };
        let explained = Verdict::Explained {
            code: FailureCode::AuthFailed,
            message: "there is no key".to_owned(),
        };
        assert_eq!(verdict(Verdict::NoResult, Exit::Code(41)), explained);
        assert_eq!(verdict(Verdict::NoResult, Exit::Code(1)), Verdict::NoResult);
        let (number, core) = (15, false);
        let killed = Exit::Signal { number, core };
        assert_eq!(verdict(Verdict::NoResult, killed), Verdict::NoResult);
        assert_eq!(verdict(Verdict::Success, Exit::Code(41)), Verdict::Success);
    }

    #[test]
    fn a_line_that_was_too_long_may_have_been_the_result() {
        let (_place, dir) = place();
        std::fs::write(dir.err_log(), "no key\n").unwrap();
        let verdict = |verdict, unread_lines, code| {
            let mut summary = Summary {
                unread_lines,
                ..summary(verdict)
            };
            complete(&mut summary, &explaining(), &dir, Exit::Code(code));
            summary.verdict
        };
        let Verdict::Explained { code, message } = verdict(Verdict::NoResult, 1, 0) else {
            panic!("it is not said");
        };
        assert_eq!(code, FailureCode::NoResult);
        assert!(message.contains("lines of more than 32 MiB"), "{message}");
        assert!(message.contains("wrote 1 of them"), "{message}");
        assert_eq!(verdict(Verdict::NoResult, 0, 0), Verdict::NoResult);
        assert_eq!(verdict(Verdict::Success, 1, 0), Verdict::Success);
        // What the program says itself of its end says more.
        let Verdict::Explained { code, .. } = verdict(Verdict::NoResult, 1, 41) else {
            panic!("it is not said");
        };
        assert_eq!(code, FailureCode::AuthFailed);
    }

    #[test]
    fn the_end_of_stderr_is_quoted_without_what_a_terminal_would_obey() {
        let (_place, dir) = place();
        let evidence =
            |verdict, code| complete(&mut summary(verdict), &explaining(), &dir, Exit::Code(code));
        assert_eq!(evidence(Verdict::NoResult, 1), None);
        let long = "x".repeat(1_000);
        let said = format!("first\nsecond\n\n{long}\n\x1b]0;evil\x07 third\n \n");
        std::fs::write(dir.err_log(), said).unwrap();
        let quoted = evidence(Verdict::NoResult, 1).unwrap();
        assert!(
            !quoted.contains("first") && quoted.contains("\"second\""),
            "{quoted}"
        );
        assert!(quoted.contains("\\u{1b}]0;evil\\u{7} third"), "{quoted}");
        assert!(quoted.len() < 500 && !quoted.contains('\x1b'), "{quoted}");
        assert!(evidence(Verdict::ByExitStatus, 1).is_some());
        assert_eq!(evidence(Verdict::ByExitStatus, 0), None);
        assert_eq!(evidence(Verdict::Success, 1), None);
    }

    #[test]
    fn a_file_of_usage_is_read_where_the_output_has_none() {
        let (_place, dir) = place();
        let file = dir.agent_files().join(USAGE_FILE);
        let used = || {
            let mut summary = summary(Verdict::Success);
            complete(&mut summary, &explaining(), &dir, Exit::Code(0));
            summary.usage.input_tokens
        };
        assert_eq!(used(), None);
        std::fs::write(&file, "17\n").unwrap();
        assert_eq!(used(), Some(17));
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(used(), None);
        // An agent may put anything there.
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(used(), None);
        let mut summary = summary(Verdict::Success);
        summary.usage.output_tokens = Some(1);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "17").unwrap();
        complete(&mut summary, &explaining(), &dir, Exit::Code(0));
        assert_eq!(summary.usage.input_tokens, None);
    }
}
