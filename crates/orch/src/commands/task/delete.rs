//! `orch task delete`

use orch_api::types::Task;

use super::{each, named};
use crate::args::TaskIds;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Forgets tasks.
pub fn run(context: &Context, args: &TaskIds) -> Result<Ending> {
    each(
        context,
        args,
        &|client, id| client.delete_task(id),
        &|_, _, task| sentence(task),
    )
}

/// What became of the task. Work can be left over only where an agent had a worktree, and not
/// once it has landed.
fn sentence(task: &Task) -> String {
    let deleted = format!("Deleted {}", named(task));
    if task.branch.is_none() || task.last_run.is_none() || task.status == "done" {
        return deleted;
    }
    format!("{deleted}; 'orch rescue list' shows what can be brought back")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::task;

    #[test]
    fn what_is_kept_is_said_only_where_there_can_be_something() {
        let mut failed = task("tsk_1", "failed", "T");
        failed.branch = Some("orch/tsk_1-t".to_owned());
        assert_eq!(sentence(&failed), "Deleted tsk_1 (T)");
        failed.last_run = Some("run_1".to_owned());
        assert!(sentence(&failed).contains("'orch rescue list'"));
        failed.status = "done".to_owned();
        assert_eq!(sentence(&failed), "Deleted tsk_1 (T)");
        failed.status = "failed".to_owned();
        failed.branch = None;
        assert_eq!(sentence(&failed), "Deleted tsk_1 (T)");
    }
}
