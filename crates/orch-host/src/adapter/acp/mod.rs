//! Any agent that speaks the Agent Client Protocol: `gemini --acp`, `opencode acp`, and others.
//!
//! What is started is orch's own driver ([`crate::acp`]), which leads the conversation and writes
//! down every message. This file makes its command line; [`reader`] reads what it wrote,
//! [`failure`] says what an error means, [`words`] puts the events into words for people.

mod failure;
mod reader;
mod tally;
mod words;

use super::shell::plain_words;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, McpServer,
    McpTransport, Occasion, Permission, SettingsError, no_explanation, no_status_verdict,
};
use crate::acp::{ACP_COMMAND, Settings};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "acp",
    description: "any agent that speaks the Agent Client Protocol; `command` starts it, like `gemini --acp`",
    program: None,
    has_result_event: true,
    inherits: &[],
    never_inherits: &[],
    capabilities: Capabilities {
        tested: None,
        version: &[],
        usage: Counting::PerRun,
        cost: true,
        resume: true,
        takes_back: false,
        limits: LimitSignal::Status,
        mcp: true,
        effort: false,
        max_turns: false,
        permissions: Permission::ALL,
        endings: "as well as the agent says them: every prompt is answered with why it stopped, but \
                  some agents answer a failed call or a cut answer like a finished one",
    },
    invocation,
    reader: || Box::new(reader::AcpReader::default()),
    explain: no_explanation,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: words::describe,
};

/// The file of MCP servers that the driver passes on. They may hold secrets.
const MCP_FILE: &str = "mcp.json";

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let mut command = command(settings)?;
    settings.push_args(&[], &mut command)?;
    if settings.permission != Some(Permission::Full) {
        // Such an agent does not ask, so that there would be nothing to refuse.
        command
            .iter()
            .try_for_each(|word| settings.refuse_bypass(word))?;
    }
    let model = settings.model.as_deref();
    let model = model.map(|model| settings.option_value("model", model));
    if let Some(session) = occasion.session {
        settings.check_required("session", session)?;
    }
    let files = match occasion.mcp {
        [] => Vec::new(),
        servers => vec![(MCP_FILE, servers_text(servers))],
    };
    let driver = Settings {
        command,
        permission: settings.permission.unwrap_or(Permission::Edits),
        session: occasion.session.map(str::to_owned),
        model: model.transpose()?.map(str::to_owned),
        mcp: (!files.is_empty()).then(|| occasion.files.join(MCP_FILE)),
    };
    let mut argv = vec![
        occasion.orch.to_string_lossy().into_owned(),
        ACP_COMMAND.to_owned(),
    ];
    argv.extend(driver.to_arguments());
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        env: Vec::new(),
        files,
        prompt_on_stdin: true,
        preamble: settings.preamble(),
        // The driver tells the agent in its own language.
        stop_signal: StopSignal::Terminate,
    })
}

