//! `OpenCode` without a screen: `opencode run --format json`.
//!
//! This file makes the command line; [`reader`] reads the stream, [`words`] puts its events into
//! words for people.

mod reader;
mod words;

use serde_json::{Map, Value, json};

use super::arguments::{Reserved, owned, variables};
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, McpServer,
    McpTransport, Occasion, Permission, SettingsError, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "opencode",
    description: "OpenCode (`opencode run`), reads its JSON stream",
    program: Some("opencode"),
    has_result_event: false,
    inherits: &[
        "OPENCODE_*",
        // Keys for models, and nothing that opens more than a model.
        "ANTHROPIC_API_KEY",
        "DEEPSEEK_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_GENERATIVE_AI_API_KEY",
        "GROQ_API_KEY",
        "MISTRAL_API_KEY",
        "OPENAI_API_KEY",
        "OPENROUTER_API_KEY",
        "XAI_API_KEY",
    ],
    never_inherits: &[
        // It would undo the permission of every agent.
        "OPENCODE_PERMISSION",
        // orch may need it. Whoever wants it for an agent says so in its `env`.
        "OPENCODE_CONFIG_CONTENT",
        // They belong to another program's server.
        "OPENCODE_SERVER_PASSWORD",
        "OPENCODE_SERVER_USERNAME",
        "OPENCODE",
        "OPENCODE_PID",
    ],
    capabilities: Capabilities {
        tested: Some("1.18.33"),
        version: &["--version"],
        usage: Counting::PerRun,
        cost: true,
        resume: true,
        takes_back: false,
        limits: LimitSignal::ResetTime,
        mcp: true,
        effort: true,
        // It has `steps`, which is only said to the model: with three of them it took 204.
        max_turns: false,
        permissions: Permission::ALL,
        endings: "errors are told apart by name and status; there is no result line, so a good \
                  end is a last step that stopped by itself and exit status 0",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::OpenCode>::default()),
    explain: reader::explain,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: words::describe,
};

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--format", "orch reads the json format"),
    ("--auto", "set `permission = \"full\"`"),
    ("--dir", "orch says where an agent works"),
    ("--session", "orch says which session goes on"),
    ("-s", "orch says which session goes on"),
    ("--continue", "orch says which session goes on"),
    ("-c", "orch says which session goes on"),
    ("--fork", "orch says which session goes on"),
    ("--attach", "orch starts and stops the program itself"),
    ("--command", "orch gives the prompt on stdin"),
    ("--interactive", "nobody is there to answer"),
    ("-i", "nobody is there to answer"),
];

/// Variables that would undo what orch says.
const RESERVED_VARIABLES: &[Reserved] = &[("OPENCODE_PERMISSION", "set `permission`")];

/// The file with the system prompt.
const INSTRUCTIONS: &str = "system-prompt.md";
/// The file with orch's part of the configuration, where the variable for it is taken.
const CONFIGURATION: &str = "opencode.json";

/// What `permission = "ask"` comes to: files of its directory may be read and searched, and nobody
/// is there to allow more. Even commands of git that look can write a file (`--output`).
const LOOK: &str = r#"{"bash":"deny","edit":"deny","external_directory":"deny","webfetch":"deny","websearch":"deny"}"#;

