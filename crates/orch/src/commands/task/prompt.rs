//! `orch task prompt`: what would be sent now.

use super::find;
use crate::args::TaskPrompt;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Prints the prompt.
pub fn run(context: &Context, args: &TaskPrompt) -> Result<Ending> {
    let printer = &context.printer;
    let client = context.client()?;
    let task = find(&client, &args.task)?;
    let prompt = client.task_prompt(&task.id, args.agent.as_deref())?;
    if printer.is_json() {
        printer.json(&prompt)?;
        return Ok(Ending::Done);
    }
    let agent = Untrusted::line(&prompt.agent).to_string();
    let form = match prompt.resumes {
        true => ", in the session of the run before",
        false => "",
    };
    printer.talk(format!("What agent {agent} would be told{form}:"))?;
    if let Some(beside) = &prompt.system_prompt {
        printer.talk(format!(
            "As its system prompt, beside the text below: {}",
            Untrusted::block(beside)
        ))?;
    }
    match printer.is_terminal() {
        true => printer.line(Untrusted::block(prompt.prompt.trim_end_matches('\n')))?,
        // To the letter, for whoever compares or pipes it on.
        false => printer.raw(prompt.prompt.as_bytes())?,
    }
    Ok(Ending::Done)
}
