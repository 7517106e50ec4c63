//! GitHub Copilot CLI without a screen: `copilot --output-format json`.
//!
//! This file makes the command line; [`reader`] reads the stream, [`words`] puts its events into
//! words for people.

mod reader;
mod words;

use serde_json::{Map, Value, json};

use super::arguments::{Reserved, owned, variables};
use super::bypass::Allowing;
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, McpServer,
    McpTransport, Occasion, Permission, SettingsError, USAGE_FILE, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "copilot",
    description: "GitHub Copilot CLI (`copilot`), reads its JSON stream",
    program: Some("copilot"),
    has_result_event: true,
    inherits: &["COPILOT_*", "GH_HOST"],
    never_inherits: &[
        // They would undo the permission of every agent.
        "COPILOT_ALLOW_ALL",
        "COPILOT_ASSISTED_APPROVAL",
        // A daemon started from within a session must not make its agents part of it.
        "COPILOT_AGENT_SESSION_ID",
        "COPILOT_CLI",
        "COPILOT_LOADER_PID",
        "COPILOT_RUN_APP",
    ],
    capabilities: Capabilities {
        tested: Some("1.0.102"),
        version: &["--version"],
        // A run that goes on with a session counts the runs before it as well.
        usage: Counting::PerSession,
        cost: false,
        resume: true,
        takes_back: false,
        limits: LimitSignal::ResetTime,
        mcp: true,
        effort: true,
        max_turns: false,
        permissions: Permission::ALL,
        endings: "errors are told apart by kind and status; an answer that was refused or cut off \
                  looks like success",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::Copilot>::default()),
    explain: reader::explain,
    status_verdict: no_status_verdict,
    usage_file: Some(reader::usage_file),
    describe: words::describe,
};

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--output-format", "orch reads the json format"),
    ("--usage-output-file", "orch reads that file"),
    ("--allow-all", "set `permission = \"full\"`"),
    ("--allow-all-tools", "set `permission = \"full\"`"),
    ("--allow-all-paths", "set `permission = \"full\"`"),
    ("--allow-all-urls", "set `permission = \"full\"`"),
    ("--assisted-approval", "set `permission`"),
    ("--yolo", "set `permission = \"full\"`"),
    ("--prompt", "orch gives the prompt on stdin"),
    ("-p", "orch gives the prompt on stdin"),
    ("--interactive", "nobody is there to answer"),
    ("-i", "nobody is there to answer"),
    ("--silent", "orch reads the json format"),
    ("-s", "orch reads the json format"),
    ("-C", "orch says where an agent works"),
    ("--session-id", "every run has a session of its own"),
    ("--resume", "orch says which session goes on"),
    ("-r", "orch says which session goes on"),
    ("--continue", "orch says which session goes on"),
    ("--connect", "orch says which session goes on"),
    ("--acp", "orch reads the json format"),
];

/// Variables that would undo what orch says.
const RESERVED_VARIABLES: &[Reserved] = &[
    ("COPILOT_ALLOW_ALL", "set `permission = \"full\"`"),
    ("COPILOT_ASSISTED_APPROVAL", "set `permission`"),
];

/// What the user may allow beyond `permission`, command by command.
const ALLOWING: Allowing = Allowing {
    options: &["--allow-tool"],
    shells: &["shell", "bash", "powershell"],
};

/// The file with the MCP servers.
const MCP: &str = "mcp.json";

/// What `permission = "edits"` allows. Looking needs no rule.
const EDITING: &[&str] = &[
    "--allow-tool=write",
    "--allow-tool=shell(git add:*)",
    "--allow-tool=shell(git commit:*)",
    "--allow-tool=shell(git mv:*)",
    "--allow-tool=shell(git rm:*)",
];

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    settings.refuse_variables(RESERVED_VARIABLES)?;
    let mut files = Vec::new();
    if !occasion.mcp.is_empty() {
        files.push((MCP, servers(occasion.mcp)));
    }
    Ok(Invocation {
        argv: arguments(settings, occasion)?,
        // The program must not replace itself under running agents.
        env: variables(&[("COPILOT_AUTO_UPDATE", "false")]),
        files,
        prompt_on_stdin: true,
        // It has no option for a system prompt.
        preamble: settings.preamble(),
        // It ends its tool, writes what it used, and leaves with exit status 0.
        stop_signal: StopSignal::Terminate,
    })
}

fn arguments(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Vec<String>, SettingsError> {
    let mut argv = vec![settings.program("copilot")?];
    argv.extend(owned(&[
        "--output-format",
        "json",
        "--no-ask-user",
        "--no-auto-update",
        "--no-color",
        "--no-remote-export",
        "--disable-client-telemetry",
        "--usage-output-file",
    ]));
    argv.push(settings.path_text(&occasion.files.join(USAGE_FILE))?);
    match settings.permission_or_edits() {
        Permission::Ask => {}
        Permission::Edits => {
            argv.extend(owned(EDITING));
            let servers = occasion.mcp.iter();
            argv.extend(servers.map(|server| format!("--allow-tool={}", server.name)));
        }
        Permission::Full => argv.push("--allow-all".to_owned()),
    }
    settings.push_model("--model", &mut argv)?;
    if let Some(effort) = &settings.effort {
        let effort = settings.option_value("effort", effort)?;
        argv.extend(owned(&["--reasoning-effort", effort]));
    }
    if !occasion.mcp.is_empty() {
        let path = settings.path_text(&occasion.files.join(MCP))?;
        argv.push(format!("--additional-mcp-config=@{path}"));
    }
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        // Its value is optional, so it has to be in the same argument.
        argv.push(format!("--resume={session}"));
    }
    settings.refuse_whole_shells(&ALLOWING)?;
    settings.push_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(argv)
}

fn servers(servers: &[McpServer]) -> String {
    let servers: Map<String, Value> = servers.iter().map(entry).collect();
    json!({ "mcpServers": servers }).to_string()
}

fn entry(server: &McpServer) -> (String, Value) {
    let entry = match &server.transport {
        McpTransport::Stdio { command, args, env } => {
            json!({ "type": "local", "command": command, "args": args, "env": env, "tools": ["*"] })
        }
        McpTransport::Http { url, headers } => {
            json!({ "type": "http", "url": url, "headers": headers, "tools": ["*"] })
        }
    };
    (server.name.clone(), entry)
}

#[cfg(test)]
mod tests;
