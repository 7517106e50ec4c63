//! Making worktrees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;

use orch_core::TaskId;
use orch_host::workspace::WorkspaceError;

use crate::fixture::{Fixture, Job, read, script, write};

#[test]
fn the_first_time_it_starts_at_the_tip_of_the_target() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    assert_eq!(path, fixture.worktrees().join(job.task.as_str()));
    assert_eq!(read(&path.join("README")), "one\n");
    assert_eq!(
        fixture.ok_in(&path, ["branch", "--show-current"]),
        job.branch
    );
    assert_eq!(fixture.ok_in(&path, ["status", "--porcelain"]), "");
    assert_eq!(fixture.git(["status", "--porcelain"]), "");
    let views = fs::read_dir(fixture.worktrees().join(".views")).unwrap();
    assert_eq!(views.count(), 0, "views are gone when the work is done");
}

#[test]
fn a_later_attempt_finds_the_work_as_it_was() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("new"), "kept");
    write(&path.join("README"), "changed\n");
    fixture.commit("other", "target moved\n");
    assert_eq!(job.prepare(), path);
    assert_eq!(read(&path.join("new")), "kept");
    assert_eq!(read(&path.join("README")), "changed\n");
}

#[test]
fn without_commits_of_its_own_it_follows_the_target() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("new"), "kept");
    let target = fixture.commit("README", "two\n");
    job.prepare();
    assert_eq!(read(&path.join("README")), "two\n");
    assert_eq!(read(&path.join("new")), "kept");
    assert_eq!(fixture.git(["rev-parse", &job.branch]), target);
    assert_eq!(fixture.ok_in(&path, ["status", "--porcelain"]), "?? new");
}

#[test]
fn with_changes_in_the_way_it_does_not_follow_the_target() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    let start = fixture.git(["rev-parse", "main"]);
    write(&path.join("README"), "mine\n");
    fixture.commit("README", "two\n");
    job.prepare();
    assert_eq!(read(&path.join("README")), "mine\n");
    assert_eq!(fixture.git(["rev-parse", &job.branch]), start);
}

#[test]
fn with_commits_of_its_own_it_stays_where_it_is() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("new"), "x");
    let tip = job.save().commit.unwrap();
    fixture.commit("README", "two\n");
    job.prepare();
    assert_eq!(fixture.git(["rev-parse", &job.branch]), tip);
    assert_eq!(read(&path.join("README")), "one\n");
}

#[test]
fn a_worktree_that_was_removed_comes_back_from_its_branch() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("new"), "kept");
    job.save();
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(read(&job.prepare().join("new")), "kept");
    // Also when git itself forgot it.
    fs::remove_dir_all(&path).unwrap();
    fixture.git(["worktree", "prune"]);
    assert_eq!(read(&job.prepare().join("new")), "kept");
}

#[test]
fn a_branch_that_is_checked_out_elsewhere_names_its_holder() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    fixture.git(["branch", &job.branch]);
    let elsewhere = fixture.home.join("elsewhere");
    fixture.git(["worktree", "add", elsewhere.to_str().unwrap(), &job.branch]);
    match job.try_prepare() {
        Err(WorkspaceError::BranchHeld { holder, .. }) => assert_eq!(holder, elsewhere),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_ours_is_named_and_not_touched() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let outside = fixture.home.join("outside");
    write(&outside.join("precious"), "x");
    type Put<'a> = &'a dyn Fn(&std::path::Path);
    let cases: [(&str, Put<'_>); 4] = [
        ("symbolic link", &|path| symlink(&outside, path).unwrap()),
        ("not a directory", &|path| fs::write(path, "x").unwrap()),
        ("not empty", &|path| write(&path.join("precious"), "x")),
        ("not empty", &|path| {
            fs::create_dir(path).unwrap();
            fixture.ok_in(path, ["init", "-q"]);
        }),
    ];
    fs::create_dir_all(fixture.worktrees()).unwrap();
    for (number, (words, put)) in (0..).zip(cases) {
        let job = Job::new(&workspaces, number);
        let path = fixture.worktrees().join(job.task.as_str());
        put(&path);
        let before = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        let error = job.try_prepare().unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains(path.to_str().unwrap()),
            "{error}"
        );
        assert_eq!(
            fs::symlink_metadata(&path).unwrap().modified().unwrap(),
            before
        );
        assert!(!fixture.exists(&job.branch));
    }
    assert_eq!(read(&outside.join("precious")), "x");
}

