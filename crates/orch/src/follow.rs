//! Following what happens: facts one by one, through the daemon that serves now or one that
//! comes later.
//!
//! A follower outlives its daemon: it says so, waits for the next one, and goes on where it was.
//! Without a daemon the project must not stay locked while somebody only watches, so it is
//! opened, read and closed again, once in a while. This file must not know what is followed.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use orch_api::client::{Client, Lines, Next, StreamQuery};
use orch_api::types::{Event, Status};

use crate::context::Context;
use crate::error::{Kind, Result, UserError};

/// How long after a look a project that nobody serves is looked at again: at first, and at most
/// once nothing was new for long. A daemon that comes is noticed at once.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long before a daemon that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a daemon may take to die: it is not said to be silent before.
const DYING: Duration = Duration::from_secs(3);
/// How often in a row one and the same daemon may break off without having told anything.
const BREAKS_MOST: u32 = 5;

/// What a person is told of a daemon that is not there any more.
const GONE: &str = "the daemon is gone; agents that were at work go on, and this goes on with the \
                    next daemon";

/// What a follower is told.
#[derive(Debug)]
pub enum News<'a> {
    /// Something happened.
    Event(&'a Event),
    /// Nothing did for as long as the follower's patience.
    Quiet,
    /// A daemon serves, and it is not the one that was followed before.
    Served,
    /// Nobody serves; this process has looked by itself and told all it found.
    Alone,
}

/// Somebody who follows, whoever serves.
pub struct Follower<'a> {
    context: &'a Context,
    /// Whether it has had an answer at all. Who has none yet is no follower.
    met: bool,
    /// The daemon it follows; `None` if nobody serves.
    daemon: Option<u32>,
    /// Whether another daemon came that the caller does not know of yet.
    came: bool,
    /// The word for the absence that a person was told of last.
    told: Option<String>,
    /// How often this daemon broke off and answered again since it told something.
    breaks: u32,
    /// Since when nobody has answered.
    broken: Option<Instant>,
    pause: Duration,
}

impl<'a> Follower<'a> {
    /// Nobody is followed yet.
    #[must_use]
    pub const fn new(context: &'a Context) -> Self {
        Self {
            context,
            met: false,
            daemon: None,
            came: false,
            told: None,
            breaks: 0,
            broken: None,
            pause: LOOK_AGAIN.0,
        }
    }

    /// Somebody who has just heard this of whom it follows.
    #[must_use]
    pub fn having_heard(context: &'a Context, status: &Status) -> Self {
        let mut follower = Self::new(context);
        follower.meet(status);
        follower
    }

    /// A client of whoever serves now, or of this process if nobody does, and what it said first.
    /// Waits for somebody who answers. In this process the project is locked until the client is
    /// dropped.
    ///
    /// # Errors
    /// There is no project, it cannot be opened, or nobody has ever answered.
    pub fn client(&mut self) -> Result<(Client, Status)> {
        let reached = self.reach()?;
        // Whoever asks knows by that who serves.
        self.came = false;
        Ok(reached)
    }

    fn reach(&mut self) -> Result<(Client, Status)> {
        loop {
            match self.ask() {
                Ok((client, status)) => {
                    self.meet(&status);
                    return Ok((client, status));
                }
                Err(error) => self.lost(error)?,
            }
        }
    }

    fn ask(&self) -> Result<(Client, Status)> {
        let client = self.context.client()?;
        let status = client.status()?;
        Ok((client, status))
    }

    /// Takes note of who answers.
    fn meet(&mut self, status: &Status) {
        let now = status.pid.filter(|_| is_served(status));
        let broken = self.broken.take().is_some();
        self.breaks = match now == self.daemon {
            true => self.breaks + u32::from(broken),
            false => 0,
        };
        self.came |= now.is_some() && now != self.daemon;
        match (now, self.daemon) {
            (Some(now), before) if self.met && before != Some(now) => {
                self.told = None;
                // Talk that nobody hears is no error.
                let talk = format!("a daemon serves now (pid {now}); going on");
                let _ = self.context.printer.talk(talk);
            }
            (Some(_), Some(_)) if self.told.take().is_some() => {
                let _ = self
                    .context
                    .printer
                    .talk("the daemon answers again; going on");
            }
            (None, Some(_)) => self.tell("gone", GONE),
            _ => {}
        }
        self.met = true;
        self.daemon = now;
    }

