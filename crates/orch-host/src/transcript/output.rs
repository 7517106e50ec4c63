//! The output as the result, for agents that have no other: the end of it, as text.
//!
//! It is read from `out.log` when the run is over. Nothing of it is kept in memory while the agent
//! writes: it may be much, and agents are many.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Most of the output that is the result, bytes: the end of it.
pub(super) const RESULT_BYTES: u64 = 4 << 20;

/// The end of the first `out_bytes` of `log`, without the last line's `\n`. If it is not all, it
/// begins with a whole line where there is one, and says before that what is missing.
///
/// # Errors
/// The file cannot be read.
pub(super) fn result(log: &File, out_bytes: u64) -> io::Result<Option<String>> {
    let end = out_bytes.min(log.metadata()?.len());
    let before = end.saturating_sub(RESULT_BYTES);
    let length = usize::try_from(end - before).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    log.read_exact_at(&mut bytes, before)?;
    if before == 0 && bytes.is_empty() {
        return Ok(None);
    }
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    if text.ends_with('\n') {
        text.pop();
    }
    if before > 0 {
        let whole = text.find('\n').map_or(0, |at| at + 1);
        let cut = before + whole as u64;
        let note = format!("[orch: about {cut} bytes of output before this are only in out.log]\n");
        text.replace_range(..whole, &note);
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn result_of(output: &[u8], out_bytes: u64) -> Option<String> {
        let mut log = tempfile::tempfile().unwrap();
        log.write_all(output).unwrap();
        result(&log, out_bytes).unwrap()
    }

    #[test]
    fn no_output_is_no_result_and_an_empty_line_is_an_empty_one() {
        assert_eq!(result_of(b"", 0), None);
        assert_eq!(result_of(b"\n", 1).as_deref(), Some(""));
        assert_eq!(
            result_of(b"a\r\n\ncaf\xc3", 9).as_deref(),
            Some("a\r\n\ncaf\u{fffd}")
        );
    }

    #[test]
    fn what_was_written_after_the_end_is_not_in_it_and_what_is_missing_does_no_harm() {
        assert_eq!(result_of(b"mine\nof another\n", 5).as_deref(), Some("mine"));
        assert_eq!(result_of(b"mine\n", 9).as_deref(), Some("mine"));
    }

    #[test]
    fn two_megabytes_are_the_result_in_full() {
        let lines: Vec<String> = (0..200_000)
            .map(|number| format!("line {number:06}"))
            .collect();
        let lines = lines.join("\n");
        assert_eq!(result_of(lines.as_bytes(), u64::MAX), Some(lines));
    }

    #[test]
    fn of_more_the_end_is_the_result_and_the_cut_is_said() {
        let output: String = (0..1_000_000)
            .map(|number| format!("line {number:07}\n"))
            .collect();
        let result = result_of(output.as_bytes(), u64::MAX).unwrap();
        let most = usize::try_from(RESULT_BYTES).unwrap() + 200;
        assert!((most - 400..=most).contains(&result.len()));
        let (note, rest) = result.split_once('\n').unwrap();
        let cut: usize = note.split(' ').nth(2).unwrap().parse().unwrap();
        assert_eq!(cut + rest.len() + 1, output.len(), "{note}");
        assert!(rest.starts_with("line ") && rest.ends_with("line 0999999"));
    }

    #[test]
    fn of_one_line_that_is_too_long_its_end_is_the_result() {
        let result = result_of(&vec![b'x'; 5 << 20], u64::MAX).unwrap();
        assert!(
            result.starts_with("[orch: about 1048576 bytes"),
            "{}",
            &result[..80]
        );
        assert!(result.ends_with("x"));
    }
}
