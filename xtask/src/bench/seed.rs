//! Projects with many tasks, made quickly: the engine itself writes every row through the store
//! itself, only without processes. What the daemon finds is what it would have written.

use std::path::Path;

use anyhow::{Context as _, Result};
use orch_core::config::{Agent, Config, Resumes};
use orch_core::engine::{
    Context, Effect, End, Input, Landing, Permit, Report, Step, StepError, plan, step,
};
use orch_core::outcome::Verdict;
use orch_core::request::{NewTask, Request};
use orch_core::run::Exit;
use orch_core::task::{ReviewMode, WorkspaceMode};
use orch_core::time::Timestamp;
use orch_store::sqlite::SqliteStore;
use orch_store::{Store, Transaction};

use super::server::AGENT;

/// Tasks in one transaction.
const BATCH: usize = 500;
/// When the first task was added: some moment in the past, milliseconds since 1970.
const LONG_AGO: i64 = 1_750_000_000_000;

/// Adds `ended` tasks that are done, then `waiting` ones, to the database at `path`.
///
/// # Errors
/// The database cannot be opened or written.
pub fn seed(path: &Path, ended: usize, waiting: usize) -> Result<()> {
    let mut store = SqliteStore::open(path).context("opening the database")?;
    let mut seeder = Seeder::new()?;
    for (count, done) in [(ended, true), (waiting, false)] {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            store
                .transact(|transaction| seeder.batch(transaction, batch, done))
                .context("seeding tasks")?;
            left -= batch;
        }
    }
    store.close().context("closing the database")
}

struct Seeder {
    config: Config,
    now: Timestamp,
    random: u64,
    added: usize,
}

impl Seeder {
    fn new() -> Result<Self> {
        let agent = Agent {
            name: AGENT.parse()?,
            adapter: "shell".to_owned(),
            role: None,
            labels: std::collections::BTreeSet::default(),
            max_parallel: 1_000,
            enabled: true,
            require: None,
            resumes: Resumes::Never,
        };
        let mut config = Config {
            max_agents: 1_000,
            agents: vec![agent],
            ..Config::default()
        };
        config.defaults.workspace = WorkspaceMode::Shared;
        config.defaults.review = ReviewMode::Auto;
        Ok(Self {
            config,
            now: Timestamp(LONG_AGO),
            random: 1,
            added: 0,
        })
    }

    /// Adds tasks and, if they are to be done, plays their whole life.
    fn batch(
        &mut self,
        transaction: &mut dyn Transaction,
        count: usize,
        done: bool,
    ) -> Result<(), StepError> {
        for _ in 0..count {
            self.added += 1;
            let new = NewTask {
                title: format!("task {}", self.added),
                ..NewTask::default()
            };
            self.step(transaction, Input::Request(Request::Add(Box::new(new))))?;
        }
        if !done {
            return Ok(());
        }
        let effects =
            self.with_context(|context| plan(transaction, Permit::Everything, context))?;
        for effect in effects {
            self.live(transaction, effect)?;
        }
        Ok(())
    }

    /// What would come back from the host for an effect, and for what follows from it.
    fn live(&mut self, transaction: &mut dyn Transaction, effect: Effect) -> Result<(), StepError> {
        let inputs = match effect {
            Effect::Start { run, .. } => {
                let spawned = Input::Spawned {
                    run: run.id.clone(),
                    at: self.now,
                };
                let mut report = Report::bare(success(), self.now.plus_millis(3));
                report.started_at = Some(self.now);
                report.result = Some(String::new());
                let ended = Input::Ended {
                    run: run.id.clone(),
                    report: Box::new(report),
                };
                vec![spawned, ended]
            }
            Effect::Land { task, .. } => {
                let landing = Landing::Landed { commit: None };
                let task = task.id.clone();
                vec![Input::Landed { task, landing }]
            }
            Effect::Adopt { .. } | Effect::Stop { .. } | Effect::Discard { .. } => Vec::new(),
        };
        for input in inputs {
            for effect in self.step(transaction, input)?.effects {
                self.live(transaction, effect)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, transaction: &mut dyn Transaction, input: Input) -> Result<Step, StepError> {
        self.with_context(|context| step(transaction, input, context))
    }

    fn with_context<T>(&mut self, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.now = self.now.plus_millis(1);
        let random = &mut self.random;
        let mut entropy = || next(random);
        work(&mut Context {
            now: self.now,
            config: &self.config,
            boot: None,
            entropy: &mut entropy,
        })
    }
}

fn success() -> End {
    End::Seen {
        exit: Exit::Code(0),
        enforced: None,
        stopped: false,
        verdict: Verdict::ByExitStatus,
        logs: "out.log".to_owned(),
    }
}

/// Splitmix64: the same ids in every run, spread as random ones are.
const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
