//! Claude Code in print mode: `claude -p --output-format stream-json --verbose`.
//!
//! This file makes the command line, [`reader`] reads the stream.

mod reader;

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
use orch_core::run::FailureCode;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "claude",
    description: "Claude Code (`claude -p`), reads its JSON stream",
    program: Some("claude"),
    has_result_event: true,
    inherits: &["ANTHROPIC_*", "CLAUDE_*", "API_TIMEOUT_MS"],
    // A daemon started from within a Claude Code session must not make its agents part of it,
    // nor give them the effort somebody chose there.
    never_inherits: &[
        "CLAUDE_CODE_CHILD_SESSION",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_EXECPATH",
        "CLAUDE_CODE_SESSION_ID",
        "CLAUDE_CODE_SSE_PORT",
        "CLAUDE_EFFORT",
    ],
    capabilities: Capabilities {
        tested: Some("2.1.197"),
        version: &["--version"],
        usage: Counting::PerRun,
        cost: true,
        resume: true,
        takes_back: false,
        limits: LimitSignal::ResetTime,
        mcp: true,
        effort: true,
        max_turns: true,
        permissions: Permission::ALL,
        endings: "every run ends with a result line that says whether it is an error",
    },
    invocation: |settings, occasion| {
        invocation(settings, occasion, rustix::process::geteuid().is_root())
    },
    reader: || Box::new(JsonLines::<reader::Claude>::default()),
    explain,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: messages::words::describe,
};

/// What `permission = "edits"` allows besides edits: without the first two the agent could not
/// commit, and the others are edits too. Looking (`git status`, `git diff`, `git log`) needs no
/// rule.
const COMMIT_TOOLS: &str = "Bash(git add:*),Bash(git commit:*),Bash(git mv:*),Bash(git rm:*)";

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--output-format", "orch reads the stream-json format"),
    ("--input-format", "orch gives the prompt as text"),
    ("--permission-mode", "set `permission`"),
    (
        "--dangerously-skip-permissions",
        "set `permission = \"full\"`",
    ),
    (
        "--settings",
        "put it into your own settings of Claude Code, and set `permission`",
    ),
    (
        "--agents",
        "put them into your own settings of Claude Code, and set `permission`",
    ),
    (
        "--permission-prompt-tool",
        "nobody is there to answer; set `permission`",
    ),
    ("--session-id", "orch decides which session a run is in"),
    ("--resume", "orch decides which session a run is in"),
    ("-r", "orch decides which session a run is in"),
    ("--continue", "orch decides which session a run is in"),
    ("-c", "orch decides which session a run is in"),
    ("--fork-session", "orch decides which session a run is in"),
    ("--no-session-persistence", "a run could not be continued"),
    ("--mcp-config", "set `mcp`"),
    ("--effort", "set `effort`"),
    ("--background", "orch waits for the end of a run"),
    ("--bg", "orch waits for the end of a run"),
];

/// What the user may allow beyond `permission`, command by command.
const ALLOWING: Allowing = Allowing {
    options: &["--allowedTools"],
    shells: &["Bash", "Monitor", "PowerShell"],
};

const STREAM: [&str; 4] = ["-p", "--output-format", "stream-json", "--verbose"];

/// The repository's settings are not read: its hooks, its `apiKeyHelper` and its MCP servers would
/// run code that nobody agreed to. Its `CLAUDE.md` is, by way of the directory; see
/// [`environment`]. The first option takes any number of values, so another one has to follow it.
const OWN_CONFIGURATION: [&str; 5] = [
    "--add-dir",
    ".",
    "--setting-sources",
    "user",
    "--strict-mcp-config",
];

/// The file with the MCP servers, and the option that names it.
fn mcp_file(occasion: &Occasion<'_>, argv: &mut Vec<String>) -> Vec<(&'static str, String)> {
    if occasion.mcp.is_empty() {
        return Vec::new();
    }
    let path = occasion.files.join(MCP_FILE);
    argv.extend([
        "--mcp-config".to_owned(),
        path.to_string_lossy().into_owned(),
    ]);
    vec![(MCP_FILE, McpServer::file(occasion.mcp))]
}