/// What `permission = "edits"` comes to: files may be changed and committed. Rules of the user's
/// own for other commands stay. The last rule that matches counts, so the general one is first.
const EDITS: &str = r#"{"bash":{"*":"deny","git add *":"allow","git commit *":"allow","git diff *":"allow","git log *":"allow","git mv *":"allow","git rm *":"allow","git show *":"allow","git status *":"allow"},"edit":"allow","external_directory":"deny","webfetch":"deny","websearch":"deny"}"#;

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    settings.refuse_variables(RESERVED_VARIABLES)?;
    let permission = settings.permission_or_edits();
    let mut env = variables(&[
        // The program must not replace itself under running agents.
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ("OPENCODE_DISABLE_TERMINAL_TITLE", "1"),
    ]);
    let rules = match permission {
        Permission::Ask => Some(LOOK),
        Permission::Edits => Some(EDITS),
        Permission::Full => None,
    };
    env.extend(rules.map(|rules| ("OPENCODE_PERMISSION".to_owned(), rules.to_owned())));
    let mut files = Vec::new();
    if let Some(text) = settings.preamble() {
        files.push((INSTRUCTIONS, text));
    }
    let configuration = configuration(settings, occasion, !files.is_empty())?;
    if let Some(text) = configuration {
        place(settings, occasion, text, &mut env, &mut files)?;
    }
    Ok(Invocation {
        argv: arguments(settings, occasion, permission)?,
        env,
        files,
        prompt_on_stdin: true,
        preamble: None,
        // Either signal ends it at once without a word and leaves its tool, which the supervisor
        // ends.
        stop_signal: StopSignal::Terminate,
    })
}

fn arguments(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
    permission: Permission,
) -> Result<Vec<String>, SettingsError> {
    let mut argv = vec![settings.program("opencode")?];
    argv.extend(owned(&["run", "--format", "json", "--dir"]));
    // A session that is continued from another directory hangs for ever without it.
    argv.push(settings.path_text(occasion.directory)?);
    if permission == Permission::Full {
        argv.push("--auto".to_owned());
    }
    settings.push_model("--model", &mut argv)?;
    if let Some(effort) = &settings.effort {
        let effort = settings.option_value("effort", effort)?;
        argv.extend(owned(&["--variant", effort]));
    }
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        argv.extend(owned(&["--session", session]));
    }
    settings.push_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(argv)
}

/// orch's part of the configuration, if there is one. The program merges it with the user's and
/// the project's; instructions are added to theirs and to its own system prompt.
fn configuration(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
    has_instructions: bool,
) -> Result<Option<String>, SettingsError> {
    let mut configuration = Map::new();
    if has_instructions {
        let path = settings.path_text(&occasion.files.join(INSTRUCTIONS))?;
        configuration.insert("instructions".to_owned(), json!([path]));
    }
    if !occasion.mcp.is_empty() {
        let servers = occasion.mcp.iter();
        let servers: Map<String, Value> = servers.map(server).collect();
        configuration.insert("mcp".to_owned(), Value::Object(servers));
    }
    Ok((!configuration.is_empty()).then(|| Value::Object(configuration).to_string()))
}

fn server(server: &McpServer) -> (String, Value) {
    let entry = match &server.transport {
        McpTransport::Stdio { command, args, env } => {
            let words: Vec<&String> = std::iter::once(command).chain(args).collect();
            json!({ "type": "local", "command": words, "environment": env, "enabled": true })
        }
        McpTransport::Http { url, headers } => {
            json!({ "type": "remote", "url": url, "headers": headers, "enabled": true })
        }
    };
    (server.name.clone(), entry)
}

/// Gives the program orch's part of the configuration by the way that the user has left free.
fn place(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
    text: String,
    env: &mut Vec<(String, String)>,
    files: &mut Vec<(&'static str, String)>,
) -> Result<(), SettingsError> {
    const INLINE: &str = "OPENCODE_CONFIG_CONTENT";
    const FILE: &str = "OPENCODE_CONFIG";
    if !settings.env.contains_key(INLINE) {
        settings.check_argument("mcp", &text)?;
        env.push((INLINE.to_owned(), text));
        return Ok(());
    }
    settings.refuse_variables(&[(
        FILE,
        "with OPENCODE_CONFIG_CONTENT beside it there is no place left for orch's own part",
    )])?;
    let path = settings.path_text(&occasion.files.join(CONFIGURATION))?;
    env.push((FILE.to_owned(), path));
    files.push((CONFIGURATION, text));
    Ok(())
}

#[cfg(test)]
mod tests;
