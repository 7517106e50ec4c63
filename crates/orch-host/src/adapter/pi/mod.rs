//! Pi without a screen: `pi --mode json --print`.
//!
//! This file makes the command line; [`reader`] reads the stream, [`words`] puts its events into
//! words for people.

mod reader;
mod words;

use super::arguments::{Reserved, owned, variables};
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, Occasion, Permission,
    SettingsError, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "pi",
    description: "Pi (`pi --mode json`), reads its JSON stream",
    program: Some("pi"),
    has_result_event: false,
    inherits: &[
        "PI_*",
        // Keys for models, and nothing that opens more than a model.
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_OAUTH_TOKEN",
        "AI_GATEWAY_API_KEY",
        "CEREBRAS_API_KEY",
        "DEEPSEEK_API_KEY",
        "FIREWORKS_API_KEY",
        "GEMINI_API_KEY",
        "GROQ_API_KEY",
        "MINIMAX_API_KEY",
        "MISTRAL_API_KEY",
        "OPENAI_API_KEY",
        "OPENROUTER_API_KEY",
        "XAI_API_KEY",
        "ZAI_API_KEY",
    ],
    never_inherits: &[],
    capabilities: Capabilities {
        tested: Some("0.73.1"),
        version: &["--version"],
        usage: Counting::PerRun,
        cost: true,
        resume: true,
        takes_back: false,
        limits: LimitSignal::Status,
        mcp: false,
        effort: true,
        max_turns: false,
        // It asks nobody for anything: what it may do is which tools it has.
        permissions: &[Permission::Edits, Permission::Full],
        endings: "errors are told apart by the status they begin with; there is no result line, \
                  so a good end is a last answer that stopped by itself and exit status 0",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::Pi>::default()),
    explain: reader::explain,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: words::describe,
};

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--mode", "orch reads the json format"),
    ("--tools", "set `permission`"),
    ("-t", "set `permission`"),
    ("--session", "orch says which session goes on"),
    ("--fork", "orch says which session goes on"),
    ("--continue", "orch says which session goes on"),
    ("-c", "orch says which session goes on"),
    ("--resume", "orch says which session goes on"),
    ("-r", "orch says which session goes on"),
    (
        "--api-key",
        "put the key into `env`, where others cannot read it",
    ),
    ("--export", "orch gives the prompt on stdin"),
    ("--list-models", "orch gives the prompt on stdin"),
];

/// The file with the system prompt. The option takes a text or a file, and a text that happens to
/// be the name of a file would be read as one.
const SYSTEM_PROMPT: &str = "system-prompt.md";

/// What `permission = "edits"` allows: every tool but the shell. orch commits what it changed.
const EDITING_TOOLS: &str = "read,edit,write,grep,find,ls";

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let mut argv = vec![settings.program("pi")?];
    argv.extend(owned(&["--mode", "json", "--print"]));
    if settings.permission_or_edits() != Permission::Full {
        argv.extend(owned(&["--tools", EDITING_TOOLS]));
    }
    settings.push_model("--model", &mut argv)?;
    if let Some(effort) = &settings.effort {
        let effort = settings.option_value("effort", effort)?;
        argv.extend(owned(&["--thinking", effort]));
    }
    let mut files = Vec::new();
    if let Some(text) = settings.preamble() {
        files.push((SYSTEM_PROMPT, text));
        argv.push("--append-system-prompt".to_owned());
        argv.push(settings.path_text(&occasion.files.join(SYSTEM_PROMPT))?);
    }
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        argv.extend(owned(&["--session", session]));
    }
    settings.push_whole_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        // Offline means that it looks for no update of itself; it still reaches its provider.
        env: variables(&[("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0")]),
        files,
        prompt_on_stdin: true,
        preamble: None,
        // It ends its tool and then itself; interrupted it would leave the tool behind.
        stop_signal: StopSignal::Terminate,
    })
}

#[cfg(test)]
mod tests;
