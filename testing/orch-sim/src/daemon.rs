//! The daemon's loop, as a model: gather what woke it, record in one transaction, then act.
//!
//! Everything the daemon remembers is in [`Daemon`] and dies with it. What it needs to go on it
//! finds in the store and on the host's disk. It must not look at the truth the checkers use.

use std::collections::BTreeMap;

use orch_core::config::Config;
use orch_core::engine::{self, Context, Effect, End, Input, Landing, Permit, Report, StepError};
use orch_core::ledger::Ledger;
use orch_core::outcome::Enforced;
use orch_core::request::Request;
use orch_core::run::{Exit, Failure, FailureCode, Run, RunState};
use orch_core::task::Task;
use orch_core::{RunId, TaskId, Timestamp};

use crate::agenda::{Agenda, Epoch, Happening};
use crate::host::{Host, Record, RecordedEnd, SHELL, Standing};
use crate::mutation::Mutation;
use crate::random::Random;
use crate::rows::Commit;
use crate::storage::{Abort, Storage, Watch, chain};

/// Inputs that one transaction takes at most.
const BATCH: usize = 64;
/// Time between two sweeps, milliseconds.
pub(crate) const SWEEP_MS: i64 = 1_000;
/// How long a process may stay after its result, milliseconds.
const LINGER_MS: i64 = 5_000;
/// How long a shim may take to show itself before another one is started, milliseconds. Two may
/// then be on their way; the lock and the gate let one through.
const LAUNCH_PATIENCE_MS: i64 = 900;
/// How long a landing takes at most, milliseconds.
const LANDING_MS: i64 = 1_200;

/// Everything that can wake the daemon.
#[derive(Debug, Clone)]
pub(crate) enum Wake {
    /// It has just been started.
    Started,
    /// Somebody asks.
    Request(Request),
    /// There may be something new about this run.
    News(RunId),
    /// No shim could be made for this run, and none will be.
    NotLaunched(RunId, Failure),
    /// The timer for the next hold.
    Timer,
    /// The slow sweep over all live runs.
    Sweep,
    /// A landing is over.
    Landed(TaskId, Landing),
    /// The configuration file changed.
    Reload(Config),
    /// Start nothing more, end when nothing runs.
    Drain,
    /// Stop the agents and end.
    Interrupt,
}

/// What the daemon acts upon.
pub(crate) struct Machine<'a> {
    pub(crate) agenda: &'a mut Agenda,
    pub(crate) host: &'a mut Host,
    pub(crate) faults: &'a mut Random,
}

/// What a transaction led to.
pub(crate) struct Recorded {
    pub(crate) effects: Vec<Effect>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) next_due: Option<Timestamp>,
}

/// One life of the daemon.
pub(crate) struct Daemon {
    pub(crate) epoch: Epoch,
    pub(crate) config: Config,
    /// Whether it ends when nothing runs any more.
    pub(crate) ending: bool,
    inbox: Vec<Wake>,
    awake: bool,
    /// The batch the store's writer is busy with.
    pub(crate) writing: Option<Vec<Input>>,
    /// The writer is slow or was refused: nobody can expect anything of this daemon.
    pub(crate) hindered: bool,
    launched: BTreeMap<RunId, i64>,
    reaped: BTreeMap<RunId, Exit>,
    enforced: BTreeMap<RunId, Enforced>,
    timer_at: Option<i64>,
    random: Random,
    mutation: Option<Mutation>,
    /// The boot of the machine it lives in.
    boot: String,
}

impl Daemon {
    pub(crate) fn new(
        epoch: Epoch,
        config: Config,
        random: Random,
        mutation: Option<Mutation>,
        boot: String,
    ) -> Self {
        Self {
            epoch,
            config,
            ending: false,
            inbox: Vec::new(),
            awake: false,
            writing: None,
            hindered: false,
            launched: BTreeMap::new(),
            reaped: BTreeMap::new(),
            enforced: BTreeMap::new(),
            timer_at: None,
            random,
            mutation,
            boot,
        }
    }

