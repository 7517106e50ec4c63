//! How many files and connections this process may have open, and whether that is enough to serve.

use crate::error::StartError;

/// Fewest descriptors with which a project is served. A daemon at rest holds about thirty; the rest
/// is what git, supervisors, agents' logs and clients take for a moment.
pub(crate) const LEAST: u64 = 64;

/// Refuses to serve where so few files may be open that starting an agent would fail again and
/// again, and seeing it end might, too.
///
/// # Errors
/// [`StartError::TooFewDescriptors`].
pub(crate) fn check() -> Result<(), StartError> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    enough(limit)
}

/// No limit at all is enough.
fn enough(limit: Option<u64>) -> Result<(), StartError> {
    match limit.filter(|limit| *limit < LEAST) {
        Some(limit) => Err(StartError::TooFewDescriptors { limit }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_are_enough_and_one_less_is_not() {
        assert!(enough(Some(LEAST)).is_ok());
        assert!(enough(None).is_ok());
        let error = enough(Some(LEAST - 1)).unwrap_err();
        assert_eq!(error.code(), "descriptors");
        assert!(error.to_string().contains("63"), "{error}");
    }
}
