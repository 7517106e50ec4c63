//! Setting up a repository: only one that agents can really work in.

use std::path::Path;

use orch_host::git::{BranchName, Repository};

use crate::config::{self, Initialised};
use crate::error::StartError;

/// Makes the repository at `root` a project: its state directory and a first `orch.toml`. One that
/// is a project already is left as it is.
///
/// # Errors
/// The repository cannot be used, `target` is no branch of it, or a value is not allowed; nothing
/// was made then.
pub fn init(
    root: &Path,
    name: Option<&str>,
    target: Option<&str>,
) -> Result<Initialised, StartError> {
    let repository = Repository::discover(root)?;
    if let Some(Ok(target)) = target.map(str::parse::<BranchName>)
        && repository.branch_tip(&target)?.is_none()
    {
        return Err(StartError::NoTarget(target));
    }
    Ok(config::init(root, name, target)?)
}
