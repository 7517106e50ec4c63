//! The loop: one closed enum of everything that can wake the daemon, one thread that takes it.
//!
//! Inputs that have gathered are stepped in one transaction, then planned, then committed; only
//! after the commit are people answered and effects performed. An input from the host that could
//! not be recorded is kept and tried again: news is never dropped because the disk is full.

mod over;
mod points;
mod turn;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use orch_core::config::Config;
use orch_core::engine::{self, Input, Permit};
use orch_core::event::{Event, EventKind};
use orch_core::ledger::LedgerError;
use orch_core::request::{Answer, Refusal};
use orch_core::run::Run;
use orch_core::wait::{Actor, Service, Wait, WaitCode};
use orch_core::{RunId, TaskId, Timestamp};
use orch_host::failpoint::{self, Point};
use orch_store::sqlite::SqliteStore;
use orch_store::{Reader, Store, Transaction};

use crate::clock;
use crate::host::Host;
use crate::log::{LogLine, chain};
use crate::pace::Pace;
use crate::scribe::Scribe;
use crate::shared::Shared;
use crate::wake::{End, Ending, NotDone, Reply, Wake};
use turn::{Recorded, is_disk_full, is_last, is_unconfirmed, transaction};

/// Most inputs that share one transaction: a bound on how long the first of them waits.
const BATCH: usize = 512;
/// Bytes of agents' words after which nothing more joins a transaction: they are in memory several
/// times until it is over.
const BATCH_BYTES: usize = 8 << 20;
/// How long news from which nothing follows waits for company. A transaction costs more than all
/// that is in it, and a run that ends at once is told of once.
const COMPANY: Duration = Duration::from_millis(10);
/// How often the loop looks up when nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);

/// What the loop may start and when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Serve until told to end.
    Serve,
    /// Serve until nothing can move any more.
    Once,
    /// Run these tasks and nothing else, until none of them can move any more.
    Only(BTreeSet<TaskId>),
    /// Start nothing; answer until closed.
    Answer,
}

pub(crate) struct EngineLoop {
    pub store: SqliteStore,
    pub reader: Box<dyn Reader>,
    pub shared: Arc<Shared>,
    pub host: Host,
    pub scribe: Scribe,
    pub wakes: Receiver<Wake>,
    pub duty: Duty,
    pub ending: Option<Ending>,
    /// What an earlier daemon owed has not been read yet.
    pub owing: bool,
    /// Host inputs whose transaction failed.
    pub unrecorded: Vec<Input>,
    pub pace: Pace,
    /// The last plan started nothing because of the pace.
    pub held_back: bool,
    pub landing_waiters: BTreeMap<TaskId, Vec<Reply>>,
    /// Why the store will not take anything any more.
    pub broken: Option<String>,
    pub settle_waiters: Vec<Sender<()>>,
    pub next_due: Option<Timestamp>,
    pub last_event: u64,
    /// Whether nothing was under way when the ledger was last looked at.
    pub at_rest: bool,
    /// Something may have changed that only a plan can tell.
    pub plan_owed: bool,
}

/// One input and who waits for its answer.
struct Item {
    input: Input,
    reply: Option<Reply>,
}

impl EngineLoop {
    /// Runs until told to end, or until nothing can move for those duties that end by themselves.
    pub(crate) fn run(mut self) -> End {
        self.owe();
        // The first plan is not kept waiting for somebody to wake the loop.
        let mut at_rest = self.take(Vec::new());
        while !self.is_over(at_rest) {
            self.owe();
            if self.ask_for_idleness(at_rest) && self.is_over(at_rest) {
                break;
            }
            // What was done before this moment has said so before it, and is gathered now.
            let was_idle = self.host.is_idle();
            let wakes = self.gather();
            at_rest = self.take(wakes);
            // What was just recorded may have something performed in turn: a landing, say.
            if was_idle && self.host.is_idle() {
                self.answer_settled();
            }
        }
        failpoint::hit(Point::LoopEnded);
        let end = self.end();
        self.let_landing_waiters_go();
        self.host.close();
        self.scribe.close();
        failpoint::hit(Point::HandsClosed);
        // Streams that follow end now, with everything there was.
        self.shared.set_service(Service::Stopped);
        self.shared.publish(self.last_event);
        end
    }

    /// Performs what an earlier daemon owed when it ended. Tried again with the next turn if the
    /// store cannot be read: a run that is recorded must not stay unattended.
    fn owe(&mut self) {
        if !self.owing {
            return;
        }
        let owed = self.store.transact(|ledger| engine::resume(ledger));
        match owed {
            Ok(effects) => {
                self.owing = false;
                effects
                    .into_iter()
                    .for_each(|effect| self.host.perform(effect));
            }
            Err(error) => self.store_trouble("reading what was under way", &error),
        }
    }

