//! The promises, each as a checker of its own. A checker reads committed rows and the truth of the
//! fake host; it must not call the engine or ask the daemon.

mod attempts;
mod consistency;
mod dependants;
mod endings;
mod events;
mod holds;
mod moving;
mod processes;
mod queue;
mod sessions;
mod settling;
mod slots;

use std::collections::BTreeMap;

use orch_core::config::{Agent, Config};
use orch_core::run::Run;
use orch_core::task::Task;

use crate::agenda::Epoch;
use crate::git::Git;
use crate::host::Host;
use crate::rows::{Commit, Rows};

/// A promise that was broken.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) promise: &'static str,
    pub(crate) what: String,
}

/// What a checker may look at: the rows after the last commit and the truth.
pub(crate) struct Seen<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) host: &'a Host,
    pub(crate) git: &'a Git,
    /// The configuration the deciding process had.
    pub(crate) config: &'a Config,
    pub(crate) now: i64,
    /// Milliseconds so far in which a daemon was up and its store at work. Time limits are
    /// measured on this clock: nobody can settle anything while nobody is there.
    pub(crate) healthy_ms: i64,
    /// Which life of the daemon this is, if it is up.
    pub(crate) epoch: Option<Epoch>,
}

type Verdict = Result<(), String>;

/// One promise.
trait Checker {
    /// Its name in reliability terms: what a failing seed is reported under.
    fn promise(&self) -> &'static str;

    /// Looks at one committed transaction.
    fn committed(&mut self, _commit: &Commit, _seen: &Seen<'_>) -> Verdict {
        Ok(())
    }

    /// Looks at the world after each step.
    fn moment(&mut self, _seen: &Seen<'_>) -> Verdict {
        Ok(())
    }
}

/// All promises together.
pub(crate) struct Checkers(Vec<Box<dyn Checker>>);

impl Checkers {
    pub(crate) fn all() -> Self {
        Self(vec![
            Box::new(settling::NoStaleRunning::default()),
            Box::new(endings::ExactStatus),
            Box::new(endings::TerminalIsFinal),
            Box::new(endings::SuccessNeedsProof),
            Box::new(endings::FailureHasReason),
            Box::new(consistency::OneTransaction),
            Box::new(consistency::UnmetIsExact),
            Box::new(consistency::RefusalsChangeNothing),
            Box::new(processes::OneStartPerAttempt::default()),
            Box::new(processes::RecordThenAct::default()),
            Box::new(processes::TerminalMeansDead::default()),
            Box::new(slots::SlotsWithinCaps),
            Box::new(queue::PriorityThenAge),
            Box::new(queue::NoIdleAgent),
            Box::new(dependants::DependantsStartAfter),
            Box::new(dependants::DoneHasLanded),
            Box::new(holds::BackoffIsHonoured::default()),
            Box::new(attempts::AttemptsAreCounted::default()),
            Box::new(sessions::SessionsGoOn),
            Box::new(events::EventsTellAll::default()),
            Box::new(moving::OneWaitReason),
            Box::new(moving::EveryTaskMoves::default()),
        ])
    }

    /// Keeps the checker of this promise only.
    pub(crate) fn keep_only(&mut self, promise: &str) {
        self.0.retain(|checker| checker.promise() == promise);
    }

    /// The names of all promises that have a checker of their own.
    pub(crate) fn promises(&self) -> Vec<&'static str> {
        self.0.iter().map(|checker| checker.promise()).collect()
    }

    pub(crate) fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Result<(), Finding> {
        self.ask(|checker| checker.committed(commit, seen))
    }

    pub(crate) fn moment(&mut self, seen: &Seen<'_>) -> Result<(), Finding> {
        self.ask(|checker| checker.moment(seen))
    }

    fn ask(
        &mut self,
        mut question: impl FnMut(&mut dyn Checker) -> Verdict,
    ) -> Result<(), Finding> {
        for checker in &mut self.0 {
            question(checker.as_mut()).map_err(|what| Finding {
                promise: checker.promise(),
                what,
            })?;
        }
        Ok(())
    }
}

/// Fails with a sentence unless `holds`.
fn demand(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// Since when, on the healthy clock, something has been true without a break.
#[derive(Debug)]
struct Since<K> {
    marks: BTreeMap<K, i64>,
    epoch: Option<Epoch>,
}

impl<K> Default for Since<K> {
    fn default() -> Self {
        Self {
            marks: BTreeMap::new(),
            epoch: None,
        }
    }
}

impl<K: Ord + Clone> Since<K> {
    /// Notes which keys it is true for now; the longest age comes back with its key. A new
    /// daemon begins to count anew: it cannot answer for the time before it.
    fn note(&mut self, keys: Vec<K>, seen: &Seen<'_>) -> Option<(K, i64)> {
        if self.epoch != seen.epoch {
            self.epoch = seen.epoch;
            self.marks.clear();
        }
        if keys.is_empty() {
            self.marks.clear();
            return None;
        }
        let mut marks = BTreeMap::new();
        for key in keys {
            let since = self.marks.get(&key).copied().unwrap_or(seen.healthy_ms);
            marks.insert(key, since);
        }
        self.marks = marks;
        let oldest = self.marks.iter().min_by_key(|(_, since)| **since);
        oldest.map(|(key, since)| (key.clone(), seen.healthy_ms - since))
    }
}

/// Whether `agent` may take `task`, written down a second time and differently from the scheduler.
fn may_take(config: &Config, agent: &Agent, task: &Task) -> bool {
    if !agent.enabled {
        return false;
    }
    if let Some(name) = &task.agent {
        return &agent.name == name;
    }
    if task.labels.is_empty() {
        return true;
    }
    let declares = |agent: &Agent| {
        let has =
            |label: &String| agent.labels.contains(label) || agent.role.as_ref() == Some(label);
        task.labels.iter().all(has)
    };
    let specialist_exists = config.agents.iter().any(|it| it.enabled && declares(it));
    if specialist_exists {
        declares(agent)
    } else {
        agent.labels.is_empty()
    }
}

/// Live runs that pass.
fn count_live(rows: &Rows, passes: impl Fn(&Run) -> bool) -> usize {
    rows.live_runs().filter(|run| passes(run)).count()
}

/// Whether one more run of `agent` would keep every cap.
fn has_room(seen: &Seen<'_>, agent: &Agent) -> bool {
    let below = |count: usize, cap: u32| count < cap as usize;
    let adapter_cap = seen.config.adapter_caps.get(&agent.adapter);
    below(seen.rows.live.len(), seen.config.max_agents)
        && below(
            count_live(seen.rows, |run| run.agent == agent.name),
            agent.max_parallel,
        )
        && adapter_cap.is_none_or(|cap| {
            below(
                count_live(seen.rows, |run| run.adapter == agent.adapter),
                *cap,
            )
        })
}