    /// Takes up what an earlier daemon left.
    ///
    /// # Errors
    /// The store could not be read.
    pub(crate) fn start(
        &mut self,
        storage: &mut Storage,
        machine: &mut Machine<'_>,
    ) -> Result<(), Abort> {
        machine.host.daemon = Some(self.epoch);
        let (owed, next_due) =
            storage.read(|ledger| Ok((engine::resume(ledger)?, ledger.next_due()?)))?;
        if !self.is(Mutation::ForgetsResume) {
            for effect in owed {
                self.perform(effect, machine);
            }
        }
        self.set_timer(next_due, machine);
        machine.agenda.after(SWEEP_MS, Happening::Sweep(self.epoch));
        self.wake(Wake::Started, machine);
        Ok(())
    }

    /// Puts something into the inbox and sees to it that the loop comes by.
    pub(crate) fn wake(&mut self, wake: Wake, machine: &mut Machine<'_>) {
        self.inbox.push(wake);
        if !self.awake && self.writing.is_none() {
            self.awake = true;
            let moment = machine.faults.between(0, 3);
            machine
                .agenda
                .after(moment, Happening::DaemonTurns(self.epoch));
        }
    }

    /// Turns the inbox into inputs and hands them to the store's writer.
    ///
    /// # Errors
    /// The store could not be read.
    pub(crate) fn turn(
        &mut self,
        storage: &mut Storage,
        machine: &mut Machine<'_>,
    ) -> Result<(), Abort> {
        self.awake = false;
        // From here on the writer is taken: whatever comes in waits for the next turn.
        self.writing = Some(Vec::new());
        let live = storage.read(|ledger| ledger.live_runs())?;
        let live = live.into_iter().map(|run| (run.id.clone(), run)).collect();
        let mut inputs = Vec::new();
        let count = self.inbox.len().min(BATCH);
        for wake in self.inbox.drain(..count).collect::<Vec<_>>() {
            self.gather(wake, &live, storage, machine, &mut inputs)?;
        }
        self.writing = Some(inputs);
        self.hindered = machine.faults.chance(machine.host.rates.commit_slow);
        let most = if self.hindered { 4_000 } else { 8 };
        let moment = machine.faults.between(0, most);
        machine
            .agenda
            .after(moment, Happening::CommitEnds(self.epoch));
        Ok(())
    }

    fn gather(
        &mut self,
        wake: Wake,
        live: &BTreeMap<RunId, Run>,
        storage: &mut Storage,
        machine: &mut Machine<'_>,
        inputs: &mut Vec<Input>,
    ) -> Result<(), Abort> {
        match wake {
            Wake::Started => {}
            Wake::Request(request) => inputs.push(Input::Request(request)),
            Wake::News(run) => {
                if let Some(run) = live.get(&run) {
                    inputs.extend(self.look_at(run, storage, machine)?);
                }
            }
            Wake::NotLaunched(run, failure) => {
                inputs.push(ended(
                    run,
                    Report::bare(End::NotStarted(failure), now(machine)),
                ));
            }
            Wake::Timer => inputs.push(Input::Tick),
            Wake::Sweep => {
                for run in live.values() {
                    inputs.extend(self.look_at(run, storage, machine)?);
                }
            }
            Wake::Landed(task, landing) => inputs.push(Input::Landed { task, landing }),
            Wake::Reload(config) => self.config = config,
            Wake::Drain => self.ending = true,
            Wake::Interrupt => {
                self.ending = true;
                inputs.push(Input::Interrupt);
            }
        }
        Ok(())
    }

