//! Which configuration of the repository agents' programs would read by themselves, and whether
//! somebody has agreed to it: for the commands that show it and ask.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use orch_host::consent::{self, ConsentError, Found, Trusted};
use orch_host::git::{GitError, Repository};
use orch_host::supervise;

use crate::config::AgentEntry;
use crate::project::Project;

/// Most places of one content that are named.
const PLACES: usize = 5;

/// One content of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Which file and which content.
    pub found: Found,
    /// The kinds of agents that read it.
    pub adapters: BTreeSet<String>,
    /// Where it lies: your checkout, worktrees of tasks. Not all of them if they are many.
    pub places: Vec<PathBuf>,
    /// Whether somebody has agreed to it.
    pub is_trusted: bool,
}

/// Why it cannot be said what is there.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A checkout cannot be looked at.
    #[error("{place}: {source}")]
    Place {
        /// The checkout.
        place: PathBuf,
        /// Why.
        source: ConsentError,
    },
    /// The repository cannot be opened.
    #[error("the repository cannot be opened")]
    Repository(#[from] GitError),
    /// What was agreed to cannot be read or written.
    #[error("what was agreed to cannot be read or written")]
    Trusted(#[from] io::Error),
}

/// What is there for the agents of a project: in the checkout, and in the worktrees of its tasks.
///
/// # Errors
/// It cannot be looked at.
pub fn survey(project: &Project, agents: &[AgentEntry]) -> Result<Vec<Content>, SurveyError> {
    let adapters: BTreeSet<&str> = agents.iter().map(|it| it.adapter.as_str()).collect();
    let trusted = Trusted::read(&project.trusted())?;
    let repository = Repository::discover(&project.root)?;
    let mut contents: BTreeMap<Found, Content> = BTreeMap::new();
    for place in places(project) {
        for adapter in &adapters {
            let found = look(&repository, &place, adapter)?;
            let unknown = trusted.unknown(&found);
            for it in found {
                let is_trusted = !unknown.contains(&it);
                let content = contents.entry(it.clone()).or_insert_with(|| Content {
                    found: it,
                    adapters: BTreeSet::new(),
                    places: Vec::new(),
                    is_trusted,
                });
                content.adapters.insert((*adapter).to_owned());
                if content.places.last() != Some(&place) && content.places.len() < PLACES {
                    content.places.push(place.clone());
                }
            }
        }
    }
    Ok(contents.into_values().collect())
}

fn look(repository: &Repository, place: &Path, adapter: &str) -> Result<Vec<Found>, SurveyError> {
    consent::look(repository, place, adapter).map_err(|source| SurveyError::Place {
        place: place.to_owned(),
        source,
    })
}

/// The checkout, then the worktrees in order.
fn places(project: &Project) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project.worktrees());
    let entries = entries.into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    places.sort();
    places.insert(0, project.root.clone());
    places
}

/// Whether this process was started by an agent, which must not agree to what it has written
/// itself.
///
/// # Errors
/// It cannot be told.
pub fn is_agents_own() -> io::Result<bool> {
    if std::env::var_os(supervise::MARKER).is_some() {
        return Ok(true);
    }
    supervise::is_within_run()
}

/// Notes that somebody has agreed to these contents.
///
/// # Errors
/// It cannot be written.
pub fn agree(project: &Project, contents: &[Content]) -> Result<(), SurveyError> {
    let found: Vec<Found> = contents.iter().map(|it| it.found.clone()).collect();
    Ok(Trusted::add(&project.trusted(), &found)?)
}
