//! Cursor's agent without a screen: `cursor-agent -p --output-format stream-json`.
//!
//! Everything here is from its documentation; it was never run. This file makes the command line;
//! [`reader`] reads the stream, [`words`] puts its events into words for people.

mod reader;
mod words;

use super::arguments::{Reserved, owned};
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, Occasion, Permission,
    SettingsError, no_explanation, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "cursor",
    description: "Cursor (`cursor-agent -p`), reads its JSON stream; from its documentation, not run",
    program: Some("cursor-agent"),
    has_result_event: true,
    inherits: &["CURSOR_API_KEY", "CURSOR_CONFIG_DIR"],
    never_inherits: &[],
    capabilities: Capabilities {
        tested: None,
        version: &["--version"],
        usage: Counting::Nothing,
        cost: false,
        resume: true,
        takes_back: false,
        limits: LimitSignal::Nothing,
        mcp: false,
        effort: false,
        max_turns: false,
        // Between proposing and doing it knows nothing that an option could say.
        permissions: &[Permission::Ask, Permission::Full],
        endings: "a good end has a result line that says so; other ends may have none, and why \
                  they came is not told",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::Cursor>::default()),
    explain: no_explanation,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: words::describe,
};

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--output-format", "orch reads the stream-json format"),
    ("--stream-partial-output", "orch reads whole messages"),
    ("--force", "set `permission = \"full\"`"),
    ("-f", "set `permission = \"full\"`"),
    ("--yolo", "set `permission = \"full\"`"),
    ("--workspace", "orch says where an agent works"),
    ("--resume", "orch says which session goes on"),
    ("--continue", "orch says which session goes on"),
];

/// Without `permission = "full"` it proposes changes and makes none, unless its own configuration
/// allows them.
fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let mut argv = vec![settings.program("cursor-agent")?];
    argv.extend(owned(&["-p", "--output-format", "stream-json", "--trust"]));
    if settings.permission == Some(Permission::Full) {
        argv.push("--force".to_owned());
    }
    settings.push_model("--model", &mut argv)?;
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        argv.push(format!("--resume={session}"));
    }
    settings.push_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        env: Vec::new(),
        files: Vec::new(),
        prompt_on_stdin: true,
        preamble: settings.preamble(),
        stop_signal: StopSignal::Terminate,
    })
}

#[cfg(test)]
mod tests;
