//! Git, through one hardened door.
//!
//! An agent works in a linked worktree, and a linked worktree shares its configuration, hooks and
//! attributes with the user's own checkout. Whatever an agent writes there must not run when orch
//! calls git. Three rules see to that:
//!
//! 1. **One door.** Every git process of orch is started by [`Git`]. The environment is stripped of
//!    `GIT_*`; hooks, fsmonitor, pagers, editors, prompts, credential helpers, signing, every
//!    transport and lazy fetching are switched off; standard input is never a terminal; output and
//!    time are limited. The directory, common directory and work tree of the repository are named
//!    for every call, so a `.git` file, a `commondir` file or `core.worktree` that an agent
//!    rewrote is not even read.
//! 2. **A view of its own for calls that handle content.** Clean and smudge filters, merge drivers
//!    and the like are programs that configuration names. Which calls can run them is known
//!    (whatever reads or writes files of a work tree, or merges), and those go through a private
//!    view of the repository: a directory whose entries lead to the real one, except that
//!    `config` is a copy that holds only keys from a list of harmless ones and `hooks` is absent.
//!    An unknown key is left out, an `include` is never followed by such a call, and rewriting the
//!    real configuration while the call runs changes nothing.
//! 3. **The user's own configuration stays the user's.** Filters and merge drivers from the user's
//!    global configuration (git-lfs, for one) run as they always do. A filter that only the
//!    repository's configuration defines is kept as a *required* filter without a program: a
//!    file that needs it is refused by git with the filter's name, and nothing is stored
//!    unfiltered. Who trusts such a filter defines it with `git config --global`. A merge driver
//!    that only the repository defines counts as unknown: git merges such files as text.
//!
//! What remains: orch never talks to a remote, so a partial clone whose objects are missing, or a
//! git-lfs file that was never fetched, is an error and not a download. Nothing is signed.
//!
//! This module must not know about tasks, agents or worktree policy.

mod command;
mod error;
mod names;
pub(crate) mod process;
mod refs;
mod repository;
pub(crate) mod roots;
mod view;

pub use command::Git;
pub use error::GitError;
pub(crate) use error::one_line;
pub use names::{BadName, BranchName, Oid, RefName};
pub use repository::Repository;

pub(crate) use command::{Call, Output, Place};
pub(crate) use refs::{Moved, RefUpdate};
pub(crate) use repository::split_nul;
pub(crate) use view::{View, sweep as sweep_views};
