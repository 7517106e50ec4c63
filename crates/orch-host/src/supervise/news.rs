//! The hint that something happened to a run.
//!
//! A datagram says which run to look at, never what to record: the record is the truth, and a
//! lost, repeated or invented datagram changes nothing but when it is read.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orch_core::RunId;
use rustix::event::{PollFd, PollFlags, poll};

/// Longest datagram, bytes. What is longer is not ours.
const DATAGRAM_BYTES: usize = 64;
/// How long a shim waits for a daemon that does not read. The daemon looks by itself later.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest path a socket address takes on every system orch runs on, bytes.
const SOCKET_PATH_BYTES: usize = 100;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The agent's process exists.
    Started,
    /// There is an exit record.
    Ended,
}

/// Something happened to a run; [`inspect`](super::inspect) tells what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The run.
    pub run: RunId,
    /// What happened.
    pub what: What,
}

impl News {
    fn encode(&self) -> String {
        let what = match self.what {
            What::Started => "started",
            What::Ended => "ended",
        };
        format!("{what} {}", self.run)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (what, run) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        let what = match what {
            "started" => What::Started,
            "ended" => What::Ended,
            _ => return None,
        };
        Some(Self {
            run: run.parse().ok()?,
            what,
        })
    }
}

/// Tells the daemon what happens to runs, through one socket that is made for the first news.
#[derive(Debug)]
pub(crate) struct Teller<'a> {
    path: &'a Path,
    socket: OnceCell<UnixDatagram>,
}

impl<'a> Teller<'a> {
    /// For the socket at `path`. Opens nothing yet.
    pub(crate) const fn new(path: &'a Path) -> Self {
        Self {
            path,
            socket: OnceCell::new(),
        }
    }

    /// Tells the daemon. That nobody listens is not an error: the record waits. Each time it is
    /// whoever listens there now.
    ///
    /// # Errors
    /// Somebody listens and could not be told in time.
    pub(crate) fn tell(&self, news: &News) -> io::Result<()> {
        let socket = match self.socket.get() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                self.socket.get_or_init(|| socket)
            }
        };
        let address = Address::of(self.path)?;
        match socket.send_to(news.encode().as_bytes(), &address.path) {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// A path short enough for a socket address. On Linux one that is too long is reached through
/// its open directory.
struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES || !cfg!(target_os = "linux") {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        use std::os::fd::AsRawFd;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Self {
            path: Path::new("/proc/self/fd")
                .join(directory.as_raw_fd().to_string())
                .join(name),
            _directory: Some(directory),
        })
    }
}

/// Where the daemon hears of its runs.
#[derive(Debug)]
pub struct NewsListener {
    socket: UnixDatagram,
    quit: UnixStream,
    quitter: UnixStream,
    path: PathBuf,
    /// Device and inode of the socket file, so that only our own is removed.
    file: (u64, u64),
}

/// Makes [`NewsListener::recv`] return.
#[derive(Debug)]
pub struct NewsQuit {
    stream: UnixStream,
}

impl NewsQuit {
    /// Makes this and every later `recv` return `None`.
    pub fn quit(&self) {
        // The only way this fails is a listener that is gone or was told often enough already.
        let _ = (&self.stream).write(b"q");
    }
}

