//! `orch agent show`

use orch_daemon::config::{self, AgentEntry};
use serde_json::{Value, json};

use super::known;
use crate::args::AgentName;
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::printer::Printer;
use crate::suggest;
use crate::untrusted::Untrusted;

/// Shows one agent as `orch.toml` has it.
pub fn run(context: &Context, args: &AgentName) -> Result<Ending> {
    let agents = config::agents(&context.project()?, &known())?;
    let agent = find(&args.name, &agents)?;
    let printer = &context.printer;
    let object = object(agent);
    if printer.is_json() {
        printer.json(&object)?;
    } else if printer.is_quiet() {
        printer.line(&agent.name)?;
    } else {
        sheet(printer, &object)?;
    }
    Ok(Ending::Done)
}

/// The agent of this name.
///
/// # Errors
/// There is none; the one that was probably meant is named.
pub fn find<'a>(name: &str, agents: &'a [AgentEntry]) -> Result<&'a AgentEntry> {
    let found = agents.iter().find(|agent| agent.name.as_str() == name);
    found.ok_or_else(|| unknown(name, agents))
}

fn unknown(name: &str, agents: &[AgentEntry]) -> UserError {
    let error = UserError::new(
        Kind::NotFound,
        "not_found",
        format!("there is no agent '{name}'"),
    );
    match suggest::nearest(name, agents.iter().map(|agent| agent.name.as_str())) {
        Some(meant) => error.hint(format!("did you mean '{meant}'?")),
        None => error.hint("'orch agent list' lists the agents there are"),
    }
}

fn object(agent: &AgentEntry) -> Value {
    let env: serde_json::Map<String, Value> = agent
        .env
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect();
    json!({
        "name": agent.name.as_str(),
        "adapter": agent.adapter,
        "model": agent.model,
        "role": agent.role,
        "command": agent.command,
        "system_prompt": agent.system_prompt,
        "permission": agent.permission,
        "effort": agent.effort,
        "mcp": agent.mcp,
        "require": agent.require.map(|require| require.as_str()),
        "resume": agent.resume,
        "max_turns": agent.max_turns,
        "labels": agent.labels,
        "max_parallel": agent.max_parallel,
        "env": env,
        "args": agent.args,
        "enabled": agent.enabled,
    })
}

/// Every setting that says something, one per line.
fn sheet(printer: &Printer, object: &Value) -> Result<()> {
    let fields = object.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(_, value)| says_something(value)) {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        printer.line(format!("{name:>14}  {}", Untrusted::line(&value)))?;
    }
    Ok(())
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => true,
    }
}