/// The words of the command. No shell splits them, so nothing is left for one to do.
fn command(settings: &AgentSettings) -> Result<Vec<String>, SettingsError> {
    let Some(command) = &settings.command else {
        return Err(SettingsError::CommandMissing {
            agent: settings.name.clone(),
            adapter: ADAPTER.name,
        });
    };
    settings.check_required("command", command)?;
    let Some(words) = plain_words(command) else {
        return Err(SettingsError::NotPlain {
            agent: settings.name.clone(),
            adapter: ADAPTER.name,
        });
    };
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn servers_text(servers: &[McpServer]) -> String {
    let entry = |server: &McpServer| {
        let value = match &server.transport {
            McpTransport::Stdio { command, args, env } => {
                serde_json::json!({ "command": command, "args": args, "env": env })
            }
            McpTransport::Http { url, headers } => {
                serde_json::json!({ "url": url, "headers": headers })
            }
        };
        (server.name.clone(), value)
    };
    let servers: serde_json::Map<_, _> = servers.iter().map(entry).collect();
    serde_json::json!({ "mcpServers": servers }).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(command: &str) -> AgentSettings {
        AgentSettings {
            name: "ada".into(),
            command: Some(command.into()),
            ..AgentSettings::default()
        }
    }

    #[test]
    fn an_agent_that_asks_for_nothing_is_had_with_full_permission_alone() {
        let inline = settings("gemini --acp --yolo");
        let apart = AgentSettings {
            args: vec!["--dangerously-skip-permissions".into()],
            ..settings("agent acp")
        };
        for settings in [inline, apart] {
            let error = ADAPTER.start(&settings, &Occasion::example()).unwrap_err();
            assert!(error.to_string().contains("set `permission"), "{error}");
            let full = AgentSettings {
                permission: Some(Permission::Full),
                ..settings
            };
            assert!(ADAPTER.start(&full, &Occasion::example()).is_ok());
        }
    }

    #[test]
    fn the_driver_is_started_with_the_users_words() {
        let settings = AgentSettings {
            args: vec!["two words".into()],
            model: Some("m".into()),
            permission: Some(Permission::Full),
            system_prompt: Some("Be brief.".into()),
            ..settings("npx -y @scope/agent --acp")
        };
        let occasion = Occasion {
            session: Some("ses_1"),
            orch: Path::new("/opt/orch"),
            ..Occasion::example()
        };
        let made = ADAPTER.start(&settings, &occasion).unwrap();
        assert_eq!(
            made.argv,
            [
                "/opt/orch",
                "__acp",
                "--permission",
                "full",
                "--session=ses_1",
                "--model=m",
                "--",
                "npx",
                "-y",
                "@scope/agent",
                "--acp",
                "two words",
            ]
        );
        assert!(made.prompt_on_stdin);
        assert_eq!(made.preamble.as_deref(), Some("Be brief."));
        assert!(made.files.is_empty() && made.env.is_empty());
    }

    #[test]
    fn unattended_work_is_allowed_edits_and_no_more() {
        let made = ADAPTER.start(&settings("x"), &Occasion::example()).unwrap();
        assert_eq!(made.argv[2..4], ["--permission", "edits"]);
    }

    #[test]
    fn servers_travel_in_a_file_that_reads_the_same() {
        let text = r#"{"mcpServers": {
            "a": {"command": "serve", "args": ["-x"], "env": {"KEY": "secret"}},
            "b": {"url": "http://127.0.0.1:9/", "headers": {"X": "y"}}}}"#;
        let mcp = McpServer::parse(text).unwrap();
        let occasion = Occasion {
            mcp: &mcp,
            ..Occasion::example()
        };
        let made = ADAPTER.start(&settings("x"), &occasion).unwrap();
        let [(name, text)] = made.files.as_slice() else {
            panic!("{made:?}");
        };
        assert_eq!(McpServer::parse(text).unwrap(), mcp);
        assert!(!made.argv.join(" ").contains("secret"));
        let path = occasion.files.join(name);
        assert!(made.argv.contains(&format!("--mcp={}", path.display())));
    }

    #[test]
    fn a_command_for_a_shell_is_refused() {
        for command in [
            "gemini --acp | tee log",
            "A=1 gemini",
            "cd x",
            "gemini '--acp'",
        ] {
            let error = ADAPTER
                .start(&settings(command), &Occasion::example())
                .unwrap_err();
            assert!(matches!(error, SettingsError::NotPlain { .. }), "{command}");
            assert!(error.to_string().contains("`args`"), "{error}");
        }
        let missing = AgentSettings {
            command: None,
            ..settings("")
        };
        let error = ADAPTER.start(&missing, &Occasion::example()).unwrap_err();
        assert!(matches!(error, SettingsError::CommandMissing { .. }));
        let turns = AgentSettings {
            max_turns: Some(1),
            ..settings("x")
        };
        let error = ADAPTER.start(&turns, &Occasion::example()).unwrap_err();
        assert!(error.to_string().contains("max_turns"), "{error}");
    }
}
