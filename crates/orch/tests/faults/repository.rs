//! What happens to the repository meanwhile: moved, locked, without room, worktrees removed.

use std::fs;

use orch_field::{Project, Served, text};

use crate::disk::{SmallDisk, own_mounts};
use crate::storage::{Outside, outcome};

/// An agent that works in a worktree: leaves a file, waits at the gate, ends.
const WORKER: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
echo work > made.txt
echo \"start $ORCH_RUN_ID\" >> \"$LEDGER\"
read nothing < \"$GATE\"
echo \"end $ORCH_RUN_ID\" >> \"$LEDGER\"
exit 0
'''\nmax_parallel = 9\nenv = { GATE = \"$GATE\", LEDGER = \"$LEDGER\" }\n\
[defaults]\nreview = \"auto\"\n[retry]\nbase = \"100ms\"\nmax = \"200ms\"\n";

fn wait_for_starts(outside: &Outside, count: usize) {
    orch_field::until_said("start ", count, || outside.ledger());
}

/// Fault 36. Injected: the worktree of a task is removed while its agent works in it. Held: the
/// run ends as its process ended, and says that the worktree is gone; the branch is still there;
/// the next task gets a worktree.
///
/// Promises 1, 5.
#[test]
fn a_worktree_that_is_removed_under_its_agent_is_named() {
    let (project, outside) = (Project::new(WORKER), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let task = project.add("loses its ground", &["--review", "manual"]);
    wait_for_starts(&outside, 1);
    fs::remove_dir_all(project.root().join(".orch/worktrees").join(&task)).unwrap();
    let _gate = outside.open_gate(2);
    served.wait_for_events("run_ended", 1);
    let run = project.last_run(&task);
    assert_eq!(outcome(&run), ("completed", Some(0)), "{run}");
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains("worktree"), "{warnings}");
    let branches = project.git(&["branch", "--list", "orch/*"]);
    assert!(branches.contains(&task), "{branches}");
    project.add("goes on", &[]);
    served.wait_for_events("task_done", 1);
    assert!(project.root().join("made.txt").exists());
    assert_eq!(served.drain(), Some(0));
}

/// Fault 36. Injected: the repository is moved away while a daemon serves it and an agent works.
/// Held: the daemon names what is gone and ends with a code that is not 0; the agent goes on, and
/// its end is recorded where the repository is now; a daemon that is started there finds it, and
/// the work in a worktree that was moved along lands.
///
/// Promises 12, 25.
#[test]
fn a_repository_that_is_moved_is_served_again_where_it_is() {
    for workspace in ["shared", "worktree"] {
        move_with_an_agent(workspace);
    }
}

fn move_with_an_agent(workspace: &str) {
    let defaults = format!("[defaults]\nworkspace = \"{workspace}\"\n");
    let agents = WORKER.replace("[defaults]\n", &defaults);
    let (project, outside) = (Project::new(&agents), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let task = project.add("goes on", &[]);
    wait_for_starts(&outside, 1);
    served.wait_for_events("run_running", 1);
    let (root, elsewhere) = (project.root(), project.outside("elsewhere"));
    fs::rename(&root, &elsewhere).unwrap();
    let said = served.wait_for(|line| line["event"] == "state_lost");
    assert!(
        text(&said, "message").contains(root.to_str().unwrap()),
        "{said}"
    );
    assert!(served.ended().is_some_and(|code| code != 0));

    let _gate = outside.open_gate(1);
    // Where it was a directory stands, so that the harness has somewhere to start commands from.
    fs::create_dir(&root).unwrap();
    let daemon = |arguments: &[&str]| {
        let mut command = project.orch(arguments);
        command.current_dir(&elsewhere).envs(outside.environment());
        command.output().unwrap()
    };
    let ended = daemon(&["serve", "--once"]);
    assert!(ended.status.success(), "{ended:?}");
    let shown = daemon(&["task", "show", &task, "--json"]);
    let task: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(task["status"], "done", "{workspace}: {task}");
    assert!(elsewhere.join("made.txt").exists(), "{workspace}");
    assert_eq!(outside.ledger().matches("start ").count(), 1);
}

/// Fault 46. Injected: the worktree of a task finds no room on the disk. Held: the run was not
/// started and says that there was no space; when there is room what was half made is completed and
/// the task is done, and no attempt was used up.
///
/// Promises 19, 23.
#[test]
fn a_worktree_without_room_is_made_when_there_is_room() {
    if !own_mounts("repository::a_worktree_without_room_is_made_when_there_is_room") {
        return;
    }
    let (disk, outside) = (SmallDisk::new(64), Outside::new());
    // The floor would keep it from being tried at all.
    let agents = format!("{WORKER}[limits]\nfree_space = \"0B\"\n");
    let project = disk.project(&agents);
    let large: String = (0..400_000)
        .map(|n| format!("{n} of a large file\n"))
        .collect();
    fs::write(project.root().join("large.txt"), large).unwrap();
    project.git(&["add", "."]);
    project.git(&["commit", "--quiet", "--message=large"]);
    let mut served = project.serve_with(&[], &outside.environment());
    let filler = disk.fill(3 << 20);
    let task = project.add("needs room", &["--max-attempts", "1"]);
    // There may be no room to record it either.
    served.wait_for(|line| line["event"] == "run_ended" || line["event"] == "trouble");
    drop(filler);
    let _gate = outside.open_gate(1);
    served.wait_for_events("task_done", 1);
    let runs = project.json(&["runs", "--task", &task]);
    let first = runs.as_array().unwrap().last().unwrap();
    assert_eq!(outcome(first), ("not_started", None), "{first}");
    assert_eq!(first["failure"]["code"], "no_resources", "{first}");
    let message = text(&first["failure"], "message");
    assert!(message.contains("no space left on the disk"), "{message}");
    assert_eq!(project.task(&task)["attempts"], 1);
    assert!(project.root().join("made.txt").exists());
    assert_eq!(served.drain(), Some(0));
}

/// Fault 46. Injected: an agent leaves work that is in no commit, and the disk is full when it
/// ends. Held: its end waits for room rather than count the work as none; then the work is
/// committed and lands.
///
/// Promise 23.
#[test]
fn work_that_finds_no_room_for_its_commit_waits_for_it() {
    if !own_mounts("repository::work_that_finds_no_room_for_its_commit_waits_for_it") {
        return;
    }
    let (disk, outside) = (SmallDisk::new(64), Outside::new());
    let project = disk.project(WORKER);
    let mut served = project.serve_with(&[], &outside.environment());
    let task = project.add("works", &[]);
    wait_for_starts(&outside, 1);
    let filler = disk.fill(0);
    let _gate = outside.open_gate(1);
    let no_room = |message: &str| message.contains("cannot be reported yet");
    served.wait_for(|line| line["message"].as_str().is_some_and(no_room));
    let waiting = project.task(&task);
    assert_eq!(waiting["status"], "in_progress");
    // Not that an agent works on it: nothing of it lives any more.
    assert_eq!(waiting["wait"]["code"], "disk", "{waiting}");
    assert_eq!(waiting["wait"]["actor"], "person");
    let needs = project.json(&["status"])["needs_you"].to_string();
    assert!(
        needs.contains(&task) && needs.contains("its agent has ended"),
        "{needs}"
    );
    drop(filler);
    served.wait_for_events("task_done", 1);
    assert!(project.root().join("made.txt").exists());
    assert_eq!(served.drain(), Some(0));
}

/// Fault 46. Injected: an agent leaves 9 MiB that are in no commit, the disk is full when it ends,
/// and room is made in small steps, at first for the commit and not for the checkout. Held: what
/// was made free stays free until it is enough; `orch why` says how much that is; then the work is
/// committed. The checkout is not touched before it has room for all of the work, and then the
/// work lands.
///
/// Promises 19, 23.
#[test]
fn room_that_is_made_in_small_steps_is_not_eaten() {
    if !own_mounts("repository::room_that_is_made_in_small_steps_is_not_eaten") {
        return;
    }
    const STEP: u64 = 3 << 20;
    let (disk, outside) = (SmallDisk::new(64), Outside::new());
    let large = "head -c 9437184 /dev/urandom > made.txt";
    let project = disk.project(&WORKER.replace("echo work > made.txt", large));
    let mut served = project.serve_with(&[], &outside.environment());
    let task = project.add("leaves much", &[]);
    wait_for_starts(&outside, 1);
    let ballast: Vec<_> = (0..8).map(|n| disk.path().join(format!("{n}"))).collect();
    for path in &ballast {
        fs::write(path, vec![b'x'; usize::try_from(STEP).unwrap()]).unwrap();
    }
    let _filler = disk.fill(0);
    let _gate = outside.open_gate(1);
    // The words change with what is free: new ones are said by a try that came after.
    let mut last = String::new();
    let mut wait_for_try = |served: &mut Served| {
        let said = served.wait_for(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("must be free on") && message != last
        });
        text(&said, "message").clone_into(&mut last);
    };
    wait_for_try(&mut served);
    for (step, path) in (1..).zip(&ballast[..3]) {
        fs::remove_file(path).unwrap();
        wait_for_try(&mut served);
        // A little is for the database and the log.
        let left = step * STEP - (2 << 20);
        assert!(disk.free() >= left, "step {step}: {} free", disk.free());
    }
    let waiting = project.task(&task);
    assert_eq!(waiting["wait"]["code"], "disk", "{waiting}");
    assert_eq!(waiting["wait"]["actor"], "person", "{waiting}");
    let why = text(&waiting["wait"], "message");
    assert!(why.contains("11 MiB must be free"), "{why}");
    fs::remove_file(&ballast[3]).unwrap();
    served.wait_for_events("task_landing_blocked", 1);
    let blocked = project.task(&task);
    let why = text(&blocked["wait"], "message");
    assert!(why.contains("10 MiB must be free"), "{why}");
    assert!(!project.root().join("made.txt").exists());
    for path in &ballast[4..] {
        fs::remove_file(path).unwrap();
    }
    project.ok(&["task", "approve", &task]);
    served.wait_for_events("task_done", 1);
    let made = fs::metadata(project.root().join("made.txt")).unwrap();
    assert_eq!(made.len(), 9_437_184);
    assert_eq!(served.drain(), Some(0));
}

/// Fault 46. Injected: an agent leaves work that is in no commit, and when it ends the repository
/// takes no new object, because its directory of objects cannot be written; another task waits for
/// this one. Held: the end waits and says what git says; status counts it among what needs a person;
/// nothing that depends on it starts; when objects are taken again the work is committed and lands,
/// and only then the other task runs.
///
/// Promises 3, 23.
#[test]
fn work_that_the_repository_does_not_take_waits_for_it() {
    let (project, outside) = (Project::new(WORKER), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let task = project.add("works", &[]);
    let after = project.add("comes after", &["--depends-on", &task]);
    wait_for_starts(&outside, 1);
    let objects = project.root().join(".git/objects");
    let kept = project.outside("objects");
    fs::rename(&objects, &kept).unwrap();
    fs::create_dir_all(objects.join("info")).unwrap();
    let alternates = format!("{}\n", kept.display());
    fs::write(objects.join("info/alternates"), alternates).unwrap();
    for fan in 0..=u8::MAX {
        fs::write(objects.join(format!("{fan:02x}")), "").unwrap();
    }
    let _gate = outside.open_gate(2);
    let not_yet = |message: &str| message.contains("cannot be reported yet");
    served.wait_for(|line| line["message"].as_str().is_some_and(not_yet));
    let waiting = project.task(&task);
    assert_eq!(waiting["status"], "in_progress");
    assert_eq!(waiting["wait"]["actor"], "person", "{waiting}");
    let why = text(&waiting["wait"], "message");
    assert!(why.contains("keeps nothing new"), "{why}");
    let needs = project.json(&["status"])["needs_you"].to_string();
    assert!(needs.contains(&task), "{needs}");
    assert_eq!(project.task(&after)["status"], "todo");

    fs::remove_dir_all(&objects).unwrap();
    fs::rename(&kept, &objects).unwrap();
    served.wait_for_events("task_done", 2);
    assert!(project.root().join("made.txt").exists());
    let run = project.last_run(&task);
    assert_eq!(run["changes"]["files"], 1, "{run}");
    assert_eq!(outcome(&run), ("completed", Some(0)), "{run}");
    assert_eq!(served.drain(), Some(0));
}

/// Fault 46. Injected: a git that died has left its lock on the index of the checkout that work
/// lands in. Held: landing is blocked and says which file is in the way; the lock is not ours to
/// remove; when it is gone the task is approved again and lands.
///
/// Promise 5.
#[test]
fn a_lock_that_git_left_blocks_a_landing_with_its_name() {
    let (project, outside) = (Project::new(WORKER), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let _gate = outside.open_gate(1);
    let lock = project.root().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let task = project.add("lands", &[]);
    served.wait_for_events("task_landing_blocked", 1);
    let blocked = project.task(&task);
    assert_eq!(blocked["wait"]["code"], "landing_blocked", "{blocked}");
    let why = text(&blocked["wait"], "message");
    let mend = format!("{} behind; nothing was changed; remove it", lock.display());
    assert!(why.contains(&mend), "{why}");
    assert!(!why.contains("stash") && !why.contains('\n'), "{why}");
    assert!(lock.exists());
    fs::remove_file(&lock).unwrap();
    project.ok(&["task", "approve", &task]);
    assert_eq!(project.task(&task)["status"], "done");
    assert!(project.root().join("made.txt").exists());
    assert_eq!(served.drain(), Some(0));
}
