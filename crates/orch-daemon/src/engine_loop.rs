//! The loop: one closed enum of everything that can wake the daemon, one thread that takes it.
//!
//! Inputs that have gathered are stepped in one transaction, then planned, then committed; only
//! after the commit are people answered and effects performed. An input from the host that could
//! not be recorded is kept and tried again: news is never dropped because the disk is full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use orch_core::config::Config;
use orch_core::engine::{self, Context, Effect, Input, Permit, Report, StepError};
use orch_core::event::{Event, EventKind};
use orch_core::ledger::LedgerError;
use orch_core::request::{Answer, Refusal, Request};
use orch_core::task::{Task, TaskStatus};
use orch_core::wait::{self, Service};
use orch_core::{RunId, TaskId, Timestamp};
use orch_store::sqlite::SqliteStore;
use orch_store::{Reader, Store, StoreError, TaskFilter, Transaction};

use crate::convert;
use crate::daemon::End;
use crate::host::Host;
use crate::log::LogLine;
use crate::scribe::Scribe;
use crate::shared::Shared;

/// Most inputs that share one transaction: a bound on how long the first of them waits.
const BATCH: usize = 512;
/// How often the loop looks up when nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// Most tasks named when a `--once` run ends.
const NAMED_AT_END: usize = 50;

/// Everything that can wake the loop.
pub(crate) enum Wake {
    /// Somebody asks.
    Ask { request: Request, reply: Reply },
    /// The host has found something out.
    Host(Input),
    /// The configuration file may have changed.
    Reload(Option<tokio::sync::oneshot::Sender<()>>),
    /// Nothing is being performed any more.
    HostIdle,
    /// Tell when everything that was owed at the start has been looked at.
    Settle(Sender<()>),
    /// The daemon is to end.
    End(Ending),
}

/// How firmly the daemon is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Answer what is under way and leave; agents that run go on. For a command without a daemon.
    Close,
    /// Start nothing more and leave when the agents have ended.
    Drain,
    /// Stop the agents and leave when they have ended.
    StopAgents,
    /// Leave now; agents that run go on and are found again by the next daemon.
    Leave,
}

/// Where an answer goes.
pub(crate) type Reply = tokio::sync::oneshot::Sender<Result<Answer, NotDone>>;

/// Why a request was not fulfilled.
#[derive(Debug)]
pub(crate) enum NotDone {
    /// The engine refused it; nothing was changed.
    Refused(Refusal),
    /// It was approved and could not be landed; the work waits for a person.
    LandingBlocked { message: String, files: Vec<String> },
    /// It was approved, that is recorded, and orch ended before the branch was landed.
    LandingUnfinished,
    /// The store failed; nothing was changed.
    Store { message: String, disk_full: bool },
}

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
    pub landing_waiters: BTreeMap<TaskId, Vec<Reply>>,
    /// Why the store will not take anything any more.
    pub broken: Option<String>,
    pub settle_waiters: Vec<Sender<()>>,
    pub next_due: Option<Timestamp>,
    pub last_event: u64,
}

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
enum NotRecorded {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The plan asked for something that cannot be: a bug, told loudly.
    #[error("the plan makes no sense")]
    Plan(#[source] Refusal),
}

impl NotRecorded {
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Ledger(error) => StoreError::inside(error).is_some_and(StoreError::is_disk_full),
            Self::Plan(_) => false,
        }
    }

    /// Whether the store will refuse everything from now on.
    fn is_last(&self) -> bool {
        match self {
            Self::Ledger(error) => StoreError::inside(error).is_some_and(StoreError::is_last),
            Self::Plan(_) => false,
        }
    }
}

impl From<StepError> for NotRecorded {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Ledger(error) => Self::Ledger(error),
            StepError::Refused(refusal) => Self::Plan(refusal),
        }
    }
}

/// One input and who waits for its answer.
struct Item {
    input: Input,
    reply: Option<Reply>,
}

/// What one input was answered with, if it was a request.
type Answered = Option<Result<Answer, NotDone>>;

/// What one transaction led to.
#[derive(Default)]
struct Recorded {
    /// One for each input, in their order.
    answers: Vec<Answered>,
    effects: Vec<Effect>,
    /// Reports of the host that were not taken: bugs, told loudly.
    surprises: Vec<String>,
    /// Runs whose end was not taken: they are looked at again.
    unended: Vec<RunId>,
    next_due: Option<Timestamp>,
    at_rest: bool,
}