impl NewsListener {
    /// Listens at `path`, for this user only. A socket there that nobody listens on any more is
    /// replaced; anything else there is left alone.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens, `AlreadyExists` if it is not a socket of this user, or
    /// what the system said.
    pub fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let address = Address::of(path)?;
        let socket = UnixDatagram::unbound()?;
        // Linux makes the file with the socket's own mode, so nobody can be quicker. Elsewhere
        // the state directory's 0700 keeps others out until the next line.
        #[cfg(target_os = "linux")]
        rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&*address.path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let metadata = std::fs::symlink_metadata(path)?;
        let (quit, quitter) = UnixStream::pair()?;
        quitter.set_nonblocking(true)?;
        Ok(Self {
            socket,
            quit,
            quitter,
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
        })
    }

    /// Something that makes [`recv`](Self::recv) return from another thread.
    ///
    /// # Errors
    /// No descriptor was left.
    pub fn quit_handle(&self) -> io::Result<NewsQuit> {
        Ok(NewsQuit {
            stream: self.quitter.try_clone()?,
        })
    }

    /// Waits for news; datagrams that are none are skipped. `None` once told to quit.
    ///
    /// # Errors
    /// What the socket said; the next call may succeed.
    pub fn recv(&self) -> io::Result<Option<News>> {
        loop {
            let (told_to_quit, readable) = self.wait()?;
            if told_to_quit {
                return Ok(None);
            }
            if !readable {
                continue;
            }
            let mut datagram = [0; DATAGRAM_BYTES + 1];
            let length = self.socket.recv(&mut datagram)?;
            if let Some(news) = News::decode(&datagram[..length]) {
                return Ok(Some(news));
            }
        }
    }

    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut polled = [
            PollFd::new(&self.quit, PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) => Ok((
                !polled[0].revents().is_empty(),
                !polled[1].revents().is_empty(),
            )),
            Err(rustix::io::Errno::INTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for NewsListener {
    fn drop(&mut self) {
        // A successor may have bound the path already; its socket stays.
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket of this user that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.file_type().is_socket() || !ours {
        let text = format!("{} is there and is not our socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let probe = UnixDatagram::unbound()?;
    match probe.connect(Address::of(path)?.path) {
        Ok(()) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process listens on {}", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(what: What) -> News {
        News {
            run: RunId::from_entropy(5),
            what,
        }
    }

    #[test]
    fn news_arrive_and_garbage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("news");
        let listener = NewsListener::bind(&path).unwrap();
        let raw = UnixDatagram::unbound().unwrap();
        for garbage in [
            &b""[..],
            b"\xff\xfe",
            b"ended ../../x",
            b"ended",
            &[b'a'; 200],
        ] {
            raw.send_to(garbage, &path).unwrap();
        }
        let teller = Teller::new(&path);
        teller.tell(&news(What::Started)).unwrap();
        teller.tell(&news(What::Ended)).unwrap();
        assert_eq!(listener.recv().unwrap(), Some(news(What::Started)));
        assert_eq!(listener.recv().unwrap(), Some(news(What::Ended)));
    }

    #[test]
    fn who_listens_only_later_is_told_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("news");
        let teller = Teller::new(&path);
        teller.tell(&news(What::Started)).unwrap();
        drop(NewsListener::bind(&path).unwrap());
        let listener = NewsListener::bind(&path).unwrap();
        teller.tell(&news(What::Ended)).unwrap();
        assert_eq!(listener.recv().unwrap(), Some(news(What::Ended)));
    }

    #[test]
    fn telling_nobody_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        Teller::new(&absent).tell(&news(What::Ended)).unwrap();
        let stale = dir.path().join("stale");
        drop(UnixDatagram::bind(&stale).unwrap());
        Teller::new(&stale).tell(&news(What::Ended)).unwrap();
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("news");
        drop(UnixDatagram::bind(&path).unwrap());
        let listener = NewsListener::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = NewsListener::bind(&path).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());

        std::fs::write(&path, b"precious").unwrap();
        let refused = NewsListener::bind(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_waiting_listener_can_be_told_to_quit() {
        let dir = tempfile::tempdir().unwrap();
        let listener = NewsListener::bind(&dir.path().join("news")).unwrap();
        let quit = listener.quit_handle().unwrap();
        let waiting = std::thread::spawn(move || listener.recv());
        quit.quit();
        assert_eq!(waiting.join().unwrap().unwrap(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_path_too_long_for_an_address_works_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("news");
        let listener = NewsListener::bind(&path).unwrap();
        Teller::new(&path).tell(&news(What::Ended)).unwrap();
        assert_eq!(listener.recv().unwrap(), Some(news(What::Ended)));
        drop(listener);
        drop(NewsListener::bind(&path).unwrap());
    }
}
