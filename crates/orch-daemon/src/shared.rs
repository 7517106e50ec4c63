//! What several threads of the daemon look at: configuration, service state, and what is new.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use orch_core::RunId;
use orch_core::wait::{Service, Wait};
use orch_store::{Reader, StoreError};
use tokio::sync::watch;

use crate::config::{self, Loaded};
use crate::lock::Place;
use crate::log::{LogLine, LogSink};
use crate::project::Project;
use crate::readers::Readers;
use crate::redact::Redactor;
use crate::space::{self, Shortage};
use crate::wake::Wake;

/// A lock whose owner died is taken over: what it guards is replaced as a whole, never half.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What several threads look at.
pub(crate) struct Shared {
    pub project: Project,
    /// Takes secrets out of every line itself.
    pub log: LogSink,
    /// Say what agents say, too.
    pub verbose: bool,
    /// Whether streams may wait for more: somebody serves.
    pub follows: bool,
    pub wakes: Sender<Wake>,
    /// The files without which nothing may be written: the lock and the database.
    ground: Vec<Place>,
    readers: Readers,
    config: RwLock<Arc<Loaded>>,
    redactor: Arc<RwLock<Arc<Redactor>>>,
    config_error: Mutex<Option<String>>,
    max_agents: Option<u32>,
    service: AtomicU8,
    /// Why nothing is started although somebody serves.
    shortage: Mutex<Option<Shortage>>,
    /// What keeps the end of a live run from being recorded, or what is being done for it.
    hindered: Mutex<BTreeMap<RunId, Wait>>,
    /// Starts are put off because the machine had nothing left for one.
    put_off: AtomicBool,
    news: watch::Sender<u64>,
    output: watch::Sender<u64>,
}

/// What a [`Shared`] is made of.
pub(crate) struct Parts {
    pub project: Project,
    pub log: LogSink,
    pub verbose: bool,
    pub follows: bool,
    pub wakes: Sender<Wake>,
    pub config: Loaded,
    pub max_agents: Option<u32>,
    pub service: Service,
    pub ground: Vec<Place>,
}

/// A log out of whose lines secrets are taken before anybody sees them.
fn clean_log(log: LogSink, redactor: Arc<RwLock<Arc<Redactor>>>) -> LogSink {
    LogSink::new(move |mut lines: Vec<LogLine>| {
        let redactor = current(&redactor);
        for message in lines.iter_mut().filter_map(|line| line.message.as_mut()) {
            if let Cow::Owned(clean) = redactor.text(message) {
                *message = clean;
            }
        }
        log.say_all(lines);
    })
}

