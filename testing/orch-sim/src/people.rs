//! What people want: requests, changes of the configuration, in any state and at any time.

use std::collections::BTreeSet;

use orch_core::AgentName;
use orch_core::config::{Agent, Config, Resumes, TaskDefaults};
use orch_core::policy::Backoff;
use orch_core::request::{NewTask, Request, TaskEdit};
use orch_core::task::{
    Dependency, DependencyKind, OnLost, Priority, Require, Review, ReviewMode, Task, TaskState,
    TaskStatus, WorkspaceMode,
};
use orch_core::{RunId, TaskId};

use crate::host::SHELL;
use crate::random::Random;
use crate::rows::Rows;

const LABELS: [&str; 4] = ["rust", "web", "docs", "reviewer"];

/// The agents a simulated project may have.
fn agents() -> Vec<Agent> {
    let agent = |name: &str, adapter: &str, labels: &[&str], max_parallel| Agent {
        name: agent_name(name),
        adapter: adapter.to_owned(),
        role: None,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        max_parallel,
        enabled: true,
        require: None,
        resumes: match adapter {
            SHELL => Resumes::Never,
            _ => Resumes::Always,
        },
    };
    vec![
        agent("alice", "claude", &[], 2),
        agent("bob", SHELL, &["rust", "web"], 1),
        Agent {
            role: Some("reviewer".to_owned()),
            require: Some(Require::Changes),
            ..agent("carol", "claude", &["docs"], 1)
        },
        agent("dave", SHELL, &[], 1),
        agent("erin", "codex", &["rust"], 3),
    ]
}

fn agent_name(name: &str) -> AgentName {
    name.parse().expect("the names above keep the rule")
}

/// A project to begin with.
pub(crate) fn draw_config(random: &mut Random) -> Config {
    let mut agents = agents();
    agents.truncate(usize::try_from(random.between(1, 5)).unwrap_or(1));
    let mut config = Config {
        max_agents: u32::try_from(random.between(1, 5)).unwrap_or(1),
        agents,
        defaults: TaskDefaults {
            timeout_ms: Some(20_000),
            ..TaskDefaults::default()
        },
        backoff: Backoff {
            base_ms: 400,
            max_ms: 6_000,
        },
        ..Config::default()
    };
    if random.chance(300) {
        config.adapter_caps.insert("claude".to_owned(), 1);
    }
    config
}

/// Changes one thing about the project.
pub(crate) fn change_config(config: &mut Config, random: &mut Random) {
    match random.below(5) {
        0 => config.max_agents = u32::try_from(random.between(1, 5)).unwrap_or(1),
        1 if config.agents.len() > 1 => {
            config.agents.pop();
        }
        2 => {
            let missing = agents()
                .into_iter()
                .find(|agent| config.agent(&agent.name).is_none());
            config.agents.extend(missing);
        }
        3 => {
            config.adapter_caps.insert(SHELL.to_owned(), 1);
        }
        _ => {
            let count = config.agents.len() as u64;
            let index = usize::try_from(random.below(count)).unwrap_or(0);
            if let Some(agent) = config.agents.get_mut(index) {
                agent.enabled = !agent.enabled;
            }
        }
    }
}

/// Makes a project in which every task can find an agent.
pub(crate) fn restore_config(config: &mut Config) {
    config.agents = agents();
    config.max_agents = config.max_agents.max(2);
    config.adapter_caps.clear();
}

/// Something somebody asks, sensible or not.
pub(crate) fn draw_request(rows: &Rows, random: &mut Random) -> Request {
    let ids: Vec<&TaskId> = rows.tasks.keys().collect();
    let nobody = TaskId::from_entropy(random.next());
    let task = random.pick(&ids).map_or(nobody, |id| (*id).clone());
    match random.below(21) {
        0..=8 => Request::Add(Box::new(draw_task(&ids, random))),
        9 | 10 => Request::Edit {
            task,
            edit: Box::new(draw_edit(&ids, random)),
        },
        11 | 12 => Request::Cancel { task },
        13 | 14 => Request::Retry { task },
        15 | 16 => Request::Approve { task },
        17 | 18 => Request::Reject {
            task,
            reason: "not like this".to_owned(),
        },
        19 => Request::Resume {
            task,
            message: "and one thing more".to_owned(),
        },
        _ => Request::Delete { task },
    }
}

