//! `orch init`: set up the repository here.

use serde_json::json;

use crate::args::Init;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Sets up the repository.
pub fn run(context: &Context, args: &Init) -> Result<Ending> {
    let printer = &context.printer;
    let directory = context.directory()?;
    let made = orch_daemon::init(&directory, args.name.as_deref(), args.target.as_deref())?;
    let project = &made.project;
    let root = project.root.display().to_string();
    let settings = project.config.display().to_string();
    if printer.is_json() {
        let state = project.state.display().to_string();
        let created = made.created;
        let object =
            json!({ "root": root, "config": settings, "state": state, "created": created });
        printer.json(&object)?;
        return Ok(Ending::Done);
    }
    let root = Untrusted::line(&root);
    printer.talk(if made.created {
        format!(
            "Set up {root}; its settings are in {}",
            Untrusted::line(&settings)
        )
    } else {
        format!("{root} is set up already; nothing was changed")
    })?;
    printer.hint("'orch agent add coder --adapter claude' adds an agent")?;
    Ok(Ending::Done)
}
