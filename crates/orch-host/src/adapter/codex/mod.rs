//! Codex without a screen: `codex exec --json`.
//!
//! This file makes the command line, [`reader`] reads the stream, [`words`] puts its events into
//! words for people.

mod reader;
mod words;

use orch_core::run::FailureCode;

use super::arguments::Reserved;
use super::explain;
use super::mcp::{McpServer, McpTransport};
use super::stream::JsonLines;
use super::{
    Adapter, AgentSettings, Capabilities, Counting, Invocation, LimitSignal, Occasion, Permission,
    SettingsError, no_status_verdict,
};
use crate::supervise::StopSignal;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "codex",
    description: "Codex CLI (`codex exec`), reads its JSON stream",
    program: Some("codex"),
    has_result_event: true,
    inherits: &["CODEX_*", "OPENAI_*"],
    // A daemon started from within a Codex session must not make its agents part of it.
    never_inherits: &[
        "CODEX_SANDBOX",
        "CODEX_SANDBOX_NETWORK_DISABLED",
        "CODEX_THREAD_ID",
    ],
    capabilities: Capabilities {
        tested: Some("0.169.0"),
        version: &["--version"],
        usage: Counting::PerSession,
        cost: false,
        resume: true,
        takes_back: false,
        limits: LimitSignal::Status,
        mcp: true,
        effort: true,
        max_turns: false,
        permissions: Permission::ALL,
        endings: "every run ends with turn.completed or turn.failed; what failed is told by the \
                  program's own sentences",
    },
    invocation,
    reader: || Box::new(JsonLines::<reader::Codex>::default()),
    explain,
    status_verdict: no_status_verdict,
    usage_file: None,
    describe: words::describe,
};

/// Arguments that are orch's own, and what to do instead.
const RESERVED: &[Reserved] = &[
    ("--json", "orch reads the JSON stream"),
    ("--sandbox", "set `permission`"),
    ("-s", "set `permission`"),
    (
        "--dangerously-bypass-approvals-and-sandbox",
        "set `permission = \"full\"`",
    ),
    ("--yolo", "set `permission = \"full\"`"),
    ("--full-auto", "set `permission`"),
    ("--trust", "orch trusts no directory for you"),
    (
        "--approve-for-me",
        "nobody is there to approve; set `permission`",
    ),
    ("--ephemeral", "a run could not be continued"),
    ("--last", "orch decides which session a run is in"),
    ("--worktree", "orch decides where a run works"),
    ("--cd", "orch decides where a run works"),
    ("-C", "orch decides where a run works"),
];

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let mut argv = vec![settings.program("codex")?, "exec".to_owned()];
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        argv.extend(["resume".to_owned(), session.to_owned()]);
    }
    argv.extend(["--json", "--skip-git-repo-check"].map(str::to_owned));
    let mut config = Config(vec!["analytics.enabled=false".to_owned()]);
    match settings.permission.unwrap_or(Permission::Edits) {
        Permission::Ask => config.look_only(),
        Permission::Edits => config.sandbox(occasion),
        Permission::Full => argv.push("--dangerously-bypass-approvals-and-sandbox".to_owned()),
    }
    settings.push_model("--model", &mut argv)?;
    if let Some(effort) = &settings.effort {
        config.set_text(
            "model_reasoning_effort",
            settings.option_value("effort", effort)?,
        );
    }
    let (in_argv, preamble) = settings.place_system_prompt();
    if let Some(text) = in_argv {
        settings.check_argument("system_prompt", text)?;
        config.set_text("developer_instructions", text);
    }
    let env = config.servers(occasion.mcp);
    argv.extend(config.0.into_iter().flat_map(|it| ["-c".to_owned(), it]));
    refuse_own_permissions(settings)?;
    settings.push_args(RESERVED, &mut argv)?;
    // The prompt comes by stdin.
    argv.push("-".to_owned());
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        env,
        files: Vec::new(),
        prompt_on_stdin: true,
        preamble,
        // The launcher from npm passes it on, and the native program ends its tools by it. An
        // interrupt makes neither of them say more.
        stop_signal: StopSignal::Terminate,
    })
}

/// Settings for `-c`, each `KEY=VALUE` with the value in TOML. `exec resume` knows fewer options
/// than `exec`, and both know `-c`.
struct Config(Vec<String>);

impl Config {
    fn set_text(&mut self, key: &str, text: &str) {
        self.0.push(format!("{key}={}", toml_text(text)));
    }

    /// It may read, and nothing asks. Without these words the user's own settings would decide.
    fn look_only(&mut self) {
        self.set_text("sandbox_mode", "read-only");
        self.set_text("approval_policy", "never");
    }

    /// It may write in its directory and what a commit writes of the repository, and nothing
    /// asks: what the sandbox stops fails.
    fn sandbox(&mut self, occasion: &Occasion<'_>) {
        self.set_text("sandbox_mode", "workspace-write");
        self.set_text("approval_policy", "never");
        let roots = crate::git::roots::of_a_commit(occasion.directory);
        if !roots.is_empty() {
            let roots: Vec<String> = roots.iter().map(|root| toml_text(root)).collect();
            let roots = roots.join(",");
            self.0
                .push(format!("sandbox_workspace_write.writable_roots=[{roots}]"));
        }
    }

