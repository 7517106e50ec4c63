//! Gemini CLI without a screen: `gemini -o stream-json`.
//!
//! This file makes the command line and the settings; [`reader`] reads the stream, [`words`] puts
//! its events into words for people.

mod reader;
mod words;

use serde_json::{Map, Value, json};

use super::arguments::{Reserved, owned, variables};
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, McpServer,
    McpTransport, Occasion, Permission, SettingsError,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "gemini",
    description: "Gemini CLI (`gemini`), reads its JSON stream",
    program: Some("gemini"),
    has_result_event: true,
    inherits: &[
        "GEMINI_*",
        "GOOGLE_API_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_GENAI_*",
        "GOOGLE_VERTEX_BASE_URL",
    ],
    // A daemon started from within a session must not make its agents part of it, nor may its
    // surroundings decide where they work.
    never_inherits: &[
        "GEMINI_CLI",
        "GEMINI_CLI_ACTIVITY_LOG_TARGET",
        "GEMINI_CLI_IDE_AUTH_TOKEN",
        "GEMINI_CLI_IDE_PID",
        "GEMINI_CLI_IDE_SERVER_PORT",
        "GEMINI_CLI_IDE_WORKSPACE_PATH",
        "GEMINI_CLI_SURFACE",
        "GEMINI_CLI_WORKTREE_HANDLED",
        "GEMINI_PROJECT_DIR",
        "GEMINI_SESSION_ID",
    ],
    capabilities: Capabilities {
        tested: Some("0.61.0"),
        version: &["--version"],
        usage: Counting::PerRun,
        cost: false,
        resume: true,
        takes_back: true,
        limits: LimitSignal::Status,
        mcp: true,
        effort: false,
        max_turns: true,
        permissions: Permission::ALL,
        endings: "errors are told apart by the status in the result line; an answer that was cut \
                  off or refused after some text looks like success; with `max_turns` or `mcp` it \
                  needs a key, because a login is not seen then",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::Gemini>::default()),
    explain: reader::explain,
    status_verdict: reader::status_verdict,
    usage_file: None,
    describe: words::describe,
};

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--output-format", "orch reads the stream-json format"),
    ("-o", "orch reads the stream-json format"),
    ("--approval-mode", "set `permission`"),
    ("--yolo", "set `permission = \"full\"`"),
    ("-y", "set `permission = \"full\"`"),
    ("--allowed-tools", "set `permission`"),
    ("--policy", "set `permission`"),
    ("--admin-policy", "set `permission`"),
    ("--prompt", "orch gives the prompt on stdin"),
    ("-p", "orch gives the prompt on stdin"),
    ("--prompt-interactive", "nobody is there to answer"),
    ("-i", "nobody is there to answer"),
    ("--session-id", "every run has a session of its own"),
    ("--session-file", "orch says which session goes on"),
    ("--resume", "orch says which session goes on"),
    ("-r", "orch says which session goes on"),
    ("--worktree", "orch says where an agent works"),
    ("-w", "orch says where an agent works"),
    ("--acp", "orch reads the stream-json format"),
    ("--experimental-acp", "orch reads the stream-json format"),
];

/// The variable that says where its home is. Settings that it has no option for have to lie there:
/// in the project's directory they would be part of the work, and the file that stands above all
/// others it only reads if that and every directory above it belong to root.
const HOME: &str = "GEMINI_CLI_HOME";
/// The settings in that home.
const SETTINGS: &str = ".gemini/settings.json";

/// What `permission = "edits"` allows besides edits. What it says of one tool forbids all other
/// use of that tool, and without it a run that nobody watches has no shell at all.
const COMMIT_TOOLS: &str = "run_shell_command(git add),run_shell_command(git commit),\
    run_shell_command(git diff),run_shell_command(git log),run_shell_command(git mv),\
    run_shell_command(git rm),run_shell_command(git show),run_shell_command(git status)";

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let permission = settings.permission_or_edits();
    let mut env = variables(&[
        // Otherwise it starts itself again and signals do not reach the second process.
        ("GEMINI_CLI_NO_RELAUNCH", "true"),
        ("GEMINI_TELEMETRY_ENABLED", "false"),
    ]);
    let mut files = Vec::new();
    if settings.max_turns.is_some() || !occasion.mcp.is_empty() {
        settings.refuse_variables(&[(
            HOME,
            "with `max_turns` or `mcp` it gets a home of its own for them",
        )])?;
        env.push((HOME.to_owned(), settings.path_text(occasion.files)?));
        files.push((SETTINGS, file(settings, occasion, permission)));
    }
    Ok(Invocation {
        argv: arguments(settings, occasion, permission)?,
        env,
        files,
        prompt_on_stdin: true,
        // Its variable for a system prompt replaces its own, and it works badly without that.
        preamble: settings.preamble(),
        // It ends at once, without a result and with exit status 0, and leaves its tool, which
        // the supervisor ends.
        stop_signal: StopSignal::Terminate,
    })
}

fn arguments(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
    permission: Permission,
) -> Result<Vec<String>, SettingsError> {
    let mut argv = vec![settings.program("gemini")?];
    // In a directory it was not told to trust it does not work at all.
    argv.extend(owned(&["--output-format", "stream-json", "--skip-trust"]));
    argv.extend(owned(match permission {
        Permission::Ask => &["--approval-mode", "default"],
        Permission::Edits => &[
            "--approval-mode",
            "auto_edit",
            "--allowed-tools",
            COMMIT_TOOLS,
        ],
        Permission::Full => &["--approval-mode", "yolo"],
    }));
    settings.push_model("--model", &mut argv)?;
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        argv.extend(owned(&["--resume", session]));
    }
    settings.push_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(argv)
}

/// The settings that no option and no variable carries. A login lies in the usual home, so only a
/// key can be used here; without this word it would not use one if the provider's address is set.
fn file(settings: &AgentSettings, occasion: &Occasion<'_>, permission: Permission) -> String {
    let mut file = json!({
        "general": { "enableAutoUpdate": false },
        "privacy": { "usageStatisticsEnabled": false },
    });
    if !settings.env.contains_key("GOOGLE_GENAI_USE_VERTEXAI") {
        file["security"] = json!({ "auth": { "selectedType": "gemini-api-key" } });
    }
    if let Some(turns) = settings.max_turns {
        file["model"] = json!({ "maxSessionTurns": turns });
    }
    if !occasion.mcp.is_empty() {
        // Calls of a server that is not trusted are asked about, and nobody answers.
        let trust = permission != Permission::Ask;
        let servers = occasion.mcp.iter().map(|server| entry(server, trust));
        let servers: Map<String, Value> = servers.collect();
        file["mcpServers"] = Value::Object(servers);
    }
    file.to_string()
}

fn entry(server: &McpServer, trust: bool) -> (String, Value) {
    let entry = match &server.transport {
        McpTransport::Stdio { command, args, env } => {
            json!({ "command": command, "args": args, "env": env, "trust": trust })
        }
        McpTransport::Http { url, headers } => {
            json!({ "httpUrl": url, "headers": headers, "trust": trust })
        }
    };
    (server.name.clone(), entry)
}

#[cfg(test)]
mod tests;
