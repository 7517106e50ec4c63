//! "Where is my work?" after everything that can happen to a task.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use orch_field::{Project, fifo, text};

/// Writes a file that git takes and one that it ignores, commits neither, and ends as it is told.
const AGENTS: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
echo \"attempt $ORCH_ATTEMPT of $ORCH_TASK_ID\" >> work.txt
echo secret > notes.ignored
if [ -n \"$GATE\" ]; then echo waiting; read nothing < \"$GATE\"; fi
grep -q 'must fail' \"$ORCH_PROMPT_FILE\" && exit 3
exit 0
'''\nmax_parallel = 4\nenv = { GATE = \"$GATE\" }\n";

/// A project whose repository ignores some files, with a GATE that is open unless given.
fn project() -> Project {
    let project = Project::new(AGENTS);
    fs::write(project.root().join(".gitignore"), ".orch/\n*.ignored\n").unwrap();
    project.git(&["add", ".gitignore"]);
    project.git(&["commit", "-q", "-m", "ignore"]);
    project
}

fn run(project: &Project) {
    let daemon = project.serve_with(&["--once"], &[("GATE", "".into())]);
    daemon.ended();
}

/// The file of a task's work at a ref.
fn at(project: &Project, reference: &str) -> String {
    project.git(&["show", &format!("{reference}:work.txt")])
}

fn rescues(project: &Project) -> Vec<Value> {
    let listed = project.json(&["rescue", "list"]);
    listed.as_array().unwrap().clone()
}

fn id_of<'a>(kept: &'a [Value], kind: &str) -> &'a str {
    let found = kept.iter().find(|it| it["kind"] == kind);
    text(
        found.unwrap_or_else(|| panic!("no {kind} in {kept:?}")),
        "id",
    )
}

/// The work of a task that was deleted: its commits come back as a branch, what git ignores and the
/// records of its runs come back as directories, byte for byte, also after `git gc --prune=now`.
#[test]
fn work_of_a_deleted_task_comes_back() {
    let project = project();
    let task = project.add("do it", &[]);
    run(&project);
    let ended = project.last_run(&task);
    let log = fs::read(project.run_dir(&ended).join("out.log")).unwrap();
    let said = project.output(&["task", "delete", &task]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("orch rescue list"), "{said}");
    assert!(!project.run_dir(&ended).exists());
    project.git(&["reflog", "expire", "--expire=now", "--all"]);
    project.git(&["gc", "-q", "--prune=now"]);

    let kept = rescues(&project);
    assert_eq!(kept.len(), 3, "{kept:?}");
    for it in &kept {
        assert_eq!(it["task"], task.as_str());
        assert!(
            it["expires_at"].is_string() && it["why"].is_string(),
            "{it}"
        );
    }
    let commits = id_of(&kept, "commits");
    let shown = project.json(&["rescue", "show", commits]);
    assert_eq!(shown["list_of_files"][0]["path"], "work.txt");
    assert_eq!(shown["commits"], 1);
    project.ok(&["rescue", "restore", commits, "--branch", "back"]);
    assert_eq!(at(&project, "back"), format!("attempt 1 of {task}\n"));
    let refused = project.fails(4, &["rescue", "restore", commits, "--branch", "main"]);
    assert!(refused.contains("overwritten"), "{refused}");

    let worktree = id_of(&kept, "worktree");
    let place = project.ok(&["rescue", "restore", worktree, "--quiet"]);
    let ignored = fs::read_to_string(std::path::Path::new(&place).join("notes.ignored"));
    assert_eq!(ignored.unwrap(), "secret\n");

    let of_run = id_of(&kept, "run");
    let listed = kept.iter().find(|it| it["kind"] == "run").unwrap();
    assert_eq!(listed["run"], ended["id"]);
    let to = project.outside("run");
    project.ok(&["rescue", "restore", of_run, "--to", to.to_str().unwrap()]);
    assert_eq!(fs::read(to.join("out.log")).unwrap(), log);

    project.ok(&["rescue", "drop", commits]);
    assert!(rescues(&project).is_empty());
    let said = project.fails(3, &["rescue", "show", commits]);
    assert!(said.contains("orch rescue list"), "{said}");
}

/// A task that failed keeps its work on its branch: committed although the agent did not.
#[test]
fn work_of_a_failed_task_is_on_its_branch() {
    let project = project();
    let task = project.add("must fail", &["--max-attempts", "1"]);
    run(&project);
    let shown = project.task(&task);
    assert_eq!(shown["status"], "failed");
    assert_eq!(
        at(&project, text(&shown, "branch")),
        format!("attempt 1 of {task}\n")
    );
    let worktree = project.root().join(".orch/worktrees").join(&task);
    assert!(worktree.join("notes.ignored").exists());
    assert!(rescues(&project).is_empty(), "nothing was removed");
}

/// A rejected task goes on from the work there was; the next attempt has it in front of it.
#[test]
fn work_of_a_rejected_task_is_what_the_next_attempt_begins_with() {
    let project = project();
    let task = project.add("twice", &[]);
    run(&project);
    project.ok(&["task", "reject", &task, "-r", "again"]);
    let branch = text(&project.task(&task), "branch").to_owned();
    assert_eq!(at(&project, &branch), format!("attempt 1 of {task}\n"));
    run(&project);
    let both = format!("attempt 1 of {task}\nattempt 2 of {task}\n");
    assert_eq!(at(&project, &branch), both);
}

/// A task that was cancelled in the middle of its work keeps what it had; deleted after that, it
/// comes back from the rescue.
#[test]
fn work_of_a_cancelled_task_is_kept_and_survives_its_deletion() {
    let project = project();
    let gate = project.outside("gate");
    fifo(&gate);
    let task = project.add("long", &[]);
    let mut daemon = project.serve_with(&["--verbose"], &[("GATE", gate)]);
    daemon.wait_for(|line| line["message"].to_string().contains("waiting"));
    project.ok(&["task", "cancel", &task]);
    daemon.wait_for_events("run_ended", 1);
    let shown = project.task(&task);
    assert_eq!(shown["status"], "cancelled");
    let expected = format!("attempt 1 of {task}\n");
    assert_eq!(at(&project, text(&shown, "branch")), expected);

    project.ok(&["task", "delete", &task]);
    // The answer came when the deletion was recorded; taking away comes after it.
    let kept = loop {
        let kept = rescues(&project);
        if kept.iter().any(|it| it["kind"] == "commits") {
            break kept;
        }
        std::thread::yield_now();
    };
    let commits = id_of(&kept, "commits").to_owned();
    project.ok(&["rescue", "restore", &commits]);
    assert_eq!(at(&project, &format!("rescued/{commits}")), expected);
    assert_eq!(daemon.drain(), Some(0));
}

/// Work that conflicts stays on its branch, whole, and the target keeps what it has.
#[test]
fn work_that_conflicts_is_on_its_branch() {
    let project = project();
    let (first, second) = (project.add("one", &[]), project.add("two", &[]));
    run(&project);
    project.ok(&["task", "approve", &first]);
    project.fails(4, &["task", "approve", &second]);
    let branch = text(&project.task(&second), "branch").to_owned();
    assert_eq!(at(&project, &branch), format!("attempt 1 of {second}\n"));
    assert_eq!(at(&project, "main"), format!("attempt 1 of {first}\n"));
    // The first has landed; what git ignored there can still be had.
    let kept = rescues(&project);
    let worktree = id_of(&kept, "worktree");
    let shown = project.json(&["rescue", "show", worktree]);
    let files = shown["list_of_files"].as_array().unwrap();
    assert!(
        files.iter().any(|file| file["path"] == "notes.ignored"),
        "{shown}"
    );
}

/// Makes a rescue ref that says that it is from the year 2001.
fn old_rescue(project: &Project, name: &str) {
    let head = project.git(&["rev-parse", "HEAD"]);
    let tag = format!(
        "object {}\ntype commit\ntag old\ntagger orch <orch@localhost> 1000000000 +0000\n\nold\n",
        head.trim()
    );
    let mut child = Command::new("git")
        .args(["mktag"])
        .current_dir(project.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(tag.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let tag = String::from_utf8(output.stdout).unwrap();
    project.git(&["update-ref", name, tag.trim()]);
}

/// The daemon gives up what is older than its lifetime, says so, and gives up nothing else.
#[test]
fn what_is_kept_has_a_lifetime_and_its_end_is_told() {
    let project = project();
    let task = project.add("do it", &[]);
    run(&project);
    project.ok(&["task", "delete", &task]);
    let item = project.root().join(format!(".orch/trash/{task}.t1"));
    let note = item.join("manifest.json");
    let mut old: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    old["at_ms"] = 1_000_000_000_000_u64.into();
    fs::write(&note, old.to_string()).unwrap();
    old_rescue(&project, "refs/orch/rescue/tsk_000000000000/7");
    project.git(&["update-ref", "refs/orch/rescue/tsk_000000000000/8", "HEAD"]);

    let mut daemon = project.serve(&[]);
    daemon.wait_for_events("rescue_given_up", 2);
    let told: Vec<String> = daemon
        .seen
        .iter()
        .filter(|line| line["event"] == "rescue_given_up")
        .map(|line| line["message"].to_string())
        .collect();
    assert!(
        told.iter().any(|it| it.contains(&format!("{task}.t1"))),
        "{told:?}"
    );
    assert!(
        told.iter().any(|it| it.contains("tsk_000000000000.7")),
        "{told:?}"
    );
    let left: Vec<String> = rescues(&project)
        .iter()
        .map(|it| text(it, "id").to_owned())
        .collect();
    assert!(!left.contains(&format!("{task}.t1")), "{left:?}");
    assert!(left.contains(&format!("{task}.1")), "{left:?}");
    assert!(
        left.contains(&"tsk_000000000000.8".to_owned()),
        "no date, no end: {left:?}"
    );
    assert_eq!(daemon.drain(), Some(0));
    assert!(!item.exists());
}

/// Fault 36. Injected: the trash cannot be read as a whole (a symbolic link stands in its place)
/// while everything kept is old enough to go. Held: the clean-up ends with an error and removes
/// nothing, neither files nor refs; with the trash back in its place it goes on as if nothing had
/// been.
#[test]
fn a_look_that_is_not_whole_removes_nothing() {
    let project = project();
    let task = project.add("do it", &[]);
    run(&project);
    project.ok(&["task", "delete", &task]);
    let refs = project.git(&["for-each-ref", "refs/orch/rescue"]);
    let trash = project.root().join(".orch/trash");
    let aside = project.outside("trash");
    fs::rename(&trash, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &trash).unwrap();
    let said = project.output(&["rescue", "prune", "--older-than", "1ms"]);
    assert!(!said.status.success());
    assert_eq!(project.git(&["for-each-ref", "refs/orch/rescue"]), refs);
    assert!(aside.join(format!("{task}.t1/files")).exists());

    fs::remove_file(&trash).unwrap();
    fs::rename(&aside, &trash).unwrap();
    assert_eq!(rescues(&project).len(), 3);
    let pruned = project.json(&["rescue", "prune", "--older-than", "1ms"]);
    assert_eq!(pruned["given_up"].as_array().unwrap().len(), 3, "{pruned}");
    assert!(rescues(&project).is_empty());
    assert!(
        !trash.join(".removing").exists(),
        "the files are gone as well"
    );
}

/// A deletion that was recorded and not carried out (here because nothing could be moved to the
/// trash; just so after a crash) is completed by the next daemon. A task that is missing in the
/// database without a recorded deletion keeps everything.
#[test]
fn a_deletion_that_was_cut_short_is_completed_and_a_missing_row_is_not_one() {
    let project = project();
    let task = project.add("do it", &[]);
    run(&project);
    let ended = project.last_run(&task);
    let trash = project.root().join(".orch/trash");
    fs::write(&trash, "in the way").unwrap();
    project.ok(&["task", "delete", &task]);
    let worktree = project.root().join(".orch/worktrees").join(&task);
    assert!(worktree.join("notes.ignored").exists() && project.run_dir(&ended).exists());
    let unknown = project.root().join(".orch/worktrees/tsk_000000000000");
    fs::create_dir(&unknown).unwrap();
    let orphan = project.root().join(".orch/runs/run_000000000000");
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("run.json"), r#"{"task_id":"tsk_000000000000"}"#).unwrap();

    fs::remove_file(&trash).unwrap();
    old_rescue(&project, "refs/orch/rescue/tsk_000000000000/1");
    let mut daemon = project.serve(&[]);
    // It is told after the deletions were finished.
    daemon.wait_for_events("rescue_given_up", 1);
    assert!(!worktree.exists() && !project.run_dir(&ended).exists());
    assert!(unknown.exists() && orphan.exists());
    let kept = rescues(&project);
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert_eq!(id_of(&kept, "left"), "tsk_000000000000.w");
    assert_eq!(daemon.drain(), Some(0));
}

/// With a limit of nothing the worktree goes at once, since its work is in git; records stay, and
/// it is said that they are too much.
#[test]
fn a_trash_that_is_too_large_gives_up_what_git_has_and_tells_the_rest() {
    let project = project();
    let task = project.add("do it", &[]);
    run(&project);
    project.ok(&["task", "delete", &task]);
    let config = project.root().join("orch.toml");
    let text_of = fs::read_to_string(&config).unwrap();
    fs::write(&config, text_of + "[cleanup]\ntrash = \"0B\"\n").unwrap();
    let mut daemon = project.serve(&[]);
    let gone = daemon.wait_for(|line| line["event"] == "rescue_given_up");
    assert!(
        text(&gone, "message").contains("its work is in git"),
        "{gone}"
    );
    let told = daemon.wait_for(|line| line["event"] == "trouble");
    assert!(text(&told, "message").contains("cleanup.trash"), "{told}");
    let kinds: Vec<Value> = rescues(&project)
        .iter()
        .map(|it| it["kind"].clone())
        .collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    assert!(!kinds.contains(&"worktree".into()), "{kinds:?}");
    assert_eq!(daemon.drain(), Some(0));
}

/// A worktree that could not be taken away with its deleted task, because it holds a repository of
/// its own, is listed and can be given up; options that mean nothing for what is restored are
/// refused.
#[test]
fn what_was_left_in_its_place_is_listed_and_odd_options_are_refused() {
    let project = Project::new(
        "[agents.shell]\nadapter = \"shell\"\n\
         command = 'if grep -q nests \"$ORCH_PROMPT_FILE\"; then git init -q inner; \
         echo x > inner/file; fi; echo y > outer; exit 1'\nmax_parallel = 2\n\
         [defaults]\nmax_attempts = 1\n",
    );
    let task = project.add("nests", &[]);
    let other = project.add("is plain", &[]);
    project.output(&["run", &task, &other]);
    project.ok(&["task", "delete", &task]);
    project.ok(&["task", "delete", &other]);
    let kept = rescues(&project);
    let left = id_of(&kept, "left").to_owned();
    let found = kept.iter().find(|it| it["id"] == *left).unwrap();
    let path = std::path::PathBuf::from(text(found, "path"));
    assert!(path.join("inner/file").exists());
    let refused = project.fails(2, &["rescue", "restore", &left, "--branch", "b"]);
    assert!(refused.contains("--branch"), "{refused}");
    let restored = project.json(&["rescue", "restore", &left]);
    assert_eq!(restored["path"], found["path"]);

    let commits = id_of(&kept, "commits");
    let refused = project.fails(2, &["rescue", "restore", commits, "--to", "there"]);
    assert!(refused.contains("--to"), "{refused}");
    let of_run = id_of(&kept, "run");
    let refused = project.fails(2, &["rescue", "restore", of_run, "--branch", "b"]);
    assert!(refused.contains("--branch"), "{refused}");

    // Given up it goes to the trash, with everything that is in it.
    project.ok(&["rescue", "drop", &left]);
    assert!(!path.exists());
    let kept = rescues(&project);
    assert!(kept.iter().all(|it| it["id"] != *left));
    let holds_it = |it: &&Value| {
        let path = it["path"].as_str().unwrap_or_default();
        it["kind"] == "worktree" && std::path::Path::new(path).join("inner/file").exists()
    };
    assert_eq!(kept.iter().filter(holds_it).count(), 1, "{kept:?}");
}
