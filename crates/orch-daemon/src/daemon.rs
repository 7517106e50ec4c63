//! A daemon: the loop, the host, HTTP and signals, put together and taken apart again.

use std::collections::BTreeSet;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orch_api::client::Client;
use orch_core::TaskId;
use orch_core::wait::Service;
use orch_host::supervise;
use orch_store::sqlite::{SqliteStore, log_of};
use orch_store::{Reader, Store};
use tower::ServiceExt;

use crate::clock;
use crate::config;
use crate::connect;
use crate::descriptors;
use crate::engine_loop::{Duty, EngineLoop};
use crate::error::StartError;
use crate::host::Host;
use crate::http;
use crate::janitor::Janitor;
use crate::lock::{LockError, Place, StateLock};
use crate::log::{LogLine, LogSink};
use crate::pace::Pace;
use crate::project::Project;
use crate::scribe::Scribe;
use crate::shared::{Parts, Shared, adapters, locked};
use crate::signals::{self, SignalWatch};
use crate::strangers;
use crate::wake::{End, Ending, Wake};

/// Ended runs whose `run.json` is compared with the database at start.
const HEALED_AT_START: usize = 200;

/// How long a command waits for what an earlier daemon left: the promise is 5 s.
const SETTLE: Duration = Duration::from_secs(5);

/// What a command that works without a daemon writes into the lock.
const COMMAND: &str = "an orch command";
/// How long a daemon that starts waits for such commands, and how often it looks.
const COMMANDS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// How a daemon serves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// End when nothing can move any more.
    pub once: bool,
    /// Run these tasks (ids or unique prefixes) and nothing else; implies `once` for them.
    pub only: Option<Vec<String>>,
    /// Runs at once, in place of what the configuration says.
    pub max_agents: Option<u32>,
    /// Take SIGTERM, SIGINT and SIGHUP.
    pub signals: bool,
    /// The first of these signals stops the agents; without it they may finish.
    pub stop_at_once: bool,
    /// Say what agents say, too.
    pub verbose: bool,
}

/// A running daemon. One that is dropped answers what is under way and leaves; its agents go on.
pub struct Daemon {
    wakes: Sender<Wake>,
    router: axum::Router,
    engine: Mutex<Option<JoinHandle<End>>>,
    server: Option<http::Server>,
    _janitor: Option<Janitor>,
    _signals: Option<SignalWatch>,
    _lock: StateLock,
}

impl Daemon {
    /// Serves the project: starts agents, answers on the socket.
    ///
    /// # Errors
    /// Another daemon serves it, or something it needs cannot be used.
    pub fn start(project: &Project, options: Options, log: LogSink) -> Result<Self, StartError> {
        descriptors::check()?;
        let (purpose, verbose) = ("orch serve", options.verbose);
        let lock = take_lock_after_commands(project, purpose)?;
        let (signals, patient) = (options.signals, !options.stop_at_once);
        let mut parts = Foundation::lay(
            project,
            &lock,
            Service::Serving,
            options.max_agents,
            verbose,
            log,
        )?;
        let duty = duty(&options, parts.reader.as_mut())?;
        let shared = Arc::clone(&parts.shared);
        let server = http::Server::bind(&shared)?;
        let signals =
            match signals {
                true => Some(SignalWatch::start(parts.wakes.clone(), patient).map_err(
                    |source| StartError::Io {
                        doing: "watching signals of",
                        path: project.root.clone(),
                        source,
                    },
                )?),
                false => None,
            };
        let message = format!(
            "pid {}, socket {}",
            std::process::id(),
            project.socket().display()
        );
        shared.log.say(LogLine::note("info", "serving", message));
        Ok(parts.build(duty, Some(server), signals, lock))
    }

    /// Answers requests in this process and starts nothing: what a command does without a daemon.
    ///
    /// # Errors
    /// Somebody else holds the state directory, or something it needs cannot be used.
    pub(crate) fn answer(
        project: &Project,
        options: Options,
        log: LogSink,
    ) -> Result<Self, StartError> {
        let lock = take_lock(project, COMMAND)?;
        let parts = Foundation::lay(
            project,
            &lock,
            Service::Stopped,
            options.max_agents,
            false,
            log,
        )?;
        let daemon = parts.build(Duty::Answer, None, None, lock);
        daemon.settle();
        Ok(daemon)
    }

    /// Waits until runs that an earlier daemon left have been looked at, so that the first answer
    /// is right. Not for ever: one that takes long is told as it stands.
    fn settle(&self) {
        let (told, settled) = channel();
        let _ = self.wakes.send(Wake::Settle(told));
        let _ = settled.recv_timeout(SETTLE);
    }

    /// The API without a socket.
    #[cfg(test)]
    pub(crate) fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// A client that talks to this daemon in this process.
    ///
    /// # Errors
    /// The system gave no descriptors for it.
    pub fn client(&self) -> Result<Client, StartError> {
        Client::local(self.router.clone()).map_err(runtime)
    }

