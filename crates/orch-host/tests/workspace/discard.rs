//! Removing what deleted tasks leave.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::fixture::{Fixture, Job, read, write};

#[test]
fn everything_goes_and_the_work_stays_reachable() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("committed"), "x");
    job.save();
    write(&path.join("uncommitted"), "y");
    job.discard().unwrap();
    assert!(!path.exists() && !fixture.exists(&job.branch));
    assert_eq!(fixture.show(&job.rescue(1), "committed").unwrap(), "x");
    assert_eq!(fixture.show(&job.rescue(1), "uncommitted").unwrap(), "y");
    assert_eq!(fixture.git(["worktree", "list"]).lines().count(), 1);
    job.discard().unwrap();
    assert!(
        !fixture.exists(&job.rescue(2)),
        "discarding again does nothing"
    );
}

#[test]
fn what_the_target_has_needs_no_rescue() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    job.prepare();
    job.discard().unwrap();
    assert_eq!(fixture.git(["for-each-ref", "refs/orch"]), "");
    Job::new(&workspaces, 2).discard().unwrap();

    let job = Job::new(&workspaces, 3);
    write(&job.prepare().join("new"), "x");
    job.save();
    job.landed().unwrap();
    job.discard().unwrap();
    assert_eq!(fixture.git(["for-each-ref", "refs/orch"]), "");
}

#[test]
fn a_worktree_without_its_files_is_forgotten_and_its_commits_kept() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    fixture.ok_in(&path, ["checkout", "-q", "--detach"]);
    fixture.ok_in(&path, ["commit", "-q", "--allow-empty", "-m", "only here"]);
    let stray = fixture.ok_in(&path, ["rev-parse", "HEAD"]);
    fs::remove_dir_all(&path).unwrap();
    job.discard().unwrap();
    let kept = format!("{}^{{commit}}", job.rescue(1));
    assert_eq!(fixture.git(["rev-parse", &kept]), stray);
    assert!(!fixture.exists(&job.branch));
}

#[test]
fn it_never_leaves_the_worktrees() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let outside = fixture.home.join("outside");
    write(&outside.join("precious"), "x");
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    symlink(&outside, path.join("link.ignored")).unwrap();
    job.discard().unwrap();
    assert_eq!(read(&outside.join("precious")), "x");
    // The place itself is a link now.
    symlink(&outside, &path).unwrap();
    fixture.git(["branch", &job.branch]);
    job.discard().unwrap();
    assert_eq!(read(&outside.join("precious")), "x");
    assert!(path.is_symlink() && !fixture.exists(&job.branch));
}

#[test]
fn directories_that_an_agent_closed_are_removed() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("cache.ignored/deep/file"), "x");
    for directory in ["cache.ignored/deep", "cache.ignored"] {
        let closed = fs::Permissions::from_mode(0o500);
        fs::set_permissions(path.join(directory), closed).unwrap();
    }
    job.discard().unwrap();
    assert!(!path.exists());
    let trash = fixture.trash();
    let [item] = &trash.items().unwrap()[..] else {
        panic!("one item")
    };
    let deep = trash.files_of(&item.id).join("cache.ignored/deep/file");
    assert_eq!(read(&deep), "x");
    trash.give_up(&item.id).unwrap();
    trash.sweep().unwrap();
    assert!(!deep.exists() && !trash.directory().join(".removing").exists());
}

#[test]
fn what_killed_processes_left_is_swept_and_links_are_not_followed() {
    let fixture = Fixture::new();
    let outside = fixture.home.join("outside");
    write(&outside.join("precious"), "x");
    fs::create_dir_all(fixture.worktrees()).unwrap();
    symlink(&outside, fixture.worktrees().join(".views")).unwrap();
    let workspaces = fixture.workspaces();
    assert_eq!(read(&outside.join("precious")), "x");
    let job = Job::new(&workspaces, 1);
    assert!(
        job.try_prepare()
            .unwrap_err()
            .to_string()
            .contains("symbolic link")
    );
    fs::remove_file(fixture.worktrees().join(".views")).unwrap();
    write(&fixture.worktrees().join(".views/1-0/config"), "x");
    fixture.workspaces();
    assert!(!fixture.worktrees().join(".views/1-0").exists());
}