impl EngineLoop {
    /// Runs until told to end, or until nothing can move for those duties that end by themselves.
    pub(crate) fn run(mut self) -> End {
        self.owe();
        // The first plan is not kept waiting for somebody to wake the loop.
        let mut at_rest = self.take(Vec::new());
        while !self.is_over(at_rest) {
            self.owe();
            // What was done before this moment has said so before it, and is gathered now.
            let was_idle = self.host.is_idle();
            let wakes = self.gather();
            at_rest = self.take(wakes);
            if was_idle {
                self.answer_settled();
            }
        }
        let end = self.end();
        self.let_landing_waiters_go();
        self.host.close();
        self.scribe.close();
        end
    }

    /// Performs what an earlier daemon owed when it ended. Tried again with the next turn if the
    /// store cannot be read: a run that is recorded must not stay unattended.
    fn owe(&mut self) {
        if !self.owing {
            return;
        }
        let owed = self
            .store
            .transact(|ledger| Ok::<_, NotRecorded>(engine::resume(ledger)?));
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

    fn gather(&mut self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        match self.wakes.recv_timeout(self.patience()) {
            Ok(wake) => wakes.push(wake),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => wakes.push(Wake::End(Ending::Leave)),
        }
        while wakes.len() < BATCH {
            match self.wakes.try_recv() {
                Ok(wake) => wakes.push(wake),
                Err(_) => break,
            }
        }
        wakes
    }

    fn patience(&self) -> Duration {
        let all_recorded = self.unrecorded.is_empty() && !self.owing;
        if all_recorded && !self.settle_waiters.is_empty() && self.host.is_idle() {
            return Duration::ZERO;
        }
        match self.next_due {
            Some(due) => Duration::from_millis(due.millis_since(convert::now())).min(IDLE),
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
                    reloads.extend(reply);
                }
                Wake::HostIdle => {}
                Wake::Settle(reply) => self.settle_waiters.push(reply),
                Wake::End(ending) => items.extend(self.asked_to_end(ending)),
            }
        }
        if self.next_due.is_some_and(|due| due <= convert::now()) {
            items.push(Item {
                input: Input::Tick,
                reply: None,
            });
        }
        let at_rest = self.record(items);
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
        (self.shared.log)(&LogLine::note("info", event, message));
        (ending == Ending::StopAgents).then_some(Item {
            input: Input::Interrupt,
            reply: None,
        })
    }

    /// Records inputs in one transaction and does everything that follows from them.
    fn record(&mut self, items: Vec<Item>) -> bool {
        let config = self.shared.config();
        let (inputs, replies): (Vec<_>, Vec<_>) = items
            .into_iter()
            .map(|item| (item.input, item.reply))
            .unzip();
        let permit_only;
        let permit = match (&self.duty, self.ending) {
            (_, Some(_)) | (Duty::Answer, _) => Permit::Nothing,
            (Duty::Only(tasks), None) => {
                permit_only = tasks.clone();
                Permit::Only(&permit_only)
            }
            (Duty::Serve | Duty::Once, None) => Permit::Everything,
        };
        let outcome = self
            .store
            .transact(|ledger| transaction(ledger, &inputs, permit, &config.core));
        match outcome {
            Ok(recorded) => self.follow(recorded, replies),
            Err(error) => {
                self.not_recorded(&error, inputs, replies);
                false
            }
        }
    }

    /// Tells those who asked; keeps what the host reported for the next turn.
    fn not_recorded(
        &mut self,
        error: &NotRecorded,
        inputs: Vec<Input>,
        replies: Vec<Option<Reply>>,
    ) {
        self.store_trouble("recording", error);
        let message = chain(error);
        let disk_full = error.is_disk_full();
        for (input, reply) in inputs.into_iter().zip(replies) {
            let not_done = || NotDone::Store {
                message: message.clone(),
                disk_full,
            };
            match reply {
                Some(reply) => drop(reply.send(Err(not_done()))),
                None => self.unrecorded.push(input),
            }
        }
        // Not a busy loop: what failed is tried again with the next wake, at most once a second.
        self.next_due = None;
    }

    /// After the commit: tell, write copies, answer, act. In this order.
    fn follow(&mut self, recorded: Recorded, replies: Vec<Option<Reply>>) -> bool {
        self.next_due = recorded.next_due;
        for surprise in &recorded.surprises {
            let message = format!("a report that was not taken: {surprise}");
            (self.shared.log)(&LogLine::note("error", "trouble", message));
        }
        for run in &recorded.unended {
            self.host.look_again(run);
        }
        if !recorded.surprises.is_empty() {
            // Not a busy loop, should it be the tick that was not taken.
            self.next_due = None;
        }
        let facts = self
            .reader
            .events(self.last_event, usize::MAX)
            .unwrap_or_default();
        for fact in &facts {
            (self.shared.log)(&LogLine::fact(&fact.event));
            self.last_event = fact.seq;
        }
        self.copy_runs(facts.iter().map(|fact| &fact.event));
        self.shared.publish(self.last_event);
        for (reply, answer) in replies.into_iter().zip(recorded.answers) {
            if let (Some(reply), Some(answer)) = (reply, answer) {
                self.answer(reply, answer);
            }
        }
        self.answer_landings(facts.iter().map(|fact| &fact.event));
        let idle = recorded.effects.is_empty();
        recorded
            .effects
            .into_iter()
            .for_each(|effect| self.host.perform(effect));
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
    fn copy_runs<'a>(&mut self, facts: impl Iterator<Item = &'a Event>) {
        let runs: BTreeSet<_> = facts.filter_map(|fact| fact.run.as_ref()).collect();
        for id in runs {
            if let Ok(Some(run)) = self.reader.run(id) {
                if run.status().is_final() {
                    self.host.forget(id);
                }
                self.scribe.write(&run);
            }
        }
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
            let Some(replies) = self.landing_waiters.remove(id) else {
                continue;
            };
            for reply in replies {
                let _ = reply.send(self.landing_answer(id));
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
            _ => Ok(Answer::Task(Box::new(task))),
        }
    }

    fn is_over(&mut self, at_rest: bool) -> bool {
        if self.broken.is_some() {
            return true;
        }
        let all_recorded = self.unrecorded.is_empty() && !self.owing;
        let still = at_rest && self.host.is_idle() && all_recorded;
        match (self.ending, &self.duty) {
            (Some(Ending::Leave), _) => true,
            (Some(Ending::Close), _) => self.host.is_idle() && self.landing_waiters.is_empty(),
            (Some(Ending::Drain | Ending::StopAgents), _) => still,
            (None, Duty::Serve | Duty::Answer) => false,
            (None, Duty::Once) => still && self.next_due.is_none(),
            (None, Duty::Only(tasks)) => {
                still && tasks.iter().all(|id| !may_wake(self.reader.as_mut(), id))
            }
        }
    }

    /// What is to be said when everything is over.
    fn end(&mut self) -> End {
        if let Some(broken) = self.broken.take() {
            let failed = vec![format!("orch had to stop: {broken}")];
            return End {
                failed,
                stuck: Vec::new(),
            };
        }
        match (&self.duty, self.ending) {
            (Duty::Once, None) => {
                let failed = self.in_status(TaskStatus::Failed);
                let stuck = self.in_status(TaskStatus::Todo);
                self.tell(failed, stuck)
            }
            (Duty::Only(ids), None) => {
                let ids = ids.clone();
                let tasks: Vec<Task> = ids
                    .iter()
                    .filter_map(|id| self.reader.task(id).ok().flatten())
                    .collect();
                let of = |status| -> Vec<Task> {
                    tasks
                        .iter()
                        .filter(|task| task.status() == status)
                        .cloned()
                        .collect()
                };
                let mut failed = of(TaskStatus::Failed);
                failed.extend(of(TaskStatus::Cancelled));
                self.tell(failed, of(TaskStatus::Todo))
            }
            _ => End::default(),
        }
    }

    fn in_status(&mut self, status: TaskStatus) -> Vec<Task> {
        let filter = TaskFilter {
            statuses: vec![status],
            limit: NAMED_AT_END,
            ..TaskFilter::default()
        };
        self.reader.tasks(&filter).unwrap_or_default()
    }

    fn tell(&mut self, failed: Vec<Task>, stuck: Vec<Task>) -> End {
        let config = self.shared.config();
        let failed = failed.iter().map(|task| {
            let why = task
                .state
                .failure()
                .map_or("", |failure| failure.message.as_str());
            format!("{} {}: {}: {why}", task.id, task.title, task.status())
        });
        let failed: Vec<String> = failed.collect();
        let stuck = stuck
            .iter()
            .map(|task| {
                let service = Service::Serving;
                let ledger = self.reader.ledger();
                let wait = wait::explain(ledger, task, &config.core, &[], service)
                    .ok()
                    .flatten();
                let why = wait.map_or_else(String::new, |wait| wait.message);
                format!("{} {}: {why}", task.id, task.title)
            })
            .collect();
        End { failed, stuck }
    }

    fn store_trouble(&mut self, doing: &str, error: &NotRecorded) {
        self.trouble(doing, error);
        if error.is_last() {
            // The database cannot be written any more. Agents run on; a new daemon reads what
            // they leave once a person has looked.
            self.broken = Some(chain(error));
        }
    }

    fn trouble(&self, doing: &str, error: &(dyn std::error::Error + 'static)) {
        let message = format!("{doing}: {}", chain(error));
        (self.shared.log)(&LogLine::note("error", "trouble", message));
    }
}