    /// Adds the servers. What they are to know is passed in the environment where that is
    /// possible, since everybody may read command lines: those are the variables to set.
    fn servers(&mut self, servers: &[McpServer]) -> Vec<(String, String)> {
        let mut env = Vec::new();
        for server in servers {
            let transport = match &server.transport {
                McpTransport::Stdio {
                    command,
                    args,
                    env: own,
                } => {
                    let args: Vec<String> = args.iter().map(|it| toml_text(it)).collect();
                    let (names, inline) = share(own, &mut env);
                    format!(
                        "command={},args=[{}],env_vars=[{names}],env={{{inline}}}",
                        toml_text(command),
                        args.join(",")
                    )
                }
                McpTransport::Http { url, headers } => {
                    let headers = hide(headers, &mut env);
                    format!("url={},env_http_headers={{{headers}}}", toml_text(url))
                }
            };
            // Whoever configured the server wants it to be used, and nobody is there to be asked.
            let approved = "default_tools_approval_mode=\"approve\"";
            let name = &server.name;
            self.0
                .push(format!("mcp_servers.{name}={{{transport},{approved}}}"));
        }
        env
    }
}

/// Parts of the names of settings that say what it may do.
const PERMISSIONS: &[&str] = &["approv", "permission", "profile", "projects", "sandbox"];
/// Settings of the sandbox that leave its walls where they are.
const HARMLESS: &[&str] = &[
    "sandbox_workspace_write.exclude_slash_tmp",
    "sandbox_workspace_write.exclude_tmpdir_env_var",
    "sandbox_workspace_write.network_access",
];

/// Refuses `-c KEY=VALUE` for keys that undo `permission`: the last one given wins.
fn refuse_own_permissions(settings: &AgentSettings) -> Result<(), SettingsError> {
    let mut is_value = false;
    for argument in &settings.args {
        let assignment = match is_value {
            true => Some(argument.as_str()),
            false => assignment(argument),
        };
        is_value = !is_value && matches!(argument.as_str(), "-c" | "--config");
        if let Some(key) = assignment.and_then(|it| it.split('=').next())
            && is_permission(key.trim())
        {
            return Err(settings.reserved(key.trim(), "set `permission`"));
        }
    }
    Ok(())
}

/// The assignment that stands in the same argument as its option.
fn assignment(argument: &str) -> Option<&str> {
    let long = argument.strip_prefix("--config=");
    let short = || argument.strip_prefix("-c").filter(|rest| !rest.is_empty());
    long.or_else(short).map(|it| it.trim_start_matches('='))
}

fn is_permission(key: &str) -> bool {
    let first = key.split('.').next().unwrap_or_default().to_lowercase();
    !HARMLESS.contains(&key) && PERMISSIONS.iter().any(|part| first.contains(part))
}

type Variables = std::collections::BTreeMap<String, String>;

/// Variables that would change the agent itself, and not only its server.
const NOT_SHARED: &[&str] = &[
    "PATH",
    "HOME",
    "SHELL",
    "TMPDIR",
    "CODEX_HOME",
    "LD_PRELOAD",
];

/// The names of the variables that a server may take from the environment, and in TOML those that
/// it must be told because another one has the same name.
fn share(own: &Variables, env: &mut Vec<(String, String)>) -> (String, String) {
    let (mut names, mut inline) = (Vec::new(), Vec::new());
    for (name, value) in own {
        let there = env.iter().find(|(other, _)| other == name);
        match there {
            _ if NOT_SHARED.contains(&name.as_str()) => inline.push((name, value)),
            Some((_, other)) if other != value => inline.push((name, value)),
            Some(_) => names.push(toml_text(name)),
            None => {
                env.push((name.clone(), value.clone()));
                names.push(toml_text(name));
            }
        }
    }
    let inline = inline.iter().map(|(name, value)| pair(name, value));
    (names.join(","), inline.collect::<Vec<_>>().join(","))
}

/// Headers by the names of variables that hold them.
fn hide(headers: &Variables, env: &mut Vec<(String, String)>) -> String {
    let hidden = headers.iter().map(|(name, value)| {
        let variable = format!("ORCH_MCP_HEADER_{}", env.len());
        env.push((variable.clone(), value.clone()));
        pair(name, &variable)
    });
    hidden.collect::<Vec<_>>().join(",")
}

fn pair(name: &str, value: &str) -> String {
    format!("{}={}", toml_text(name), toml_text(value))
}

