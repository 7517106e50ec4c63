//! `orch config set`

use orch_daemon::config;
use serde_json::json;

use crate::args::ConfigSet;
use crate::commands::agent::take_over;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Changes a value; comments and order of the file stay.
pub fn run(context: &Context, args: &ConfigSet) -> Result<Ending> {
    let project = context.project()?;
    config::set(&project, &args.key, &args.value, &orch_daemon::adapters())?;
    take_over(context, &project);
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&json!({ "key": args.key, "change": "set" }))?;
    } else if printer.is_quiet() {
        printer.line(Untrusted::line(&args.key))?;
    } else {
        let (key, value) = (Untrusted::line(&args.key), Untrusted::line(&args.value));
        printer.talk(format!("Set {key} to {value}"))?;
    }
    Ok(Ending::Done)
}
