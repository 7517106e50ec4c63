//! The socket: only this user's processes, only while the daemon lives.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::error::StartError;
use crate::lock::Place;
use crate::log::LogLine;
use crate::shared::{Shared, locked};
use crate::wake::Wake;

/// How long answers that are under way when the daemon ends may take to be read.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often is looked whether the socket is still there, while nobody comes in.
const LOOK: Duration = Duration::from_secs(1);

/// The thread that answers on the socket.
pub(crate) struct Server {
    place: Arc<Mutex<Place>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the socket. The caller holds the state lock, so an old socket is a stale one.
    pub(crate) fn bind(shared: &Arc<Shared>) -> Result<Self, StartError> {
        let path = shared.project.socket();
        let wrong = |doing| {
            let path = path.clone();
            move |source| StartError::Io {
                doing,
                path,
                source,
            }
        };
        clear_stale(&path).map_err(wrong("replacing"))?;
        let (listener, place) = open(&path).map_err(wrong("opening"))?;
        let place = Arc::new(Mutex::new(place));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(wrong("serving on"))?;
        let (stop, stopped) = oneshot::channel();
        let router = super::router(Arc::clone(shared));
        let (mended, shared) = (Arc::clone(&place), Arc::clone(shared));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = UnixListener::from_std(listener) else {
                    return;
                };
                let own = OwnUser {
                    listener,
                    place: mended,
                    shared,
                };
                serve(own, router, stopped).await;
            });
        });
        Ok(Self {
            place,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let place = locked(&self.place);
            // Another daemon's, should the state directory have been replaced, stays.
            if !place.is_lost() {
                let _ = fs::remove_file(place.path());
            }
            drop(place);
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves until told to stop; then lets nobody in and finishes what it has begun to answer.
async fn serve(listener: OwnUser, router: axum::Router, stopped: oneshot::Receiver<()>) {
    let (last_call, called) = oneshot::channel();
    let graceful = axum::serve(listener, router).with_graceful_shutdown(async move {
        let _ = stopped.await;
        let _ = last_call.send(());
    });
    tokio::select! {
        _ = graceful => {}
        // A client that does not read its answer must not keep the daemon.
        () = async {
            let _ = called.await;
            tokio::time::sleep(GOODBYE).await;
        } => {}
    }
}

/// Opens a socket that only this user may use.
fn open(path: &Path) -> io::Result<(StdListener, Place)> {
    let listener = StdListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, Place::of(path)?))
}

/// Removes a socket of ours that nobody serves any more; anything else is left alone.
fn clear_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.file_type().is_socket() || !ours {
        let message = "something that is not a socket of ours is in its place";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    fs::remove_file(path)
}

/// Lets in connections of this user and of root, nobody else.
struct OwnUser {
    listener: UnixListener,
    place: Arc<Mutex<Place>>,
    shared: Arc<Shared>,
}

impl OwnUser {
    /// Opens the socket again if its file was removed: nobody could come in any more. Not where
    /// the whole state directory is gone; then the daemon is about to end.
    fn mend(&mut self) {
        let mut place = locked(&self.place);
        let path = place.path().to_owned();
        let there = path.symlink_metadata();
        let gone = there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !gone || self.shared.lost_ground().is_some() {
            return;
        }
        let opened = open(&path).and_then(|(listener, opened)| {
            let listener = UnixListener::from_std(listener)?;
            Ok((listener, opened))
        });
        let (listener, opened) = match opened {
            Ok(opened) => opened,
            // The directory is gone, too: nobody can come in and no other daemon can serve.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = format!("the socket {} was removed: {error}", path.display());
                let _ = self.shared.wakes.send(Wake::Broken(why));
                return;
            }
            // Tried again with the next look.
            Err(_) => return,
        };
        self.listener = listener;
        *place = opened;
        let message = format!("{} was removed; it was opened again", path.display());
        self.shared
            .log
            .say(LogLine::note("warn", "socket_mended", message));
    }
}

impl Listener for OwnUser {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match tokio::time::timeout(LOOK, self.listener.accept()).await {
                Ok(Ok((stream, address))) if is_ours(&stream) => return (stream, address),
                Ok(Ok(_)) => {}
                // Out of descriptors: others will be closed. Not a busy loop.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => self.mend(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