    /// Those who wait for a landing are told what is true when the daemon ends before it.
    fn let_landing_waiters_go(&mut self) {
        for reply in std::mem::take(&mut self.landing_waiters)
            .into_values()
            .flatten()
        {
            let _ = reply.send(Err(NotDone::LandingUnfinished));
        }
    }

    /// Whoever waits for what an earlier daemon owed is told when all of it is recorded.
    fn answer_settled(&mut self) {
        if self.unrecorded.is_empty() && !self.owing {
            for waiter in self.settle_waiters.drain(..) {
                let _ = waiter.send(());
            }
        }
    }

    /// Has the host say when it has done everything, if somebody waits for that; in between it
    /// would only wake the loop for nothing. `true` if it will: it may have been done just before.
    fn ask_for_idleness(&self, at_rest: bool) -> bool {
        let may_end = at_rest && matches!(self.duty, Duty::Once | Duty::Only(_));
        let asked = may_end || self.ending.is_some() || !self.settle_waiters.is_empty();
        self.host.tell_when_idle(asked);
        asked
    }

    fn gather(&mut self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        let patience = self.patience();
        match self.wakes.recv_timeout(patience) {
            Ok(wake) => wakes.push(wake),
            // Nothing should have changed meanwhile; a look makes sure of it.
            Err(RecvTimeoutError::Timeout) => self.plan_owed |= !patience.is_zero(),
            Err(RecvTimeoutError::Disconnected) => wakes.push(Wake::End(Ending::Leave)),
        }
        self.take_waiting(&mut wakes);
        if wakes.first().is_some_and(Wake::can_wait) {
            self.wait_for_company(&mut wakes);
        }
        wakes
    }

    fn take_waiting(&self, wakes: &mut Vec<Wake>) {
        let mut bytes: usize = wakes.iter().map(Wake::bytes).sum();
        while wakes.len() < BATCH && bytes < BATCH_BYTES {
            let Ok(wake) = self.wakes.try_recv() else {
                return;
            };
            bytes += wake.bytes();
            wakes.push(wake);
        }
    }

    /// Waits for something that cannot wait, and not for long.
    fn wait_for_company(&self, wakes: &mut Vec<Wake>) {
        let until = Instant::now() + COMPANY.min(self.patience());
        while wakes.iter().all(Wake::can_wait) && wakes.len() < BATCH {
            let left = until.saturating_duration_since(Instant::now());
            match self.wakes.recv_timeout(left) {
                Ok(wake) => wakes.push(wake),
                Err(_) => return,
            }
            self.take_waiting(wakes);
        }
    }

    fn patience(&self) -> Duration {
        let all_recorded = self.unrecorded.is_empty() && !self.owing;
        if all_recorded && !self.settle_waiters.is_empty() && self.host.is_idle() {
            return Duration::ZERO;
        }
        match self.next_due {
            Some(due) => Duration::from_millis(due.millis_since(clock::now())).min(IDLE),
            None => IDLE,
        }
    }

    /// Takes what has gathered; returns whether nothing is under way afterwards.
    fn take(&mut self, wakes: Vec<Wake>) -> bool {
        let mut items: Vec<Item> = std::mem::take(&mut self.unrecorded)
            .into_iter()
            .map(|input| Item { input, reply: None })
            .collect();
        let mut reloads = Vec::new();
        for wake in wakes {
            match wake {
                Wake::Ask { request, reply } => {
                    items.push(Item {
                        input: Input::Request(request),
                        reply: Some(reply),
                    });
                }
                Wake::Host(input) => items.push(Item { input, reply: None }),
                Wake::Reload(reply) => {
                    self.shared.reload(&self.shared.log);
                    self.plan_owed = true;
                    reloads.extend(reply);
                }
                Wake::HostIdle => {}
                Wake::Settle(reply) => self.settle_waiters.push(reply),
                Wake::Broken(why) => self.ground_lost(why),
                Wake::End(ending) => items.extend(self.asked_to_end(ending)),
            }
        }
        if self.next_due.is_some_and(|due| due <= clock::now()) {
            items.push(Item {
                input: Input::Tick,
                reply: None,
            });
        }
        if let Some(why) = &self.broken {
            // What came with the bad news is not taken: nobody could ever read it.
            refuse(items, why);
            return false;
        }
        let at_rest = if items.is_empty() && !self.plan_owed {
            self.at_rest
        } else {
            self.record(items)
        };
        // Whoever asked for the reload sees a plan made with the new configuration.
        for reply in reloads {
            let _ = reply.send(());
        }
        at_rest
    }