#[test]
fn an_empty_directory_is_no_obstacle() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    fs::create_dir_all(fixture.worktrees().join(job.task.as_str())).unwrap();
    assert_eq!(read(&job.prepare().join("README")), "one\n");
}

#[test]
fn a_worktree_that_was_half_made_is_made_again() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    let notes = fixture.root.join(".git/worktrees").join(job.task.as_str());
    for reason in ["orch: being made", "initializing"] {
        // As if the machine had stopped between adding it and writing its files.
        fs::remove_file(path.join("README")).unwrap();
        fs::remove_file(notes.join("index")).unwrap();
        fs::write(notes.join("locked"), reason).unwrap();
        assert_eq!(job.prepare(), path);
        assert_eq!(read(&path.join("README")), "one\n", "{reason}");
        assert_eq!(fixture.ok_in(&path, ["status", "--porcelain"]), "");
        assert!(!notes.join("locked").exists());
    }
}

#[test]
fn a_link_to_git_that_was_broken_is_mended() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    fs::remove_file(path.join(".git")).unwrap();
    job.prepare();
    assert_eq!(
        fixture.ok_in(&path, ["branch", "--show-current"]),
        job.branch
    );
    // A repository of the agent's own in its place is moved aside, not deleted.
    fs::remove_file(path.join(".git")).unwrap();
    fixture.ok_in(&path, ["init", "-q"]);
    fixture.ok_in(&path, ["commit", "--allow-empty", "-qm", "own"]);
    job.prepare();
    assert_eq!(
        fixture.ok_in(&path, ["branch", "--show-current"]),
        job.branch
    );
    let aside = fixture.trash().files_of(&format!("{}.t1", job.task));
    assert!(aside.join("HEAD").exists());
}

#[test]
fn files_of_the_include_list_are_copied_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.write(
        ".worktreeinclude",
        ".env*\nsecrets/\nlink\n!.env.no\n/.orch\nREADME\n",
    );
    fixture.write(".env", "KEY=1");
    fixture.write(".env.no", "x");
    fixture.write("secrets/a b\nc", "s");
    fixture.write("unlisted.ignored", "x");
    symlink("/etc/passwd", fixture.root.join("link")).unwrap();
    script(&fixture.root.join("secrets/tool"), "true");
    let workspaces = fixture.workspaces();
    let path = Job::new(&workspaces, 1).prepare();
    assert_eq!(read(&path.join(".env")), "KEY=1");
    assert_eq!(read(&path.join("secrets/a b\nc")), "s");
    let mode = fs::metadata(path.join("secrets/tool"))
        .unwrap()
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o100,
        0o100
    );
    for absent in [
        ".env.no",
        "unlisted.ignored",
        "link",
        ".orch",
        ".worktreeinclude",
    ] {
        assert!(fs::symlink_metadata(path.join(absent)).is_err(), "{absent}");
    }
}

#[test]
fn an_included_file_does_not_follow_a_link_that_the_branch_brings() {
    let fixture = Fixture::new();
    let outside = fixture.home.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, fixture.root.join("dir")).unwrap();
    fixture.git(["add", "dir"]);
    fixture.git(["commit", "-qm", "link"]);
    fs::remove_file(fixture.root.join("dir")).unwrap();
    fixture.write("dir/env", "secret");
    fixture.write(".worktreeinclude", "env\n");
    let workspaces = fixture.workspaces();
    Job::new(&workspaces, 1).prepare();
    assert!(!outside.join("env").exists());
}

