//! A bench for the engine: a few words to say what happens and to ask what came of it.

#![expect(
    clippy::unwrap_used,
    reason = "a panic here is the report of a failed test"
)]

use std::collections::BTreeMap;

use orch_core::config::{Agent, Config, Resumes};
use orch_core::engine::{self, Context, Effect, End, Input, Landing, Permit, Report, StepError};
use orch_core::outcome::Verdict;
use orch_core::request::{Answer, NewTask, Refusal, Request};
use orch_core::run::{Exit, Failure, FailureCode, Run};
use orch_core::task::{Dependency, DependencyKind, Priority, Task, TaskState};
use orch_core::wait::{self, Service, Wait};
use orch_core::{AgentName, RunId, TaskId, Timestamp};
use orch_store::memory::MemoryStore;
use orch_store::{Store, Transaction};

/// The engine with a memory store and a clock that stands still until told.
pub struct Bench {
    pub store: MemoryStore,
    pub config: Config,
    pub now: i64,
    pub permit_nothing: bool,
    pub effects: Vec<Effect>,
    names: BTreeMap<TaskId, String>,
    entropy: u64,
}

impl Bench {
    /// A project with one agent that may do a thousand things at once.
    pub fn new() -> Self {
        let mut bench = Self {
            store: MemoryStore::default(),
            config: Config::default(),
            now: 1_000_000,
            permit_nothing: false,
            effects: Vec::new(),
            names: BTreeMap::new(),
            entropy: 0,
        };
        bench.config.max_agents = 1_000;
        bench.config.agents = vec![agent("ann")];
        bench
    }

    pub fn with_agents(agents: impl IntoIterator<Item = Agent>) -> Self {
        let mut bench = Self::new();
        bench.config.agents = agents.into_iter().collect();
        bench
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Transaction, &mut Context<'_>) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let entropy = &mut self.entropy;
        let mut next = || {
            *entropy += 1024;
            *entropy
        };
        let mut context = Context {
            now: Timestamp(self.now),
            config: &self.config,
            boot: Some("the boot"),
            entropy: &mut next,
        };
        self.store
            .transact(|transaction| work(transaction, &mut context))
    }

    /// Takes one input and nothing else.
    pub fn step(&mut self, input: Input) -> Result<Option<Answer>, StepError> {
        let step = self.transact(|ledger, context| engine::step(ledger, input, context))?;
        self.effects.extend(step.effects);
        Ok(step.answer)
    }

    pub fn ask(&mut self, request: Request) -> Answer {
        self.step(Input::Request(request)).unwrap().unwrap()
    }

