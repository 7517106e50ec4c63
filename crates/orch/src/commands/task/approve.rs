//! `orch task approve`

use orch_api::types::Task;

use super::{each, named, unchanged};
use crate::args::TaskIds;
use crate::commands::show::last_warnings;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Characters of a commit's name that tell it apart for a person.
const SHORT_COMMIT: usize = 10;

/// Finds the work of tasks good and lands it.
pub fn run(context: &Context, args: &TaskIds) -> Result<Ending> {
    each(
        context,
        args,
        &|client, id| client.approve_task(id),
        &|client, changed, task| {
            if unchanged(changed) {
                return format!("{} is done already", named(task));
            }
            // The approval stands, whether or not more can be said about it.
            for warning in last_warnings(client, task).unwrap_or_default() {
                context.printer.warn(&warning);
            }
            let target = client.status().ok().and_then(|status| status.target);
            sentence(task, target.as_deref())
        },
    )
}

/// What approval came to. `target` is the branch that work lands on, if one is configured.
fn sentence(task: &Task, target: Option<&str>) -> String {
    let approved = format!("Approved {}", named(task));
    match (task.status.as_str(), &task.landed) {
        ("done", Some(commit)) => {
            let commit: String = commit.chars().take(SHORT_COMMIT).collect();
            let (branch, commit) = (
                Untrusted::line(target.unwrap_or("your branch")),
                Untrusted::line(&commit),
            );
            format!("{approved}; its work has landed on {branch} as {commit}")
        }
        ("done", None) => format!("{approved}; there was nothing to land"),
        _ => format!("{approved}; its work is being landed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::task;

    #[test]
    fn landed_is_said_only_of_what_has_landed() {
        let mut done = task("tsk_1", "done", "T");
        assert_eq!(
            sentence(&done, Some("main")),
            "Approved tsk_1 (T); there was nothing to land"
        );
        done.landed = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
        assert_eq!(
            sentence(&done, Some("main")),
            "Approved tsk_1 (T); its work has landed on main as 0123456789"
        );
        assert_eq!(
            sentence(&task("tsk_1", "review", "T"), None),
            "Approved tsk_1 (T); its work is being landed"
        );
    }
}
