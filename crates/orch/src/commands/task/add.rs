//! `orch task add`

use orch_api::types::NewTask;

use super::{labels, named, text, told, with_agent_hint};
use crate::args::{TaskAdd, word};
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;

/// Adds a task.
pub fn run(context: &Context, args: &TaskAdd) -> Result<Ending> {
    // What is typed wrong is said before the project is opened.
    let new = new_task(args)?;
    let client = context.client()?;
    let changed = client
        .add_task(&new)
        .map_err(|error| with_agent_hint(&client, args.agent.as_deref(), error.into()))?;
    let Some(task) = &changed.task else {
        let message = "the task was added and not shown";
        return Err(UserError::new(Kind::Internal, "protocol", message));
    };
    let printer = &context.printer;
    told(
        printer,
        &changed,
        &task.id,
        &format!("Added {}", named(task)),
    )?;
    if task
        .wait
        .as_ref()
        .is_some_and(|wait| wait.actor == "person")
    {
        printer.hint(format!("'orch run {}' has it done", task.id))?;
    } else {
        printer.hint(format!("'orch why {}' says what it waits for", task.id))?;
    }
    Ok(Ending::Done)
}

fn new_task(args: &TaskAdd) -> Result<NewTask> {
    let description = text::description(args.description.as_deref(), args.file.as_deref())?;
    Ok(NewTask {
        title: args.title.clone(),
        description: description.unwrap_or_default(),
        priority: args.priority,
        agent: args.agent.clone(),
        labels: labels(&args.labels),
        depends_on: args.depends_on.clone(),
        after_any: args.after_any.clone(),
        scope: args.scope.clone(),
        attachments: text::attachments(&args.attachments)?,
        workspace: args.workspace.map(word),
        review: args.review.map(word),
        on_lost: args.on_lost.map(word),
        require: args.require.map(word),
        max_attempts: args.max_attempts,
        timeout_ms: args.timeout,
        stall_ms: args.stall_timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, Task};
    use clap::Parser;

    #[test]
    fn every_flag_arrives_in_the_request() {
        let line = "orch task add Title -d What -p 1 --agent a -l x,y --label z --depends-on 1,tsk_2 \
                    --after-any 3 --scope src/** --workspace shared --review auto --on-lost ask \
                    --require commit --max-attempts 5 --timeout 1h30m --stall-timeout 90s";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Some(Command::Task(Task::Add(args))) = cli.command else {
            panic!("not an addition");
        };
        let expected = NewTask {
            title: "Title".to_owned(),
            description: "What".to_owned(),
            priority: Some(1),
            agent: Some("a".to_owned()),
            labels: ["x", "y", "z"].map(str::to_owned).to_vec(),
            depends_on: ["tsk_1", "tsk_2"].map(str::to_owned).to_vec(),
            after_any: vec!["tsk_3".to_owned()],
            scope: vec!["src/**".to_owned()],
            attachments: Vec::new(),
            workspace: Some("shared".to_owned()),
            review: Some("auto".to_owned()),
            on_lost: Some("ask".to_owned()),
            require: Some("commit".to_owned()),
            max_attempts: Some(5),
            timeout_ms: Some(5_400_000),
            stall_ms: Some(90_000),
        };
        assert_eq!(new_task(&args).unwrap(), expected);
    }
}
