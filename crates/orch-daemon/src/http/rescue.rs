//! What orch removed and still keeps: listing it, giving it back, giving it up.
//!
//! All of it is files and git, and may take a while, so it happens away from the thread that
//! answers.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use orch_api::types as api;
use orch_core::task::TaskStatus;
use orch_core::{TaskId, Timestamp};
use orch_host::git::BranchName;
use orch_host::trash::{Item, Kind, TrashError};
use orch_host::workspace::{Rescued, WorkspaceError, Workspaces};

use super::body;
use super::failure::Failed;
use super::tasks::{Id, checked_id};
use crate::cleanup::{self, CleanupError};
use crate::convert;
use crate::log::chain;
use crate::shared::Shared;

/// Most commits and files that are listed of one.
const SHOWN: usize = 500;

/// Does something with the worktrees and the trash of the project, where it may block.
async fn at_work<T: Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&Shared, &Workspaces) -> Result<T, CleanupError> + Send + 'static,
) -> Result<Json<T>, Failed> {
    let done = tokio::task::spawn_blocking(move || {
        let config = shared.config();
        let workspaces = cleanup::workspaces(&shared.project, config.target.as_deref())?;
        work(&shared, &workspaces)
    });
    match done.await {
        Ok(result) => Ok(Json(result?)),
        Err(_) => Err(Failed::ending()),
    }
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
) -> Result<Json<Vec<api::Rescue>>, Failed> {
    at_work(shared, |shared, workspaces| {
        let kept = cleanup::look(workspaces)?;
        let keep_ms = shared.config().cleanup.keep_ms;
        let mut all: Vec<(Option<Timestamp>, api::Rescue)> = Vec::new();
        for item in &kept.items {
            let at = item.manifest.as_ref().map(|manifest| manifest.at);
            all.push((at, of_item(workspaces, item, keep_ms)));
        }
        let refs = kept.rescued.iter();
        all.extend(refs.map(|it| (it.at, of_rescued(it, keep_ms))));
        all.extend(left(shared)?.iter().map(|left| (None, left.told())));
        all.sort_by_key(|(at, _)| (at.is_none(), *at));
        Ok(all.into_iter().map(|(_, rescue)| rescue).collect())
    })
    .await
}

/// One of what is kept.
enum Found {
    Commits(Rescued),
    Files(Item),
    Left(Left),
}

fn find(shared: &Shared, workspaces: &Workspaces, id: &str) -> Result<Found, CleanupError> {
    if let Some(left) = left(shared)?.into_iter().find(|left| left.id() == id) {
        return Ok(Found::Left(left));
    }
    match workspaces.trash().item(id) {
        Ok(item) => Ok(Found::Files(item)),
        Err(TrashError::NoSuchItem(_)) => Ok(Found::Commits(workspaces.find_rescued(id)?)),
        Err(error) => Err(error.into()),
    }
}

/// A worktree that is still in its place although its task is done or not known: it was not taken
/// away, mostly because it holds something that is in no commit.
struct Left {
    task: TaskId,
    path: PathBuf,
}

impl Left {
    fn id(&self) -> String {
        format!("{}.w", self.task)
    }

    fn told(&self) -> api::Rescue {
        let why = "still in its place, its task is done or unknown; it may hold what is in no \
                   commit: a repository, or a file that git refuses";
        api::Rescue {
            id: self.id(),
            kind: "left".to_owned(),
            task: Some(self.task.to_string()),
            run: None,
            why: Some(why.to_owned()),
            at: None,
            expires_at: None,
            reference: None,
            commit: None,
            commits: None,
            path: Some(self.path.display().to_string()),
            bytes: None,
            files: None,
        }
    }
}

