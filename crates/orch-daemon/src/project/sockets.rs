//! Where the sockets are, when their usual path is longer than the operating system allows.
//!
//! Must not depend on anything that differs between two shells of one user more than it has to:
//! a daemon started by cron and a command typed in a desktop session must come to the same path.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{check_private, own_uid, variable};

/// Longest path of a unix socket, bytes: `sun_path` less the NUL at its end.
pub(super) const PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The directory of the sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SocketHome {
    /// The state directory.
    State,
    /// A short directory that this user's projects share.
    Short {
        /// The directory.
        directory: PathBuf,
        /// What tells this project's sockets from those of the others.
        prefix: String,
    },
}

impl SocketHome {
    /// The state directory if its paths are short enough, else the first of `candidates` that
    /// can be used. One that already has this project's socket goes first, so that a client
    /// finds a daemon that was started where another candidate was missing.
    pub(super) fn choose(state: &Path, candidates: &[PathBuf]) -> Option<Self> {
        if is_short(&Self::State.path(state, "orch")) {
            return Some(Self::State);
        }
        let prefix = format!("{:016x}-", fnv1a(state.as_os_str().as_bytes()));
        let mut homes = candidates
            .iter()
            .filter(|directory| is_usable(directory))
            .map(|directory| Self::Short {
                directory: directory.clone(),
                prefix: prefix.clone(),
            })
            .filter(|home| is_short(&home.path(state, "orch")));
        let all: Vec<Self> = homes.by_ref().collect();
        all.iter()
            .find(|home| home.path(state, "orch").symlink_metadata().is_ok())
            .or(all.first())
            .cloned()
    }

    /// The path of the socket `name`. Every name must be as long as the others.
    pub(super) fn path(&self, state: &Path, name: &str) -> PathBuf {
        match self {
            Self::State => state.join(format!("{name}.sock")),
            Self::Short { directory, prefix } => directory.join(format!("{prefix}{name}.sock")),
        }
    }

    /// The directory to be made, if it is not the state directory.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::State => None,
            Self::Short { directory, .. } => Some(directory),
        }
    }
}

/// Short directories, best first.
pub(super) fn short_directories() -> Vec<PathBuf> {
    let uid = own_uid();
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let of_session = runtime
        .into_iter()
        .filter(|directory| directory.is_absolute())
        .chain([usual])
        .map(|directory| directory.join("orch"));
    let shared = [std::env::temp_dir(), PathBuf::from("/tmp")]
        .map(|directory| directory.join(format!("orch-{uid}")));
    let mut all: Vec<PathBuf> = of_session.chain(shared).collect();
    all.dedup();
    all
}

/// A directory that is ours alone, or one that we could make. Another user may have made
/// `/tmp/orch-1000` before us: that one is passed over.
fn is_usable(directory: &Path) -> bool {
    if directory.symlink_metadata().is_ok() {
        return check_private(directory).is_ok();
    }
    directory.parent().is_some_and(may_make_in)
}

fn may_make_in(parent: &Path) -> bool {
    let Ok(metadata) = parent.metadata() else {
        return false;
    };
    // In a directory that others can write to, only the sticky bit keeps them from moving ours.
    let safe = metadata.mode() & 0o022 == 0 || metadata.mode() & 0o1000 != 0;
    metadata.is_dir() && safe && rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok()
}

fn is_short(path: &Path) -> bool {
    path.as_os_str().len() <= PATH_BYTES
}

/// FNV-1a, 64 bits: the same in every version of every program, unlike the hasher of std.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::project::make_private;

    fn long_state(length: usize) -> PathBuf {
        PathBuf::from(format!("/{}", "x".repeat(length - 1)))
    }

    #[test]
    fn a_short_path_stays_in_the_state_directory() {
        let longest = long_state(PATH_BYTES - "/orch.sock".len());
        assert_eq!(SocketHome::choose(&longest, &[]), Some(SocketHome::State));
        let longer = long_state(PATH_BYTES - "/orch.sock".len() + 1);
        assert_eq!(SocketHome::choose(&longer, &[]), None);
    }

    #[test]
    fn a_long_path_moves_to_a_short_directory_where_a_socket_can_be_bound() {
        let base = tempfile::tempdir().unwrap();
        let state = long_state(200);
        let home = SocketHome::choose(&state, &[base.path().join("orch")]).unwrap();
        make_private(home.directory().unwrap()).unwrap();
        let (socket, news) = (home.path(&state, "orch"), home.path(&state, "news"));
        assert_ne!(socket, news);
        UnixListener::bind(&socket).unwrap();
        UnixListener::bind(&news).unwrap();
        let other = SocketHome::choose(&long_state(201), &[base.path().join("orch")]).unwrap();
        assert_ne!(other.path(&long_state(201), "orch"), socket);
    }

    #[test]
    fn a_directory_that_is_not_ours_alone_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let [open, link, fine, missing] =
            ["open", "link", "fine", "missing/orch"].map(|name| base.path().join(name));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        make_private(&fine).unwrap();
        symlink(&fine, &link).unwrap();
        let state = long_state(200);
        let home = SocketHome::choose(&state, &[missing, open, link, fine.clone()]).unwrap();
        assert_eq!(home.directory(), Some(fine.as_path()));
    }

    #[test]
    fn a_directory_that_has_the_socket_goes_first() {
        let base = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| base.path().join(name));
        make_private(&first).unwrap();
        make_private(&second).unwrap();
        let state = long_state(200);
        let started = SocketHome::choose(&state, std::slice::from_ref(&second)).unwrap();
        let _listener = UnixListener::bind(started.path(&state, "orch")).unwrap();
        assert_eq!(SocketHome::choose(&state, &[first, second]), Some(started));
    }

    #[test]
    fn the_name_is_the_same_for_ever() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
