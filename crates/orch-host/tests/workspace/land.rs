//! Putting work on the target branch.

use std::fs;

use orch_core::engine::Landing;

use crate::fixture::{Fixture, Job, read, write};

/// A job whose branch writes one file.
fn job_with<'a>(
    workspaces: &'a orch_host::workspace::Workspaces,
    number: u64,
    file: &str,
    text: &str,
) -> Job<'a> {
    let job = Job::new(workspaces, number);
    write(&job.prepare().join(file), text);
    assert_eq!(job.save().commits, 1);
    job
}

#[test]
fn work_lands_as_a_merge_and_the_checkout_follows() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    fixture.commit("other", "y");
    fixture.write("untracked", "mine");
    let tip = fixture.git(["rev-parse", &job.branch]);
    let commit = job.landed().unwrap();
    assert_eq!(fixture.git(["rev-parse", "main"]), commit);
    assert_eq!(read(&fixture.root.join("new")), "x");
    assert_eq!(fixture.git(["status", "--porcelain"]), "?? untracked");
    let parents = fixture.git(["log", "-1", "--format=%P"]);
    assert!(parents.ends_with(&tip), "{parents}");
    let message = fixture.git(["log", "-1", "--format=%B"]);
    assert!(
        message.starts_with("Do it\n") && message.contains(&job.branch),
        "{message}"
    );
    assert!(!fixture.exists(&job.branch));
    assert!(!fixture.worktrees().join(job.task.as_str()).exists());
    assert_eq!(fixture.git(["worktree", "list"]).lines().count(), 1);
}

#[test]
fn landing_again_is_the_same_landing() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    let tip = fixture.git(["rev-parse", &job.branch]);
    let commit = job.landed();
    assert_eq!(job.landed(), commit);
    // As if the machine had stopped before the branch was deleted.
    fixture.git(["branch", &job.branch, &tip]);
    fixture.commit("more", "x");
    assert_eq!(job.landed(), commit);
    assert!(!fixture.exists(&job.branch));
}

#[test]
fn nothing_to_land_lands_nothing() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    job.prepare();
    fixture.commit("more", "x");
    let before = fixture.git(["rev-parse", "main"]);
    assert_eq!(job.landed(), None);
    assert_eq!(fixture.git(["rev-parse", "main"]), before);
    assert!(!fixture.exists(&job.branch));
    assert_eq!(
        Job::new(&workspaces, 2).landed(),
        None,
        "there never was a branch"
    );
}

#[test]
fn there_is_not_nothing_to_land_while_work_lies_uncommitted() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    // One that git refuses, and one that came after the work was saved.
    write(&path.join("deep/git~1"), "x");
    assert_eq!(job.save().commits, 0);
    write(&path.join("later"), "by hand");
    let (message, files) = job.blocked();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    let files = files.join(" ");
    assert!(
        files.contains("later") && files.contains("git~1"),
        "{files}"
    );
    assert!(fixture.exists(&job.branch));
    // What a person does about it.
    fs::remove_dir_all(path.join("deep")).unwrap();
    fixture.ok_in(&path, ["add", "later"]);
    fixture.ok_in(&path, ["commit", "-qm", "by hand"]);
    assert!(job.landed().is_some());
    assert_eq!(read(&fixture.root.join("later")), "by hand");
}

#[test]
fn what_a_person_merged_has_landed() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    let tip = fixture.git(["rev-parse", &job.branch]);
    fixture.git(["merge", "-q", "--no-ff", "-m", "by hand", &job.branch]);
    assert_eq!(job.landed(), Some(tip));
}

#[test]
fn a_conflict_names_the_files_and_changes_nothing() {
    let fixture = Fixture::new();
    fixture.commit("a b\n'c", "start\n");
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("README"), "agent\n");
    write(&path.join("a b\n'c"), "agent\n");
    write(&path.join("fine"), "agent\n");
    job.save();
    fixture.commit("README", "user\n");
    let target = fixture.commit("a b\n'c", "user\n");
    let (message, files) = job.blocked();
    assert_eq!(files, ["README", "a b\n'c"]);
    assert!(message.contains("conflicts with 'main'"), "{message}");
    assert_eq!(fixture.git(["rev-parse", "main"]), target);
    assert_eq!(fixture.git(["status", "--porcelain"]), "");
    assert!(fixture.exists(&job.branch) && path.join("fine").exists());
}

