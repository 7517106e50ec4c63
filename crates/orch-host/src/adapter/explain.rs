//! What a program says on stderr instead of a result, in a form that it always has.
//!
//! This part must not know any program's sentences.

use orch_core::run::FailureCode;
use orch_core::text::excerpt;

use super::lines::MESSAGE_CHARS;

/// The last line that begins in one of the known ways, and what it means.
pub(super) fn by_line(
    errors: &str,
    known: &[(&str, FailureCode)],
) -> Option<(FailureCode, String)> {
    errors.lines().rev().find_map(|line| {
        let line = line.trim();
        let (_, code) = known.iter().find(|(start, _)| line.starts_with(start))?;
        Some((*code, excerpt(line, MESSAGE_CHARS)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_line_is_known_by_its_beginning_alone() {
        let known = &[("no session ", FailureCode::SessionGone)];
        let errors = "a warning\n  no session x\nand more\n";
        let expected = Some((FailureCode::SessionGone, "no session x".to_owned()));
        assert_eq!(by_line(errors, known), expected);
        assert_eq!(by_line("it said: no session x", known), None);
    }
}
