//! What wakes the loop, what it answers, and how it ends: the words between the daemon's threads.
//!
//! This file must not know which thread says what.

use std::sync::mpsc::Sender;

use orch_core::engine::Input;
use orch_core::request::{Answer, Refusal, Request};

/// Everything that can wake the loop.
pub(crate) enum Wake {
    /// Somebody asks.
    Ask { request: Request, reply: Reply },
    /// The host has found something out.
    Host(Input),
    /// The configuration file may have changed.
    Reload(Option<tokio::sync::oneshot::Sender<()>>),
    /// Nothing is being performed any more.
    HostIdle,
    /// Tell when everything that was owed at the start has been looked at.
    Settle(Sender<()>),
    /// What the daemon stands on is gone, for this reason; nothing may be recorded any more.
    Broken(String),
    /// The daemon is to end.
    End(Ending),
}

impl Wake {
    /// Bytes of an agent's words that it carries.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Host(Input::Ended { report, .. }) => {
                report.result.as_ref().map_or(0, |result| result.len())
            }
            _ => 0,
        }
    }

    /// Whether nothing follows from it: nobody is answered and nothing is done. Such news may
    /// wait a moment for other news, to be recorded together.
    pub(crate) const fn can_wait(&self) -> bool {
        matches!(self, Self::Host(Input::Spawned { .. }))
    }
}

/// How firmly the daemon is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Answer what is under way and leave; agents that run go on. For a command without a daemon.
    Close,
    /// Start nothing more and leave when the agents have ended.
    Drain,
    /// Stop the agents and leave when they have ended.
    StopAgents,
    /// Leave now; agents that run go on and are found again by the next daemon.
    Leave,
}

/// Where an answer goes.
pub(crate) type Reply = tokio::sync::oneshot::Sender<Result<Answer, NotDone>>;

/// Why a request was not fulfilled.
#[derive(Debug)]
pub(crate) enum NotDone {
    /// The engine refused it; nothing was changed.
    Refused(Refusal),
    /// It was approved and could not be landed; the work waits for a person.
    LandingBlocked { message: String, files: Vec<String> },
    /// It was approved, that is recorded, and orch ended before the branch was landed.
    LandingUnfinished,
    /// The store failed; nothing was changed.
    Store { message: String, disk_full: bool },
    /// The store failed in the last step: nobody knows whether it was recorded.
    Unknown { message: String },
}

/// What is to be told when a daemon that ends by itself has ended. Both empty: all is well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct End {
    /// Tasks that failed, one line each.
    pub failed: Vec<String>,
    /// Tasks that cannot move, one line each with the reason.
    pub stuck: Vec<String>,
}

impl End {
    /// The daemon could not go on.
    pub(crate) fn broken(why: &str) -> Self {
        Self {
            failed: vec![format!("orch had to stop: {why}")],
            stuck: Vec::new(),
        }
    }
}