    /// A client that owns this daemon and closes it when it is dropped.
    pub(crate) fn into_client(self) -> Result<Client, StartError> {
        let router = self.router.clone();
        let daemon = Arc::new(self);
        let service = tower::service_fn(move |request| {
            // The daemon lives as long as the last client that could ask it.
            let _daemon = &daemon;
            router.clone().oneshot(request)
        });
        Client::local(service).map_err(runtime)
    }

    /// Waits until the daemon has ended.
    #[must_use]
    pub fn wait(mut self) -> End {
        let engine = locked(&self.engine).take();
        let end = engine.map(JoinHandle::join);
        if let Some(server) = self.server.take() {
            server.close();
        }
        match end {
            Some(Ok(end)) => end,
            Some(Err(_)) => End::broken("its loop panicked; agents that run go on"),
            None => End::default(),
        }
    }

    /// Asks the daemon to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.drainer()();
    }

    /// What asks the daemon to drain, for another thread than the one that waits for it.
    pub fn drainer(&self) -> impl Fn() + Send + use<> {
        let wakes = self.wakes.clone();
        move || {
            // One that has ended needs no asking.
            let _ = wakes.send(Wake::End(Ending::Drain));
        }
    }
}

/// No descriptors left for a client.
pub(crate) fn runtime(source: std::io::Error) -> StartError {
    StartError::Io {
        doing: "making a client in",
        path: std::path::PathBuf::from("this process"),
        source,
    }
}

impl Drop for Daemon {
    /// The lock is let go of when nobody writes any more, and not before.
    fn drop(&mut self) {
        if let Some(engine) = locked(&self.engine).take() {
            let _ = self.wakes.send(Wake::End(Ending::Close));
            let _ = engine.join();
        }
    }
}

/// Takes the lock for a daemon. Who is about to let go of it is waited for; another daemon is not.
fn take_lock_after_commands(project: &Project, purpose: &str) -> Result<StateLock, StartError> {
    let begun = Instant::now();
    loop {
        match take_lock(project, purpose) {
            Err(StartError::Locked { holder, .. })
                if is_letting_go(&holder) && begun.elapsed() < COMMANDS =>
            {
                // Nothing tells when a lock is let go of, short of waiting for it blindly.
                std::thread::sleep(PAUSE);
            }
            Err(StartError::Locked { holder, .. }) => {
                let drains = connect::drains(project);
                return Err(StartError::Locked { holder, drains });
            }
            taken => return taken,
        }
    }
}

/// Whether a holder has the lock for a moment only: a command that works alone, a daemon that is
/// being killed, or what a daemon was just starting when it was killed. Until such a process
/// executes its command it has open whatever the daemon had, and the lock says the name of one that
/// is gone.
fn is_letting_go(holder: &str) -> bool {
    let pid = holder
        .rsplit_once("pid ")
        .and_then(|(_, pid)| pid.parse().ok());
    holder.starts_with(COMMAND) || pid.is_some_and(supervise::is_ending)
}

fn take_lock(project: &Project, purpose: &str) -> Result<StateLock, StartError> {
    project.ensure_state()?;
    let path = project.lock();
    StateLock::take(&path, purpose).map_err(|error| match error {
        LockError::Held(holder) => StartError::Locked {
            holder,
            drains: false,
        },
        LockError::Io(source) => StartError::Io {
            doing: "locking",
            path,
            source,
        },
    })
}

/// The files that must stay where they are, while they are held open.
fn ground(project: &Project, lock: &StateLock) -> Result<Vec<Place>, StartError> {
    let looking_at = |path: std::path::PathBuf| {
        move |source| StartError::Io {
            doing: "looking at",
            path,
            source,
        }
    };
    let (locked, database) = (project.lock(), project.database());
    let log = log_of(&database);
    Ok(vec![
        Place::of(&log).map_err(looking_at(log.clone()))?,
        lock.place(&locked).map_err(looking_at(locked.clone()))?,
        Place::of(&database).map_err(looking_at(database.clone()))?,
    ])
}

/// What every daemon stands on, before it is known what it is to do.
struct Foundation {
    store: SqliteStore,
    reader: Box<dyn Reader>,
    shared: Arc<Shared>,
    wakes: Sender<Wake>,
    woken: Receiver<Wake>,
    last_event: u64,
}

