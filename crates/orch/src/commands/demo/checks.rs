//! What must be true after the demo. The ledger is what the agents wrote themselves, outside of
//! orch's knowledge; everything orch keeps is compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use orch_api::types::{AgentEvent, Run, Task};
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;

use super::project::Stage;
use crate::error::Result;

/// How long a process that was ended may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// One thing that must be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is.
    pub ok: bool,
    /// Where it is not.
    pub problems: Vec<String>,
}

/// What orch keeps of a run beside its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    out: String,
    events: String,
    row: String,
}

/// Everything that is compared.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The tasks, in the order they were added.
    pub tasks: Vec<Task>,
    /// The runs, oldest first.
    pub runs: Vec<Run>,
    ledger: String,
    files: BTreeMap<String, Files>,
    landed: BTreeSet<String>,
    alive: Vec<i32>,
}

impl Evidence {
    /// Looks at everything the demo left.
    ///
    /// # Errors
    /// git could not say what landed. Files that are missing are found by the checks.
    pub fn gather(stage: &Stage, tasks: Vec<Task>, runs: Vec<Run>) -> Result<Self> {
        let read = |name: &str| fs::read_to_string(stage.directory.join(name)).unwrap_or_default();
        let files = runs.iter().map(|run| {
            let directory = stage.project.state.join("runs").join(&run.id);
            let read = |name: &str| {
                fs::read(directory.join(name))
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default()
            };
            let files = Files {
                out: read("out.log"),
                events: read("events.jsonl"),
                row: read("run.json"),
            };
            (run.id.clone(), files)
        });
        Ok(Self {
            files: files.collect(),
            tasks,
            ledger: read("ledger"),
            landed: stage.landed_files()?.into_iter().collect(),
            alive: alive(&read("pids")),
            runs,
        })
    }
}

