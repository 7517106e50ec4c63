//! What agents are told, with the real binary.

use std::fs;

use orch_field::{Project, text};

const AGENT: &str = "[agents.worker]\nadapter = \"shell\"\ncommand = 'cat'\nrole = \"builder\"\n";

#[test]
fn what_is_shown_is_what_is_sent() {
    let project = Project::new(AGENT);
    let task = project.add("/clear", &["-d", "{{ agent.name }} $(touch canary)"]);
    let shown = project.json(&["task", "prompt", &task]);
    assert_eq!(
        (text(&shown, "agent"), &shown["resumes"]),
        ("worker", &false.into())
    );
    let printed = project.output(&["task", "prompt", &task]).stdout;
    assert_eq!(orch_field::lossy(&printed), text(&shown, "prompt"));
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["status"], "completed", "{run}");
    let sent = fs::read_to_string(project.run_dir(&run).join("prompt.md"));
    assert_eq!(sent.unwrap(), text(&shown, "prompt"));
    assert!(
        text(&shown, "prompt").contains("{{ agent.name }}"),
        "{shown}"
    );
    assert!(
        text(&shown, "prompt").starts_with("You are worker"),
        "{shown}"
    );
}

#[test]
fn the_next_attempt_is_told_what_was_wrong_and_a_dependant_what_came_of_it() {
    let project = Project::new(AGENT);
    let first = project.add("find the cause", &[]);
    let second = project.add("mend it", &["--depends-on", &first]);
    project.ok(&["run", &first]);
    project.ok(&["task", "reject", &first, "-r", "look again"]);
    let shown = project.ok(&["task", "prompt", &first]);
    assert!(shown.contains("> look again"), "{shown}");
    project.ok(&["run", &first]);
    project.ok(&["task", "approve", &first]);
    let shown = project.ok(&["task", "prompt", &second]);
    assert!(shown.contains(&format!("What came of {first}")), "{shown}");
}

#[test]
fn templates_of_ones_own_are_used_and_a_wrong_one_starts_nothing() {
    let project = Project::new(&format!(
        "{AGENT}[prompt]\ntask = \"task.jinja\"\n[retry]\nbase = \"100ms\"\nmax = \"100ms\"\n"
    ));
    let template = project.root().join("task.jinja");
    fs::write(&template, "Please do: {{ task.title }}").unwrap();
    let task = project.add("good work", &[]);
    let shown = project.ok(&["task", "prompt", &task]);
    assert!(
        shown.trim_end().ends_with("Please do: good work"),
        "{shown}"
    );
    fs::write(&template, "one\n{{ task.titel }}").unwrap();
    let said = project.fails(4, &["task", "prompt", &task]);
    assert!(said.contains("in line 2"), "{said}");
    let said = project.output(&["doctor"]);
    let said = orch_field::lossy(&said.stdout);
    assert!(
        said.contains("prompt templates") && said.contains("in line 2"),
        "{said}"
    );
    project.output(&["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["status"], "not_started", "{run}");
    assert!(
        text(&run["failure"], "message").contains("in line 2"),
        "{run}"
    );
    fs::remove_file(&template).unwrap();
    let said = project.fails(4, &["task", "prompt", &task]);
    assert!(said.contains("task.jinja"), "{said}");
}

#[test]
fn a_template_that_leaves_the_repository_is_not_used() {
    let project = Project::new(AGENT);
    let task = project.add("good work", &[]);
    let outside = project.outside("secret.txt");
    fs::write(&outside, "SECRET").unwrap();
    let root = project.root();
    std::os::unix::fs::symlink(&outside, root.join("link.jinja")).unwrap();
    fs::create_dir(root.join("prompts")).unwrap();
    fs::write(root.join("prompts/real.jinja"), "Do: {{ task.title }}").unwrap();
    std::os::unix::fs::symlink("prompts/real.jinja", root.join("inside.jinja")).unwrap();
    let outside = outside.to_str().unwrap();
    let up = format!("../{}", outside.rsplit('/').next().unwrap());
    for path in [outside, &up, "link.jinja"] {
        project.configure(&format!("{AGENT}[prompt]\ntask = {path:?}\n"));
        let said = project.fails(4, &["task", "prompt", &task]);
        let named = said.contains("prompt.task") && said.contains("outside of the repository");
        assert!(named, "{path}: {said}");
        assert!(!said.contains("SECRET"), "{path}: {said}");
        let said = project.fails(1, &["doctor"]);
        assert!(!said.contains("SECRET"), "{path}: {said}");
    }
    for path in ["prompts/real.jinja", "inside.jinja"] {
        project.configure(&format!("{AGENT}[prompt]\nsystem = {path:?}\n"));
        let shown = project.ok(&["task", "prompt", &task]);
        assert!(shown.contains("Do: good work"), "{path}: {shown}");
    }
}

/// A prompt may name only commands that there are.
#[test]
fn the_commands_that_a_prompt_names_exist() {
    let project = Project::new(AGENT);
    let task = project.add("anything", &[]);
    let shown = project.ok(&["task", "prompt", &task]);
    let commands: Vec<&str> = shown
        .split('`')
        .filter(|it| it.starts_with("orch "))
        .collect();
    assert!(!commands.is_empty(), "{shown}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        project.ok(&words);
    }
}
