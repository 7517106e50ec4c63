//! Ids as people type them: whole, or as many characters as make them unique, with or without
//! the part that says what they are.

const TASK: &str = "tsk_";
const RUN: &str = "run_";
const EXAMPLE: &str = "an id looks like tsk_7m3k9q2x4d1v; its first characters are enough";

/// Reads the id of a task, or the beginning of one; the result begins with `tsk_`.
///
/// # Errors
/// What is wrong with it.
pub fn task(text: &str) -> Result<String, String> {
    match kind_and_rest(text)? {
        (Some(RUN), _) => Err("that is a run; name its task, or see 'orch show'".to_owned()),
        (_, rest) => Ok(format!("{TASK}{rest}")),
    }
}

/// Reads the id of a run, or the beginning of one, or that of a task written with `tsk_`; without
/// either it is a run.
///
/// # Errors
/// What is wrong with it.
pub fn run_or_task(text: &str) -> Result<String, String> {
    let (kind, rest) = kind_and_rest(text)?;
    Ok(format!("{}{rest}", kind.unwrap_or(RUN)))
}

/// Whether this id, as read here, is that of a task.
#[must_use]
pub fn is_task(id: &str) -> bool {
    id.starts_with(TASK)
}

/// Reads the id of a task or run, or the beginning of one, into the ids it may mean.
///
/// # Errors
/// What is wrong with it.
pub fn either(text: &str) -> Result<Either, String> {
    let meant = match kind_and_rest(text)? {
        (Some(kind), rest) => vec![format!("{kind}{rest}")],
        (None, rest) => vec![format!("{TASK}{rest}"), format!("{RUN}{rest}")],
    };
    Ok(Either(meant))
}

/// The ids that a text may mean, tasks first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Either(pub Vec<String>);

fn kind_and_rest(text: &str) -> Result<(Option<&'static str>, String), String> {
    let text = text.trim().to_ascii_lowercase();
    let kind = [TASK, RUN].into_iter().find(|kind| text.starts_with(kind));
    let rest = kind.map_or(text.as_str(), |kind| &text[kind.len()..]);
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if rest.is_empty() || rest.len() > 32 || !rest.bytes().all(allowed) {
        return Err(EXAMPLE.to_owned());
    }
    Ok((kind, rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_short_and_bare() {
        assert_eq!(task("7m3"), Ok("tsk_7m3".to_owned()));
        assert_eq!(task(" TSK_7m3 "), Ok("tsk_7m3".to_owned()));
        assert_eq!(run_or_task("7m3"), Ok("run_7m3".to_owned()));
        assert_eq!(run_or_task("tsk_7m3"), Ok("tsk_7m3".to_owned()));
        let both = Either(vec!["tsk_7m3".to_owned(), "run_7m3".to_owned()]);
        assert_eq!(either("7m3"), Ok(both));
        assert_eq!(either("run_7m3"), Ok(Either(vec!["run_7m3".to_owned()])));
    }

    #[test]
    fn a_path_is_no_id() {
        for text in [
            "",
            ".",
            "tsk_",
            "../../etc/passwd",
            "/abs",
            "%2e%2e",
            "a b",
            "ä",
            "*",
        ] {
            assert!(task(text).is_err(), "{text}");
            assert!(either(text).is_err(), "{text}");
            assert!(run_or_task(text).is_err(), "{text}");
        }
        assert!(task("run_7m3").is_err());
    }
}
