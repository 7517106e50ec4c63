//! Everything that is looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use orch_host::facts::{self, Machine, Records, Space};
use orch_host::git::{BranchName, Repository};
use orch_host::trash::Trash;

use crate::cleanup;
use crate::config;
use crate::log::chain;
use crate::project::Project;
use crate::space;

/// Most run directories that are looked at.
const RECORDS: usize = 2_000;
/// A lock of git's index that is older than this was left by something that died.
const STALE_LOCK: Duration = Duration::from_secs(600);

/// What was found, or why it could not be.
pub type Found<T> = Result<T, String>;

/// What is known about this machine and project.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The machine as the daemon sees it, or this process if none serves.
    pub machine: Machine,
    /// Which process that is, if it is a daemon.
    pub daemon: Option<u32>,
    /// The version of SQLite that is built in.
    pub sqlite: String,
    /// What is wrong with the state directory, and what mends it.
    pub state: Result<PathBuf, (String, Option<String>)>,
    /// Space on its disk.
    pub space: Found<Space>,
    /// Why nothing would be started for want of it.
    pub shortage: Option<String>,
    /// Runs at once, as configured.
    pub max_agents: u32,
    /// The repository.
    pub repository: Found<RepositoryFacts>,
    /// What is in the directories of runs.
    pub records: Found<Records>,
    /// Runs that the database knows and whose directories are gone. Whoever asked for these facts
    /// fills it in: only who may ask the database knows.
    pub gone: Vec<String>,
    /// Copies of the database from before it was migrated.
    pub backups: Vec<PathBuf>,
    /// What is kept for `orch rescue`.
    pub kept: Found<KeptFacts>,
    /// What a thorough look at the database came to; `None` if it was not asked for.
    pub database: Option<Found<()>>,
}

/// What matters of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryFacts {
    /// Whether git knows who commits.
    pub identity: bool,
    /// Keys of its own configuration that name programs or lead elsewhere.
    pub programs: Vec<String>,
    /// Hooks that git would run.
    pub hooks: Vec<String>,
    /// A lock of the index that was left over.
    pub stale_lock: Option<PathBuf>,
    /// Whether older history is missing.
    pub shallow: bool,
    /// Why work cannot land where the configuration says, if so.
    pub no_target: Option<String>,
}

/// What matters of the trash and the rescue refs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptFacts {
    /// Things in the trash.
    pub items: usize,
    /// Of these, what orch did not write.
    pub unknown: Vec<String>,
    /// Bytes, as far as they could be measured.
    pub bytes: u64,
    /// How many they may be.
    pub limit: u64,
    /// Rescue refs.
    pub refs: usize,
}

/// Looks at everything. `daemon` is the process that serves, if one does; `deep` reads the whole
/// database, too.
#[must_use]
pub fn gather(project: &Project, daemon: Option<u32>, deep: bool) -> Facts {
    let loaded = config::load(project, &crate::adapters()).ok();
    let state = project
        .check_state()
        .map(|()| project.state.clone())
        .map_err(|error| (chain(&error), error.hint()));
    let repository = Repository::discover(&project.root).map_err(|error| chain(&error));
    let limits = loaded.as_ref().map(|it| it.cleanup).unwrap_or_default();
    let database = project.database();
    Facts {
        machine: Machine::of(daemon.unwrap_or_else(std::process::id)),
        daemon,
        sqlite: orch_store::sqlite::library_version().to_owned(),
        space: facts::space(&project.root).map_err(|error| error.to_string()),
        shortage: space::shortage(
            [project.state.as_path(), project.root.as_path()],
            loaded.as_ref().and_then(|it| it.limits.free_space_bytes),
        )
        .map(|short| short.to_string()),
        max_agents: loaded.as_ref().map_or(1, |it| it.core.max_agents),
        repository: repository
            .as_ref()
            .map(|it| look_at(it, loaded.as_ref().and_then(|it| it.target.as_deref())))
            .map_err(Clone::clone),
        records: match state.is_ok() {
            true => facts::records(&project.runs(), RECORDS).map_err(|error| error.to_string()),
            false => Ok(Records::default()),
        },
        gone: Vec::new(),
        backups: backups(&database),
        kept: kept(project, &loaded, limits.trash_bytes),
        database: deep.then(|| {
            let checked = orch_store::sqlite::check(&database);
            checked.map_err(|error| chain(&error))
        }),
        state,
    }
}

