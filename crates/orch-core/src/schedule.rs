//! The scheduler: a pure decision over what is free and what is ready. It never acts.

use std::collections::BTreeMap;

use crate::config::{Agent, Config};
use crate::id::{AgentName, TaskId};
use crate::ledger::Candidate;
use crate::run::Run;
use crate::task::Lane;

/// How much is free: slots of the project, of each kind of agent and of each agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    project: u32,
    adapters: BTreeMap<String, u32>,
    agents: BTreeMap<AgentName, AgentSlots>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct AgentSlots {
    adapter: String,
    order: usize,
    live: u32,
    free: u32,
}

impl Slots {
    /// What `config` allows less what `live` runs hold.
    #[must_use]
    pub fn new(config: &Config, live: &[Run]) -> Self {
        let count = |matches: &dyn Fn(&Run) -> bool| {
            u32::try_from(live.iter().filter(|run| matches(run)).count()).unwrap_or(u32::MAX)
        };
        let agents = config.agents.iter().enumerate().map(|(order, agent)| {
            let live = count(&|run| run.agent == agent.name);
            let cap = if agent.enabled { agent.max_parallel } else { 0 };
            let slots = AgentSlots {
                adapter: agent.adapter.clone(),
                order,
                live,
                free: cap.saturating_sub(live),
            };
            (agent.name.clone(), slots)
        });
        let adapters = config.adapter_caps.iter().map(|(adapter, cap)| {
            (
                adapter.clone(),
                cap.saturating_sub(count(&|run| &run.adapter == adapter)),
            )
        });
        Self {
            project: config.max_agents.saturating_sub(count(&|_| true)),
            adapters: adapters.collect(),
            agents: agents.collect(),
        }
    }

    /// Free slots of the project.
    #[must_use]
    pub const fn project(&self) -> u32 {
        self.project
    }

    /// Whether this agent could start a run now.
    #[must_use]
    pub fn has_room(&self, agent: &AgentName) -> bool {
        self.project > 0
            && self.agents.get(agent).is_some_and(|slots| {
                slots.free > 0
                    && self
                        .adapters
                        .get(&slots.adapter)
                        .is_none_or(|free| *free > 0)
            })
    }

    /// Takes a slot for `agent`, which must have room.
    fn take(&mut self, agent: &AgentName) {
        self.project -= 1;
        if let Some(slots) = self.agents.get_mut(agent) {
            slots.free -= 1;
            slots.live += 1;
            if let Some(free) = self.adapters.get_mut(&slots.adapter) {
                *free -= 1;
            }
        }
    }

    /// The least busy of `eligible` that has room; the first in the file among equals.
    fn choose(&self, eligible: &[AgentName]) -> Option<AgentName> {
        eligible
            .iter()
            .filter(|name| self.has_room(name))
            .min_by_key(|name| self.agents.get(name).map(|slots| (slots.live, slots.order)))
            .cloned()
    }
}

/// The agents that may take a task of this lane, enabled or not busy or not, in file order.
///
/// A named agent and no other; for labels, those that declare them all, and if there are none,
/// those that declare no labels; otherwise any. Disabled agents do not count.
#[must_use]
pub fn eligible(config: &Config, lane: &Lane) -> Vec<AgentName> {
    let enabled = |wanted: &dyn Fn(&Agent) -> bool| -> Vec<AgentName> {
        let agents = config
            .agents
            .iter()
            .filter(|agent| agent.enabled && wanted(agent));
        agents.map(|agent| agent.name.clone()).collect()
    };
    match lane {
        Lane::Agent(name) => enabled(&|agent| &agent.name == name),
        Lane::Any => enabled(&|_| true),
        Lane::Labels(labels) => {
            let specialists = enabled(&|agent| agent.declares(labels));
            if specialists.is_empty() {
                enabled(&Agent::is_generalist)
            } else {
                specialists
            }
        }
    }
}

/// The ready tasks of one lane, by priority then age, and who may take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Who may take them.
    pub eligible: Vec<AgentName>,
    /// The first of them; as many as there are free slots is enough.
    pub candidates: Vec<Candidate>,
}

/// One task to start and who works on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What.
    pub task: TaskId,
    /// Who.
    pub agent: AgentName,
}

/// Decides what starts now: the most urgent first, the oldest among equals; a task that cannot
/// have an agent now takes no slot from one that can.
#[must_use]
pub fn decide(mut slots: Slots, queues: &[Queue]) -> Vec<Assignment> {
    let mut order: Vec<(&Candidate, &Queue)> = queues
        .iter()
        .flat_map(|queue| {
            queue
                .candidates
                .iter()
                .map(move |candidate| (candidate, queue))
        })
        .collect();
    order.sort_by_key(|(candidate, _)| (candidate.priority, candidate.seq));
    let mut assignments = Vec::new();
    for (candidate, queue) in order {
        if slots.project() == 0 {
            break;
        }
        if let Some(agent) = slots.choose(&queue.eligible) {
            slots.take(&agent);
            assignments.push(Assignment {
                task: candidate.task.clone(),
                agent,
            });
        }
    }
    assignments
}
