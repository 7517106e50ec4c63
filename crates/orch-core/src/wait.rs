//! Why a task is not moving, and who acts next. Every task that has not ended has exactly one
//! answer; a task without one is a bug.

use crate::config::Config;
use crate::ledger::{DependencyStatus, Ledger, Result};
use crate::request::Refusal;
use crate::run::{FailureCode, Run, StopReason};
use crate::schedule::{Slots, eligible};
use crate::task::{DependencyKind, Hold, Lane, Review, Task, TaskState, TaskStatus};
use crate::text;
use crate::text_enum::text_enum;
use crate::time::Timestamp;

text_enum! {
    /// What is waited for.
    pub enum WaitCode {
        /// Another task that is on its way.
        Dependency = "dependency",
        /// Another task that ended without success.
        DependencyFailed = "dependency_failed",
        /// A slot of the project or of a kind of agent.
        Slot = "slot",
        /// The agents that may take it are all at work.
        AgentBusy = "agent_busy",
        /// There is no agent at all.
        NoAgent = "no_agent",
        /// No agent has its labels.
        NoAgentForLabels = "no_agent_for_labels",
        /// The agent it names does not exist or is disabled.
        AgentUnavailable = "agent_unavailable",
        /// Its turn, which comes with the next plan.
        Turn = "turn",
        /// Nobody serves this project.
        NotServed = "not_served",
        /// Room on the disk.
        Disk = "disk",
        /// The machine, which had no process, descriptor or memory left for a start.
        Resources = "resources",
        /// orch was told to start nothing more.
        Draining = "draining",
        /// The time of the next attempt.
        Backoff = "backoff",
        /// A rate or usage limit.
        Limit = "limit",
        /// A person's consent to what an agent's program would read.
        Consent = "consent",
        /// The agent that works on it.
        Agent = "agent",
        /// The end of a run that was asked to stop.
        Stopping = "stopping",
        /// orch, which reads what an agent left and records its end.
        Ending = "ending",
        /// A person's approval.
        Approval = "approval",
        /// orch, which is landing its branch.
        Landing = "landing",
        /// A person who mends what is in the way of landing.
        LandingBlocked = "landing_blocked",
        /// A person who looks at what a lost run left.
        Lost = "lost",
    }
}

text_enum! {
    /// Who acts next.
    pub enum Actor {
        /// A person.
        Person = "person",
        /// orch itself.
        Orch = "orch",
        /// An agent at work.
        Agent = "agent",
        /// The clock.
        Timer = "timer",
        /// Another task.
        Task = "task",
    }
}

/// Why a task is not moving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for.
    pub code: WaitCode,
    /// A sentence for a person, with what to do where a person must.
    pub message: String,
    /// Who acts next.
    pub actor: Actor,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
}

/// Whether anything is started at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A daemon serves the project.
    Serving,
    /// A daemon lets what runs end and starts nothing.
    Draining,
    /// There is no daemon.
    Stopped,
    /// A daemon serves the project and starts nothing, because the disk is nearly full.
    NoSpace,
    /// A daemon serves the project and puts starts off, because the machine had nothing left for
    /// one.
    NoResources,
}

/// Says why `task` does not move; `None` if it has ended.
///
/// # Errors
/// The ledger could not be read.
pub fn explain<L: Ledger + ?Sized>(
    ledger: &mut L,
    task: &Task,
    config: &Config,
    live: &[Run],
    service: Service,
) -> Result<Option<Wait>> {
    let wait = match &task.state {
        TaskState::Done | TaskState::Failed { .. } | TaskState::Cancelled { .. } => {
            return Ok(None);
        }
        TaskState::InProgress { run } => working(live.iter().find(|live| &live.id == run)),
        TaskState::Retrying { hold } => held(hold),
        TaskState::Review(review) => reviewed(task, review),
        TaskState::Todo { hold: Some(hold) } => held(hold),
        TaskState::Todo { hold: None } if task.unmet > 0 => {
            let dependencies = ledger.dependencies(&task.id)?;
            blocked(ledger, &dependencies)?
        }
        TaskState::Todo { hold: None } => queued(task, config, live, service),
    };
    Ok(Some(wait))
}

