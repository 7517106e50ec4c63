//! How rough the world is.

use std::fmt;
use std::str::FromStr;

/// A named set of fault rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Nothing breaks but the agents themselves. Shows that the machinery works at all.
    Calm,
    /// Many tasks, many people, news that get lost, a daemon that dies now and then.
    Busy,
    /// Everything at once: the daemon dies in the middle of turns, shims are killed, the host
    /// reboots, commits fail.
    Chaos,
}

impl Profile {
    /// Every profile, mildest first.
    pub const ALL: &'static [Self] = &[Self::Calm, Self::Busy, Self::Chaos];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Busy => "busy",
            Self::Chaos => "chaos",
        }
    }

    pub(crate) const fn rates(self) -> Rates {
        match self {
            Self::Calm => Rates::CALM,
            Self::Busy => Rates::BUSY,
            Self::Chaos => Rates::CHAOS,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is not a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProfile(String);

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a profile: use calm, busy or chaos",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for UnknownProfile {}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let found = Self::ALL.iter().find(|profile| profile.as_str() == text);
        found
            .copied()
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

/// How often each fault happens, per mille of its occasions, and how long things take at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    /// Steps before faults and wishes stop and everything must settle.
    pub(crate) steps: u64,
    /// Milliseconds between two wishes of people, at most.
    pub(crate) wish_gap_ms: i64,
    /// A message of a shim never arrives.
    pub(crate) news_lost: u32,
    /// A message arrives twice.
    pub(crate) news_repeated: u32,
    /// How late a message may arrive, milliseconds.
    pub(crate) news_late_ms: i64,
    /// The daemon dies at one of the instants of a turn, for each instant.
    pub(crate) death_in_turn: u32,
    /// The daemon dies between turns, for each wish.
    pub(crate) death_between: u32,
    /// A commit fails and is rolled back.
    pub(crate) commit_fails: u32,
    /// A commit takes seconds.
    pub(crate) commit_slow: u32,
    /// A shim is killed some time after its launch.
    pub(crate) shim_killed: u32,
    /// The host reboots, for each wish.
    pub(crate) reboot: u32,
    /// What orch does before a start fails: no process, no worktree.
    pub(crate) launch_fails: u32,
    /// A shim takes seconds to come up.
    pub(crate) launch_slow: u32,
    /// The configuration changes, for each wish.
    pub(crate) config_changes: u32,
    /// Somebody drains or interrupts the daemon, for each wish.
    pub(crate) signal: u32,
    /// A landing finds something in its way.
    pub(crate) landing_blocked: u32,
    /// The exit record cannot be read, for each record written.
    pub(crate) record_corrupt: u32,
}

impl Rates {
    const CALM: Self = Self {
        steps: 250,
        wish_gap_ms: 2_000,
        news_lost: 0,
        news_repeated: 0,
        news_late_ms: 20,
        death_in_turn: 0,
        death_between: 0,
        commit_fails: 0,
        commit_slow: 0,
        shim_killed: 0,
        reboot: 0,
        launch_fails: 0,
        launch_slow: 0,
        config_changes: 0,
        signal: 0,
        landing_blocked: 100,
        record_corrupt: 0,
    };

    const BUSY: Self = Self {
        steps: 400,
        wish_gap_ms: 700,
        news_lost: 100,
        news_repeated: 100,
        news_late_ms: 1_500,
        death_in_turn: 5,
        death_between: 10,
        commit_fails: 20,
        commit_slow: 20,
        shim_killed: 20,
        reboot: 2,
        launch_fails: 30,
        launch_slow: 30,
        config_changes: 30,
        signal: 10,
        landing_blocked: 200,
        record_corrupt: 5,
    };

    const CHAOS: Self = Self {
        steps: 400,
        wish_gap_ms: 1_500,
        news_lost: 400,
        news_repeated: 300,
        news_late_ms: 5_000,
        death_in_turn: 30,
        death_between: 60,
        commit_fails: 100,
        commit_slow: 100,
        shim_killed: 150,
        reboot: 20,
        launch_fails: 100,
        launch_slow: 80,
        config_changes: 60,
        signal: 40,
        landing_blocked: 300,
        record_corrupt: 40,
    };

    /// The rates of the end of a simulation: nothing breaks any more.
    pub(crate) const fn settled(self) -> Self {
        Self {
            landing_blocked: 0,
            ..Self::CALM
        }
    }
}
