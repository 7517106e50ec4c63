//! The shell adapter.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use orch_core::outcome::Verdict;
use orch_host::adapter::{AgentSettings, EventType, Occasion, Permission, Reader, all, find};

fn reader() -> Box<dyn Reader + Send> {
    (find("shell").unwrap().reader)()
}

fn settings(command: &str) -> AgentSettings {
    AgentSettings {
        name: "sh".into(),
        command: Some(command.into()),
        ..AgentSettings::default()
    }
}

#[test]
fn every_adapter_is_found_by_its_name() {
    for adapter in all() {
        assert_eq!(find(adapter.name).unwrap().name, adapter.name);
    }
    assert!(find("claud").is_none());
    assert!(!find("shell").unwrap().has_result_event);
    assert!(find("claude").unwrap().has_result_event);
}

#[test]
fn the_command_is_the_users_own_words() {
    let shell = find("shell").unwrap();
    let command = "cat > \"$1\"; echo '$(id)'";
    let made = shell
        .start(&settings(command), &Occasion::example())
        .unwrap();
    assert_eq!(made.argv, ["/bin/sh", "-c", command]);
    assert!(made.prompt_on_stdin && made.env.is_empty());

    let with_args = AgentSettings {
        args: vec!["-x".into(), "a b".into()],
        system_prompt: Some("Be kind.".into()),
        ..settings(command)
    };
    let made = shell.start(&with_args, &Occasion::example()).unwrap();
    assert_eq!(made.argv, ["/bin/sh", "-c", command, "sh", "-x", "a b"]);
    assert_eq!(made.preamble.as_deref(), Some("Be kind."));
}

#[test]
fn settings_a_command_cannot_follow_are_refused() {
    let shell = find("shell").unwrap();
    let refused = |settings: AgentSettings| {
        shell
            .start(&settings, &Occasion::example())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(AgentSettings::default()).contains("needs a `command`"));
    assert!(refused(settings("  ")).contains("`command` is empty"));
    assert!(refused(settings("a\0b")).contains("NUL"));
    let model = AgentSettings {
        model: Some("m".into()),
        ..settings("x")
    };
    assert!(refused(model).contains("`model`"));
    let permission = AgentSettings {
        permission: Some(Permission::Full),
        ..settings("x")
    };
    assert!(refused(permission).contains("`permission`"));
}

#[test]
fn every_line_is_text_and_the_output_is_the_result() {
    let mut reader = reader();
    for (line, data) in [
        (b"hello\r".as_slice(), r#"{"text":"hello"}"#),
        (b"", r#"{"text":""}"#),
        (b"a\0\x1b[2J", r#"{"text":"a\u0000\u001b[2J"}"#),
        (b"caf\xc3", r#"{"lossy":true,"text":"caf�"}"#),
        (
            br#"{"type":"result","is_error":true}"#,
            r#"{"text":"{\"type\":\"result\",\"is_error\":true}"}"#,
        ),
    ] {
        let events = reader.line(line);
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].kind, events[0].data.get()),
            (EventType::Text, data)
        );
    }
    let summary = reader.summary();
    assert_eq!(summary.verdict, Verdict::ByExitStatus);
    assert!(!reader.terminal_seen());
    assert_eq!(summary.result, None);
    assert!(reader.output_is_result());
}

#[test]
fn a_real_command_gets_the_prompt_and_exactly_its_environment() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let shell = find("shell").unwrap();
    let settings = settings("env | grep -vE '^(PWD|SHLVL|_)='; cat");
    let made = shell.start(&settings, &Occasion::example()).unwrap();
    let configured = [("MINE".to_owned(), "$SECRET".to_owned())].into();
    let parent = [("PATH", "/usr/bin:/bin"), ("SECRET", "s"), ("TOKEN", "t")];
    let parent = parent.map(|(name, value)| (name.into(), value.into()));
    let variables = orch_host::environment::allow_list(shell, &made, &configured, parent).unwrap();
    let mut child = Command::new(&made.argv[0])
        .args(&made.argv[1..])
        .env_clear()
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let prompt = "Task: $(touch canary) `touch canary`; touch canary\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(prompt.as_bytes())
        .unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let (variables, said) = output.split_at(output.find("Task:").unwrap());
    let mut variables: Vec<&str> = variables.lines().collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        ["MINE=s", "NO_COLOR=1", "PATH=/usr/bin:/bin", "TERM=dumb"]
    );
    assert_eq!(said, prompt);
    assert!(!std::path::Path::new("canary").exists());
}
