//! Supervising the process of one agent so that its end is never lost.
//!
//! Two sides meet in a run directory. The shim (`shim`, one small process per run) owns
//! the agent: it holds a lock while it lives, passes a gate at most once, starts the agent,
//! waits for the process and not for its output to close, and leaves a durable record before
//! anybody is told. The daemon's side ([`Launcher`], [`inspect`], [`stop()`], [`NewsListener`],
//! [`reap_orphans`]) reads what the shim left, from this daemon's time or an earlier one.
//!
//! | exit.json | lock | started | agent | [`inspect`] says |
//! |---|---|---|---|---|
//! | valid | any | any | not alive | `Ended` or `NotStarted`, as recorded |
//! | valid | any | any | alive | forged: as if there were no valid record |
//! | none | held | any | known / unknown | `Running` / `Launching` |
//! | none | free | no | none | `Fresh` |
//! | none | free | any | none, and the run was recorded in another boot | `Lost(host_rebooted)` |
//! | any | free | yes | alive, or its end still to be fetched by us | `Unsupervised` |
//! | any | free | yes | fetched by our reaper | `Ended`, source daemon |
//! | none | free | yes | gone, other boot | `Lost(host_rebooted)` |
//! | none | free | yes | gone | `Lost(supervisor_died)` |
//! | none | free | yes | never seen, no output | `NotStarted(supervisor_died_at_launch)` |
//! | unusable | free | any | gone | quarantined, `Lost(record_corrupt)` |
//! | no directory | | | some process of the run lives | `Unsupervised` |
//! | no directory | | | none lives | `Lost(record_missing)` |
//!
//! This module must not know about tasks, retries, adapters, outcomes or the database. It says
//! what the kernel said and what it enforced; `orch_core::outcome` decides what that means.

mod ancestry;
pub(crate) mod clock;
pub(crate) mod files;
mod launch;
pub(crate) mod news;
mod points;
pub(crate) mod process;
mod reaper;
pub(crate) mod record;
#[cfg(target_os = "linux")]
pub(crate) mod server;
pub(crate) mod spec;
mod standing;
mod standstill;
mod stop;
mod survivors;
pub(crate) mod tree;

#[cfg(target_os = "linux")]
pub use crate::shim::shims_main;
pub use crate::shim::{Limiter, directory_of, shim_main};
pub use ancestry::is_within_run;
pub use launch::{LaunchError, Launcher, SHIM_COMMAND, forestall};
pub use news::{News, NewsListener, NewsQuit, What};
pub use process::{is_ending, present_boot};
pub use reaper::{OwnedChild, become_subreaper, reap_orphans, spawn_owned, strays};
pub(crate) use reaper::{exit_of, exit_told};
pub use record::{ExitRecord, Leaked, Source};
#[cfg(target_os = "linux")]
pub use server::SHIMS_COMMAND;
pub use spec::{Limits, MARKER, Spec, SpecError, StopSignal};
pub use standing::{Standing, inspect};
pub use standstill::{StoppedShim, is_stopped, stopped_agent, stopped_shim, unwritten_end};
pub use stop::{StopSent, stop};