#[test]
fn eight_tasks_prepare_at_once() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    std::thread::scope(|scope| {
        let made: Vec<_> = (1..=8)
            .map(|number| {
                let workspaces = &workspaces;
                scope.spawn(move || Job::new(workspaces, number).prepare())
            })
            .collect();
        for path in made {
            assert_eq!(read(&path.join().unwrap().join("README")), "one\n");
        }
    });
}

/// Fault 46. Injected: a hook of the repository fails. Held: it is not run, and the worktree is made.
#[test]
fn a_failing_hook_of_the_repository_stops_nothing() {
    let fixture = Fixture::new();
    for hook in [
        "post-checkout",
        "pre-commit",
        "reference-transaction",
        "post-index-change",
    ] {
        script(&fixture.root.join(".git/hooks").join(hook), "exit 1");
    }
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    write(&job.prepare().join("new"), "x");
    assert_eq!(job.save().commits, 1);
    assert!(job.landed().is_some());
}

#[test]
fn odd_paths_work_from_end_to_end() {
    for name in [
        "with space",
        "quote'\"",
        "new\nline",
        "$(touch x)`id`;",
        "back\\slash",
    ] {
        let fixture = Fixture::called(OsStr::new(name));
        let workspaces = fixture.workspaces();
        let job = Job::new(&workspaces, 1);
        write(&job.prepare().join("new"), "x");
        assert_eq!(job.save().commits, 1, "{name:?}");
        job.prepare();
        assert!(job.landed().is_some(), "{name:?}");
        assert_eq!(read(&fixture.root.join("new")), "x");
        assert!(!fixture.worktrees().join(job.task.as_str()).exists());
    }
}

#[test]
fn a_branch_of_another_task_or_of_the_user_is_refused_everywhere() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let task = TaskId::from_entropy(1);
    for branch in ["main", "-x", "orch/tsk_000000000000-x", ""] {
        assert!(workspaces.prepare(&task, branch).is_err());
        assert!(workspaces.save(&task, branch, "x").is_err());
        assert!(workspaces.land(&task, branch, "x").is_err());
        assert!(workspaces.discard(&task, branch).is_err());
    }
    assert!(fixture.exists("main"));
}

#[test]
fn a_target_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    let target = "release".parse().unwrap();
    let workspaces = orch_host::workspace::Workspaces::new(
        fixture.repository(),
        &fixture.worktrees(),
        fixture.trash(),
        target,
    );
    let error = Job::new(&workspaces, 1).try_prepare().unwrap_err();
    assert!(matches!(error, WorkspaceError::NoTarget(_)), "{error}");
}

/// Fault 46. Injected: the repository has a submodule. Held: the worktree is made without it.
#[test]
fn a_submodule_in_the_project_is_no_obstacle() {
    let fixture = Fixture::new();
    let library = fixture.home.join("library");
    fs::create_dir(&library).unwrap();
    fixture.ok_in(&library, ["init", "-q"]);
    fixture.ok_in(&library, ["commit", "--allow-empty", "-qm", "library"]);
    fixture.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        library.to_str().unwrap(),
        "lib",
    ]);
    fixture.git(["commit", "-qm", "submodule"]);
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    assert_eq!(fixture.ok_in(&path, ["status", "--porcelain"]), "");
    write(&path.join("new"), "x");
    let saved = job.save();
    assert_eq!(
        (saved.files_changed, saved.warnings.len()),
        (1, 0),
        "{saved:?}"
    );
    assert!(job.landed().is_some());
    assert_eq!(read(&fixture.root.join("new")), "x");
}

#[test]
fn an_ignored_file_keeps_it_from_following_a_target_that_now_has_it() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("x.ignored"), "mine\n");
    fixture.write("x.ignored", "theirs\n");
    fixture.git(["add", "-f", "x.ignored"]);
    fixture.git(["commit", "-qm", "forced"]);
    job.prepare();
    assert_eq!(read(&path.join("x.ignored")), "mine\n");
}
