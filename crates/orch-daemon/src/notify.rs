//! Telling a service manager how far orch is: one datagram to the socket that systemd names.
//!
//! Nobody listens where none is named, and nothing depends on somebody having listened.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

/// The variable with the address of the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that orch serves: its socket is there and its database is open.
pub fn ready() {
    let pid = std::process::id();
    tell(std::env::var_os(SOCKET), &format!("READY=1\nMAINPID={pid}"));
}

/// Says that orch begins to end.
pub fn stopping() {
    tell(std::env::var_os(SOCKET), "STOPPING=1");
}

fn tell(socket: Option<OsString>, words: &str) {
    if let Some(socket) = socket {
        // A service manager that is not there cannot be told that either.
        let _ = send(&socket, words);
    }
}

/// Sends to a path, or to an abstract name, which systemd writes with a leading `@`.
fn send(socket: &OsStr, words: &str) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    match socket.as_bytes() {
        [b'@', name @ ..] => send_abstract(&from, name, words),
        [b'/', ..] => from.send_to(words.as_bytes(), socket).map(drop),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(target_os = "linux")]
fn send_abstract(from: &UnixDatagram, name: &[u8], words: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let to = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    from.send_to_addr(words.as_bytes(), &to).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send_abstract(_: &UnixDatagram, _: &[u8], _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_path_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        tell(Some(path.into()), "READY=1");
        assert_eq!(heard(&socket), "READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_reached() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("orch-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        tell(Some(format!("@{name}").into()), "STOPPING=1");
        assert_eq!(heard(&socket), "STOPPING=1");
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        tell(None, "READY=1");
        tell(Some("/nonexistent/socket".into()), "READY=1");
        assert!(send(OsStr::new("vsock:2:1"), "READY=1").is_err());
    }
}