    /// Says something once, until something else is to be said.
    fn tell(&mut self, word: &str, text: &str) {
        if self.told.as_deref() != Some(word) {
            self.context.printer.warn(text);
            self.told = Some(word.to_owned());
        }
    }

    /// To be called with whatever went wrong between this follower and a daemon. Waits a moment if
    /// that only means that the daemon is not there or does not answer.
    ///
    /// # Errors
    /// It means anything else, or nobody has ever answered: `error` itself.
    pub fn lost(&mut self, error: UserError) -> Result<()> {
        match error.code.as_str() {
            "daemon_stopped" if self.met => {
                self.tell("stopped", &with_hint(&error, "this waits for it"));
                orch_daemon::wait_while_stopped(&self.context.project()?);
                return Ok(());
            }
            "unreachable" if self.breaks < BREAKS_MOST => match self.broken {
                // The first look after it says whether it is gone.
                None => {
                    self.broken = Some(Instant::now());
                    return Ok(());
                }
                Some(_) if !self.met => return Err(error),
                // One that dies may take a moment.
                Some(since) if since.elapsed() < DYING => {}
                Some(_) => self.tell("silent", "the daemon does not answer; this waits for it"),
            },
            _ if error.kind == Kind::TryLater => {
                self.tell("busy", &with_hint(&error, "this waits"));
            }
            _ => return Err(error),
        }
        std::thread::sleep(ASK_AGAIN);
        Ok(())
    }

    /// Tells `each` what happens after event number `after`, until it breaks. `after` is moved on
    /// with each event that was told.
    ///
    /// # Errors
    /// The project cannot be opened, or `each` failed for another reason than a daemon that left.
    pub fn events(
        &mut self,
        after: &mut u64,
        patience: Duration,
        each: &mut dyn FnMut(&Client, News<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        loop {
            match self.watch(after, patience, each) {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(())) => {}
                Err(error) => self.lost(error)?,
            }
        }
    }

    /// The same as long as one daemon serves, or for one look.
    fn watch(
        &mut self,
        after: &mut u64,
        patience: Duration,
        each: &mut dyn FnMut(&Client, News<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let (client, status) = self.reach()?;
        let query = StreamQuery {
            after: Some(*after),
            follow: is_served(&status),
            ..StreamQuery::default()
        };
        let mut lines = client.events(&query)?;
        if std::mem::take(&mut self.came) && each(&client, News::Served)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let flow = self.until_end(&client, &mut lines, patience, after, each)?;
        if flow.is_break() || is_served(&status) {
            return Ok(flow);
        }
        if each(&client, News::Alone)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        // The project must be free while this waits.
        drop((lines, client));
        match status.pid {
            // It has ended its work and is about to leave.
            Some(_) => std::thread::sleep(ASK_AGAIN),
            None => self.wait_for_daemon()?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn until_end(
        &mut self,
        client: &Client,
        lines: &mut Lines,
        patience: Duration,
        after: &mut u64,
        each: &mut dyn FnMut(&Client, News<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        loop {
            let flow = match lines.next_event(Some(patience))? {
                Next::Item(event) => {
                    self.breaks = 0;
                    self.pause = LOOK_AGAIN.0;
                    let flow = each(client, News::Event(&event))?;
                    // One that could not be told is told again.
                    *after = event.seq;
                    flow
                }
                Next::Quiet => each(client, News::Quiet)?,
                Next::End => return Ok(ControlFlow::Continue(())),
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Waits for a daemon, but not longer than until this process should look again by itself.
    fn wait_for_daemon(&mut self) -> Result<()> {
        let project = self.context.project()?;
        if !orch_daemon::wait_for_daemon(&project, self.pause) {
            self.pause = (self.pause * 2).min(LOOK_AGAIN.1);
        }
        Ok(())
    }
}

/// Whether a daemon said this, not this process for itself.
#[must_use]
pub fn is_served(status: &Status) -> bool {
    status.service != "stopped"
}

fn with_hint(error: &UserError, what: &str) -> String {
    let hint = error.details.hint.as_deref();
    let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}; {what}{hint}", error.message)
}
