//! Qwen Code without a screen: `qwen -o stream-json`.
//!
//! This file makes the command line, [`reader`] reads the stream.

mod reader;

use orch_core::run::FailureCode;

use super::arguments::Reserved;
use super::bypass::Allowing;
use super::explain;
use super::mcp::{MCP_FILE, McpServer};
use super::messages;
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, Occasion, Permission,
    SettingsError, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "qwen",
    description: "Qwen Code (`qwen`), reads its JSON stream",
    program: Some("qwen"),
    has_result_event: true,
    inherits: &["OPENAI_*", "QWEN_*", "DASHSCOPE_*"],
    // A daemon started from within a Qwen Code session must not make its agents part of it.
    never_inherits: &["QWEN_CODE_SESSION_ID", "QWEN_CODE_IDE_SERVER_PORT"],
    capabilities: Capabilities {
        tested: Some("0.15.10"),
        version: &["--version"],
        usage: Counting::PerSession,
        cost: false,
        resume: true,
        takes_back: false,
        limits: LimitSignal::Status,
        mcp: true,
        effort: false,
        max_turns: true,
        permissions: Permission::ALL,
        endings: "a failed provider is reported as success with an error as its text; orch tells \
                  it by the form of the text and the tokens that were not counted",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::Qwen>::default()),
    explain,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: messages::words::describe,
};

/// What `permission = "edits"` allows besides edits: without the first two the agent could not
/// commit, and the others are edits too.
const COMMIT_TOOLS: &str = "run_shell_command(git add),run_shell_command(git commit),\
    run_shell_command(git mv),run_shell_command(git rm)";

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--output-format", "orch reads the stream-json format"),
    ("-o", "orch reads the stream-json format"),
    ("--input-format", "orch gives the prompt as text"),
    ("--approval-mode", "set `permission`"),
    ("--yolo", "set `permission = \"full\"`"),
    ("-y", "set `permission = \"full\"`"),
    ("--prompt", "orch gives the prompt by stdin"),
    ("-p", "orch gives the prompt by stdin"),
    ("--prompt-interactive", "nobody is there to talk to"),
    ("-i", "nobody is there to talk to"),
    ("--session-id", "orch decides which session a run is in"),
    ("--resume", "orch decides which session a run is in"),
    ("-r", "orch decides which session a run is in"),
    ("--continue", "orch decides which session a run is in"),
    ("-c", "orch decides which session a run is in"),
    ("--mcp-config", "set `mcp`"),
    ("--max-session-turns", "set `max_turns`"),
    ("--acp", "orch reads the stream-json format"),
    ("--experimental-acp", "orch reads the stream-json format"),
];

/// What the user may allow beyond `permission`, command by command.
const ALLOWING: Allowing = Allowing {
    options: &["--allowed-tools"],
    shells: &["run_shell_command", "ShellTool", "Shell", "Bash", "monitor"],
};

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let (in_argv, preamble) = settings.place_system_prompt();
    let mut argv = vec![settings.program("qwen")?];
    argv.extend(["--output-format", "stream-json"].map(str::to_owned));
    let permission = settings.permission.unwrap_or(Permission::Edits);
    argv.extend(permission_arguments(permission).iter().map(|&it| it.into()));
    settings.push_model("--model", &mut argv)?;
    settings.push_option("--resume", "session", occasion.session, &mut argv)?;
    if let Some(turns) = settings.max_turns {
        argv.extend(["--max-session-turns".to_owned(), turns.to_string()]);
    }
    if let Some(text) = in_argv {
        settings.check_argument("system_prompt", text)?;
        argv.extend(["--append-system-prompt".to_owned(), text.to_owned()]);
    }
    let mut files = Vec::new();
    if !occasion.mcp.is_empty() {
        let path = occasion.files.join(MCP_FILE);
        argv.extend([
            "--mcp-config".to_owned(),
            path.to_string_lossy().into_owned(),
        ]);
        files.push((MCP_FILE, McpServer::file(occasion.mcp)));
    }
    settings.refuse_whole_shells(&ALLOWING)?;
    settings.push_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        // Otherwise it starts itself a second time, and a signal ends the first of the two while
        // the second works on.
        env: vec![("QWEN_CODE_NO_RELAUNCH".to_owned(), "true".to_owned())],
        files,
        prompt_on_stdin: true,
        preamble,
        // It ends its tools by it and leaves with a status of its own.
        stop_signal: StopSignal::Terminate,
    })
}

