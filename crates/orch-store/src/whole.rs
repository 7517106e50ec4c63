//! What the types of the core cannot rule out and no engine may store. SQLite checks it once more
//! in its schema.

use orch_core::TaskId;
use orch_core::run::{Failure, Run};
use orch_core::task::{Dependency, Task};

use crate::Breach;

/// A failure must carry what proves it.
pub(crate) fn task(task: &Task) -> Result<(), Breach> {
    task.state.failure().map_or(Ok(()), failure)
}

/// A run that ended without success must carry what proves it.
pub(crate) fn run(run: &Run) -> Result<(), Breach> {
    run.ending()
        .and_then(|ending| ending.outcome.failure())
        .map_or(Ok(()), failure)
}

/// No task waits for itself.
pub(crate) fn dependencies(task: &TaskId, dependencies: &[Dependency]) -> Result<(), Breach> {
    match dependencies.iter().any(|it| &it.on == task) {
        true => Err(Breach::WaitsForItself(task.clone())),
        false => Ok(()),
    }
}

fn failure(failure: &Failure) -> Result<(), Breach> {
    match failure.evidence.is_empty() {
        true => Err(Breach::NotWhole(format!(
            "a failure {} without evidence",
            failure.code
        ))),
        false => Ok(()),
    }
}
