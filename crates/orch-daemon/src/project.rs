use std::path::{Path, PathBuf};
#[derive(Debug, Clone)]
pub struct Project {
    pub root: PathBuf,
    pub state: PathBuf,
    pub config: PathBuf,
}
#[derive(Debug, thiserror::Error)]
#[error("{0} is not in an orch project")]
pub struct ProjectError(String);
impl ProjectError {
    pub fn code(&self) -> &'static str {
        "not_initialised"
    }
    pub fn hint(&self) -> Option<String> {
        Some("run 'orch init' at the root of a git repository".to_owned())
    }
}
impl Project {
    pub fn find(start: &Path) -> Result<Project, ProjectError> {
        for root in start.ancestors() {
            let config = root.join("orch.toml");
            if config.is_file() {
                return Ok(Project {
                    root: root.to_owned(),
                    state: root.join(".orch"),
                    config,
                });
            }
        }
        Err(ProjectError(start.display().to_string()))
    }
}
