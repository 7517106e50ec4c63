//! Eight programs of mixed kinds at once, on one repository, under one `orch serve`.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use orch_field::Project;

use super::case::Case;
use super::expected;
use super::play::{Stage, Watchdog, add_task, key};
use super::processes;
use super::programs::{self, Program};
use super::table::Line;

/// Who works, and at what. Only programs that need no file in the home can work twice.
const CAST: &[(&str, Case)] = &[
    ("claude", Case::Work),
    ("claude", Case::Silent),
    ("codex", Case::Work),
    ("opencode", Case::Work),
    ("gemini", Case::Background),
    ("qwen", Case::Work),
    ("pi", Case::BadKey),
    ("copilot", Case::Work),
];

/// One that works.
struct Worker {
    program: &'static Program,
    case: Case,
    label: String,
    task: String,
}

/// Lets all of them work at once.
///
/// # Errors
/// orch or git did what they must never do.
pub fn play(stage: &Stage) -> Result<Vec<Line>> {
    println!("agents: {} programs at once", CAST.len());
    stage.in_project("mixed", |project| all_at_once(stage, project))
}

fn all_at_once(stage: &Stage, project: &Project) -> Result<Vec<Line>> {
    let start = Instant::now();
    project.ok(&["config", "set", "project.max_agents", "8"]);
    let workers: Result<Vec<Worker>> = CAST
        .iter()
        .map(|role| hire(stage, project, *role))
        .collect();
    let workers = workers?;
    let mut served = project.serve_with(&[], &key());
    let watchdog = Watchdog::over(&served);
    served.wait_for_events("run_ended", workers.len());
    let recorded: Vec<_> = workers
        .iter()
        .map(|worker| stage.recorded(project, &worker.task, &worker.label))
        .collect();
    drop(watchdog);
    served.drain();
    let left = processes::left_in(&project.outside(""));
    ensure!(left.is_empty(), "still running: {}", left.join("; "));
    let lines = workers.iter().zip(recorded).map(|(worker, recorded)| {
        let expected = expected::of(worker.program.name, worker.case);
        let mut wrong = expected.judge(&recorded);
        if !wrong.is_empty() {
            wrong.push(expected::details(&recorded));
        }
        let case = format!("mixed {}", worker.case);
        let outcome = recorded.outcome();
        Line::new(worker.program.name, &case, outcome, start.elapsed(), wrong)
            .because(expected.because)
    });
    Ok(lines.collect())
}

fn hire(stage: &Stage, project: &Project, (name, case): (&str, Case)) -> Result<Worker> {
    let mut all = programs::ALL.iter();
    let program = all.find(|program| program.name == name);
    let program = program.with_context(|| format!("no program is called '{name}'"))?;
    let plan = case.plan(&project.outside("unused"));
    let label = format!("mixed-{name}-{case}");
    let base = stage.server.base(&plan.scenario, &label);
    let refusal = stage.add_agent(project, program, &plan, &base, &label)?;
    ensure!(
        refusal.is_none(),
        "{label}: {}",
        refusal.unwrap_or_default()
    );
    let task = add_task(project, &plan, &label);
    Ok(Worker {
        program,
        case,
        label,
        task,
    })
}