/// Whether only the clock keeps this task from going on.
fn may_wake(reader: &mut dyn Reader, id: &TaskId) -> bool {
    let task = reader.task(id).ok().flatten();
    task.is_some_and(|task| task.unmet == 0 && task.state.hold().is_some())
}

/// Steps every input, plans once, and looks at what is left to wait for.
fn transaction(
    ledger: &mut dyn Transaction,
    inputs: &[Input],
    permit: Permit<'_>,
    config: &Config,
) -> Result<Recorded, NotRecorded> {
    let mut entropy = entropy;
    let mut context = Context {
        now: convert::now(),
        config,
        entropy: &mut entropy,
    };
    let mut recorded = Recorded::default();
    for input in inputs {
        recorded.take(ledger, input, &mut context)?;
    }
    let starts = engine::plan(ledger, permit, &mut context)?;
    recorded.effects.extend(starts);
    recorded.next_due = ledger.next_due()?;
    recorded.at_rest = ledger.live_runs()?.is_empty() && ledger.landing()?.is_empty();
    Ok(recorded)
}

impl Recorded {
    /// Steps one input, in a part of its own: what it breaks does not take the others with it. A
    /// store that failed, rather than refused a row, fails the whole transaction.
    fn take(
        &mut self,
        ledger: &mut dyn Transaction,
        input: &Input,
        context: &mut Context<'_>,
    ) -> Result<(), NotRecorded> {
        let mut step = |input| match ledger.attempt(|part| engine::step(part, input, context)) {
            Err(StepError::Ledger(error)) if !is_about_the_input(&error) => Err(error),
            step => Ok(step),
        };
        let answer = match (step(input.clone())?, input) {
            (Ok(step), _) => {
                self.effects.extend(step.effects);
                step.answer.map(Ok)
            }
            (Err(error), Input::Request(_)) => Some(Err(not_done(error))),
            (Err(error), Input::Ended { run, report }) => {
                self.surprises
                    .push(format!("the end of {run}: {}", chain(&error)));
                match step(bare_end(run, report, &error))? {
                    Ok(step) => self.effects.extend(step.effects),
                    Err(_) => self.unended.push(run.clone()),
                }
                None
            }
            (Err(error), input) => {
                self.surprises.push(format!("{input:?}: {}", chain(&error)));
                None
            }
        };
        self.answers.push(answer);
        Ok(())
    }
}

/// The same end without what the agent said of itself: no word of an agent, however odd, may
/// keep its run from ending.
fn bare_end(run: &RunId, report: &Report, error: &StepError) -> Input {
    let warning = format!("what it reported could not be recorded: {}", chain(error));
    let report = Report {
        commit: report.commit.clone(),
        events: report.events,
        started_at: report.started_at,
        warnings: vec![warning],
        ..Report::bare(report.end.clone(), report.finished_at)
    };
    Input::Ended {
        run: run.clone(),
        report: Box::new(report),
    }
}

fn not_done(error: StepError) -> NotDone {
    match error {
        StepError::Refused(refusal) => NotDone::Refused(refusal),
        StepError::Ledger(error) => NotDone::Store {
            message: chain(&error),
            disk_full: false,
        },
    }
}

/// Whether the store is well and only this input cannot be written: the same again would not help.
fn is_about_the_input(error: &LedgerError) -> bool {
    StoreError::inside(error)
        .is_some_and(|error| !error.is_disk_full() && !error.is_busy() && !error.is_last())
}

/// Random bits of the operating system.
fn entropy() -> u64 {
    getrandom::u64().expect("the operating system has no random numbers")
}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // `transparent` errors repeat themselves.
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
