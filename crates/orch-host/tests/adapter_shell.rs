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
    let result = "hello\r\n\na\0\u{1b}[2J\ncaf\u{fffd}\n{\"type\":\"result\",\"is_error\":true}";
    assert_eq!(summary.result.as_deref(), Some(result));
}

#[test]
fn no_output_is_no_result_and_an_empty_line_is_an_empty_one() {
    assert_eq!(reader().summary().result, None);
    let mut reader = reader();
    reader.line(b"");
    assert_eq!(reader.summary().result.as_deref(), Some(""));
}

#[test]
fn two_megabytes_are_kept_in_full() {
    let mut reader = reader();
    let lines: Vec<String> = (0..200_000)
        .map(|number| format!("line {number:06}"))
        .collect();
    for line in &lines {
        reader.line(line.as_bytes());
    }
    assert_eq!(reader.summary().result, Some(lines.join("\n")));
}

#[test]
fn of_more_the_end_is_kept_and_the_cut_is_said() {
    let mut reader = reader();
    for number in 0..1_000_000 {
        reader.line(format!("line {number:07}").as_bytes());
    }
    let result = reader.summary().result.unwrap();
    assert!(result.len() <= (4 << 20) + 200);
    assert!(result.len() > (4 << 20) - 200);
    let (note, rest) = result.split_once('\n').unwrap();
    let cut: usize = note.split(' ').nth(2).unwrap().parse().unwrap();
    assert_eq!(cut + rest.len() + 1, 13 * 1_000_000, "{note}");
    assert!(rest.starts_with("line ") && rest.ends_with("line 0999999"));
}

#[test]
fn a_line_too_long_to_be_read_counts_with_its_end() {
    let mut reader = reader();
    reader.line(b"first");
    reader.unreadable(50 << 20, &[b'x'; 4 << 20]);
    reader.line(b"last");
    let result = reader.summary().result.unwrap();
    assert!(result.starts_with("[orch: about "), "{}", &result[..80]);
    assert!(result.ends_with("x\nlast") || result.ends_with("\nlast"));
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