    /// Compares a run's row with what the host shows. News only say when to look; this says what
    /// is true, so a message that is lost, late or repeated changes nothing.
    fn look_at(
        &mut self,
        run: &Run,
        storage: &mut Storage,
        machine: &mut Machine<'_>,
    ) -> Result<Option<Input>, Abort> {
        self.take_reaped(machine.host);
        let input = match machine.host.inspect(run) {
            Standing::Recorded(_) if self.is(Mutation::IgnoresRecords) => None,
            Standing::Recorded(_) if self.is(Mutation::LosesRecords) => {
                Some(lost(run, FailureCode::SupervisorDied, machine))
            }
            Standing::Recorded(record) => Some(recorded(run, record, machine)),
            Standing::Supervised { started_at } => {
                started_at.and_then(|at| Self::at_work(run, at, machine))
            }
            Standing::NeverStarted => self.never_started(run, storage, machine)?,
            Standing::DiedAtLaunch => {
                let failure = failure(FailureCode::SupervisorDiedAtLaunch);
                let report = Report::bare(End::NotStarted(failure), now(machine));
                Some(ended(run.id.clone(), report))
            }
            Standing::Unsupervised { agent: false, .. } => {
                machine.host.kill_leftovers(&run.id);
                return self.look_at(run, storage, machine);
            }
            Standing::Unsupervised { started_at, .. } => {
                self.enforce(run, started_at, storage, machine)?;
                Self::at_work(run, started_at, machine)
            }
            Standing::Gone(code) => Some(match self.reaped.get(&run.id) {
                Some(exit) => self.seen_by_us(run, *exit, machine),
                None => lost(run, code, machine),
            }),
        };
        Ok(input)
    }

    fn take_reaped(&mut self, host: &mut Host) {
        self.reaped.extend(host.reaped.drain(..));
    }

    fn at_work(run: &Run, started_at: i64, machine: &Machine<'_>) -> Option<Input> {
        if run.state == RunState::Starting {
            return Some(Input::Spawned {
                run: run.id.clone(),
                at: Timestamp(started_at),
            });
        }
        let said = machine.host.said(&run.id).filter(|_| run.adapter != SHELL);
        let lingers = said.is_some_and(|(at, _)| machine.agenda.now() >= at + LINGER_MS);
        (lingers && run.stop.is_none()).then(|| Input::Lingers {
            run: run.id.clone(),
        })
    }

    /// A run without a shim: start one, or make sure that none will ever come.
    fn never_started(
        &mut self,
        run: &Run,
        storage: &mut Storage,
        machine: &mut Machine<'_>,
    ) -> Result<Option<Input>, Abort> {
        if run.stop.is_some() {
            let failure = failure(FailureCode::SpawnFailed);
            let report = Report::bare(End::NotStarted(failure), now(machine));
            let shut = machine.host.forestall(&run.id);
            return Ok(shut.then(|| ended(run.id.clone(), report)));
        }
        let launched = self.launched.get(&run.id);
        let for_ever = self.is(Mutation::NeverLaunchesAgain);
        let patient = |at: &i64| for_ever || machine.agenda.now() < at + LAUNCH_PATIENCE_MS;
        if !launched.is_some_and(patient)
            && let Some(task) = storage.read(|ledger| ledger.task(&run.task))?
        {
            self.launch(run, &task, machine);
        }
        Ok(None)
    }

    /// Nobody else enforces the timeout of a run that has lost its shim.
    fn enforce(
        &mut self,
        run: &Run,
        started_at: i64,
        storage: &mut Storage,
        machine: &mut Machine<'_>,
    ) -> Result<(), Abort> {
        let task = storage.read(|ledger| ledger.task(&run.task))?;
        let Some(limit_ms) = task.and_then(|task| task.timeout_ms) else {
            return Ok(());
        };
        let age = u64::try_from(machine.agenda.now() - started_at).unwrap_or(0);
        if age >= limit_ms {
            let enforced = Enforced::Timeout { limit_ms };
            self.enforced.entry(run.id.clone()).or_insert(enforced);
            machine.host.stop(&run.id, machine.agenda);
        }
        Ok(())
    }

    /// The shim died, and the daemon, as subreaper, was told the status in its place.
    fn seen_by_us(&self, run: &Run, exit: Exit, machine: &Machine<'_>) -> Input {
        let end = End::Seen {
            exit,
            enforced: self.enforced.get(&run.id).copied(),
            stopped: machine.host.was_stopped(&run.id),
            verdict: machine.host.verdict(&run.id, &run.adapter),
            logs: "out.log; status reaped by the daemon".to_owned(),
        };
        ended(run.id.clone(), report(run, end, now(machine), machine))
    }

