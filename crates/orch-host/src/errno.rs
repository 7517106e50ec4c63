//! Errors of the system by the names people look them up by.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// An error with its name, like `EMFILE, Too many open files (os error 24)`.
#[must_use]
pub fn named(error: &io::Error) -> String {
    let name = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "ENOENT",
        Some(Errno::NOTDIR) => "ENOTDIR",
        Some(Errno::ACCESS) => "EACCES",
        Some(Errno::PERM) => "EPERM",
        Some(Errno::NOEXEC) => "ENOEXEC",
        Some(Errno::TOOBIG) => "E2BIG",
        Some(Errno::TXTBSY) => "ETXTBSY",
        Some(Errno::AGAIN) => "EAGAIN",
        Some(Errno::NOMEM) => "ENOMEM",
        Some(Errno::MFILE) => "EMFILE",
        Some(Errno::NFILE) => "ENFILE",
        Some(Errno::NOSPC) => "ENOSPC",
        Some(Errno::DQUOT) => "EDQUOT",
        Some(Errno::LOOP) => "ELOOP",
        Some(Errno::NAMETOOLONG) => "ENAMETOOLONG",
        Some(Errno::INVAL) => "EINVAL",
        Some(Errno::IO) => "EIO",
        _ => return error.to_string(),
    };
    format!("{name}, {error}")
}

/// Whether the machine has nothing left to give: no process, no descriptor, no memory, no space.
/// Time mends that, and trying again costs nothing.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::DQUOT
        )
    )
}

/// The error of the system at the root of `error`, if there is one.
#[must_use]
pub fn root<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut found = error.downcast_ref::<io::Error>();
    let mut source = error.source();
    while let Some(inner) = source {
        found = inner.downcast_ref::<io::Error>().or(found);
        source = inner.source();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_has_run_out_of_is_named() {
        for (errno, name) in [
            (Errno::AGAIN, "EAGAIN"),
            (Errno::MFILE, "EMFILE"),
            (Errno::NFILE, "ENFILE"),
            (Errno::NOMEM, "ENOMEM"),
            (Errno::NOSPC, "ENOSPC"),
        ] {
            let error = io::Error::from(errno);
            assert!(is_exhausted(&error) && named(&error).starts_with(name));
        }
        assert!(!is_exhausted(&Errno::NOENT.into()));
    }

    #[test]
    fn the_root_of_an_error_is_found_below_what_was_being_done() {
        #[derive(Debug, thiserror::Error)]
        #[error("doing")]
        struct Doing(#[source] io::Error);
        let error = Doing(Errno::MFILE.into());
        assert!(root(&error).is_some_and(is_exhausted));
        assert!(root(&io::Error::from(Errno::MFILE)).is_some_and(is_exhausted));
        assert!(root(&std::fmt::Error).is_none());
    }
}