/// What it says on stderr when it never began.
fn explain(_code: i32, errors: &str) -> Option<(FailureCode, String)> {
    const KNOWN: &[(&str, FailureCode)] = &[
        (reader::NO_SESSION, FailureCode::SessionGone),
        (
            "--dangerously-skip-permissions cannot be used",
            FailureCode::AgentError,
        ),
        ("Error: Input must be provided", FailureCode::AgentError),
        ("error: unknown option", FailureCode::AgentError),
        ("error: option ", FailureCode::AgentError),
    ];
    explain::by_line(errors, KNOWN)
}

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
    is_root: bool,
) -> Result<Invocation, SettingsError> {
    let program = settings.program("claude")?;
    let permission = settings.permission.unwrap_or(Permission::Edits);
    let (in_argv, preamble) = settings.place_system_prompt();
    let mut argv = vec![program];
    argv.extend(STREAM.map(str::to_owned));
    argv.extend(OWN_CONFIGURATION.map(str::to_owned));
    let files = mcp_file(occasion, &mut argv);
    argv.extend(permission_arguments(permission).iter().map(|&it| it.into()));
    settings.push_model("--model", &mut argv)?;
    settings.push_option("--effort", "effort", settings.effort.as_deref(), &mut argv)?;
    settings.push_option("--resume", "session", occasion.session, &mut argv)?;
    if let Some(turns) = settings.max_turns {
        argv.extend(["--max-turns".to_owned(), turns.to_string()]);
    }
    if let Some(text) = in_argv {
        settings.check_argument("system_prompt", text)?;
        argv.extend(["--append-system-prompt".to_owned(), text.to_owned()]);
    }
    settings.refuse_whole_shells(&ALLOWING)?;
    settings.push_args(RESERVED, &mut argv)?;
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        env: environment(permission, is_root),
        files,
        prompt_on_stdin: true,
        preamble,
        // SIGTERM kills the tool at work, and the model may then be told so, answer, and end the
        // run as a success before the process is gone. Interrupted, it ends its tool and says
        // that it was, and what it used.
        stop_signal: StopSignal::Interrupt,
    })
}

/// Nobody can answer a question, so what is not allowed here is refused and shows up as a
/// warning. `edits` is the strictest that lets it work: files may be changed and committed, and
/// `args = ["--allowedTools", "Bash(cargo test:*)"]` allows more.
const fn permission_arguments(permission: Permission) -> &'static [&'static str] {
    match permission {
        Permission::Ask => &["--permission-mode", "default"],
        // The option takes any number of values, so another option has to follow it.
        Permission::Edits => &[
            "--allowedTools",
            COMMIT_TOOLS,
            "--permission-mode",
            "acceptEdits",
        ],
        Permission::Full => &["--dangerously-skip-permissions"],
    }
}