/// Nobody can answer a question, so what is not allowed here is refused and shows up as a warning.
const fn permission_arguments(permission: Permission) -> &'static [&'static str] {
    match permission {
        Permission::Ask => &["--approval-mode", "default"],
        // The first option takes any number of values, so another option has to follow it.
        Permission::Edits => &[
            "--allowed-tools",
            COMMIT_TOOLS,
            "--approval-mode",
            "auto-edit",
        ],
        Permission::Full => &["--approval-mode", "yolo"],
    }
}

/// Its exit status at its turn limit, at which it gives no result.
const TURN_LIMIT: i32 = 53;

/// What it says on stderr instead of a result.
fn explain(code: i32, errors: &str) -> Option<(FailureCode, String)> {
    const KNOWN: &[(&str, FailureCode)] = &[
        ("No saved session found with ID ", FailureCode::SessionGone),
        ("No input provided via stdin.", FailureCode::AgentError),
        ("Unknown argument", FailureCode::AgentError),
        ("Invalid values:", FailureCode::AgentError),
    ];
    const TURNS: &[(&str, FailureCode)] = &[("Reached max session turns", FailureCode::TurnLimit)];
    match code {
        TURN_LIMIT => explain::by_line(errors, TURNS).or_else(|| {
            Some((
                FailureCode::TurnLimit,
                "it reached its turn limit".to_owned(),
            ))
        }),
        _ => explain::by_line(errors, KNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(permission: Option<Permission>) -> AgentSettings {
        AgentSettings {
            name: "ada".into(),
            permission,
            ..AgentSettings::default()
        }
    }

    fn line(settings: &AgentSettings) -> String {
        let made = invocation(settings, &Occasion::example()).unwrap();
        made.argv.join(" ")
    }

    #[test]
    fn unattended_work_is_allowed_edits_and_commits_and_no_more() {
        assert_eq!(
            line(&with(None)),
            "qwen --output-format stream-json --allowed-tools run_shell_command(git add),\
             run_shell_command(git commit),run_shell_command(git mv),run_shell_command(git rm) \
             --approval-mode auto-edit"
        );
        assert!(line(&with(Some(Permission::Full))).ends_with("--approval-mode yolo"));
        assert!(line(&with(Some(Permission::Ask))).ends_with("--approval-mode default"));
        for argument in [
            "-y",
            "-dy",
            "--yolo",
            "--approval-mode=yolo",
            "--approvalMode=yolo",
            "--allowed-tools=run_shell_command",
        ] {
            let smuggled = AgentSettings {
                args: vec![argument.into()],
                ..with(None)
            };
            let error = invocation(&smuggled, &Occasion::example()).unwrap_err();
            assert!(error.to_string().contains("permission"), "{error}");
        }
    }

    #[test]
    fn settings_become_options() {
        let mcp = McpServer::parse(r#"{"mcpServers": {"a": {"command": "serve"}}}"#).unwrap();
        let occasion = Occasion {
            session: Some("5b3b"),
            files: std::path::Path::new("/run"),
            mcp: &mcp,
            ..Occasion::example()
        };
        let all = AgentSettings {
            model: Some("m".into()),
            max_turns: Some(7),
            system_prompt: Some("Be brief.".into()),
            args: vec!["--auth-type".into(), "openai".into()],
            ..with(Some(Permission::Ask))
        };
        let made = invocation(&all, &occasion).unwrap();
        assert_eq!(
            made.argv.join(" "),
            "qwen --output-format stream-json --approval-mode default --model m --resume 5b3b \
             --max-session-turns 7 --append-system-prompt Be brief. --mcp-config /run/mcp.json \
             --auth-type openai"
        );
        let (name, text) = &made.files[0];
        assert_eq!(*name, "mcp.json");
        assert_eq!(McpServer::parse(text).unwrap(), mcp);
        assert!(
            made.env
                .contains(&("QWEN_CODE_NO_RELAUNCH".into(), "true".into()))
        );
    }

    #[test]
    fn the_turn_limit_is_an_exit_status() {
        let (code, message) = explain(53, "Reached max session turns for this session.\n").unwrap();
        assert_eq!(code, FailureCode::TurnLimit);
        assert!(message.starts_with("Reached max"), "{message}");
        assert_eq!(explain(53, "").unwrap().0, FailureCode::TurnLimit);
        let gone = explain(1, "No saved session found with ID x. Run `qwen`").unwrap();
        assert_eq!(gone.0, FailureCode::SessionGone);
        assert_eq!(explain(1, "Reached max session turns"), None);
    }
}