    /// Why a request is not fulfilled.
    pub fn refusal(&mut self, request: Request) -> Refusal {
        match self.step(Input::Request(request)) {
            Err(StepError::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn add(&mut self, new: NewTask) -> TaskId {
        let title = new.title.clone();
        match self.ask(Request::Add(Box::new(new))) {
            Answer::Task(task) => {
                self.names.insert(task.id.clone(), title);
                task.id
            }
            other => panic!("{other:?}"),
        }
    }

    /// Plans; the titles of what starts, in order.
    pub fn plan(&mut self) -> Vec<String> {
        let started = self.plan_with_agents();
        started.into_iter().map(|(title, _)| title).collect()
    }

    /// Plans for these tasks only; the titles of what starts.
    pub fn plan_only(&mut self, tasks: &[&TaskId]) -> Vec<String> {
        let tasks = tasks.iter().map(|id| (*id).clone()).collect();
        let effects = self
            .transact(|ledger, context| engine::plan(ledger, Permit::Only(&tasks), context))
            .unwrap();
        effects.iter().map(|effect| started(effect).0).collect()
    }

    /// Plans; titles and agents of what starts, in order.
    pub fn plan_with_agents(&mut self) -> Vec<(String, String)> {
        let nothing = self.permit_nothing;
        let effects = self
            .transact(|ledger, context| {
                let permit = if nothing {
                    Permit::Nothing
                } else {
                    Permit::Everything
                };
                engine::plan(ledger, permit, context)
            })
            .unwrap();
        effects.iter().map(started).collect()
    }

    pub fn task(&mut self, id: &TaskId) -> Task {
        self.store.reader().unwrap().task(id).unwrap().unwrap()
    }

    pub fn run(&mut self, id: &RunId) -> Run {
        self.store.reader().unwrap().run(id).unwrap().unwrap()
    }

    pub fn live(&mut self) -> Vec<Run> {
        self.store.reader().unwrap().live_runs().unwrap()
    }

    /// The last run of a task.
    pub fn last_run(&mut self, id: &TaskId) -> Run {
        let run = self.task(id).last_run.expect("it has had a run");
        self.run(&run)
    }

    pub fn status(&mut self, id: &TaskId) -> &'static str {
        self.task(id).status().as_str()
    }

    /// Ends the task's run as told.
    pub fn end(&mut self, id: &TaskId, end: End) {
        let run = self.last_run(id).id;
        self.report(&run, end);
    }

    pub fn report(&mut self, run: &RunId, end: End) {
        let report = Box::new(Report::bare(end, Timestamp(self.now)));
        self.step(Input::Ended {
            run: run.clone(),
            report,
        })
        .unwrap();
    }

    /// Ends the task's run with success and lands it.
    pub fn succeed(&mut self, id: &TaskId) {
        self.end(id, success());
        self.ask(Request::Approve { task: id.clone() });
        self.land(id);
    }

    pub fn land(&mut self, id: &TaskId) {
        let landing = Landing::Landed {
            commit: Some("abc".into()),
        };
        self.landed(id, landing);
    }

    pub fn landed(&mut self, id: &TaskId, landing: Landing) {
        let task = id.clone();
        self.step(Input::Landed { task, landing }).unwrap();
    }

    /// Lets time pass and wakes what is due.
    pub fn wait(&mut self, millis: i64) {
        self.now += millis;
        self.step(Input::Tick).unwrap();
    }

    pub fn why(&mut self, id: &TaskId) -> Wait {
        let live = self.live();
        let task = self.task(id);
        let mut reader = self.store.reader().unwrap();
        let wait = wait::explain(
            reader.ledger(),
            &task,
            &self.config,
            &live,
            Service::Serving,
        );
        wait.unwrap().expect("it has not ended")
    }

    /// The code of why a task does not move.
    pub fn code(&mut self, id: &TaskId) -> &'static str {
        self.why(id).code.as_str()
    }

    /// Milliseconds until the hold of a task is over.
    pub fn hold_ms(&mut self, id: &TaskId) -> i64 {
        let state = self.task(id).state;
        state.hold().expect("it is held").until.0 - self.now
    }

    /// The failure code of a task that tells of one.
    pub fn failure(&mut self, id: &TaskId) -> FailureCode {
        let state: TaskState = self.task(id).state;
        state.failure().expect("it tells of a failure").code
    }

    /// The kinds of all facts.
    pub fn facts(&mut self) -> Vec<&'static str> {
        let recorded = self.store.reader().unwrap().events(0, 100_000).unwrap();
        recorded.iter().map(|it| it.event.kind.as_str()).collect()
    }
}

/// The title of the task that starts, and its agent.
fn started(effect: &Effect) -> (String, String) {
    match effect {
        Effect::Start { run, task } => (task.title.clone(), run.agent.to_string()),
        other => panic!("{other:?}"),
    }
}

pub fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

pub fn agent(text: &str) -> Agent {
    Agent {
        name: name(text),
        adapter: "claude".into(),
        role: None,
        labels: Default::default(),
        max_parallel: 1_000,
        enabled: true,
        require: None,
        resumes: Resumes::Always,
    }
}

/// An agent with labels.
pub fn specialist(text: &str, labels: &[&str]) -> Agent {
    Agent {
        labels: labels.iter().map(|label| (*label).into()).collect(),
        ..agent(text)
    }
}

pub fn new(title: &str) -> NewTask {
    NewTask {
        title: title.into(),
        ..NewTask::default()
    }
}

/// A task that needs others to succeed.
pub fn after(title: &str, needed: &[&TaskId]) -> NewTask {
    NewTask {
        dependencies: needed.iter().map(|id| needs(id)).collect(),
        ..new(title)
    }
}

pub fn needs(id: &TaskId) -> Dependency {
    Dependency {
        on: id.clone(),
        kind: DependencyKind::Succeeded,
    }
}

pub fn ends(id: &TaskId) -> Dependency {
    Dependency {
        on: id.clone(),
        kind: DependencyKind::Ended,
    }
}

pub fn priority(number: u8) -> Option<Priority> {
    Some(Priority::new(number).unwrap())
}

pub fn seen(exit: Exit, verdict: Verdict) -> End {
    End::Seen {
        exit,
        enforced: None,
        stopped: true,
        verdict,
        logs: "out.log bytes 0-10".into(),
    }
}

pub fn success() -> End {
    seen(Exit::Code(0), Verdict::Success)
}

pub fn error() -> End {
    let message = "no".to_owned();
    seen(
        Exit::Code(1),
        Verdict::Error {
            code: FailureCode::AgentError,
            message,
        },
    )
}

pub fn failed(code: FailureCode) -> Failure {
    Failure {
        code,
        message: "it went wrong".into(),
        evidence: "seen".into(),
    }
}

pub fn lost() -> End {
    End::Lost(failed(FailureCode::SupervisorDied))
}

pub fn not_started(code: FailureCode) -> End {
    End::NotStarted(failed(code))
}
