//! Files in places where agents can put anything: opened so that nothing waits and no link leads
//! elsewhere.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Options under which opening neither waits for the other end of a FIFO nor follows a link.
pub(crate) fn options() -> OpenOptions {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.custom_flags(careful.bits().cast_signed());
    options
}

/// Opens a regular file for reading.
///
/// # Errors
/// It is something else, or it cannot be opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = options().read(true).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), mode).unwrap();
        assert!(open_regular(&at("file")).is_ok());
        for name in ["link", "fifo", "none", "."] {
            assert!(open_regular(&at(name)).is_err(), "{name}");
        }
    }
}