    /// Records a batch: one transaction for all its inputs and the plan that follows from them.
    ///
    /// # Errors
    /// The commit failed, or a rule was broken.
    pub(crate) fn record(
        &mut self,
        inputs: &[Input],
        fails: bool,
        now: Timestamp,
        storage: &mut Storage,
    ) -> Result<Recorded, Abort> {
        let permit = if self.ending || self.is(Mutation::NeverStarts) {
            Permit::Nothing
        } else {
            Permit::Everything
        };
        let mutation = self.mutation;
        let random = &mut self.random;
        let mut entropy = || random.next();
        let mut context = Context {
            now,
            config: &self.config,
            boot: Some(&self.boot),
            entropy: &mut entropy,
        };
        let ((effects, next_due, dirty, withheld), mut commit) = storage.transact(|ledger| {
            let (mut effects, dirty) = steps(ledger, inputs, &mut context, mutation)?;
            effects.extend(engine::plan(ledger, permit, &mut context).map_err(broken)?);
            if fails {
                return Err(Abort::Injected);
            }
            let withheld = ledger.take_withheld();
            Ok((effects, ledger.next_due()?, dirty, withheld))
        })?;
        commit.planned = matches!(permit, Permit::Everything);
        commit.written_by_refused = dirty;
        let mut commits = vec![commit];
        if !withheld.is_empty() {
            commits.push(write_withheld(&withheld, storage)?);
        }
        Ok(Recorded {
            effects,
            commits,
            next_due,
        })
    }

    /// What a batch would lead to, without recording it: only a daemon that is wrong asks.
    ///
    /// # Errors
    /// A rule was broken.
    pub(crate) fn rehearse(
        &mut self,
        inputs: &[Input],
        now: Timestamp,
        storage: &mut Storage,
    ) -> Result<Vec<Effect>, Abort> {
        let mut random = self.random.clone();
        let mut entropy = || random.next();
        let mut context = Context {
            now,
            config: &self.config,
            boot: Some(&self.boot),
            entropy: &mut entropy,
        };
        let mut effects = Vec::new();
        let rehearsed = storage.transact(|ledger| {
            effects = steps(ledger, inputs, &mut context, None)?.0;
            let planned = engine::plan(ledger, Permit::Everything, &mut context);
            effects.extend(planned.map_err(broken)?);
            Err::<(), _>(Abort::Injected)
        });
        match rehearsed {
            Err(Abort::Broken(what)) => Err(Abort::Broken(what)),
            Ok(_) | Err(Abort::Injected) => Ok(effects),
        }
    }

    /// Does one thing that was recorded.
    pub(crate) fn perform(&mut self, effect: Effect, machine: &mut Machine<'_>) {
        match effect {
            Effect::Start { run, task } => self.launch(&run, &task, machine),
            Effect::Adopt { run, .. } => self.wake(Wake::News(run.id), machine),
            Effect::Stop { run, .. } if self.is(Mutation::TakesStoppingForDead) => {
                let failure = failure(FailureCode::SpawnFailed);
                self.wake(Wake::NotLaunched(run, failure), machine);
            }
            Effect::Stop { .. } if self.is(Mutation::IgnoresStop) => {}
            Effect::Stop { run, .. } => machine.host.stop(&run, machine.agenda),
            Effect::Land { task, run } => self.land(&task, run.as_deref(), machine),
            Effect::Discard { .. } => {}
        }
    }

    fn launch(&mut self, run: &Run, task: &Task, machine: &mut Machine<'_>) {
        self.launched.insert(run.id.clone(), machine.agenda.now());
        let launched = machine.host.launch(run, task, machine.agenda);
        // An earlier shim may be on its way; only a shut gate proves that there is none.
        if let Err(failure) = launched
            && machine.host.forestall(&run.id)
        {
            self.wake(Wake::NotLaunched(run.id.clone(), failure), machine);
        }
    }

    fn land(&mut self, task: &Task, run: Option<&Run>, machine: &mut Machine<'_>) {
        let has_branch = run.is_some_and(|run| run.branch.is_some());
        if !has_branch || self.is(Mutation::SkipsLanding) {
            let landing = Landing::Landed { commit: None };
            return self.wake(Wake::Landed(task.id.clone(), landing), machine);
        }
        let moves = machine.faults.between(1, LANDING_MS);
        let answers = moves + machine.faults.between(0, 100);
        let id = task.id.clone();
        machine.agenda.after(moves, Happening::GitMoves(id.clone()));
        machine
            .agenda
            .after(answers, Happening::GitAnswers(self.epoch, id));
    }