/// A text as a string of TOML. JSON writes strings the same way, but leaves DEL as it is.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// What it says on stderr when it never began.
fn explain(_code: i32, errors: &str) -> Option<(FailureCode, String)> {
    const KNOWN: &[(&str, FailureCode)] = &[
        (
            "Error: thread/resume: thread/resume failed: no rollout found",
            FailureCode::SessionGone,
        ),
        ("Error loading config.toml: ", FailureCode::AgentError),
        ("No prompt provided via stdin.", FailureCode::AgentError),
        ("error: unexpected argument ", FailureCode::AgentError),
        ("error: invalid value ", FailureCode::AgentError),
    ];
    explain::by_line(errors, KNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::settings;

    fn line(settings: &AgentSettings, occasion: &Occasion<'_>) -> String {
        invocation(settings, occasion).unwrap().argv.join(" ")
    }

    #[test]
    fn unattended_work_is_sandboxed_and_full_permission_comes_only_by_name() {
        let with = |permission| AgentSettings {
            permission: Some(permission),
            ..settings()
        };
        let example = Occasion::example();
        assert_eq!(
            line(&settings(), &example),
            "codex exec --json --skip-git-repo-check -c analytics.enabled=false \
             -c sandbox_mode=\"workspace-write\" -c approval_policy=\"never\" -"
        );
        assert_eq!(
            line(&with(Permission::Ask), &example),
            "codex exec --json --skip-git-repo-check -c analytics.enabled=false \
             -c sandbox_mode=\"read-only\" -c approval_policy=\"never\" -"
        );
        let bypass = "--dangerously-bypass-approvals-and-sandbox";
        assert!(line(&with(Permission::Full), &example).contains(bypass));
        let with = |arguments: &[&str]| AgentSettings {
            args: arguments.iter().map(|&it| it.to_owned()).collect(),
            ..settings()
        };
        for arguments in [
            &[bypass][..],
            &["-s"],
            &["-sdanger-full-access"],
            &["--sandbox=danger-full-access"],
            &["--full-auto"],
            &["-c", "sandbox_mode=\"danger-full-access\""],
            &["-csandbox_mode=danger-full-access"],
            &["-c=sandbox_mode=danger-full-access"],
            &["--config", "a=1", "--config", " sandbox_mode = \"x\""],
            &["--config=default_permissions=x"],
            &["-c", "approval_policy=\"on-request\""],
            &["-c", "projects.\"/\".trust_level=\"trusted\""],
            &["-c", "sandbox_workspace_write.writable_roots=[\"/\"]"],
            &["-c", "sandbox_workspace_write={writable_roots=[\"/\"]}"],
        ] {
            let error = invocation(&with(arguments), &example).unwrap_err();
            assert!(error.to_string().contains("set `permission"), "{error}");
        }
        for arguments in [
            &["-c", "sandbox_workspace_write.network_access=true"][..],
            &["-c", "model_verbosity=\"low\"", "--search"],
            &["--title", "sandbox_mode=x"],
        ] {
            assert!(invocation(&with(arguments), &example).is_ok());
        }
    }

    #[test]
    fn settings_become_options() {
        let all = AgentSettings {
            model: Some("gpt-5".into()),
            effort: Some("high".into()),
            system_prompt: Some("Be \"brief\".\n\u{7f}".into()),
            permission: Some(Permission::Ask),
            args: vec!["--enable".into(), "x".into()],
            ..settings()
        };
        let occasion = Occasion {
            session: Some("01a2"),
            ..Occasion::example()
        };
        assert_eq!(
            line(&all, &occasion),
            "codex exec resume 01a2 --json --skip-git-repo-check --model gpt-5 \
             -c analytics.enabled=false -c sandbox_mode=\"read-only\" \
             -c approval_policy=\"never\" -c model_reasoning_effort=\"high\" \
             -c developer_instructions=\"Be \\\"brief\\\".\\n\\u007f\" --enable x -"
        );
    }

    #[test]
    fn what_servers_are_to_know_is_not_in_the_command_line() {
        let text = r#"{"mcpServers": {
            "a": {"command": "serve", "args": ["-x"], "env": {"KEY": "s1", "PATH": "/bin"}},
            "b": {"command": "serve", "env": {"KEY": "s2"}},
            "c": {"url": "http://127.0.0.1:9", "headers": {"Authorization": "s3"}}}}"#;
        let mcp = McpServer::parse(text).unwrap();
        let occasion = Occasion {
            mcp: &mcp,
            ..Occasion::example()
        };
        let made = invocation(&settings(), &occasion).unwrap();
        let servers: Vec<&String> = made
            .argv
            .iter()
            .filter(|it| it.starts_with("mcp_"))
            .collect();
        let approved = "default_tools_approval_mode=\"approve\"";
        assert_eq!(
            servers,
            [
                &format!(
                    "mcp_servers.a={{command=\"serve\",args=[\"-x\"],env_vars=[\"KEY\"],\
                     env={{\"PATH\"=\"/bin\"}},{approved}}}"
                ),
                &format!(
                    "mcp_servers.b={{command=\"serve\",args=[],env_vars=[],\
                     env={{\"KEY\"=\"s2\"}},{approved}}}"
                ),
                &format!(
                    "mcp_servers.c={{url=\"http://127.0.0.1:9\",\
                     env_http_headers={{\"Authorization\"=\"ORCH_MCP_HEADER_1\"}},{approved}}}"
                ),
            ]
        );
        let env: Vec<_> = made.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(env, ["KEY", "ORCH_MCP_HEADER_1"]);
    }
}