fn wait(code: WaitCode, actor: Actor, message: String) -> Wait {
    Wait {
        code,
        message,
        actor,
        until: None,
    }
}

fn working(run: Option<&Run>) -> Wait {
    match run {
        Some(run) if matches!(run.stop, Some(StopReason::Cancel | StopReason::Interrupt)) => wait(
            WaitCode::Stopping,
            Actor::Orch,
            format!("{} is being stopped", run.id),
        ),
        Some(run) => wait(
            WaitCode::Agent,
            Actor::Agent,
            format!("{} works on it in {}", run.agent, run.id),
        ),
        None => wait(
            WaitCode::Agent,
            Actor::Orch,
            "its run is being recorded".to_owned(),
        ),
    }
}

fn held(hold: &Hold) -> Wait {
    if hold.failure.code == FailureCode::NeedsConsent {
        return Wait {
            until: Some(hold.until),
            ..wait(
                WaitCode::Consent,
                Actor::Person,
                hold.failure.message.clone(),
            )
        };
    }
    let (code, what) = match hold.failure.code {
        FailureCode::RateLimit | FailureCode::UsageLimit => (WaitCode::Limit, "a limit to pass"),
        _ => (WaitCode::Backoff, "its next attempt"),
    };
    Wait {
        code,
        message: format!("waits for {what}, after: {}", hold.failure.message),
        actor: Actor::Timer,
        until: Some(hold.until),
    }
}

fn reviewed(task: &Task, review: &Review) -> Wait {
    let id = &task.id;
    match review {
        Review::Person => wait(
            WaitCode::Approval,
            Actor::Person,
            format!("the work is done: 'orch task approve {id}' or 'orch task reject {id} -r WHY'"),
        ),
        Review::Landing => wait(
            WaitCode::Landing,
            Actor::Orch,
            "its branch is being landed".to_owned(),
        ),
        Review::Blocked { message, files } => {
            let files = match files.as_slice() {
                [] => String::new(),
                files => format!(": {}", text::named(files)),
            };
            let message = format!(
                "{message}{files}. Mend that, then 'orch task approve {id}'; or 'orch task reject \
                 {id} -r WHY'"
            );
            wait(WaitCode::LandingBlocked, Actor::Person, message)
        }
        Review::Lost { failure } => wait(
            WaitCode::Lost,
            Actor::Person,
            format!(
                "{}: look at what is there, then 'orch task approve {id}', 'orch task retry {id}' \
                 or 'orch task cancel {id}'",
                failure.message
            ),
        ),
    }
}

/// The first dependency that needs a person, else the first that is not met.
fn blocked<L: Ledger + ?Sized>(ledger: &mut L, dependencies: &[DependencyStatus]) -> Result<Wait> {
    let unmet = || {
        dependencies
            .iter()
            .filter(|it| !it.dependency.kind.is_met_by(it.status))
    };
    let hopeless = unmet().find(|it| {
        it.dependency.kind == DependencyKind::Succeeded
            && matches!(it.status, TaskStatus::Failed | TaskStatus::Cancelled)
    });
    Ok(match (hopeless, unmet().next()) {
        (Some(it), _) => wait(
            WaitCode::DependencyFailed,
            Actor::Person,
            format!(
                "needs {on}, which is {status}: 'orch task retry {on}', or cancel this task",
                on = it.dependency.on,
                status = it.status,
            ),
        ),
        (None, Some(it)) if it.status == TaskStatus::Review => in_review(ledger, it)?,
        (None, Some(it)) => {
            let more = unmet().count() - 1;
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            wait(
                WaitCode::Dependency,
                Actor::Task,
                format!(
                    "waits for {}, which is {}{more}",
                    it.dependency.on, it.status
                ),
            )
        }
        (None, None) => wait(
            WaitCode::Turn,
            Actor::Orch,
            "its dependencies are being counted".to_owned(),
        ),
    })
}

