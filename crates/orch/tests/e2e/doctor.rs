//! `orch doctor` on real faults; every verdict by itself is tested where it is judged.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orch_field::{Project, text};
use serde_json::Value;

const AGENTS: &str = "[agents.worker]\nadapter = \"shell\"\ncommand = 'true'\n";

/// What doctor says and how it ends.
fn doctor(project: &Project, more: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = project.output(&[&["doctor", "--json"], more].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = said["checks"].as_array().unwrap().clone();
    (checks, output.status.code())
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:?}"))
}

#[test]
fn a_project_as_it_should_be_has_no_problem() {
    let project = Project::new(AGENTS);
    project.add("something", &[]);
    let (checks, code) = doctor(&project, &["--deep"]);
    let problems: Vec<_> = checks
        .iter()
        .filter(|it| it["status"] == "problem")
        .collect();
    assert!(problems.is_empty() && code == Some(0), "{problems:?}");
    for it in &checks {
        assert!(!text(it, "promise").is_empty(), "{it}");
        assert!(it["status"] == "ok" || it["hint"].is_string(), "{it}");
    }
    assert_eq!(check(&checks, "database")["status"], "ok");
    assert!(
        check(&checks, "daemon and database")["detail"]
            .to_string()
            .contains("no daemon")
    );

    let daemon = project.serve(&[]);
    let (checks, code) = doctor(&project, &[]);
    let served = check(&checks, "daemon and database")["detail"].to_string();
    assert!(
        served.contains(&daemon.pid().to_string()) && code == Some(0),
        "{served}"
    );
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 36. Injected: the directory of one of two runs is removed. Held: doctor counts and names it, and
/// does not call all records readable.
#[test]
fn a_run_whose_directory_is_gone_is_named() {
    let project = Project::new(AGENTS);
    let tasks = ["one", "two"].map(|title| project.add(title, &[]));
    project.ok(&["run", "--all"]);
    let (checks, _) = doctor(&project, &[]);
    assert_eq!(check(&checks, "records of runs")["status"], "ok");
    let run = project.last_run(&tasks[0]);
    fs::remove_dir_all(project.run_dir(&run)).unwrap();
    let (checks, code) = doctor(&project, &[]);
    let records = check(&checks, "records of runs");
    assert_eq!(records["status"], "warning", "{records}");
    let detail = text(records, "detail");
    let other = project.last_run(&tasks[1]);
    assert!(
        detail.contains("1 run") && detail.contains(text(&run, "id")),
        "{detail}"
    );
    assert!(!detail.contains(text(&other, "id")), "{detail}");
    assert_eq!(code, Some(0), "a warning is no problem");
}

/// Fault 34. Injected: the state directory is opened to everybody, a page of the database is
/// overwritten, a foreign thing lies in the trash, a record is of a later version. Held: doctor
/// names each with what mends it, ends with 1 where a promise does not hold, and changes nothing.
#[test]
fn what_is_wrong_is_named_with_its_mend() {
    let project = Project::new(AGENTS);
    for _ in 0..50 {
        project.add("something that takes its place in the database", &[]);
    }
    let state = project.root().join(".orch");
    let item = state.join("trash/tsk_000000000000.t1");
    fs::create_dir_all(item.join("files")).unwrap();
    fs::create_dir_all(state.join("runs/run_000000000000")).unwrap();
    let record = state.join("runs/run_000000000000/exit.json");
    fs::write(&record, r#"{"version":99}"#).unwrap();
    project.git(&["config", "core.fsmonitor", "/bin/true"]);
    project.git(&["config", "--unset", "user.email"]);
    let (checks, code) = doctor(&project, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(check(&checks, "records of runs")["status"], "problem");
    for name in ["rescue", "git configuration", "git identity"] {
        assert_eq!(check(&checks, name)["status"], "warning", "{name}");
    }
    assert!(item.exists() && record.exists());
    fs::remove_file(&record).unwrap();

    let database = state.join("orch.db");
    let mut bytes = fs::read(&database).unwrap();
    let page = 4_096;
    assert!(bytes.len() > 4 * page);
    bytes[2 * page..4 * page].fill(0x55);
    fs::write(&database, bytes).unwrap();
    let (checks, code) = doctor(&project, &["--deep"]);
    assert_eq!(
        (&check(&checks, "database")["status"], code),
        (&"problem".into(), Some(1))
    );

    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let (checks, code) = doctor(&project, &[]);
    let found = check(&checks, "state directory");
    assert_eq!((&found["status"], code), (&"problem".into(), Some(1)));
    assert!(text(found, "hint").starts_with("chmod 700 "), "{found}");
    assert_eq!(
        fs::metadata(&state).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

/// Fault 34. Injected: a daemon is killed, its write-ahead log is removed, and a command is the first to
/// open the database. Held: the command says that the last facts may be lost; nobody after it could.
///
/// Promise 25.
#[test]
fn whoever_opens_first_says_that_facts_are_missing() {
    let project = Project::new("[agents.a]\nadapter = \"shell\"\ncommand = \"true\"\n");
    let daemon = project.serve(&[]);
    project.add("forgotten", &[]);
    daemon.signal(rustix::process::Signal::KILL);
    drop(daemon);
    fs::remove_file(project.root().join(".orch/orch.db-wal")).unwrap();
    let said = project.output(&["task", "list"]);
    assert!(said.status.success());
    let said = orch_field::lossy(&said.stderr);
    assert!(said.contains("the last facts may be lost"), "{said}");
}

/// Fault 34. Injected: the database is an empty file. Held: `doctor --deep` does not call it whole.
#[test]
fn an_empty_database_is_not_whole() {
    let project = Project::new("[agents.a]\nadapter = \"shell\"\ncommand = \"true\"\n");
    fs::write(project.root().join(".orch/orch.db"), "").unwrap();
    let checks = String::from_utf8(project.output(&["doctor", "--deep"]).stdout).unwrap();
    assert!(!checks.contains("every page is whole"), "{checks}");
}

/// The branch that work is to land on is gone: doctor says so and how to mend it.
#[test]
fn a_target_branch_that_is_gone_is_a_problem() {
    let project = Project::new(AGENTS);
    project.git(&["branch", "-m", "main", "trunk"]);
    let (checks, code) = doctor(&project, &[]);
    let found = check(&checks, "target branch");
    assert_eq!((&found["status"], code), (&"problem".into(), Some(1)));
    assert!(text(found, "detail").contains("'main'"), "{found}");
    assert!(text(found, "hint").contains("project.target"), "{found}");
    for it in &checks {
        assert!(it["status"] == "ok" || it["hint"].is_string(), "{it}");
    }
}

/// Promise 5.
#[test]
fn a_variable_that_is_not_set_is_named_and_not_tried_again() {
    const GONE: &str = "ORCHTEST_NO_SUCH_VARIABLE";
    let project = Project::new(&format!(
        "{AGENTS}env = {{ TOK = \"${GONE}\", OTHER = \"x\" }}\n"
    ));
    let task = project.add("something", &["--max-attempts", "3"]);
    let (checks, code) = doctor(&project, &[]);
    let found = check(&checks, "agent worker");
    assert_eq!((&found["status"], code), (&"problem".into(), Some(1)));
    let detail = text(found, "detail");
    assert!(detail.contains(&format!("TOK = \"${GONE}\"")), "{detail}");
    assert!(!detail.contains("OTHER"), "{detail}");
    let hint = text(found, "hint");
    assert!(hint.contains("orch agent edit worker --env TOK="), "{hint}");

    project.fails(1, &["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["attempt"], 1, "{run}");
    assert_eq!(run["status"], "not_started");
    assert_eq!(run["failure"]["code"], "not_executable");
    let message = text(&run["failure"], "message");
    for part in ["'worker'", "TOK", GONE, &format!("orch task retry {task}")] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(project.task(&task)["status"], "failed");

    // A daemon may have it.
    let daemon = project.serve(&[]);
    let (checks, code) = doctor(&project, &[]);
    let found = check(&checks, "agent worker");
    assert_eq!(
        (&found["status"], code),
        (&"warning".into(), Some(0)),
        "{found}"
    );
    assert_eq!(daemon.drain(), Some(0));
}
