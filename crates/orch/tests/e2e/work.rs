//! Worktrees from start to landing.

use std::fs;

use orch_field::{Project, text};

/// Writes a file named by the title's last word, and leaves it uncommitted.
const AGENTS: &str = "\
[agents.writer]\nadapter = \"shell\"\ncommand = '''
name=$(sed -n 's/.*write \\([a-z]*\\).*/\\1/p' \"$ORCH_PROMPT_FILE\" | head -n 1)
echo \"by $ORCH_TASK_ID, attempt $ORCH_ATTEMPT\" > \"$name.txt\"
grep -h 'please' \"$ORCH_PROMPT_FILE\" || true
'''\nmax_parallel = 4\n";

#[test]
fn uncommitted_work_is_committed_reviewed_and_landed() {
    let project = Project::new(AGENTS);
    let task = project.add("write alpha", &[]);
    project.ok(&["serve", "--once"]);

    let shown = project.task(&task);
    assert_eq!(shown["status"], "review");
    assert_eq!(shown["wait"]["code"], "approval");
    assert!(
        !project.root().join("alpha.txt").exists(),
        "nothing lands unasked"
    );
    let run = project.last_run(&task);
    let listed = project.git(&["ls-tree", "--name-only", text(&run, "commit")]);
    assert!(listed.contains("alpha.txt"), "{listed}");

    project.ok(&["task", "approve", &task]);
    assert_eq!(project.task(&task)["status"], "done");
    let landed = fs::read_to_string(project.root().join("alpha.txt")).unwrap();
    assert_eq!(landed, format!("by {task}, attempt 1\n"));
    assert_eq!(
        project.git(&["status", "--porcelain", "--untracked-files=no"]),
        ""
    );
}

#[test]
fn a_conflict_leaves_the_task_in_review_with_the_files_named() {
    let project = Project::new(AGENTS);
    let first = project.add("write same", &[]);
    let second = project.add("write same thing", &[]);
    project.ok(&["serve", "--once"]);
    project.ok(&["task", "approve", &first]);
    let said = project.fails(4, &["task", "approve", &second]);
    assert!(said.contains("same.txt"), "{said}");
    let shown = project.task(&second);
    assert_eq!(shown["status"], "review");
    assert_eq!(shown["wait"]["code"], "landing_blocked");
    let kept = fs::read_to_string(project.root().join("same.txt")).unwrap();
    assert!(
        kept.contains(&first),
        "nothing of the second came in: {kept}"
    );
}

#[test]
fn why_a_landing_is_blocked_says_what_to_do_and_so_does_what_waits_for_it() {
    let project = Project::new(AGENTS);
    let first = project.add("write same", &[]);
    let second = project.add("write same thing", &[]);
    let waits = project.add("write more", &["--depends-on", &second]);
    // It ends with something left for a person.
    project.fails(1, &["serve", "--once"]);
    let why = project.ok(&["why", &waits]);
    assert!(
        why.contains(&format!("'orch task approve {second}'")),
        "{why}"
    );
    project.ok(&["task", "approve", &first]);
    project.fails(4, &["task", "approve", &second]);
    let worktree = project.root().join(".orch/worktrees").join(&second);
    for task in [&second, &waits] {
        let why = project.ok(&["why", task]);
        let place = format!("merge 'main' into it in {}: same.txt", worktree.display());
        for part in [
            &*place,
            "Mend that, then 'orch task approve",
            &format!("'orch task reject {second} -r WHY'"),
            "A person acts next.",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
    // It is what helps.
    let git = |args: &[&str]| {
        let dir = ["-C", worktree.to_str().unwrap()];
        project.git(&[&dir[..], args].concat())
    };
    git(&["merge", "-q", "-X", "ours", "main"]);
    project.ok(&["task", "approve", &second]);
    assert_eq!(project.task(&second)["status"], "done");
}

#[test]
fn rejected_work_goes_back_with_the_words() {
    let project = Project::new(AGENTS);
    let task = project.add("write beta", &[]);
    project.ok(&["serve", "--once"]);
    project.ok(&["task", "reject", &task, "-r", "please use capitals"]);
    assert_eq!(project.task(&task)["status"], "todo");
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["attempt"], 2);
    assert!(
        text(&run, "result").contains("please use capitals"),
        "{run}"
    );
}

#[test]
fn a_dirty_checkout_is_never_overwritten() {
    let project = Project::new(AGENTS);
    let task = project.add("write readme", &[]);
    project.ok(&["serve", "--once"]);
    fs::write(project.root().join("readme.txt"), "my own unsaved words\n").unwrap();
    let said = project.fails(4, &["task", "approve", &task]);
    assert!(said.contains("readme.txt"), "{said}");
    let kept = fs::read_to_string(project.root().join("readme.txt")).unwrap();
    assert_eq!(kept, "my own unsaved words\n");
    project.git(&["checkout", "--", "readme.txt"]);
    project.ok(&["task", "approve", &task]);
    assert_eq!(project.task(&task)["status"], "done");
}

/// Who reviews is told before the word is given that not all of the work can land.
#[test]
fn work_that_could_not_be_committed_is_said_before_it_is_approved() {
    let project = Project::new(
        "[agents.filtered]\nadapter = \"shell\"\ncommand = \"\"\"
echo kept > kept.txt; git add kept.txt; git commit -qm kept
echo '* filter=none' > .gitattributes; echo left > left.txt\"\"\"\n",
    );
    project.git(&["config", "filter.none.clean", "false"]);
    project.git(&["config", "filter.none.required", "true"]);
    let task = project.add("leaves something", &[]);
    // Something is left for a person, and no more than that.
    project.output(&["serve", "--once"]);
    let shown = project.task(&task);
    assert_eq!(
        (text(&shown, "status"), text(&shown["wait"], "code")),
        ("review", "landing_blocked"),
        "{shown}"
    );
    let why = project.ok(&["why", &task]);
    assert!(why.contains("not all of its work is in a commit"), "{why}");
    project.ok(&["task", "approve", &task]);
    assert_eq!(project.task(&task)["status"], "done");
    assert!(project.root().join("kept.txt").exists());
}

/// An agent does not speak for the person who reviews, nor does it say who works.
#[test]
fn an_agent_gives_no_word_of_the_person_who_reviews() {
    let agents = "[agents.own]\nadapter = \"shell\"\ncommand = \"\"\"
other=$(ORCH task list --status review -q)
for words in 'task approve' 'task reject -r no' 'task resume -m go'; do
  env -u ORCH_RUN_ID ORCH $words $other > /dev/null 2>&1; echo $words: $?
done
for words in 'config set defaults.review auto' 'agent disable own' \
    'agent add x --adapter shell --command id' 'task list'; do
  env -u ORCH_RUN_ID ORCH $words > /dev/null 2>&1; echo $words: $?
done\"\"\"\n"
        .replace("ORCH ", concat!(env!("CARGO_BIN_EXE_orch"), " "));
    let project = Project::new(&agents);
    let other = project.add("waits for a person", &[]);
    project.ok(&["serve", "--once"]);
    let before = fs::read_to_string(project.root().join("orch.toml")).unwrap();

    let task = project.add("speaks for a person", &[]);
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    let said: Vec<&str> = text(&run, "result").lines().collect();
    let (refused, looked) = said.split_at(said.len() - 1);
    assert_eq!(refused.len(), 6, "{run}");
    assert!(refused.iter().all(|line| line.ends_with(": 6")), "{run}");
    assert_eq!(looked, ["task list: 0"]);
    assert_eq!(project.task(&other)["status"], "review");
    let after = fs::read_to_string(project.root().join("orch.toml")).unwrap();
    assert_eq!(before, after);
}

/// An agent that said nothing and one whose words are gone do not look alike.
#[test]
fn words_that_are_gone_are_not_silence() {
    let project = Project::new("[agents.quiet]\nadapter = \"shell\"\ncommand = \"true\"\n");
    let task = project.add("says nothing", &[]);
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    let id = text(&run, "id");
    for more in [&["--raw"][..], &["--stderr"], &["-f"], &[]] {
        project.ok(&[&["logs", id][..], more].concat());
    }
    fs::remove_dir_all(project.run_dir(&run)).unwrap();
    for more in [&["--raw"][..], &["--stderr"], &["-f"], &["--json"], &[]] {
        let said = project.fails(3, &[&["logs", id][..], more].concat());
        assert!(said.contains("is gone"), "{more:?}: {said}");
    }
    let several = project.output(&["logs", "--task", &task]);
    assert!(several.status.success());
    assert!(String::from_utf8_lossy(&several.stderr).contains("is gone"));
}

#[test]
fn a_dependant_starts_from_what_landed() {
    let project = Project::new(
        "[agents.chain]\nadapter = \"shell\"\ncommand = 'cat *.txt | wc -l > \"$ORCH_TASK_ID.txt\"'\n\
         [defaults]\nreview = \"auto\"\n",
    );
    let first = project.add("first", &[]);
    let second = project.add("second", &["--depends-on", &first]);
    project.ok(&["serve", "--once"]);
    let count = |task: &str| {
        fs::read_to_string(project.root().join(format!("{task}.txt")))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        (count(&first), count(&second)),
        ("1".to_owned(), "2".to_owned())
    );
}