/// What a task in review needs is what those need that wait for it.
fn in_review<L: Ledger + ?Sized>(ledger: &mut L, it: &DependencyStatus) -> Result<Wait> {
    let on = &it.dependency.on;
    let other = ledger.task(on)?;
    let needs = other.as_ref().and_then(|other| match &other.state {
        TaskState::Review(review) => Some(reviewed(other, review)),
        _ => None,
    });
    let (actor, needs) = needs.map_or((Actor::Task, String::new()), |needs| {
        (needs.actor, format!(": {}", needs.message))
    });
    let message = format!("waits for {on}, which is in review{needs}");
    Ok(wait(WaitCode::Dependency, actor, message))
}

fn queued(task: &Task, config: &Config, live: &[Run], service: Service) -> Wait {
    let lane = task.lane();
    let eligible = eligible(config, &lane);
    if eligible.is_empty() {
        return nobody(config, &lane);
    }
    match service {
        Service::Stopped => {
            let message = "nobody serves this project: run 'orch serve' or 'orch run'".to_owned();
            return wait(WaitCode::NotServed, Actor::Person, message);
        }
        Service::Draining => {
            let message = "orch is ending and starts nothing more".to_owned();
            return wait(WaitCode::Draining, Actor::Person, message);
        }
        Service::NoSpace => {
            let message = "too little room on the disk to start anything ('orch doctor' says how \
                           much): make room and it goes on by itself"
                .to_owned();
            return wait(WaitCode::Disk, Actor::Person, message);
        }
        Service::NoResources => {
            let message = "the machine had no process, descriptor or memory left for a start: it \
                           is tried again in a moment, one agent at a time"
                .to_owned();
            return wait(WaitCode::Resources, Actor::Timer, message);
        }
        Service::Serving => {}
    }
    let slots = Slots::new(config, live);
    if slots.project() == 0 {
        let message = format!("{} of {} agents are at work", live.len(), config.max_agents);
        return wait(WaitCode::Slot, Actor::Agent, message);
    }
    if !eligible.iter().any(|name| slots.has_room(name)) {
        let names: Vec<&str> = eligible.iter().map(crate::AgentName::as_str).collect();
        let message = format!(
            "every agent that may take it is at work: {}",
            names.join(", ")
        );
        return wait(WaitCode::AgentBusy, Actor::Agent, message);
    }
    wait(WaitCode::Turn, Actor::Orch, "it is next in line".to_owned())
}

fn nobody(config: &Config, lane: &Lane) -> Wait {
    let (code, message) = match lane {
        _ if config.agents.is_empty() => (
            WaitCode::NoAgent,
            "there is no agent: 'orch agent add NAME --adapter claude'".to_owned(),
        ),
        Lane::Any => (
            WaitCode::NoAgent,
            "every agent is disabled: 'orch agent enable NAME'".to_owned(),
        ),
        Lane::Agent(name) if config.agent(name).is_some() => (
            WaitCode::AgentUnavailable,
            format!("agent '{name}' is disabled: 'orch agent enable {name}'"),
        ),
        Lane::Agent(name) => (
            WaitCode::AgentUnavailable,
            Refusal::NoSuchAgent(name.clone()).to_string(),
        ),
        Lane::Labels(labels) => {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let labels = labels.join(", ");
            (
                WaitCode::NoAgentForLabels,
                format!(
                    "no agent has the labels {labels}: 'orch agent edit NAME --label {labels}'"
                ),
            )
        }
    };
    wait(code, Actor::Person, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Failure;

    #[test]
    fn what_nobody_agreed_to_waits_for_a_person_and_not_for_the_clock() {
        let held_for = |code| {
            held(&Hold {
                until: Timestamp(5),
                failure: Failure {
                    code,
                    message: "look at it, then 'orch agent trust'".into(),
                    evidence: "a digest".into(),
                },
            })
        };
        let wait = held_for(FailureCode::NeedsConsent);
        assert_eq!((wait.code, wait.actor), (WaitCode::Consent, Actor::Person));
        assert_eq!(wait.until, Some(Timestamp(5)));
        assert!(wait.message.contains("orch agent trust"));
        let wait = held_for(FailureCode::AgentError);
        assert_eq!((wait.code, wait.actor), (WaitCode::Backoff, Actor::Timer));
    }
}
