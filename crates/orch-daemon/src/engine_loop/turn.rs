//! One transaction of the loop: every input stepped, one plan, and what became of each.
//!
//! This file must not know who asked, which thread it is on, or how effects are performed.

use std::collections::BTreeSet;

use orch_core::config::Config;
use orch_core::engine::{self, Context, Effect, Input, Permit, Report, StepError};
use orch_core::ledger::LedgerError;
use orch_core::request::Answer;
use orch_core::run::Run;
use orch_core::{RunId, Timestamp};
use orch_host::supervise;
use orch_store::{StoreError, Transaction};

use super::points;
use crate::clock;
use crate::log::chain;
use crate::wake::NotDone;

/// What one input was answered with, if it was a request.
pub(super) type Answered = Option<Result<Answer, NotDone>>;

/// What one transaction led to.
#[derive(Default)]
pub(super) struct Recorded {
    /// One for each input, in their order.
    pub(super) answers: Vec<Answered>,
    pub(super) effects: Vec<Effect>,
    /// Reports of the host, or plans, that were not taken: bugs, told loudly.
    pub(super) surprises: Vec<String>,
    /// Runs whose end was not taken: they are looked at again.
    pub(super) unended: Vec<RunId>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) at_rest: bool,
    /// Everything that was recorded.
    pub(super) facts: Vec<orch_store::Recorded>,
    /// The runs those facts are about, as they are now.
    pub(super) runs: Vec<Run>,
}

/// Steps every input, plans once, and looks at what is left to wait for. What was recorded after
/// `last_event` is read here, where all of it is at hand: another connection would have to find
/// it on disk again.
pub(super) fn transaction(
    ledger: &mut dyn Transaction,
    inputs: &[Input],
    permit: Permit<'_>,
    config: &Config,
    last_event: u64,
) -> Result<Recorded, LedgerError> {
    let mut entropy = entropy;
    let boot = supervise::present_boot();
    let mut context = Context {
        now: clock::now(),
        config,
        boot: boot.as_deref(),
        entropy: &mut entropy,
    };
    let mut recorded = Recorded::default();
    for input in inputs {
        recorded.take(ledger, input, &mut context)?;
    }
    recorded.plan(ledger, permit, &mut context)?;
    points::committing(inputs, &recorded.effects);
    recorded.next_due = ledger.next_due()?;
    if recorded.next_due.is_none() {
        clock::follow_wall();
    }
    recorded.at_rest = ledger.live_runs()?.is_empty() && ledger.landing()?.is_empty();
    recorded.facts = ledger.facts_after(last_event)?;
    recorded.runs = runs_of(ledger, &recorded.facts)?;
    Ok(recorded)
}

/// The runs that facts are about, each once.
fn runs_of(
    ledger: &mut dyn Transaction,
    facts: &[orch_store::Recorded],
) -> Result<Vec<Run>, LedgerError> {
    let ids: BTreeSet<_> = facts
        .iter()
        .filter_map(|fact| fact.event.run.as_ref())
        .collect();
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        runs.extend(ledger.run(id)?);
    }
    Ok(runs)
}