#[test]
fn local_changes_in_the_way_block_and_others_are_kept() {
    let fixture = Fixture::new();
    fixture.commit("other", "y\n");
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("README"), "agent\n");
    write(&path.join("new"), "agent\n");
    job.save();
    let target = fixture.git(["rev-parse", "main"]);

    fixture.write("README", "mine\n");
    fixture.write("new", "mine, untracked\n");
    let (message, files) = job.blocked();
    assert_eq!(files, ["README", "new"]);
    assert!(message.contains("nothing was changed"), "{message}");
    assert_eq!(fixture.git(["rev-parse", "main"]), target);
    assert_eq!(read(&fixture.root.join("README")), "mine\n");

    // Staged counts as well.
    fs::remove_file(fixture.root.join("new")).unwrap();
    fixture.git(["add", "README"]);
    assert_eq!(job.blocked().1, ["README"]);

    // Elsewhere it does not matter, staged or not.
    fixture.git(["reset", "-q", "--hard"]);
    fixture.write("other", "mine\n");
    fixture.write("staged", "mine\n");
    fixture.git(["add", "staged"]);
    assert!(job.landed().is_some());
    assert_eq!(read(&fixture.root.join("README")), "agent\n");
    assert_eq!(fixture.git(["status", "--porcelain"]), "M other\nA  staged");
}

#[test]
fn an_ignored_file_in_the_way_is_not_overwritten() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("x.ignored"), "agent\n");
    fixture.ok_in(&path, ["add", "-f", "x.ignored"]);
    fixture.ok_in(&path, ["commit", "-qm", "forced"]);
    fixture.write("x.ignored", "mine\n");
    assert_eq!(job.blocked().1, ["x.ignored"]);
    assert_eq!(read(&fixture.root.join("x.ignored")), "mine\n");
}

#[test]
fn a_merge_in_progress_in_the_checkout_blocks() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    fixture.git(["checkout", "-qb", "side"]);
    fixture.commit("README", "side\n");
    fixture.git(["checkout", "-q", "main"]);
    let target = fixture.commit("README", "main\n");
    assert!(
        !fixture
            .git_in(&fixture.root, ["merge", "side"])
            .status
            .success()
    );
    let (message, _) = job.blocked();
    assert!(message.contains("nothing was changed"), "{message}");
    assert_eq!(fixture.git(["rev-parse", "main"]), target);
    assert!(!fixture.root.join("new").exists());
}

#[test]
fn a_checkout_on_another_branch_is_left_alone() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    fixture.git(["checkout", "-qb", "side"]);
    fixture.write("README", "mine\n");
    let commit = job.landed().unwrap();
    assert_eq!(fixture.git(["rev-parse", "main"]), commit);
    assert_eq!(fixture.git(["status", "--porcelain"]), "M README");
    assert!(!fixture.root.join("new").exists());
}

#[test]
fn a_linked_checkout_of_the_target_follows_too() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    fixture.git(["checkout", "-qb", "side"]);
    let linked = fixture.home.join("linked");
    fixture.git(["worktree", "add", "-q", linked.to_str().unwrap(), "main"]);
    job.landed().unwrap();
    assert_eq!(read(&linked.join("new")), "x");
    assert_eq!(fixture.ok_in(&linked, ["status", "--porcelain"]), "");
}

#[test]
fn a_landing_that_stopped_between_files_and_ref_is_completed() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    // What a crash leaves: index and files of the merge, the ref not moved.
    fixture.git(["read-tree", "-m", "-u", "main", &job.branch]);
    assert_eq!(fixture.git(["status", "--porcelain"]), "A  new");
    assert!(job.landed().is_some());
    assert_eq!(fixture.git(["status", "--porcelain"]), "");
}

