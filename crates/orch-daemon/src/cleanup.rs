//! What is taken away, and when it is given up: the policy over `orch_host::trash` and the rescue
//! refs of `orch_host::workspace`.
//!
//! Three rules. Nothing is removed on the strength of a look that failed or was not whole: all of
//! it is looked at first, and one error ends the pass with everything in place. Nothing is removed
//! that does not say itself since when it is there. And each pass may be cut short and begun again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use orch_core::event::EventKind;
use orch_core::{RunId, TaskId, Timestamp};
use orch_host::git::{BranchName, Repository};
use orch_host::run_dir::RunDir;
use orch_host::trash::{Item, Kind, Trash, TrashError};
use orch_host::workspace::{Rescued, WorkspaceError, Workspaces};
use orch_store::{Reader, StoreError};

use crate::config::Cleanup;
use crate::convert;
use crate::project::Project;

/// Facts that are read at once.
const PAGE: usize = 4_096;

/// Why cleaning up stopped. Nothing was removed by the step that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanupError {
    #[error(transparent)]
    Trash(#[from] TrashError),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read {what}: {source}")]
    Io { what: String, source: io::Error },
    /// An option that means nothing for what was named.
    #[error("{option} means nothing for {id}: it is {what}")]
    NotFor {
        option: &'static str,
        id: String,
        what: &'static str,
    },
}

type Result<T> = std::result::Result<T, CleanupError>;

/// The worktrees of a project. Without a configured target it is the branch that is checked out.
pub(crate) fn workspaces(
    project: &Project,
    target: Option<&str>,
) -> std::result::Result<Workspaces, WorkspaceError> {
    let repository = Repository::discover(&project.root)?;
    let target = match target {
        Some(target) => target.parse::<BranchName>()?,
        None => repository
            .current_branch()?
            .ok_or(WorkspaceError::TargetUnknown)?,
    };
    let trash = trash(project);
    Ok(Workspaces::new(
        repository,
        &project.worktrees(),
        trash,
        target,
    ))
}

/// The trash of a project.
pub(crate) fn trash(project: &Project) -> Trash {
    Trash::new(&project.trash())
}

/// Takes the directories of a deleted task's runs away.
pub(crate) fn discard_runs(
    project: &Project,
    task: &TaskId,
    runs: &[RunId],
) -> std::result::Result<(), TrashError> {
    let trash = trash(project);
    for run in runs {
        let dir = RunDir::new(&project.runs(), run);
        trash.keep_run(dir.path(), run, task)?;
    }
    Ok(())
}

/// What one pass removed and could not remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// What was given up, with the reason.
    pub given_up: Vec<(String, String)>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Everything that is kept, seen whole or not at all.
pub(crate) struct Kept {
    pub items: Vec<Item>,
    pub rescued: Vec<Rescued>,
}

pub(crate) fn look(workspaces: &Workspaces) -> Result<Kept> {
    Ok(Kept {
        items: workspaces.trash().items()?,
        rescued: workspaces.rescued()?,
    })
}

/// Whether something kept since `at` has had its time. What lies in the future has not.
pub(crate) const fn is_over(at: Timestamp, now: Timestamp, keep_ms: u64) -> bool {
    now.millis_since(at) >= keep_ms
}

/// The moment that lifetimes are compared with: the earlier of what the clock says and what it
/// would say if nobody had set it.
pub(crate) fn now(trash: &Trash) -> Result<Timestamp> {
    Ok(trash.trusted_now()?.now.min(convert::now()))
}

/// Gives up what is older than `keep_ms`; what does not say its age stays.
pub(crate) fn expire(workspaces: &Workspaces, keep_ms: u64) -> Result<Swept> {
    let kept = look(workspaces)?;
    let now = now(workspaces.trash())?;
    let mut swept = Swept::default();
    for item in &kept.items {
        let at = item.manifest.as_ref().map(|manifest| manifest.at);
        if at.is_some_and(|at| is_over(at, now, keep_ms)) {
            workspaces.trash().give_up(&item.id)?;
            let why = "its lifetime is over".to_owned();
            swept.given_up.push((item.id.clone(), why));
        }
    }
    for rescued in &kept.rescued {
        if rescued.at.is_some_and(|at| is_over(at, now, keep_ms)) {
            workspaces.drop_rescued(rescued)?;
            let commit = &rescued.commit;
            let why = format!("its lifetime is over; git may still have commit {commit}");
            swept.given_up.push((rescued.id.clone(), why));
        }
    }
    Ok(swept)
}