fn current(redactor: &RwLock<Arc<Redactor>>) -> Arc<Redactor> {
    let redactor = redactor.read().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(&redactor)
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let config = with_cap(parts.config, parts.max_agents);
        let redactor = Redactor::of(&config, std::env::vars_os());
        let redactor = Arc::new(RwLock::new(Arc::new(redactor)));
        let database = parts.project.database();
        Self {
            project: parts.project,
            log: clean_log(parts.log, Arc::clone(&redactor)),
            verbose: parts.verbose,
            follows: parts.follows,
            wakes: parts.wakes,
            ground: parts.ground,
            readers: Readers::new(move || orch_store::sqlite::open_reader(&database)),
            redactor,
            config: RwLock::new(Arc::new(config)),
            config_error: Mutex::default(),
            max_agents: parts.max_agents,
            service: AtomicU8::new(parts.service as u8),
            shortage: Mutex::default(),
            hindered: Mutex::default(),
            put_off: AtomicBool::new(false),
            news: watch::Sender::new(0),
            output: watch::Sender::new(0),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Loaded> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What takes secrets out of whatever goes out.
    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        current(&self.redactor)
    }

    /// What is wrong with the configuration file, if the one in force is an older one.
    pub(crate) fn config_error(&self) -> Option<String> {
        locked(&self.config_error).clone()
    }

    /// Reads the file again if it has changed. A bad file changes nothing but is told.
    pub(crate) fn reload(&self, log: &LogSink) {
        if self.config_is_current() {
            return;
        }
        match config::load(&self.project, &adapters()) {
            Ok(loaded) => {
                let loaded = Arc::new(with_cap(loaded, self.max_agents));
                let redactor = Arc::new(Redactor::of(&loaded, std::env::vars_os()));
                *self
                    .redactor
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = redactor;
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                *locked(&self.config_error) = None;
                log.say(LogLine::note(
                    "info",
                    "config_loaded",
                    "the configuration was read again",
                ));
            }
            Err(error) => {
                let text = crate::log::chain(&error);
                let before = locked(&self.config_error).replace(text.clone());
                if before.as_ref() != Some(&text) {
                    log.say(LogLine::note("error", "config_refused", text));
                }
            }
        }
    }

    /// Whether the file is the one that was read. A file that cannot be looked at is not.
    pub(crate) fn config_is_current(&self) -> bool {
        config::stamp(&self.project).is_ok_and(|stamp| stamp == self.config().source_stamp)
    }

    /// Why nothing may be written any more, if the state directory was removed or replaced: what
    /// is recorded would be gone with this process, and another daemon may serve already.
    pub(crate) fn lost_ground(&self) -> Option<String> {
        let lost = self.ground.iter().find(|place| place.is_lost())?;
        Some(format!(
            "the state directory {} was removed or replaced while orch served ({} is gone or \
             another file); agents that run go on",
            self.project.state.display(),
            lost.path().display()
        ))
    }

    pub(crate) fn service(&self) -> Service {
        match self.service.load(Ordering::Relaxed) {
            0 if self.shortage().is_some() => Service::NoSpace,
            0 if self.put_off.load(Ordering::Relaxed) => Service::NoResources,
            0 => Service::Serving,
            1 => Service::Draining,
            _ => Service::Stopped,
        }
    }

    /// Why nothing is started although somebody serves: what the loop found last.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        locked(&self.shortage).clone()
    }

    /// Notes what the end of a live run waits for; `None` when it waits for its agent alone.
    pub(crate) fn hinder(&self, run: &RunId, wait: Option<Wait>) {
        let mut hindered = locked(&self.hindered);
        match wait {
            Some(wait) => drop(hindered.insert(run.clone(), wait)),
            None => drop(hindered.remove(run)),
        }
    }

    /// What the end of this run waits for, if not for its agent alone.
    pub(crate) fn hindrance(&self, run: &RunId) -> Option<Wait> {
        locked(&self.hindered).get(run).cloned()
    }

    /// Notes whether starts are put off because the machine had nothing left for one.
    pub(crate) fn set_put_off(&self, put_off: bool) {
        self.put_off.store(put_off, Ordering::Relaxed);
    }

    /// Why nothing is started, or not much, in words for a person.
    pub(crate) fn paused(&self) -> Option<String> {
        if let Some(short) = self.shortage() {
            return Some(short.to_string());
        }
        let put_off = self.put_off.load(Ordering::Relaxed);
        put_off.then(|| {
            "the machine had no process, descriptor or memory left for a start: agents are started \
             one at a time, after a pause"
                .to_owned()
        })
    }

    /// Looks at the disks, and says when they have become too full or roomy again.
    pub(crate) fn look_for_shortage(&self) -> bool {
        let floor = self.config().limits.free_space_bytes;
        let places = [self.project.state.as_path(), self.project.root.as_path()];
        let now = space::shortage(places, floor);
        let before = std::mem::replace(&mut *locked(&self.shortage), now.clone());
        match (&before, &now) {
            (None, Some(short)) => {
                let message = format!("nothing is started: {short}");
                self.log.say(LogLine::note("warn", "disk_low", message));
            }
            (Some(_), None) => {
                let message = "there is room on the disk again; work goes on";
                self.log.say(LogLine::note("info", "disk_ok", message));
            }
            _ => {}
        }
        now.is_some()
    }

    pub(crate) fn set_service(&self, service: Service) {
        self.service.store(service as u8, Ordering::Relaxed);
    }

    /// Tells everyone who follows that the facts go up to `seq`.
    pub(crate) fn publish(&self, seq: u64) {
        self.news.send_replace(seq);
    }

    /// Wakes when there are new facts.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Tells everyone who follows that some run has written something.
    pub(crate) fn publish_output(&self) {
        self.output.send_modify(|count| *count += 1);
    }

    /// Wakes when some run has written something.
    pub(crate) fn output(&self) -> watch::Receiver<u64> {
        self.output.subscribe()
    }

    /// Reads what is committed. `work` must not ask for another reader.
    ///
    /// # Errors
    /// The database cannot be read, or as `work` says.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> Result<T, E>,
    ) -> Result<T, E> {
        self.readers.read(work)
    }
}

/// The kinds of agent this version knows.
#[must_use]
pub fn adapters() -> Vec<&'static str> {
    orch_host::adapter::all()
        .iter()
        .map(|adapter| adapter.name)
        .collect()
}

/// The program that a command of a shell agent starts by itself; `None` if a shell reads it.
#[must_use]
pub fn plain_program(command: &str) -> Option<&str> {
    orch_host::adapter::plain_program(command)
}

fn with_cap(mut loaded: Loaded, max_agents: Option<u32>) -> Loaded {
    loaded.core.max_agents = max_agents.unwrap_or(loaded.core.max_agents);
    loaded
}