    fn asked_to_end(&mut self, ending: Ending) -> Option<Item> {
        if self.ending == Some(Ending::Leave) {
            return None;
        }
        self.ending = Some(ending);
        failpoint::hit(Point::DrainBegun);
        let (event, message) = match ending {
            Ending::Close => return None,
            Ending::Drain => (
                "draining",
                "starting nothing more; agents at work may finish",
            ),
            Ending::StopAgents => ("stopping", "stopping the agents; no attempt is used up"),
            Ending::Leave => ("leaving", "leaving now; agents that run go on"),
        };
        self.shared.set_service(Service::Draining);
        self.shared.log.say(LogLine::note("info", event, message));
        (ending == Ending::StopAgents).then_some(Item {
            input: Input::Interrupt,
            reply: None,
        })
    }

    /// Records inputs in one transaction and does everything that follows from them.
    fn record(&mut self, items: Vec<Item>) -> bool {
        let config = self.shared.config();
        // What begins to wait now waits by this clock. It works without, only not over a restart.
        let _ = clock::keep(&self.shared.project.clock());
        let (inputs, replies): (Vec<_>, Vec<_>) = items
            .into_iter()
            .map(|item| (item.input, item.reply))
            .unzip();
        let permit_only;
        let rests = self.keep_pace(&inputs);
        let careful = self.pace.is_careful();
        let permit = match (&self.duty, self.ending) {
            (_, Some(_)) | (Duty::Answer, _) => Permit::Nothing,
            _ if self.shared.look_for_shortage() || rests => Permit::Nothing,
            (Duty::Only(tasks), None) => {
                permit_only = tasks.clone();
                Permit::Only(&permit_only)
            }
            (Duty::Serve | Duty::Once, None) => Permit::Everything,
        };
        let outcome = self.store.transact(|ledger| {
            let config = paced(ledger, &config.core, careful)?;
            transaction(ledger, &inputs, permit, &config, self.last_event)
        });
        match outcome {
            Ok(recorded) => {
                points::committed(&inputs, &recorded.effects);
                self.follow(recorded, replies)
            }
            Err(error) => {
                self.plan_owed = true;
                self.not_recorded(&error, inputs, replies);
                false
            }
        }
    }

    /// Whether nothing may be started now, after the machine had nothing left for a start.
    fn keep_pace(&mut self, inputs: &[Input]) -> bool {
        let now = Instant::now();
        let change = self.pace.heed(inputs, now);
        if let Some(held) = change {
            self.shared.set_put_off(held);
            let (level, message) = match held {
                true => (
                    "warn",
                    "the machine had nothing left for a start: the next are tried one at a time, \
                     after a pause",
                ),
                false => ("info", "an agent could be started again; work goes on"),
            };
            self.shared
                .log
                .say(LogLine::note(level, "starts_paced", message));
        }
        self.held_back = self.pace.rests(now);
        self.held_back
    }

    /// Tells those who asked; keeps what the host reported for the next turn.
    fn not_recorded(
        &mut self,
        error: &LedgerError,
        inputs: Vec<Input>,
        replies: Vec<Option<Reply>>,
    ) {
        self.store_trouble("recording", error);
        let message = chain(error);
        let (disk_full, unknown) = (is_disk_full(error), is_unconfirmed(error));
        for (input, reply) in inputs.into_iter().zip(replies) {
            let not_done = match unknown {
                true => NotDone::Unknown {
                    message: message.clone(),
                },
                false => NotDone::Store {
                    message: message.clone(),
                    disk_full,
                },
            };
            if let Input::Ended { run, .. } = &input {
                self.tell_unrecorded(run, disk_full, &message);
            }
            match reply {
                Some(reply) => drop(reply.send(Err(not_done))),
                None => self.unrecorded.push(input),
            }
        }
        // Not a busy loop: what failed is tried again with the next wake, at most once a second.
        self.next_due = None;
    }

    /// Notes what the end of a run waits for, for who asks why.
    fn tell_unrecorded(&self, run: &RunId, disk_full: bool, message: &str) {
        let wait = Wait {
            code: match disk_full {
                true => WaitCode::Disk,
                false => WaitCode::Ending,
            },
            message: format!("its agent has ended, which cannot be recorded yet: {message}"),
            actor: Actor::Person,
            until: None,
        };
        self.shared.hinder(run, Some(wait));
    }