fn environment(permission: Permission, is_root: bool) -> Vec<(String, String)> {
    let mut variables = vec![
        // The program must not replace itself under running agents.
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_TELEMETRY", "1"),
        // Without it, leaving out the repository's settings leaves out its `CLAUDE.md` as well.
        ("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1"),
    ];
    if permission == Permission::Full && is_root {
        // It refuses to work without permissions as root unless told that this is a sandbox.
        variables.push(("IS_SANDBOX", "1"));
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.into_iter().map(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::arguments::SYSTEM_PROMPT_BYTES;
    use crate::adapter::testing::settings;

    fn with(permission: Permission) -> AgentSettings {
        AgentSettings {
            permission: Some(permission),
            ..settings()
        }
    }

    #[test]
    fn unattended_work_is_allowed_edits_and_commits_and_no_more() {
        let made = invocation(&settings(), &Occasion::example(), true).unwrap();
        assert_eq!(
            made.argv.join(" "),
            "claude -p --output-format stream-json --verbose --add-dir . --setting-sources user \
             --strict-mcp-config --allowedTools \
             Bash(git add:*),Bash(git commit:*),Bash(git mv:*),Bash(git rm:*) \
             --permission-mode acceptEdits"
        );
        assert!(!made.env.iter().any(|(name, _)| name == "IS_SANDBOX"));
        assert!(made.prompt_on_stdin);
        assert_eq!(made.stop_signal, StopSignal::Interrupt);
    }

    #[test]
    fn full_permission_comes_only_by_name() {
        let full = "--dangerously-skip-permissions".to_owned();
        let made = invocation(&with(Permission::Full), &Occasion::example(), true).unwrap();
        assert!(made.argv.contains(&full));
        assert!(made.env.contains(&("IS_SANDBOX".into(), "1".into())));
        let made = invocation(&with(Permission::Full), &Occasion::example(), false).unwrap();
        assert!(!made.env.iter().any(|(name, _)| name == "IS_SANDBOX"));
        for permission in [Permission::Ask, Permission::Edits] {
            assert!(
                !invocation(&with(permission), &Occasion::example(), true)
                    .unwrap()
                    .argv
                    .contains(&full)
            );
        }
        for arguments in [
            &[full.as_str()][..],
            &["--allow-dangerously-skip-permissions"],
            &["--permissionMode=bypassPermissions"],
            &["--settings", "{}"],
            &["--agents={}"],
            &["--allowed-tools", "Edit", "Bash"],
        ] {
            let smuggled = AgentSettings {
                args: arguments.iter().map(|&it| it.to_owned()).collect(),
                ..settings()
            };
            let error = invocation(&smuggled, &Occasion::example(), false).unwrap_err();
            assert!(error.to_string().contains("set `permission"), "{error}");
        }
        let named = AgentSettings {
            args: vec!["--allowedTools".into(), "Bash(cargo test:*)".into()],
            ..settings()
        };
        assert!(invocation(&named, &Occasion::example(), false).is_ok());
    }

    #[test]
    fn settings_become_options() {
        let all = AgentSettings {
            command: Some("/opt/fake claude".into()),
            model: Some("opus".into()),
            system_prompt: Some("Be brief.".into()),
            max_turns: Some(7),
            effort: Some("high".into()),
            args: vec!["--add-dir".into(), "/srv/docs".into()],
            ..with(Permission::Ask)
        };
        let mcp = McpServer::parse(r#"{"mcpServers": {"a": {"command": "serve"}}}"#).unwrap();
        let occasion = Occasion {
            session: Some("5b3b"),
            mcp: &mcp,
            ..Occasion::example()
        };
        let made = invocation(&all, &occasion, false).unwrap();
        let (name, text) = &made.files[0];
        assert_eq!(*name, "mcp.json");
        assert_eq!(McpServer::parse(text).unwrap(), mcp);
        assert_eq!(
            made.argv,
            [
                "/opt/fake claude",
                "-p",
                "--output-format",
                "stream-json",
                "--verbose",
                "--add-dir",
                ".",
                "--setting-sources",
                "user",
                "--strict-mcp-config",
                "--mcp-config",
                "/repository/.orch/runs/run/agent/mcp.json",
                "--permission-mode",
                "default",
                "--model",
                "opus",
                "--effort",
                "high",
                "--resume",
                "5b3b",
                "--max-turns",
                "7",
                "--append-system-prompt",
                "Be brief.",
                "--add-dir",
                "/srv/docs",
            ]
        );
    }

    #[test]
    fn a_system_prompt_the_command_line_cannot_carry_goes_before_the_prompt() {
        for text in ["-x".to_owned(), "a".repeat(SYSTEM_PROMPT_BYTES + 1)] {
            let long = AgentSettings {
                system_prompt: Some(text.clone()),
                ..settings()
            };
            let made = invocation(&long, &Occasion::example(), false).unwrap();
            assert_eq!(made.preamble.as_deref(), Some(text.as_str()));
            assert!(!made.argv.contains(&text));
        }
    }

    #[test]
    fn bad_settings_are_named() {
        let cases = [
            (
                AgentSettings {
                    model: Some("--x".into()),
                    ..settings()
                },
                "model",
            ),
            (
                AgentSettings {
                    model: Some(" ".into()),
                    ..settings()
                },
                "model",
            ),
            (
                AgentSettings {
                    command: Some(String::new()),
                    ..settings()
                },
                "command",
            ),
            (
                AgentSettings {
                    args: vec!["a\0b".into()],
                    ..settings()
                },
                "NUL",
            ),
            (
                AgentSettings {
                    args: vec!["x".repeat(200_000)],
                    ..settings()
                },
                "131071",
            ),
            (
                AgentSettings {
                    args: vec!["x".repeat(100_000); 6],
                    ..settings()
                },
                "argv",
            ),
            (
                AgentSettings {
                    args: vec!["--output-format=text".into()],
                    ..settings()
                },
                "stream-json",
            ),
        ];
        for (settings, said) in cases {
            let error = invocation(&settings, &Occasion::example(), false)
                .unwrap_err()
                .to_string();
            assert!(error.contains(said) && error.contains("'ada'"), "{error}");
        }
    }
}