impl Foundation {
    fn lay(
        project: &Project,
        lock: &StateLock,
        service: Service,
        max_agents: Option<u32>,
        verbose: bool,
        log: LogSink,
    ) -> Result<Self, StartError> {
        signals::outlive_file_limits();
        let config = config::load(project, &adapters())?;
        refuse_to_begin_anew(project)?;
        let store = SqliteStore::open(&project.database())?;
        let ground = ground(project, lock)?;
        orch_host::failpoint::serve(&project.runs());
        tell_opening(&store, &log);
        let mut reader = store.reader()?;
        if service == Service::Serving {
            strangers::look(project, reader.as_mut(), &log)?;
        }
        let last_event = reader.last_event()?;
        let newest = reader.events(last_event.saturating_sub(1), 1)?;
        let newest = newest.first().map(|fact| fact.event.time);
        clock::go_on(&project.clock(), newest);
        let (wakes, woken) = channel();
        let shared = Arc::new(Shared::new(Parts {
            project: project.clone(),
            log,
            verbose,
            follows: service == Service::Serving,
            wakes: wakes.clone(),
            config,
            max_agents,
            service,
            ground,
        }));
        shared.publish(last_event);
        Ok(Self {
            store,
            reader,
            shared,
            wakes,
            woken,
            last_event,
        })
    }

    fn build(
        mut self,
        duty: Duty,
        server: Option<http::Server>,
        signals: Option<SignalWatch>,
        lock: StateLock,
    ) -> Daemon {
        let router = http::router(Arc::clone(&self.shared));
        let scribe = Scribe::new(&self.shared.project.runs(), self.shared.wakes.clone());
        if duty != Duty::Answer {
            heal(&scribe, self.reader.as_mut());
        }
        let janitor = (duty == Duty::Serve).then(|| Janitor::start(&self.shared));
        let engine = EngineLoop {
            host: Host::new(Arc::clone(&self.shared), duty != Duty::Answer),
            scribe,
            store: self.store,
            reader: self.reader,
            shared: self.shared,
            wakes: self.woken,
            duty,
            ending: None,
            owing: true,
            unrecorded: Vec::new(),
            pace: Pace::default(),
            held_back: false,
            landing_waiters: std::collections::BTreeMap::new(),
            settle_waiters: Vec::new(),
            broken: None,
            next_due: None,
            last_event: self.last_event,
            at_rest: false,
            plan_owed: true,
        };
        let engine = std::thread::spawn(move || engine.run());
        Daemon {
            wakes: self.wakes,
            router,
            engine: Mutex::new(Some(engine)),
            server,
            _janitor: janitor,
            _signals: signals,
            _lock: lock,
        }
    }
}

/// Says what was remarkable about the database when it was opened.
fn tell_opening(store: &SqliteStore, log: &LogSink) {
    let opening = store.opening();
    let say = |level, message: String| log.say(LogLine::note(level, "database", message));
    if opening.unclean_stop {
        say(
            "warn",
            "the last daemon was killed; the database was checked and is whole".to_owned(),
        );
    }
    if opening.log_missing {
        say(
            "error",
            "the write-ahead log was missing: the last facts may be lost".to_owned(),
        );
    }
    if let Some(backup) = &opening.backup {
        say(
            "info",
            format!(
                "migrated; the database as it was is in {}",
                backup.display()
            ),
        );
    }
}

/// A database that is gone is not begun anew while there are runs that it must have known.
fn refuse_to_begin_anew(project: &Project) -> Result<(), StartError> {
    let (database, runs) = (project.database(), project.runs());
    let is_gone = matches!(database.try_exists(), Ok(false));
    let knew_runs = || std::fs::read_dir(&runs).is_ok_and(|mut runs| runs.next().is_some());
    // A log without its database is refused by the store, which knows more about it.
    if is_gone && knew_runs() && !log_of(&database).exists() {
        return Err(StartError::DatabaseMissing { database, runs });
    }
    Ok(())
}

fn duty(options: &Options, reader: &mut dyn Reader) -> Result<Duty, StartError> {
    let Some(only) = &options.only else {
        return Ok(if options.once {
            Duty::Once
        } else {
            Duty::Serve
        });
    };
    let mut tasks = BTreeSet::new();
    for prefix in only {
        tasks.insert(find(prefix, reader)?);
    }
    Ok(Duty::Only(tasks))
}

fn find(prefix: &str, reader: &mut dyn Reader) -> Result<TaskId, StartError> {
    let mut found = reader.task_ids_with_prefix(prefix, 2)?;
    match (found.pop(), found.pop()) {
        (Some(task), None) => Ok(task),
        _ => Err(StartError::NoSuchTask(prefix.to_owned())),
    }
}

fn heal(scribe: &Scribe, reader: &mut dyn Reader) {
    let filter = orch_store::RunFilter {
        limit: HEALED_AT_START,
        ..Default::default()
    };
    for run in reader.runs(&filter).unwrap_or_default() {
        scribe.heal(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_and_a_daemon_that_is_gone_are_waited_for_and_a_daemon_that_lives_is_not() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        let lives = std::process::id();
        assert!(is_letting_go(&format!("{COMMAND}, pid {lives}")));
        assert!(is_letting_go(&format!("orch serve, pid {gone}")));
        assert!(!is_letting_go(&format!("orch serve, pid {lives}")));
        assert!(!is_letting_go("another process"));
    }
}