fn left(shared: &Shared) -> Result<Vec<Left>, CleanupError> {
    let home = shared.project.worktrees();
    let unreadable = |source| CleanupError::Io {
        what: home.display().to_string(),
        source,
    };
    let entries = match std::fs::read_dir(&home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let Some(task) = name.to_str().and_then(|name| name.parse::<TaskId>().ok()) else {
            continue;
        };
        let row = shared.read(|reader| reader.task(&task))?;
        if row.is_none_or(|row| row.status() == TaskStatus::Done) {
            let path = entry.path();
            found.push(Left { task, path });
        }
    }
    Ok(found)
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::RescueContents>, Failed> {
    let id = checked_id(id)?;
    at_work(shared, move |shared, workspaces| {
        let keep_ms = shared.config().cleanup.keep_ms;
        match find(shared, workspaces, &id)? {
            Found::Commits(rescued) => show_commits(workspaces, &rescued, keep_ms),
            Found::Files(item) => show_files(workspaces, &item, keep_ms),
            Found::Left(left) => Ok(api::RescueContents {
                rescue: left.told(),
                list_of_commits: Vec::new(),
                list_of_files: Vec::new(),
                more: true,
            }),
        }
    })
    .await
}

fn show_commits(
    workspaces: &Workspaces,
    rescued: &Rescued,
    keep_ms: Option<u64>,
) -> Result<api::RescueContents, CleanupError> {
    let contents = workspaces.contents(rescued, SHOWN + 1)?;
    let more = contents.commits.len() > SHOWN || contents.files.len() > SHOWN;
    let commits = contents.commits.into_iter().take(SHOWN);
    let files = contents.files.into_iter().take(SHOWN);
    Ok(api::RescueContents {
        rescue: of_rescued(rescued, keep_ms),
        list_of_commits: commits
            .map(|commit| api::RescuedCommit {
                commit: commit.oid,
                at: convert::rfc3339(commit.at),
                subject: commit.subject,
            })
            .collect(),
        list_of_files: files
            .map(|file| api::RescuedFile {
                path: file.path,
                bytes: None,
            })
            .collect(),
        more,
    })
}

fn show_files(
    workspaces: &Workspaces,
    item: &Item,
    keep_ms: Option<u64>,
) -> Result<api::RescueContents, CleanupError> {
    let files = workspaces.trash().list(&item.id, SHOWN + 1)?;
    let more = files.len() > SHOWN;
    let files = files.into_iter().take(SHOWN);
    Ok(api::RescueContents {
        rescue: of_item(workspaces, item, keep_ms),
        list_of_commits: Vec::new(),
        list_of_files: files
            .map(|(path, bytes)| api::RescuedFile {
                path: path.to_string_lossy().into_owned(),
                bytes: Some(bytes),
            })
            .collect(),
        more,
    })
}

pub(super) async fn restore(
    State(shared): State<Arc<Shared>>,
    id: Id,
    headers: HeaderMap,
    bytes: body::Raw,
) -> Result<Json<api::Restored>, Failed> {
    let id = checked_id(id)?;
    let how: api::RestoreRescue = body::read(&headers, bytes)?;
    let branch = match &how.branch {
        Some(name) => Some(
            name.parse::<BranchName>()
                .map_err(|error| Failed::field("branch", "bad_branch_name", error.to_string()))?,
        ),
        None => None,
    };
    let to = how.to.map(PathBuf::from);
    if to.as_ref().is_some_and(|to| !to.is_absolute()) {
        let message = "the path to restore to must be absolute";
        return Err(Failed::field("to", "bad_path", message));
    }
    at_work(shared, move |shared, workspaces| {
        match find(shared, workspaces, &id)? {
            Found::Commits(_) if to.is_some() => Err(CleanupError::NotFor {
                option: "--to",
                id,
                what: "commits, which are restored as a branch",
            }),
            Found::Files(_) | Found::Left(_) if branch.is_some() => Err(CleanupError::NotFor {
                option: "--branch",
                id,
                what: "files, which are restored to a path",
            }),
            Found::Left(_) if to.is_some() => Err(CleanupError::NotFor {
                option: "--to",
                id,
                what: "a worktree that was never taken away",
            }),
            Found::Left(left) => Ok(api::Restored {
                id,
                branch: None,
                commit: None,
                path: Some(left.path.display().to_string()),
            }),
            Found::Commits(rescued) => restore_commits(workspaces, &rescued, branch),
            Found::Files(item) => {
                let to = to.unwrap_or_else(|| shared.project.restored().join(&item.id));
                workspaces.trash().restore(&item.id, &to)?;
                Ok(api::Restored {
                    id: item.id,
                    branch: None,
                    commit: None,
                    path: Some(to.display().to_string()),
                })
            }
        }
    })
    .await
}

fn restore_commits(
    workspaces: &Workspaces,
    rescued: &Rescued,
    branch: Option<BranchName>,
) -> Result<api::Restored, CleanupError> {
    let branch = match branch {
        Some(branch) => branch,
        None => format!("rescued/{}", rescued.id)
            .parse::<BranchName>()
            .map_err(WorkspaceError::from)?,
    };
    workspaces.restore_rescued(rescued, &branch)?;
    Ok(api::Restored {
        id: rescued.id.clone(),
        branch: Some(branch.to_string()),
        commit: Some(rescued.commit.to_string()),
        path: None,
    })
}

pub(super) async fn give_up(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::GivenUp>, Failed> {
    let id = checked_id(id)?;
    at_work(shared, move |shared, workspaces| {
        match find(shared, workspaces, &id)? {
            Found::Left(left) => workspaces.give_up_worktree(&left.task)?,
            Found::Commits(rescued) => workspaces.drop_rescued(&rescued)?,
            Found::Files(item) => workspaces.trash().give_up(&item.id)?,
        }
        sweep(shared, workspaces)?;
        Ok(api::GivenUp { given_up: vec![id] })
    })
    .await
}

pub(super) async fn prune(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    bytes: body::Raw,
) -> Result<Json<api::GivenUp>, Failed> {
    let which: api::PruneRescues = body::read(&headers, bytes)?;
    at_work(shared, move |shared, workspaces| {
        let keep_ms = which.older_than_ms.or(shared.config().cleanup.keep_ms);
        let given_up = match keep_ms {
            Some(keep_ms) => cleanup::expire(workspaces, keep_ms)?.given_up,
            None => Vec::new(),
        };
        sweep(shared, workspaces)?;
        let given_up = given_up.into_iter().map(|(id, _)| id).collect();
        Ok(api::GivenUp { given_up })
    })
    .await
}

/// Removes the files of what was given up. Behind a daemon nobody waits for that; a command that
/// works alone does it before it ends, since nobody else would.
fn sweep(shared: &Shared, workspaces: &Workspaces) -> Result<(), CleanupError> {
    let trash = workspaces.trash().clone();
    if shared.follows {
        // What cannot be removed now is removed by the next clean-up, which tells of trouble.
        std::thread::spawn(move || drop(trash.sweep()));
        return Ok(());
    }
    Ok(trash.sweep()?)
}

fn expiry(at: Option<Timestamp>, keep_ms: Option<u64>) -> Option<String> {
    let (at, keep_ms) = (at?, keep_ms?);
    Some(convert::rfc3339(at.plus_millis(keep_ms)))
}

fn of_rescued(rescued: &Rescued, keep_ms: Option<u64>) -> api::Rescue {
    api::Rescue {
        id: rescued.id.clone(),
        kind: "commits".to_owned(),
        task: rescued.task().map(|task| task.to_string()),
        run: None,
        why: (!rescued.why.is_empty()).then(|| rescued.why.clone()),
        at: rescued.at.map(convert::rfc3339),
        expires_at: expiry(rescued.at, keep_ms),
        reference: Some(rescued.reference.to_string()),
        commit: Some(rescued.commit.to_string()),
        commits: rescued.commits,
        path: None,
        bytes: None,
        files: None,
    }
}

fn of_item(workspaces: &Workspaces, item: &Item, keep_ms: Option<u64>) -> api::Rescue {
    let trash = workspaces.trash();
    let size = trash.measure(&item.id).ok();
    let manifest = item.manifest.as_ref();
    let at = manifest.map(|it| it.at);
    api::Rescue {
        id: item.id.clone(),
        kind: manifest
            .map_or("unknown", |it| Kind::as_str(it.kind))
            .to_owned(),
        task: manifest.map(|it| it.task.to_string()),
        run: manifest.and_then(|it| Some(it.run.as_ref()?.to_string())),
        why: manifest.map(|it| it.why.clone()),
        at: at.map(convert::rfc3339),
        expires_at: expiry(at, keep_ms),
        reference: None,
        commit: None,
        commits: None,
        path: Some(trash.files_of(&item.id).display().to_string()),
        bytes: size.map(|it| it.bytes),
        files: size.map(|it| it.files),
    }
}

impl From<CleanupError> for Failed {
    fn from(error: CleanupError) -> Self {
        let message = chain(&error);
        let not_found = |message: String| {
            Self::new(StatusCode::NOT_FOUND, "not_found", message)
                .hint("'orch rescue list' shows what is kept")
        };
        let conflict =
            |hint: &str| Self::new(StatusCode::CONFLICT, "exists", message.clone()).hint(hint);
        match &error {
            CleanupError::Trash(TrashError::NoSuchItem(_))
            | CleanupError::Workspace(WorkspaceError::NotRescued(_)) => not_found(message),
            CleanupError::Workspace(WorkspaceError::BranchTaken(_)) => {
                conflict("'--branch NAME' makes another one")
            }
            CleanupError::Trash(TrashError::Taken(_)) => conflict("'--to PATH' puts it elsewhere"),
            CleanupError::NotFor { option, .. } => {
                let field = option.trim_start_matches('-');
                Self::field(field, "not_for_this_kind", message)
            }
            CleanupError::Trash(TrashError::OtherFilesystem(_)) => {
                conflict("restore it without '--to' and copy it from there")
            }
            CleanupError::Store(_)
            | CleanupError::Io { .. }
            | CleanupError::Trash(_)
            | CleanupError::Workspace(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "cleanup", message)
            }
        }
    }
}
