//! One simulation: takes what happens next, lets it happen, shows the outcome to the checkers.

use std::collections::BTreeSet;

use orch_core::config::Config;
use orch_core::engine::{Effect, Input, Landing};
use orch_core::request::Request;
use orch_core::wait::{self, Actor, Service};
use orch_core::{RunId, TaskId};

use crate::agenda::{Agenda, Epoch, Happening};
use crate::checkers::{Checkers, Finding, Seen};
use crate::daemon::{Daemon, Machine, SWEEP_MS, Wake};
use crate::git::Git;
use crate::host::Host;
use crate::mutation::Mutation;
use crate::people;
use crate::profile::{Profile, Rates};
use crate::random::Random;
use crate::rows::Commit;
use crate::storage::{Abort, Storage};
use crate::trace::Trace;

/// Steps that everything may take to settle once nothing breaks any more.
const SETTLING_STEPS: u64 = 6_000;
/// Longest life of a simulation after faults have stopped, milliseconds.
const SETTLING_MS: i64 = 900_000;

pub(crate) struct World {
    rates: Rates,
    mutation: Option<Mutation>,
    agenda: Agenda,
    host: Host,
    git: Git,
    storage: Storage,
    /// What `orch.toml` says.
    config: Config,
    daemon: Option<Daemon>,
    epochs: Epoch,
    people: Random,
    faults: Random,
    seed: u64,
    /// Milliseconds during which a daemon was up and its store at work.
    healthy_ms: i64,
    pub(crate) steps: u64,
    settling_since: Option<i64>,
    pub(crate) checkers: Checkers,
    pub(crate) trace: Trace,
    pub(crate) marks: BTreeSet<&'static str>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        profile: Profile,
        mutation: Option<Mutation>,
        trace: Trace,
    ) -> Self {
        let rates = profile.rates();
        let mut people = Random::new(seed, 1);
        let config = people::draw_config(&mut people);
        let mut host = Host::new(seed, rates);
        host.mutation = mutation;
        let mut storage = Storage::default();
        storage.mutation = mutation;
        Self {
            rates,
            mutation,
            agenda: Agenda::new(),
            host,
            git: Git::default(),
            storage,
            config,
            daemon: None,
            epochs: 0,
            people,
            faults: Random::new(seed, 3),
            seed,
            healthy_ms: 0,
            steps: 0,
            settling_since: None,
            checkers: Checkers::all(),
            trace,
            marks: BTreeSet::new(),
        }
    }

    /// Runs the simulation to its end.
    pub(crate) fn run(&mut self) -> Result<(), Finding> {
        self.agenda.after(0, Happening::DaemonStarts);
        self.agenda.after(1, Happening::Wish);
        loop {
            let before = self.agenda.now();
            let Some(happening) = self.agenda.take() else {
                return Err(self.stuck("nothing is planned any more"));
            };
            self.steps += 1;
            if self.daemon.as_ref().is_some_and(|daemon| !daemon.hindered) {
                self.healthy_ms += self.agenda.now() - before;
            }
            self.trace.happening(self.agenda.now(), &happening);
            self.happen(happening)?;
            self.check_moment()?;
            if self.settling_since.is_none() && self.steps >= self.rates.steps {
                self.begin_settling();
            }
            if self.is_over()? {
                return self.check_end();
            }
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Finding> {
        match happening {
            Happening::Host(event) => self.host.happen(event, &mut self.agenda),
            Happening::News(run) => self.wake(None, Wake::News(run)),
            Happening::DaemonStarts => return self.start_daemon(),
            Happening::DaemonTurns(epoch) => return self.turn(epoch),
            Happening::CommitEnds(epoch) => return self.commit(epoch),
            Happening::Timer(epoch) => self.wake(Some(epoch), Wake::Timer),
            Happening::Sweep(epoch) => self.sweep(epoch),
            Happening::GitMoves(task) => self.git_moves(&task),
            Happening::GitAnswers(epoch, task) => {
                let landing = self.git.answer(&task);
                self.wake(Some(epoch), Wake::Landed(task, landing));
            }
            Happening::Wish => return self.wish(),
        }
        Ok(())
    }

    /// Wakes the daemon, if it is up and, where one is named, the one that is meant.
    fn wake(&mut self, epoch: Option<Epoch>, wake: Wake) {
        let Self {
            daemon,
            agenda,
            host,
            faults,
            ..
        } = self;
        let mut machine = Machine {
            agenda,
            host,
            faults,
        };
        if let Some(daemon) = daemon.as_mut()
            && epoch.is_none_or(|epoch| epoch == daemon.epoch)
        {
            daemon.wake(wake, &mut machine);
        }
    }

    fn sweep(&mut self, epoch: Epoch) {
        let is_up = self.daemon.as_ref().is_some_and(|it| it.epoch == epoch);
        if is_up && self.mutation != Some(Mutation::DoesNotSweep) {
            self.wake(Some(epoch), Wake::Sweep);
        }
        if is_up {
            self.agenda.after(SWEEP_MS, Happening::Sweep(epoch));
        }
    }

    fn git_moves(&mut self, task: &TaskId) {
        if !self.faults.chance(self.host.rates.landing_blocked) {
            let again = self.mutation == Some(Mutation::LandsTwice);
            self.git.land(task, again);
        }
    }

    fn start_daemon(&mut self) -> Result<(), Finding> {
        if self.daemon.is_some() {
            return Ok(());
        }
        self.epochs += 1;
        let random = Random::new(self.seed, 100 + self.epochs);
        let config = self.config.clone();
        let boot = self.host.boot_name();
        let mut daemon = Daemon::new(self.epochs, config, random, self.mutation, boot);
        let mut machine = Machine {
            agenda: &mut self.agenda,
            host: &mut self.host,
            faults: &mut self.faults,
        };
        let started = daemon.start(&mut self.storage, &mut machine);
        started.map_err(|abort| broken(&abort))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn kill_daemon(&mut self, after: i64) {
        self.trace
            .note(self.agenda.now(), || "the daemon dies".to_owned());
        self.daemon = None;
        self.host.daemon = None;
        self.host.reaped.clear();
        self.agenda.after(after, Happening::DaemonStarts);
    }

    /// Whether the daemon dies at this instant of its turn. Each call is an instant.
    fn dies(&mut self) -> bool {
        let dies = self.faults.chance(self.host.rates.death_in_turn);
        if dies {
            let after = self.faults.between(0, 3_000);
            self.kill_daemon(after);
        }
        dies
    }

    fn turn(&mut self, epoch: Epoch) -> Result<(), Finding> {
        let Self {
            daemon,
            agenda,
            host,
            faults,
            storage,
            ..
        } = self;
        let Some(daemon) = daemon.as_mut().filter(|daemon| daemon.epoch == epoch) else {
            return Ok(());
        };
        let mut machine = Machine {
            agenda,
            host,
            faults,
        };
        let turned = daemon.turn(storage, &mut machine);
        turned.map_err(|abort| broken(&abort))
    }

    fn commit(&mut self, epoch: Epoch) -> Result<(), Finding> {
        let Some(mut daemon) = self.daemon.take_if(|daemon| daemon.epoch == epoch) else {
            return Ok(());
        };
        let Some(inputs) = daemon.writing.take() else {
            self.daemon = Some(daemon);
            return Ok(());
        };
        if self.mutation == Some(Mutation::ActsBeforeRecording) {
            self.act_before_recording(&mut daemon, &inputs)?;
        }
        // Instant 1: before the commit.
        if self.dies() {
            return Ok(());
        }
        let fails = self.faults.chance(self.host.rates.commit_fails);
        let now = self.agenda.timestamp();
        match daemon.record(&inputs, fails, now, &mut self.storage) {
            Err(Abort::Injected) => {
                daemon.writing = Some(inputs);
                daemon.hindered = true;
                let again = self.faults.between(10, 200);
                self.agenda.after(again, Happening::CommitEnds(epoch));
                self.daemon = Some(daemon);
                Ok(())
            }
            Err(abort @ Abort::Broken(_)) => Err(broken(&abort)),
            Ok(recorded) => {
                let next_due = recorded.next_due;
                let config = daemon.config.clone();
                let service = service(&daemon);
                for commit in recorded.commits {
                    self.accept(commit, &config, service)?;
                }
                self.act(daemon, recorded.effects, next_due)
            }
        }
    }

    /// Performs what was recorded, with an instant of death before each effect and at the end.
    fn act(
        &mut self,
        mut daemon: Daemon,
        effects: Vec<Effect>,
        next_due: Option<orch_core::Timestamp>,
    ) -> Result<(), Finding> {
        for effect in effects {
            if self.dies() {
                return Ok(());
            }
            let twice = self.faults.chance(self.host.rates.news_repeated / 4);
            let mut machine = self.machine();
            if twice && !matches!(effect, Effect::Land { .. }) {
                daemon.perform(effect.clone(), &mut machine);
            }
            daemon.perform(effect, &mut machine);
        }
        daemon.settle(next_due, &mut self.machine());
        let over =
            daemon.ending && self.storage.rows.live.is_empty() && self.settling_since.is_none();
        self.daemon = Some(daemon);
        if over {
            let after = self.faults.between(0, 5_000);
            self.kill_daemon(after);
        } else if !self.dies() && self.daemon.as_ref().is_some_and(|it| it.ending) {
            // A drain that lasts longer than patience is ended by force.
            if self.faults.chance(30) {
                self.kill_daemon(1_000);
            }
        }
        Ok(())
    }

    fn machine(&mut self) -> Machine<'_> {
        Machine {
            agenda: &mut self.agenda,
            host: &mut self.host,
            faults: &mut self.faults,
        }
    }

    fn act_before_recording(
        &mut self,
        daemon: &mut Daemon,
        inputs: &[Input],
    ) -> Result<(), Finding> {
        let now = self.agenda.timestamp();
        let effects = daemon.rehearse(inputs, now, &mut self.storage);
        for effect in effects.map_err(|abort| broken(&abort))? {
            if matches!(effect, Effect::Start { .. }) {
                daemon.perform(effect, &mut self.machine());
            }
        }
        Ok(())
    }

    /// Shows a committed transaction to the checkers and takes it into the copy of the rows.
    fn accept(
        &mut self,
        mut commit: Commit,
        config: &Config,
        service: Service,
    ) -> Result<(), Finding> {
        self.storage.rows.apply(&commit);
        self.explain(&mut commit, config, service)?;
        self.trace.commit(self.agenda.now(), &commit);
        self.mark(&commit);
        let seen = Seen {
            rows: &self.storage.rows,
            host: &self.host,
            git: &self.git,
            config,
            now: self.agenda.now(),
            healthy_ms: self.healthy_ms,
            epoch: self.daemon_epoch(),
        };
        self.checkers.committed(&commit, &seen)
    }

    /// Notes which kinds of facts, endings and wait reasons this simulation has seen.
    fn mark(&mut self, commit: &Commit) {
        let kinds = commit.events.iter().map(|(_, event)| event.kind.as_str());
        self.marks.extend(kinds);
        for run in commit.ended() {
            let failure = run.ending().and_then(|ending| ending.outcome.failure());
            self.marks.insert(run.status().as_str());
            self.marks
                .extend(failure.map(|failure| failure.code.as_str()));
        }
        let waits = commit.waits.iter().filter_map(|(_, wait)| wait.as_ref());
        self.marks.extend(waits.map(|wait| wait.code.as_str()));
    }

    /// Asks why each changed task does not move.
    fn explain(
        &mut self,
        commit: &mut Commit,
        config: &Config,
        service: Service,
    ) -> Result<(), Finding> {
        let Storage { rows, .. } = &self.storage;
        let live: Vec<_> = rows.live_runs().cloned().collect();
        let tasks: Vec<_> = commit.changed_tasks().cloned().collect();
        let mutation = self.mutation;
        let waits = self.storage.read(|ledger| {
            let mut waits = Vec::new();
            for task in &tasks {
                let wait = wait::explain(ledger, task, config, &live, service)?;
                let silent = mutation == Some(Mutation::ExplainsNothing);
                let wait = wait.filter(|wait| !silent || wait.actor != Actor::Timer);
                waits.push((task.id.clone(), wait));
            }
            Ok(waits)
        });
        commit.waits = waits.map_err(|abort| broken(&abort))?;
        Ok(())
    }

    fn daemon_epoch(&self) -> Option<Epoch> {
        self.host.daemon
    }

    fn wish(&mut self) -> Result<(), Finding> {
        if self.settling_since.is_some() {
            return self.help();
        }
        let gap = self.faults.between(0, self.rates.wish_gap_ms);
        self.agenda.after(gap, Happening::Wish);
        if self.faults.chance(self.host.rates.reboot) {
            self.host.reboot();
            self.kill_daemon(2_000);
        }
        if self.faults.chance(self.host.rates.death_between) {
            let after = self.faults.between(0, 4_000);
            self.kill_daemon(after);
        }
        if self.faults.chance(self.host.rates.config_changes) {
            people::change_config(&mut self.config, &mut self.people);
            let config = self.config.clone();
            self.wake(None, Wake::Reload(config));
        }
        if self.faults.chance(self.host.rates.signal) {
            let interrupt = self.faults.chance(500);
            self.wake(
                None,
                if interrupt {
                    Wake::Interrupt
                } else {
                    Wake::Drain
                },
            );
        }
        let request = people::draw_request(&self.storage.rows, &mut self.people);
        self.ask(request)
    }

    /// Asks the daemon, or does it in the command's own process when there is none.
    fn ask(&mut self, request: Request) -> Result<(), Finding> {
        self.trace
            .note(self.agenda.now(), || format!("wish {request:?}"));
        if self.daemon.is_some() {
            self.wake(None, Wake::Request(request));
            return Ok(());
        }
        let random = Random::new(self.seed, 1_000_000 + self.steps);
        let boot = self.host.boot_name();
        let mut command = Daemon::new(0, self.config.clone(), random, self.mutation, boot);
        command.ending = true;
        let now = self.agenda.timestamp();
        let mut inputs = vec![Input::Request(request)];
        // A landing is done on the spot; its answer is one more input.
        while !inputs.is_empty() {
            let recorded = command.record(&inputs, false, now, &mut self.storage);
            let recorded = recorded.map_err(|abort| broken(&abort))?;
            for commit in recorded.commits {
                let config = self.config.clone();
                self.accept(commit, &config, Service::Stopped)?;
            }
            inputs.clear();
            for effect in recorded.effects {
                inputs.extend(self.act_in_command(effect));
            }
        }
        Ok(())
    }

    fn act_in_command(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Stop { run, .. } => {
                self.host.stop(&run, &mut self.agenda);
                None
            }
            // The command dies in the middle now and then; the next daemon finishes.
            Effect::Land { .. } if self.faults.chance(self.host.rates.death_in_turn) => None,
            Effect::Land { task, run } => {
                let landing = if run.is_some_and(|run| run.branch.is_some()) {
                    self.git_moves(&task.id);
                    self.git.answer(&task.id)
                } else {
                    Landing::Landed { commit: None }
                };
                Some(Input::Landed {
                    task: task.id,
                    landing,
                })
            }
            Effect::Start { .. } | Effect::Adopt { .. } | Effect::Discard { .. } => None,
        }
    }

    /// From here on nothing breaks and a person helps wherever one is needed.
    fn begin_settling(&mut self) {
        self.trace
            .note(self.agenda.now(), || "faults stop".to_owned());
        self.settling_since = Some(self.agenda.now());
        self.host.rates = self.rates.settled();
        self.host.good_agents = true;
        people::restore_config(&mut self.config);
        if self.daemon.as_ref().is_some_and(|daemon| daemon.ending) {
            self.kill_daemon(0);
        }
        let config = self.config.clone();
        self.wake(None, Wake::Reload(config));
    }

    fn help(&mut self) -> Result<(), Finding> {
        self.agenda.after(500, Happening::Wish);
        match people::help(&self.storage.rows) {
            Some(request) => self.ask(request),
            None => Ok(()),
        }
    }

    fn is_over(&self) -> Result<bool, Finding> {
        let Some(since) = self.settling_since else {
            return Ok(false);
        };
        let rows = &self.storage.rows;
        if rows.open.is_empty() && rows.live.is_empty() && self.host.alive.is_empty() {
            return Ok(true);
        }
        let steps = self.steps - self.rates.steps;
        if steps > SETTLING_STEPS || self.agenda.now() - since > SETTLING_MS {
            let open: Vec<String> = rows.open_tasks().map(|task| format!("{task:?}")).collect();
            return Err(self.stuck(&open.join("; ")));
        }
        Ok(false)
    }

    fn stuck(&self, what: &str) -> Finding {
        Finding {
            promise: "everything_settles",
            what: what.to_owned(),
        }
    }

    fn check_moment(&mut self) -> Result<(), Finding> {
        let seen = Seen {
            rows: &self.storage.rows,
            host: &self.host,
            git: &self.git,
            config: &self.config,
            now: self.agenda.now(),
            healthy_ms: self.healthy_ms,
            epoch: self.host.daemon,
        };
        self.checkers.moment(&seen)
    }

    /// The store itself must agree with the copy that was built from its changes.
    fn check_end(&mut self) -> Result<(), Finding> {
        self.storage.forget().map_err(|abort| broken(&abort))?;
        let ids: Vec<TaskId> = self.storage.rows.tasks.keys().cloned().collect();
        let runs: Vec<RunId> = self.storage.rows.runs.keys().cloned().collect();
        let stored = self.storage.read(|ledger| {
            let mut tasks = Vec::new();
            for id in &ids {
                tasks.extend(ledger.task(id)?);
            }
            let mut ended = Vec::new();
            for id in &runs {
                ended.extend(ledger.run(id)?);
            }
            Ok((tasks, ended))
        });
        let (tasks, runs) = stored.map_err(|abort| broken(&abort))?;
        let rows = &self.storage.rows;
        if tasks.iter().ne(rows.tasks.values()) || runs.iter().ne(rows.runs.values()) {
            return Err(Finding {
                promise: "committed_is_stored",
                what: "the store's rows are not those that were committed".to_owned(),
            });
        }
        Ok(())
    }
}

fn service(daemon: &Daemon) -> Service {
    if daemon.ending {
        Service::Draining
    } else {
        Service::Serving
    }
}

/// A step that the store or the lifecycle refused although no person asked for it.
fn broken(abort: &Abort) -> Finding {
    let what = match abort {
        Abort::Injected => "a fault was injected where none may be".to_owned(),
        Abort::Broken(what) => what.clone(),
    };
    Finding {
        promise: "every_step_is_legal",
        what,
    }
}