/// Which of these processes are still there, after a moment to end in.
fn alive(pids: &str) -> Vec<i32> {
    let start = Instant::now();
    let mut left: Vec<i32> = pids.lines().filter_map(|line| line.parse().ok()).collect();
    loop {
        left.retain(|pid| Pid::from_raw(*pid).is_some_and(|pid| test_kill_process(pid).is_ok()));
        if left.is_empty() || start.elapsed() > GONE_WITHIN {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Finds what is not as it must be, in words.
type Find = fn(&Evidence) -> Vec<String>;

/// Checks everything.
#[must_use]
pub fn all(evidence: &Evidence) -> Vec<Check> {
    let checks: [(&'static str, Find); 8] = [
        (
            "seven tasks are done and one has failed because it was timed out",
            tasks_ended,
        ),
        (
            "the agent that failed once was tried again, nobody else was",
            attempts,
        ),
        (
            "every run has ended, and says why unless it is a success",
            runs_ended,
        ),
        (
            "the agents' own ledger names the same runs with the same ends",
            ledger,
        ),
        ("every line the agents wrote is in the logs, once", output),
        (
            "the events of every run are gapless and agree with its record",
            events,
        ),
        (
            "the work of every task that is done has landed, and no other",
            landed,
        ),
        ("no process of an agent is left", processes),
    ];
    let check = |(name, find): (&'static str, Find)| {
        let problems = find(evidence);
        let ok = problems.is_empty();
        Check { name, ok, problems }
    };
    checks.into_iter().map(check).collect()
}

fn tasks_ended(evidence: &Evidence) -> Vec<String> {
    let with = |status: &str| {
        evidence
            .tasks
            .iter()
            .filter(|it| it.status == status)
            .count()
    };
    let mut problems = Vec::new();
    let (done, failed) = (with("done"), with("failed"));
    if (done, failed, evidence.tasks.len()) != (7, 1, 8) {
        problems.push(format!(
            "{done} are done, {failed} failed, of {}",
            evidence.tasks.len()
        ));
    }
    for task in evidence.tasks.iter().filter(|task| task.status == "failed") {
        let timed_out = evidence
            .runs
            .iter()
            .any(|run| run.task_id == task.id && run.status == "timed_out");
        if !timed_out || task.failure.as_ref().is_none_or(|it| it.code != "timeout") {
            problems.push(format!("{} did not fail because of its timeout", task.id));
        }
    }
    problems
}

fn attempts(evidence: &Evidence) -> Vec<String> {
    let mut problems = Vec::new();
    for task in &evidence.tasks {
        let expected = if task.agent.as_deref() == Some("flaky") {
            2
        } else {
            1
        };
        let runs = evidence
            .runs
            .iter()
            .filter(|run| run.task_id == task.id)
            .count();
        if runs != expected {
            problems.push(format!("{} has {runs} runs instead of {expected}", task.id));
        }
    }
    problems
}

fn runs_ended(evidence: &Evidence) -> Vec<String> {
    let mut problems = Vec::new();
    for run in &evidence.runs {
        if run.finished_at.is_none() || matches!(run.status.as_str(), "starting" | "running") {
            problems.push(format!("{} is still {}", run.id, run.status));
        }
        let explained = run
            .failure
            .as_ref()
            .is_some_and(|it| !it.evidence.is_empty());
        if run.status != "completed" && !explained {
            problems.push(format!("{} is {} without a reason", run.id, run.status));
        }
    }
    problems
}

fn ledger(evidence: &Evidence) -> Vec<String> {
    let mut started: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ended: BTreeMap<&str, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for line in evidence.ledger.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let before = match words.as_slice() {
            ["start", run, task] => started.insert(run, task),
            ["end", run, code] => ended.insert(run, code),
            _ => Some(line),
        };
        if before.is_some() {
            problems.push(format!("the ledger says '{line}' once too often"));
        }
    }
    for run in &evidence.runs {
        if started.remove(run.id.as_str()) != Some(run.task_id.as_str()) {
            problems.push(format!("no agent says that it worked in {}", run.id));
        }
        // Only an agent that came to its own end says with which code.
        let said = ended.remove(run.id.as_str()).map(str::to_owned);
        let recorded = match run.status.as_str() {
            "timed_out" => None,
            _ => run.exit_code.map(|code| code.to_string()),
        };
        if said != recorded {
            problems.push(format!(
                "{}: the agent says {said:?}, orch {recorded:?}",
                run.id
            ));
        }
    }
    problems.extend(
        started
            .keys()
            .map(|run| format!("orch knows nothing of {run}")),
    );
    problems.extend(
        ended
            .keys()
            .map(|run| format!("orch knows nothing of the end of {run}")),
    );
    problems
}

fn output(evidence: &Evidence) -> Vec<String> {
    let mut problems = Vec::new();
    for run in &evidence.runs {
        let line = format!("{} works in {}", run.agent, run.id);
        let files = evidence.files.get(&run.id).cloned().unwrap_or_default();
        if files.out != format!("{line}\n") {
            problems.push(format!("out.log of {} is not what the agent wrote", run.id));
        }
        if files.events.matches(&line).count() != 1 {
            problems.push(format!(
                "events.jsonl of {} does not say '{line}' once",
                run.id
            ));
        }
    }
    problems
}

fn events(evidence: &Evidence) -> Vec<String> {
    let mut problems = Vec::new();
    for run in &evidence.runs {
        let files = evidence.files.get(&run.id).cloned().unwrap_or_default();
        let numbers: Vec<Option<u64>> = files
            .events
            .lines()
            .map(|line| {
                serde_json::from_str::<AgentEvent>(line)
                    .ok()
                    .map(|it| it.seq)
            })
            .collect();
        let expected: Vec<Option<u64>> = (1..=run.events).map(Some).collect();
        if numbers != expected || !files.events.ends_with('\n') {
            problems.push(format!(
                "events.jsonl of {} is not 1 to {}",
                run.id, run.events
            ));
        }
        match serde_json::from_str::<Run>(&files.row) {
            Ok(row) if &row == run => {}
            Ok(_) => problems.push(format!("run.json of {} says something else", run.id)),
            Err(error) => problems.push(format!("run.json of {}: {error}", run.id)),
        }
    }
    problems
}

fn landed(evidence: &Evidence) -> Vec<String> {
    let mut problems = Vec::new();
    for task in &evidence.tasks {
        let there = evidence.landed.contains(&format!("{}.txt", task.id));
        if there != (task.status == "done") {
            let (id, status) = (&task.id, &task.status);
            problems.push(format!("{id} is {status}; its file on the branch: {there}"));
        }
    }
    problems
}

fn processes(evidence: &Evidence) -> Vec<String> {
    let pids = evidence.alive.iter();
    pids.map(|pid| format!("process {pid} is still there"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests as examples;
    use orch_api::types::Failure;

    fn failure(code: &str) -> Option<Failure> {
        Some(Failure {
            code: code.to_owned(),
            message: "why".to_owned(),
            evidence: "seen".to_owned(),
        })
    }

    /// What a demo that went as it should leaves.
    fn good() -> Evidence {
        let mut evidence = Evidence::default();
        for number in 1..=8 {
            let agent = match number {
                1 => "sleepy",
                2 => "flaky",
                _ => "builder",
            };
            let status = if number == 1 { "failed" } else { "done" };
            let mut task = examples::task(&format!("tsk_{number}"), status, "T");
            task.agent = Some(agent.to_owned());
            task.failure = if number == 1 {
                failure("timeout")
            } else {
                None
            };
            if number != 1 {
                evidence.landed.insert(format!("tsk_{number}.txt"));
            }
            let attempts = if number == 2 { 2 } else { 1 };
            for attempt in 1..=attempts {
                let end = match (number, attempt) {
                    (1, _) => ("timed_out", Some(0)),
                    (2, 1) => ("failed", Some(1)),
                    _ => ("completed", Some(0)),
                };
                add_run(&mut evidence, &task, attempt, end);
            }
            evidence.tasks.push(task);
        }
        evidence
    }

    fn add_run(evidence: &mut Evidence, task: &Task, attempt: u32, end: (&str, Option<i32>)) {
        let mut run = examples::run(&format!("run_{}x{attempt}", task.id), &task.id, end.0);
        run.agent = task.agent.clone().unwrap();
        run.exit_code = end.1;
        run.finished_at = run.started_at.clone();
        run.events = 1;
        run.failure = match end.0 {
            "completed" => None,
            "failed" => failure("exit_nonzero"),
            _ => failure("timeout"),
        };
        let line = format!("{} works in {}", run.agent, run.id);
        let event = serde_json::json!({"seq": 1, "time": "t", "type": "text", "data": line});
        let files = Files {
            out: format!("{line}\n"),
            events: format!("{event}\n"),
            row: serde_json::to_string(&run).unwrap(),
        };
        evidence
            .ledger
            .push_str(&format!("start {} {}\n", run.id, task.id));
        if end.0 != "timed_out" {
            evidence
                .ledger
                .push_str(&format!("end {} {}\n", run.id, end.1.unwrap()));
        }
        evidence.files.insert(run.id.clone(), files);
        evidence.runs.push(run);
    }

    fn failing(evidence: &Evidence) -> Vec<usize> {
        let checks = all(evidence);
        (0..checks.len())
            .filter(|&index| !checks[index].ok)
            .collect()
    }

    #[test]
    fn a_good_end_passes() {
        assert_eq!(
            all(&good())
                .iter()
                .flat_map(|it| it.problems.clone())
                .count(),
            0
        );
    }

    #[test]
    fn each_check_can_fail_and_only_where_it_should() {
        let broken = |change: fn(&mut Evidence)| {
            let mut evidence = good();
            change(&mut evidence);
            failing(&evidence)
        };
        assert_eq!(
            broken(|it| it.tasks[3].status = "review".to_owned()),
            [0, 6]
        );
        assert_eq!(broken(|it| it.tasks[0].failure = None), [0]);
        assert_eq!(broken(|it| it.tasks[1].agent = None), [1]);
        assert_eq!(broken(|it| it.runs[3].finished_at = None), [2, 5]);
        assert_eq!(broken(|it| it.ledger.push_str("start run_x tsk_x\n")), [3]);
        assert_eq!(
            broken(|it| it.ledger = it.ledger.replace(" 1\n", " 0\n")),
            [3]
        );
        assert_eq!(
            broken(|it| it.ledger = it.ledger.replacen("end", "start", 1)),
            [3]
        );
        assert_eq!(
            broken(|it| it.files.values_mut().for_each(|f| f.out.clear())),
            [4]
        );
        assert_eq!(
            broken(|it| it.files.values_mut().for_each(|f| f.events.clear())),
            [4, 5]
        );
        assert_eq!(broken(|it| it.files.clear()), [4, 5]);
        assert_eq!(broken(|it| drop(it.landed.pop_first())), [6]);
        assert_eq!(broken(|it| it.alive.push(1)), [7]);
    }
}