/// Keeps the trash below `most` bytes: the oldest worktrees go early, since all of them that git
/// does not ignore is in commits. Anything else stays, and it is said that the trash is too large.
pub(crate) fn bound(trash: &Trash, most: u64) -> Result<Swept> {
    let items = trash.items()?;
    let mut sizes = BTreeMap::new();
    for item in &items {
        sizes.insert(&item.id, trash.measure(&item.id)?.bytes);
    }
    let mut total: u64 = sizes.values().sum();
    let mut swept = Swept::default();
    let worktrees = items.iter().filter(|item| {
        let kind = item.manifest.as_ref().map(|manifest| manifest.kind);
        kind == Some(Kind::Worktree)
    });
    for item in worktrees {
        if total <= most {
            break;
        }
        trash.give_up(&item.id)?;
        total -= sizes[&item.id];
        let why = format!("the trash was larger than {most} bytes; its work is in git");
        swept.given_up.push((item.id.clone(), why));
    }
    if total > most {
        swept.warnings.push(format!(
            "the trash holds {total} bytes, more than the {most} of cleanup.trash, and nothing in \
             it is in git as well; 'orch rescue list' shows it, 'orch rescue drop ID' gives it up"
        ));
    }
    Ok(swept)
}

/// One pass: what deleted tasks left, what is too old, what is too much.
pub(crate) fn pass(
    project: &Project,
    target: Option<&str>,
    limits: Cleanup,
    reader: &mut dyn Reader,
) -> Result<Swept> {
    let workspaces = workspaces(project, target)?;
    let mut swept = finish_deletions(project, &workspaces, reader)?;
    if let Some(keep_ms) = limits.keep_ms {
        let expired = expire(&workspaces, keep_ms)?;
        swept.given_up.extend(expired.given_up);
    }
    let bounded = bound(workspaces.trash(), limits.trash_bytes)?;
    swept.given_up.extend(bounded.given_up);
    swept.warnings.extend(bounded.warnings);
    workspaces.trash().sweep()?;
    Ok(swept)
}

/// Takes away what deleted tasks left because a daemon died before it could, or the disk refused.
/// A task without a row is deleted only if that was recorded: where the database is an older copy,
/// tasks are missing in it that nobody deleted.
fn finish_deletions(
    project: &Project,
    workspaces: &Workspaces,
    reader: &mut dyn Reader,
) -> Result<Swept> {
    let mark = project.trash().join("mark");
    let read = fs::read_to_string(&mark).ok();
    let after = read.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let last = reader.last_event()?;
    // A mark beyond the last fact belongs to a database that is not this one.
    let after = if after > last { 0 } else { after };
    let deleted = deleted_since(after, reader)?;
    let mut swept = Swept::default();
    if !deleted.is_empty() {
        for (task, runs) in runs_left(project, &deleted, reader)? {
            discard_runs(project, &task, &runs)?;
        }
        for task in workspaces.tasks()?.intersection(&deleted) {
            // One that has to stay, because of something that cannot be saved, keeps no other.
            if let Err(error) = workspaces.discard_all_of(task) {
                swept.warnings.push(crate::log::chain(&error));
            }
        }
    }
    if swept.warnings.is_empty() && after != last {
        fs::create_dir_all(project.trash())
            .and_then(|()| fs::write(&mark, last.to_string()))
            .map_err(|source| CleanupError::Io {
                what: mark.display().to_string(),
                source,
            })?;
    }
    Ok(swept)
}

/// The tasks whose deletion was recorded after a fact, and that are not there.
fn deleted_since(after: u64, reader: &mut dyn Reader) -> Result<BTreeSet<TaskId>> {
    let mut deleted = BTreeSet::new();
    let mut after = after;
    loop {
        let facts = reader.events(after, PAGE)?;
        let Some(last) = facts.last() else {
            return Ok(deleted);
        };
        after = last.seq;
        for fact in facts {
            if fact.event.kind == EventKind::TaskDeleted
                && let Some(task) = fact.event.task
                && reader.task(&task)?.is_none()
            {
                deleted.insert(task);
            }
        }
    }
}

/// The directories of runs that belonged to one of these tasks.
fn runs_left(
    project: &Project,
    deleted: &BTreeSet<TaskId>,
    reader: &mut dyn Reader,
) -> Result<BTreeMap<TaskId, Vec<RunId>>> {
    let runs = project.runs();
    let unreadable = |source| CleanupError::Io {
        what: runs.display().to_string(),
        source,
    };
    let mut left: BTreeMap<TaskId, Vec<RunId>> = BTreeMap::new();
    for entry in fs::read_dir(&runs).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(run) = name.to_str().and_then(|name| name.parse::<RunId>().ok()) else {
            continue;
        };
        if reader.run(&run)?.is_some() {
            continue;
        }
        if let Some(task) = task_of(&RunDir::new(&runs, &run)).filter(|it| deleted.contains(it)) {
            left.entry(task).or_default().push(run);
        }
    }
    Ok(left)
}

/// Whose run a directory says it is.
fn task_of(dir: &RunDir) -> Option<TaskId> {
    let text = fs::read(dir.run_json()).ok()?;
    let run: serde_json::Value = serde_json::from_slice(&text).ok()?;
    run["task_id"].as_str()?.parse().ok()
}
