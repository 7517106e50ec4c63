//! Shapes of work: chains, fans, diamonds; each does what `orch why` says.

use orch_field::{Project, text};

const AGENTS: &str = "\
[agents.good]\nadapter = \"shell\"\ncommand = \"true\"\nmax_parallel = 4\n\
[agents.bad]\nadapter = \"shell\"\ncommand = \"exit 1\"\n\
[agents.slow]\nadapter = \"shell\"\ncommand = \"exec sleep 600\"\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n";

#[test]
fn a_diamond_with_a_failing_arm_waits_for_a_person() {
    let project = Project::new(AGENTS);
    let top = project.add("top", &["--agent", "good"]);
    let left = project.add("left", &["--agent", "good", "--depends-on", &top]);
    let right = project.add("right", &["--agent", "bad", "--depends-on", &top]);
    let both = format!("{left},{right}");
    let bottom = project.add("bottom", &["--agent", "good", "--depends-on", &both]);
    let after = project.add("after any", &["--agent", "good", "--after-any", &right]);
    let said = project.fails(1, &["serve", "--once"]);
    assert!(said.contains(&right) && said.contains(&bottom), "{said}");

    let status = |id: &str| text(&project.task(id), "status").to_owned();
    assert_eq!(
        (status(&left).as_str(), status(&right).as_str()),
        ("done", "failed")
    );
    assert_eq!(
        (status(&bottom).as_str(), status(&after).as_str()),
        ("todo", "done")
    );
    let why = project.json(&["why", &bottom]);
    assert_eq!(why["task"]["wait"]["code"], "dependency_failed");
    assert_eq!(why["task"]["wait"]["actor"], "person");
    assert!(
        text(&why["task"]["wait"], "message").contains(&right),
        "{why}"
    );
}

#[test]
fn a_cycle_is_refused_with_its_path() {
    let project = Project::new(AGENTS);
    let first = project.add("first", &[]);
    let second = project.add("second", &["--depends-on", &first]);
    let third = project.add("third", &["--depends-on", &second]);
    let said = project.fails(2, &["task", "edit", &first, "--depends-on", &third]);
    let path = format!("{first} → {second} → {third} → {first}");
    let reverse = format!("{first} → {third} → {second} → {first}");
    assert!(said.contains(&path) || said.contains(&reverse), "{said}");
}

/// Promise 17.
#[test]
fn a_chain_of_two_hundred_runs_in_order() {
    let project = Project::new(AGENTS);
    let mut before = project.add("link 0", &[]);
    for number in 1..200 {
        before = project.add(&format!("link {number}"), &["--depends-on", &before]);
    }
    project.ok(&["serve", "--once"]);
    let runs = project.json(&["runs", "--limit", "1000"]);
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 200);
    // Newest first: each began after the one before it had ended.
    for pair in runs.windows(2) {
        assert!(
            text(&pair[0], "created_at") >= text(&pair[1], "finished_at"),
            "{pair:?}"
        );
    }
}

#[test]
fn cancelling_a_running_dependency_stops_it_and_tells_who_waits() {
    let project = Project::new(AGENTS);
    let slow = project.add("slow", &["--agent", "slow"]);
    let next = project.add("next", &["--agent", "good", "--depends-on", &slow]);
    let mut daemon = project.serve(&[]);
    daemon.wait_for(|line| line["event"] == "run_running");
    assert_eq!(
        project.json(&["why", &next])["task"]["wait"]["code"],
        "dependency"
    );
    project.ok(&["task", "cancel", &slow]);
    daemon.wait_for(|line| line["event"] == "task_cancelled");
    let run = project.last_run(&slow);
    assert_eq!(run["status"], "cancelled");
    assert_eq!(run["failure"]["code"], "cancelled_by_user");
    assert_eq!(
        project.json(&["why", &next])["task"]["wait"]["code"],
        "dependency_failed"
    );
    assert_eq!(daemon.drain(), Some(0));
}

#[test]
fn a_second_signal_stops_the_agents_and_costs_no_attempt() {
    let project = Project::new(AGENTS);
    let slow = project.add("slow", &["--agent", "slow"]);
    let mut daemon = project.serve(&[]);
    daemon.wait_for(|line| line["event"] == "run_running");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for(|line| line["event"] == "draining");
    assert_eq!(daemon.drain(), Some(0));
    let task = project.task(&slow);
    assert_eq!(
        (task["status"].as_str(), task["attempts"].as_u64()),
        (Some("todo"), Some(0))
    );
    assert_eq!(project.last_run(&slow)["failure"]["code"], "interrupted");
}

#[test]
fn a_task_nobody_may_take_says_so() {
    let project = Project::new(
        "[agents.one]\nadapter = \"shell\"\ncommand = \"true\"\nlabels = [\"rust\"]\n",
    );
    let task = project.add("paint", &["--label", "ui"]);
    project.fails(1, &["serve", "--once"]);
    let why = project.json(&["why", &task]);
    assert_eq!(why["task"]["wait"]["code"], "no_agent_for_labels");
    assert_eq!(why["task"]["wait"]["actor"], "person");
}