impl Recorded {
    /// Steps one input, in a part of its own: what it breaks does not take the others with it. A
    /// store that failed, rather than refused a row, fails the whole transaction.
    fn take(
        &mut self,
        ledger: &mut dyn Transaction,
        input: &Input,
        context: &mut Context<'_>,
    ) -> Result<(), LedgerError> {
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

    /// Starts what can start. A plan that makes no sense is a bug; it must not keep what has
    /// ended from being recorded.
    fn plan(
        &mut self,
        ledger: &mut dyn Transaction,
        permit: Permit<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), LedgerError> {
        match ledger.attempt(|part| engine::plan(part, permit, context)) {
            Ok(starts) => self.effects.extend(starts),
            Err(StepError::Ledger(error)) if !is_about_the_input(&error) => return Err(error),
            Err(error) => self.surprises.push(format!("the plan: {}", chain(&error))),
        }
        Ok(())
    }
}

pub(super) fn is_disk_full(error: &LedgerError) -> bool {
    StoreError::inside(error).is_some_and(StoreError::is_disk_full)
}

/// Whether what was to be recorded may be recorded all the same.
pub(super) fn is_unconfirmed(error: &LedgerError) -> bool {
    StoreError::inside(error).is_some_and(StoreError::is_unconfirmed)
}

/// Whether the store will refuse everything from now on.
pub(super) fn is_last(error: &LedgerError) -> bool {
    StoreError::inside(error).is_some_and(StoreError::is_last)
}

/// The same end without what the agent said of itself: no word of an agent, however odd, may
/// keep its run from ending.
fn bare_end(run: &RunId, report: &Report, error: &StepError) -> Input {
    let warning = format!("what it reported could not be recorded: {}", chain(error));
    let report = Report {
        commit: report.commit.clone(),
        changes: report.changes,
        branch: report.branch,
        left: report.left.clone(),
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
    StoreError::inside(error).is_some_and(|error| {
        let is_the_stores =
            error.is_disk_full() || error.is_busy() || error.is_last() || error.is_rolled_back();
        !is_the_stores
    })
}

/// Random bits of the operating system.
fn entropy() -> u64 {
    getrandom::u64().expect("the operating system has no random numbers")
}

#[cfg(test)]
mod tests {
    use orch_core::config::{Agent, Resumes};
    use orch_core::engine::End;
    use orch_core::outcome::Verdict;
    use orch_core::request::{NewTask, Refusal, Request};
    use orch_core::run::{Exit, Failure, FailureCode, RunStatus};
    use orch_core::task::{Review, ReviewMode, TaskState};
    use orch_store::Store;
    use orch_store::sqlite::SqliteStore;

    use super::*;

    struct Fixture {
        store: SqliteStore,
        config: Config,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let worker = Agent {
                name: "worker".parse().unwrap(),
                adapter: "shell".to_owned(),
                role: None,
                labels: BTreeSet::new(),
                max_parallel: 9,
                enabled: true,
                require: None,
                resumes: Resumes::Never,
            };
            let config = Config {
                agents: vec![worker],
                ..Config::default()
            };
            Self {
                store: SqliteStore::open(&directory.path().join("orch.db")).unwrap(),
                config,
                _directory: directory,
            }
        }

        fn turn(&mut self, inputs: &[Input]) -> Recorded {
            let config = &self.config;
            let turn = |ledger: &mut dyn Transaction| {
                transaction(ledger, inputs, Permit::Everything, config, 0)
            };
            self.store.transact(turn).unwrap()
        }

        /// A run that was just started.
        fn started(&mut self) -> Run {
            match self.turn(&[add("a task")]).effects.pop() {
                Some(Effect::Start { run, .. }) => *run,
                other => panic!("{other:?}"),
            }
        }

        fn run(&self, run: &Run) -> Run {
            self.store.reader().unwrap().run(&run.id).unwrap().unwrap()
        }
    }

    fn add(title: &str) -> Input {
        Input::Request(Request::Add(Box::new(NewTask {
            title: title.to_owned(),
            ..NewTask::default()
        })))
    }

    fn ended(run: &Run, end: End) -> Input {
        Input::Ended {
            run: run.id.clone(),
            report: Box::new(Report::bare(end, Timestamp(5))),
        }
    }

    #[test]
    fn each_input_has_its_own_answer() {
        let mut it = Fixture::new();
        let nobody = Request::Cancel {
            task: orch_core::TaskId::from_entropy(1),
        };
        let inputs = [
            Input::Tick,
            add(""),
            Input::Request(nobody),
            add("good"),
            Input::Tick,
        ];
        let answers = it.turn(&inputs).answers;
        assert!(matches!(
            answers.as_slice(),
            [
                None,
                Some(Err(NotDone::Refused(Refusal::Text { .. }))),
                Some(Err(NotDone::Refused(Refusal::NoSuchTask(_)))),
                Some(Ok(Answer::Task(_))),
                None
            ]
        ));
    }

    #[test]
    fn an_end_that_cannot_be_stored_is_told_and_spoils_nothing() {
        let mut it = Fixture::new();
        let run = it.started();
        let without_evidence = Failure {
            code: FailureCode::SupervisorDied,
            message: "gone".to_owned(),
            evidence: String::new(),
        };
        let inputs = [ended(&run, End::Lost(without_evidence)), add("another")];
        let recorded = it.turn(&inputs);
        assert_eq!(recorded.unended, std::slice::from_ref(&run.id));
        assert_eq!(recorded.surprises.len(), 1);
        assert!(matches!(recorded.answers[1], Some(Ok(Answer::Task(_)))));
        assert_eq!(it.run(&run).status(), RunStatus::Starting);
    }

    #[test]
    fn a_bare_end_is_the_same_end_without_the_agents_words() {
        let end = End::Seen {
            exit: Exit::Code(0),
            enforced: None,
            stopped: false,
            verdict: Verdict::Success,
            logs: "out.log bytes 0-9".to_owned(),
        };
        let report = Report {
            result: Some("words".to_owned()),
            session_id: Some("odd".to_owned()),
            commit: Some("abc".to_owned()),
            ..Report::bare(end.clone(), Timestamp(5))
        };
        let run = RunId::from_entropy(1);
        let refusal = Refusal::NoSuchTask(orch_core::TaskId::from_entropy(1));
        match bare_end(&run, &report, &refusal.into()) {
            Input::Ended { run: of, report } => {
                assert_eq!((of, report.end), (run, end));
                assert_eq!((report.result, report.session_id), (None, None));
                assert_eq!(report.commit.as_deref(), Some("abc"));
                assert_eq!(report.warnings.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn work_in_no_commit_goes_to_a_person_even_where_nobody_was_to_review() {
        let mut it = Fixture::new();
        let task = Request::Add(Box::new(NewTask {
            title: "a task".to_owned(),
            review: Some(ReviewMode::Auto),
            ..NewTask::default()
        }));
        let run = match it.turn(&[Input::Request(task)]).effects.pop() {
            Some(Effect::Start { run, .. }) => *run,
            other => panic!("{other:?}"),
        };
        let end = End::Seen {
            exit: Exit::Code(0),
            enforced: None,
            stopped: false,
            verdict: Verdict::Success,
            logs: "out.log bytes 0-9".to_owned(),
        };
        let report = Report {
            left: vec!["w.txt".to_owned()],
            ..Report::bare(end, Timestamp(5))
        };
        let ended = Input::Ended {
            run: run.id.clone(),
            report: Box::new(report),
        };
        let recorded = it.turn(&[ended]);
        assert_eq!(recorded.surprises, Vec::<String>::new());
        assert_eq!(recorded.effects, [], "nothing is landed");
        assert_eq!(it.run(&run).status(), RunStatus::Completed);
        let task = |it: &Fixture| it.store.reader().unwrap().task(&run.task).unwrap().unwrap();
        match task(&it).state {
            TaskState::Review(Review::Blocked { message, files }) => {
                assert!(message.contains("in its worktree"), "{message}");
                assert_eq!(files, ["w.txt"]);
            }
            other => panic!("{other:?}"),
        }
        // A person who knows what is left lands what there is.
        let approve = Request::Approve {
            task: run.task.clone(),
        };
        let effects = it.turn(&[Input::Request(approve)]).effects;
        assert!(matches!(effects.as_slice(), [Effect::Land { .. }]));
    }

    #[test]
    fn the_same_end_twice_in_one_turn_is_one_end() {
        let mut it = Fixture::new();
        let run = it.started();
        let failure = Failure {
            code: FailureCode::SpawnFailed,
            message: "no such program".to_owned(),
            evidence: "execve".to_owned(),
        };
        let end = ended(&run, End::NotStarted(failure));
        let recorded = it.turn(&[end.clone(), end]);
        assert_eq!(recorded.surprises, Vec::<String>::new());
        assert_eq!(it.run(&run).status(), RunStatus::NotStarted);
    }
}