fn look_at(repository: &Repository, target: Option<&str>) -> RepositoryFacts {
    let keys = repository.own_keys().unwrap_or_default();
    RepositoryFacts {
        identity: repository.has_identity().unwrap_or(false),
        programs: keys
            .into_iter()
            .filter(|key| names_a_program(key))
            .collect(),
        hooks: repository.hooks(),
        stale_lock: stale_lock(repository.common_dir()),
        shallow: repository.is_shallow(),
        no_target: no_target(repository, target),
    }
}

/// Why work cannot land: the branch that the configuration names is gone, or it names none and none
/// is checked out.
fn no_target(repository: &Repository, target: Option<&str>) -> Option<String> {
    let Some(name) = target else {
        return match repository.current_branch() {
            Ok(Some(_)) => None,
            Ok(None) => Some("no branch is checked out and project.target names none".to_owned()),
            Err(error) => Some(chain(&error)),
        };
    };
    let Ok(branch) = name.parse::<BranchName>() else {
        return Some(format!(
            "project.target is '{name}', which no branch can be called"
        ));
    };
    match repository.branch_tip(&branch) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!(
            "project.target is '{name}', and there is no such branch"
        )),
        Err(error) => Some(format!("project.target is '{name}': {}", chain(&error))),
    }
}

/// Whether a key of git makes git run something, or read configuration from elsewhere.
fn names_a_program(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let exactly = [
        "core.fsmonitor",
        "core.hookspath",
        "core.sshcommand",
        "core.pager",
        "core.editor",
        "core.askpass",
        "core.worktree",
        "diff.external",
        "credential.helper",
        "gpg.program",
        "include.path",
    ];
    let begins = ["filter.", "includeif.", "alias."];
    let ends = [".textconv", ".driver", ".helper"];
    exactly.contains(&key.as_str())
        || begins.iter().any(|it| key.starts_with(it))
        || ends.iter().any(|it| key.ends_with(it))
}

fn stale_lock(common_dir: &Path) -> Option<PathBuf> {
    let lock = common_dir.join("index.lock");
    let modified = lock.symlink_metadata().ok()?.modified().ok()?;
    let age = modified.elapsed().ok()?;
    (age > STALE_LOCK).then_some(lock)
}

/// The copies that a migration leaves beside the database.
fn backups(database: &Path) -> Vec<PathBuf> {
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.v");
    let entries = database.parent().and_then(|it| std::fs::read_dir(it).ok());
    let paths = entries.into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = paths
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with(&prefix) && name.contains(".backup")
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn kept(project: &Project, loaded: &Option<config::Loaded>, limit: u64) -> Found<KeptFacts> {
    let trash: Trash = cleanup::trash(project);
    let items = trash.items().map_err(|error| error.to_string())?;
    let target = loaded.as_ref().and_then(|it| it.target.as_deref());
    let refs = cleanup::workspaces(project, target)
        .and_then(|workspaces| workspaces.rescued())
        .map_err(|error| chain(&error))?;
    let sizes = items.iter().filter_map(|item| trash.measure(&item.id).ok());
    let unknown = items.iter().filter(|item| item.manifest.is_none());
    Ok(KeptFacts {
        bytes: sizes.map(|size| size.bytes).sum(),
        unknown: unknown.map(|item| item.id.clone()).collect(),
        items: items.len(),
        limit,
        refs: refs.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_run_something_are_told_from_those_that_do_not() {
        for key in [
            "core.fsmonitor",
            "core.hooksPath",
            "filter.lfs.clean",
            "merge.mine.driver",
            "includeIf.gitdir:x.path",
            "diff.pdf.textconv",
        ] {
            assert!(names_a_program(key), "{key}");
        }
        for key in [
            "core.bare",
            "user.name",
            "branch.main.merge",
            "remote.origin.url",
        ] {
            assert!(!names_a_program(key), "{key}");
        }
    }
}