    /// Ends a turn: the next one follows if something came in meanwhile.
    pub(crate) fn settle(&mut self, recorded_due: Option<Timestamp>, machine: &mut Machine<'_>) {
        self.writing = None;
        self.hindered = false;
        self.set_timer(recorded_due, machine);
        if !self.inbox.is_empty() && !self.awake {
            self.awake = true;
            machine.agenda.after(0, Happening::DaemonTurns(self.epoch));
        }
    }

    fn set_timer(&mut self, due: Option<Timestamp>, machine: &mut Machine<'_>) {
        let Some(Timestamp(due)) = due.filter(|_| !self.is(Mutation::ForgetsTimers)) else {
            return;
        };
        let now = machine.agenda.now();
        let at = due.max(now + 1);
        let earlier = self.timer_at.is_none_or(|set| set <= now || at < set);
        if earlier {
            self.timer_at = Some(at);
            machine.agenda.after(at - now, Happening::Timer(self.epoch));
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

/// Steps every input; counts the refusals that left something behind.
fn steps(
    ledger: &mut Watch<'_>,
    inputs: &[Input],
    context: &mut Context<'_>,
    mutation: Option<Mutation>,
) -> Result<(Vec<Effect>, u64), Abort> {
    let mut effects = Vec::new();
    let mut dirty = 0;
    for input in inputs {
        let before = ledger.writes();
        match engine::step(ledger, input.clone(), context) {
            Ok(step) => effects.extend(step.effects),
            Err(StepError::Refused(_)) if matches!(input, Input::Request(_)) => {
                if mutation == Some(Mutation::RefusalWrites) {
                    ledger.scribble(context.now)?;
                }
                dirty += u64::from(ledger.writes() != before);
            }
            Err(error) => return Err(broken(error)),
        }
    }
    Ok((effects, dirty))
}

fn write_withheld(tasks: &[Task], storage: &mut Storage) -> Result<Commit, Abort> {
    let mutation = storage.mutation.take();
    let written = storage.transact(|ledger| {
        for task in tasks {
            ledger.update_task(task)?;
        }
        Ok(())
    });
    storage.mutation = mutation;
    Ok(written?.1)
}

fn broken(error: StepError) -> Abort {
    Abort::Broken(chain(&error))
}

fn now(machine: &Machine<'_>) -> Timestamp {
    machine.agenda.timestamp()
}

fn ended(run: RunId, report: Report) -> Input {
    Input::Ended {
        run,
        report: Box::new(report),
    }
}

fn lost(run: &Run, code: FailureCode, machine: &Machine<'_>) -> Input {
    let report = Report::bare(End::Lost(failure(code)), now(machine));
    ended(run.id.clone(), report)
}

fn recorded(run: &Run, record: Record, machine: &Machine<'_>) -> Input {
    if record.corrupt {
        return lost(run, FailureCode::RecordCorrupt, machine);
    }
    let end = match record.end {
        RecordedEnd::NotStarted(failure) => End::NotStarted(failure),
        RecordedEnd::Exited {
            exit,
            enforced,
            stopped,
        } => End::Seen {
            exit,
            enforced,
            stopped,
            verdict: machine.host.verdict(&run.id, &run.adapter),
            logs: "out.log bytes 0-1234".to_owned(),
        },
    };
    let mut report = report(run, end, record.finished_at, machine);
    report.started_at = record.started_at;
    ended(run.id.clone(), report)
}

fn report(run: &Run, end: End, finished_at: Timestamp, machine: &Machine<'_>) -> Report {
    let result = machine.host.said(&run.id);
    Report {
        result: result.map(|(at, words)| format!("{words:?} at {at}")),
        session_id: machine.host.session(&run.id),
        changes: run.branch.as_ref().map(|_| machine.host.changes(&run.id)),
        branch: run.branch.as_ref().map(|_| machine.host.branch(&run.task)),
        ..Report::bare(end, finished_at)
    }
}

fn failure(code: FailureCode) -> Failure {
    Failure {
        code,
        message: format!("the reconciler found: {code}"),
        evidence: "what is on the fake disk".to_owned(),
    }
}