/// A checkout in which git could not write a file to its end is not said to be unchanged: what
/// differs is named, the branch is not moved, and put out of the way it is in nobody's way.
#[test]
fn a_checkout_that_git_did_not_get_through_with_is_told_as_it_is() {
    let fixture = Fixture::new();
    let good = fixture.workspaces();
    let job = job_with(&good, 1, "new", &"much to write\n".repeat(10_000));
    let before = fixture.git(["rev-parse", "main"]);
    let workspaces = fixture.workspaces_with_short_files();
    let short = Job::new(&workspaces, 1);
    let Landing::Blocked { message, files } = short.land() else {
        panic!("it landed in half");
    };
    assert!(message.contains("unable to write file new"), "{message}");
    assert!(message.contains("did not get through"), "{message}");
    assert!(!message.contains("nothing was changed"), "{message}");
    assert_eq!(files, ["new"]);
    assert_eq!(fixture.git(["rev-parse", "main"]), before);
    assert!(read(&fixture.root.join("new")).len() < 140_000);
    fixture.git(["stash", "--quiet", "--include-untracked"]);
    assert!(job.landed().is_some());
    assert_eq!(read(&fixture.root.join("new")).len(), 140_000);
    assert_eq!(fixture.git(["status", "--porcelain"]), "");
}

#[test]
fn a_worktree_with_work_that_was_not_landed_stays() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    let path = fixture.worktrees().join(job.task.as_str());
    write(&path.join("later"), "by hand");
    assert!(job.landed().is_some());
    assert_eq!(read(&path.join("later")), "by hand");
    assert!(fixture.exists(&job.branch));
}

#[test]
fn branches_without_common_history_are_blocked() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    fixture.git(["checkout", "-q", "--orphan", &job.branch]);
    fixture.git(["commit", "-qm", "other root"]);
    fixture.git(["checkout", "-q", "main"]);
    assert!(job.blocked().0.contains("no history in common"));
}

#[test]
fn four_branches_land_at_once_and_none_is_lost() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let jobs: Vec<_> = (1..=4)
        .map(|number| job_with(&workspaces, number, &format!("file{number}"), "x"))
        .collect();
    std::thread::scope(|scope| {
        for job in &jobs {
            scope.spawn(move || assert!(job.landed().is_some()));
        }
    });
    for number in 1..=4 {
        assert_eq!(read(&fixture.root.join(format!("file{number}"))), "x");
    }
    assert_eq!(fixture.git(["status", "--porcelain"]), "");
    assert_eq!(
        fixture.git(["rev-list", "--count", "--first-parent", "main"]),
        "5"
    );
}

#[test]
fn others_who_move_the_target_meanwhile_lose_nothing() {
    let fixture = Fixture::new();
    // Two values know nothing of each other, like two processes; nobody stands on the target.
    fixture.git(["checkout", "-qb", "side"]);
    let (one, two) = (fixture.workspaces(), fixture.workspaces());
    let mut jobs: Vec<_> = (1..=3)
        .map(|n| job_with(&one, n, &format!("f{n}"), "x"))
        .collect();
    jobs.extend((4..=6).map(|n| job_with(&two, n, &format!("f{n}"), "x")));
    std::thread::scope(|scope| {
        for job in &jobs {
            scope.spawn(move || assert!(matches!(job.land(), Landing::Landed { commit: Some(_) })));
        }
    });
    for number in 1..=6 {
        assert_eq!(fixture.show("main", &format!("f{number}")).unwrap(), "x");
    }
}

#[test]
fn a_title_of_shell_and_escapes_is_only_words() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = job_with(&workspaces, 1, "new", "x");
    let title = "$(touch hacked)`touch hacked`; touch hacked\n-m --amend \u{1b}[2J\0";
    let landing = workspaces.land(&job.task, &job.branch, title).unwrap();
    assert!(matches!(landing, Landing::Landed { commit: Some(_) }));
    assert!(!fixture.root.join("hacked").exists());
    let message = fixture.git(["log", "-1", "--format=%B"]);
    assert!(
        message.starts_with("$(touch hacked)`touch hacked`"),
        "{message}"
    );
}
