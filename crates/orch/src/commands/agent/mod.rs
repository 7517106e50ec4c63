//! `orch agent`: one file per verb. Agents live in `orch.toml`; these commands edit it.

mod adapters;
mod add;
mod disable;
mod edit;
mod enable;
mod list;
mod mcp;
mod remove;
mod show;
mod test;
mod trust;

pub use list::table;

use std::fmt::Display;
use std::str::FromStr;

use orch_api::client::Client;
use orch_api::types::Agent as ApiAgent;
use orch_daemon::config::AgentFields;
use orch_daemon::project::Project;
use serde_json::json;

use crate::args::{Agent, AgentSettings};
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::person;
use crate::suggest;
use crate::untrusted::Untrusted;

/// Runs a verb.
pub fn run(context: &Context, command: &Agent) -> Result<Ending> {
    if changes(command) {
        person::required()?;
    }
    match command {
        Agent::Add(args) => add::run(context, args),
        Agent::List => list::run(context),
        Agent::Adapters => adapters::run(context),
        Agent::Test(args) => test::run(context, args),
        Agent::Trust(args) => trust::run(context, args),
        Agent::Show(args) => show::run(context, args),
        Agent::Edit(args) => edit::run(context, args),
        Agent::Remove(args) => remove::run(context, args),
        Agent::Enable(args) => enable::run(context, args),
        Agent::Disable(args) => disable::run(context, args),
    }
}

/// Whether it says who works, and how. What is to be agreed to asks for a person itself.
const fn changes(command: &Agent) -> bool {
    match command {
        Agent::Add(_) | Agent::Edit(_) | Agent::Remove(_) => true,
        Agent::Enable(_) | Agent::Disable(_) => true,
        Agent::List | Agent::Adapters | Agent::Test(_) | Agent::Trust(_) | Agent::Show(_) => false,
    }
}

/// The kinds of agents there are.
fn known() -> Vec<&'static str> {
    orch_daemon::adapters()
}

/// A name that an agent may have.
fn checked<T>(name: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    name.parse().map_err(|error: T::Err| {
        UserError::usage("bad_agent_name", error.to_string())
            .hint("for example: orch agent add coder-1 --adapter claude")
    })
}

/// Nothing was found of this agent: then there must be one of that name, or it was mistyped.
///
/// # Errors
/// There is none.
pub fn must_be_known(client: &Client, name: Option<&str>) -> Result<()> {
    let Some(name) = name else {
        return Ok(());
    };
    let agents = client.status()?.agents;
    let mut names = agents.iter().map(|it| it.name.as_str());
    if names.clone().any(|it| it == name) {
        return Ok(());
    }
    let name = Untrusted::line(name).to_string();
    let message = format!("there is no agent '{name}'");
    let error = UserError::new(Kind::NotFound, "no_such_agent", message);
    Err(match suggest::nearest(&name, &mut names) {
        Some(meant) => error.hint(format!("did you mean '{meant}'?")),
        None => error.hint("'orch agent list' lists the agents there are"),
    })
}

/// What was said about an agent, as the configuration takes it.
fn fields(settings: &AgentSettings) -> AgentFields {
    let several = |given: &Vec<String>| (!given.is_empty()).then(|| given.clone());
    let variables = settings.env.iter().cloned();
    AgentFields {
        adapter: None,
        model: settings.model.clone(),
        role: settings.role.clone(),
        labels: several(&settings.labels),
        command: settings.command.clone(),
        system_prompt: settings.system_prompt.clone(),
        permission: settings.permission.clone(),
        effort: settings.effort.clone(),
        mcp: settings.mcp.clone(),
        require: settings.require.clone(),
        resume: settings.resume,
        max_turns: settings.max_turns,
        max_parallel: settings.max_parallel,
        env: variables.map(|(key, value)| (key, Some(value))).collect(),
        args: several(&settings.args),
        enabled: None,
    }
}

/// Says what became of an agent, and has a daemon take it over at once.
fn told(context: &Context, project: &Project, name: &str, change: &str, text: &str) -> Result<()> {
    let printer = &context.printer;
    take_over(context, project);
    if printer.is_json() {
        printer.json(&json!({ "name": name, "change": change }))
    } else if printer.is_quiet() {
        printer.line(name)
    } else {
        printer.talk(text)
    }
}

/// A daemon also notices by itself; asking it makes sure that the next command finds it so.
pub fn take_over(context: &Context, project: &Project) {
    let client = context.client_of(project);
    let status = client.and_then(|client| Ok(client.reload()?));
    let trouble = match status {
        Ok(status) => status.config_error,
        Err(error) => Some(error.message),
    };
    if let Some(trouble) = trouble {
        context.printer.warn(&format!(
            "orch.toml is changed, but not in force yet: {}",
            trouble.lines().collect::<Vec<_>>().join("; ")
        ));
    }
}

/// The agents as they are in force.
fn in_force(context: &Context) -> Result<Vec<ApiAgent>> {
    Ok(context.client()?.status()?.agents)
}