fn draw_task(ids: &[&TaskId], random: &mut Random) -> NewTask {
    let mut new = NewTask {
        title: format!("task {}", random.below(1_000)),
        priority: draw_priority(random),
        dependencies: draw_dependencies(ids, random),
        review: random.chance(600).then_some(ReviewMode::Auto),
        workspace: random.chance(200).then_some(WorkspaceMode::Shared),
        max_attempts: Some(u32::try_from(random.between(1, 4)).unwrap_or(1)),
        timeout_ms: Some(random.between(2_000, 20_000).unsigned_abs()),
        stall_ms: random.chance(300).then_some(3_000),
        ..NewTask::default()
    };
    if random.chance(200) {
        new.require = random.pick(Require::ALL).copied();
    }
    if random.chance(200) {
        new.on_lost = random.pick(OnLost::ALL).copied();
    }
    match random.below(10) {
        0 | 1 => new.agent = Some(draw_agent(random)),
        2..=4 => new.labels = draw_labels(random),
        _ => {}
    }
    new
}

fn draw_agent(random: &mut Random) -> AgentName {
    let names = ["alice", "bob", "carol", "dave", "erin", "nobody"];
    agent_name(random.pick(&names).unwrap_or(&"alice"))
}

fn draw_labels(random: &mut Random) -> BTreeSet<String> {
    let count = random.between(1, 2);
    let labels = (0..count).filter_map(|_| random.pick(&LABELS));
    labels.map(|label| (*label).to_owned()).collect()
}

fn draw_priority(random: &mut Random) -> Option<Priority> {
    let number = u8::try_from(random.between(0, 4)).unwrap_or(0);
    Priority::new(number)
}

/// Dependencies on tasks that exist; the same one twice and one of each kind are both possible.
fn draw_dependencies(ids: &[&TaskId], random: &mut Random) -> Vec<Dependency> {
    if random.chance(550) {
        return Vec::new();
    }
    let count = random.between(1, 3);
    let mut dependencies = Vec::new();
    for _ in 0..count {
        // The newest are the ones that are still open.
        let recent = &ids[ids.len().saturating_sub(8)..];
        if let Some(on) = random.pick(recent) {
            let kind = if random.chance(700) {
                DependencyKind::Succeeded
            } else {
                DependencyKind::Ended
            };
            let on = (*on).clone();
            dependencies.push(Dependency { on, kind });
        }
    }
    dependencies
}

fn draw_edit(ids: &[&TaskId], random: &mut Random) -> TaskEdit {
    let mut edit = TaskEdit::default();
    match random.below(6) {
        0 => edit.priority = draw_priority(random),
        1 => edit.agent = Some(random.chance(500).then(|| draw_agent(random))),
        2 => edit.labels = Some(draw_labels(random)),
        3 => edit.max_attempts = Some(u32::try_from(random.between(1, 4)).unwrap_or(1)),
        4 => edit.title = Some("renamed".to_owned()),
        _ => edit.dependencies = Some(draw_dependencies(ids, random)),
    }
    edit
}

/// What a helpful person does about the first task that needs one, so that everything can end.
pub(crate) fn help(rows: &Rows) -> Option<Request> {
    rows.open_tasks().find_map(|task| help_with(task, rows))
}

fn help_with(task: &Task, rows: &Rows) -> Option<Request> {
    let id = task.id.clone();
    match &task.state {
        TaskState::Review(Review::Landing) => None,
        TaskState::Review(_) => Some(Request::Approve { task: id }),
        TaskState::Todo { .. } | TaskState::Retrying { .. } => {
            let hopeless = rows
                .dependencies
                .get(&id)
                .into_iter()
                .flatten()
                .any(|needed| {
                    let status = rows.tasks.get(&needed.on).map(Task::status);
                    needed.kind == DependencyKind::Succeeded
                        && matches!(status, Some(TaskStatus::Failed | TaskStatus::Cancelled))
                });
            let nobody = task
                .agent
                .as_ref()
                .is_some_and(|name| name.as_str() == "nobody");
            (hopeless || nobody).then_some(Request::Cancel { task: id })
        }
        _ => None,
    }
}

/// The run a task is in, if it is in one.
pub(crate) fn run_of(task: &Task) -> Option<&RunId> {
    match &task.state {
        TaskState::InProgress { run } => Some(run),
        _ => None,
    }
}