    /// After the commit: tell, write copies, answer, act. In this order.
    fn follow(&mut self, recorded: Recorded, replies: Vec<Option<Reply>>) -> bool {
        self.next_due = recorded.next_due;
        self.plan_owed = !recorded.surprises.is_empty();
        for surprise in &recorded.surprises {
            let message = format!("not taken: {surprise}");
            self.shared
                .log
                .say(LogLine::note("error", "trouble", message));
        }
        for run in &recorded.unended {
            self.host.look_again(run);
        }
        if !recorded.surprises.is_empty() {
            // Not a busy loop, should it be the tick that was not taken.
            self.next_due = None;
        }
        let lines = recorded.facts.iter();
        let lines = lines.map(|fact| LogLine::fact(&fact.event));
        self.shared.log.say_all(lines.collect());
        if let Some(last) = recorded.facts.last() {
            self.last_event = last.seq;
        }
        self.copy_runs(recorded.runs);
        self.shared.publish(self.last_event);
        for (reply, answer) in replies.into_iter().zip(recorded.answers) {
            if let (Some(reply), Some(answer)) = (reply, answer) {
                self.answer(reply, answer);
                failpoint::hit(Point::RequestAnswered);
            }
        }
        self.answer_landings(recorded.facts.iter().map(|fact| &fact.event));
        let idle = recorded.effects.is_empty();
        recorded
            .effects
            .into_iter()
            .for_each(|effect| self.host.perform(effect));
        self.at_rest = recorded.at_rest;
        recorded.at_rest && idle
    }

    fn answer(&mut self, reply: Reply, answer: Result<Answer, NotDone>) {
        match answer {
            Ok(Answer::Landing(task)) => {
                let waiters = self.landing_waiters.entry(task.id.clone());
                waiters.or_default().push(reply);
            }
            answer => drop(reply.send(answer)),
        }
    }

    /// Rewrites `run.json` of every run that changed and lets go of those that ended.
    fn copy_runs(&self, runs: Vec<Run>) {
        for run in runs.iter().filter(|run| run.status().is_final()) {
            self.host.forget(&run.id);
        }
        self.scribe.write(runs);
    }

    fn answer_landings<'a>(&mut self, facts: impl Iterator<Item = &'a Event>) {
        for fact in facts {
            let over = matches!(
                fact.kind,
                EventKind::TaskDone | EventKind::TaskLandingBlocked
            );
            let Some(id) = fact.task.as_ref().filter(|_| over) else {
                continue;
            };
            let replies = self.landing_waiters.remove(id).unwrap_or_default();
            for reply in replies {
                let answer = self.landing_answer(id);
                // Blocked and approved again in one turn: the wait goes on.
                self.answer(reply, answer);
            }
        }
    }

    fn landing_answer(&mut self, id: &TaskId) -> Result<Answer, NotDone> {
        use orch_core::task::{Review, TaskState};
        let task = self.reader.task(id).ok().flatten();
        let task = task.ok_or_else(|| NotDone::Refused(Refusal::NoSuchTask(id.clone())))?;
        match &task.state {
            TaskState::Review(Review::Blocked { message, files }) => Err(NotDone::LandingBlocked {
                message: message.clone(),
                files: files.clone(),
            }),
            TaskState::Review(Review::Landing) => Ok(Answer::Landing(Box::new(task))),
            _ => Ok(Answer::Task(Box::new(task))),
        }
    }

    fn store_trouble(&mut self, doing: &str, error: &LedgerError) {
        self.trouble(doing, error);
        if is_last(error) {
            // The database cannot be written any more. Agents run on; a new daemon reads what
            // they leave once a person has looked.
            self.broken = Some(chain(error));
        }
    }

    fn ground_lost(&mut self, why: String) {
        self.shared
            .log
            .say(LogLine::note("error", "state_lost", why.clone()));
        self.broken.get_or_insert(why);
    }

    fn trouble(&self, doing: &str, error: &(dyn std::error::Error + 'static)) {
        let message = format!("{doing}: {}", chain(error));
        self.shared
            .log
            .say(LogLine::note("error", "trouble", message));
    }
}

/// The configuration to plan with: no more than one more agent where starts are tried carefully.
fn paced<'a>(
    ledger: &mut dyn Transaction,
    config: &'a Config,
    careful: bool,
) -> Result<Cow<'a, Config>, LedgerError> {
    if !careful {
        return Ok(Cow::Borrowed(config));
    }
    let live = u32::try_from(ledger.live_runs()?.len()).unwrap_or(u32::MAX);
    let mut config = config.clone();
    config.max_agents = config.max_agents.min(live.saturating_add(1));
    Ok(Cow::Owned(config))
}

/// Tells those who wait that nothing was done.
fn refuse(items: Vec<Item>, why: &str) {
    for reply in items.into_iter().filter_map(|item| item.reply) {
        let _ = reply.send(Err(NotDone::Store {
            message: why.to_owned(),
            disk_full: false,
        }));
    }
}
