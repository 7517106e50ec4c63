//! Getting work back: what is kept, for how long it survives, and the bytes themselves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use orch_core::RunId;
use orch_host::git::BranchName;
use orch_host::trash::{Kind, Manifest, TrashError};
use orch_host::workspace::WorkspaceError;

use crate::fixture::{Fixture, Job, read, write};

fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

/// Work of a deleted task survives even `git gc --prune=now`, and comes
/// back byte for byte.
#[test]
fn rescued_commits_survive_gc_and_come_back_as_a_branch() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    write(&job.prepare().join("work"), "hours of it\n");
    job.discard().unwrap();
    fixture.git(["reflog", "expire", "--expire=now", "--all"]);
    fixture.git(["gc", "-q", "--prune=now"]);

    let [rescued] = &workspaces.rescued().unwrap()[..] else {
        panic!("one rescue")
    };
    assert_eq!(rescued.id, format!("{}.1", job.task));
    assert_eq!(rescued.task().as_ref(), Some(&job.task));
    assert_eq!(rescued.commits, Some(1));
    assert!(rescued.at.is_some());
    assert!(rescued.why.contains("deleted task"), "{rescued:?}");
    let contents = workspaces.contents(rescued, 10).unwrap();
    assert_eq!(contents.files[0].path, "work");
    assert_eq!(contents.commits[0].oid, rescued.commit.to_string());

    workspaces
        .restore_rescued(rescued, &branch("back"))
        .unwrap();
    assert_eq!(fixture.show("back", "work").unwrap(), "hours of it\n");
    workspaces
        .restore_rescued(rescued, &branch("back"))
        .unwrap();
    let taken = workspaces.restore_rescued(rescued, &branch("main"));
    assert!(
        matches!(taken, Err(WorkspaceError::BranchTaken(_))),
        "{taken:?}"
    );

    workspaces.drop_rescued(rescued).unwrap();
    assert!(workspaces.rescued().unwrap().is_empty());
    assert!(workspaces.find_rescued(&rescued.id).is_err());
    assert_eq!(fixture.show("back", "work").unwrap(), "hours of it\n");
}

/// The name of commits that were given up is not given to others: who drops it twice by mistake
/// drops nothing else.
#[test]
fn the_name_of_dropped_commits_is_not_used_again() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    write(&job.prepare().join("work"), "first\n");
    job.discard().unwrap();
    let first = workspaces.rescued().unwrap().remove(0);
    workspaces.drop_rescued(&first).unwrap();

    write(&job.prepare().join("work"), "second\n");
    job.discard().unwrap();
    let second = workspaces.rescued().unwrap().remove(0);
    assert_eq!(first.id, format!("{}.1", job.task));
    assert_eq!(second.id, format!("{}.2", job.task));
    assert!(workspaces.find_rescued(&first.id).is_err());
}

/// An earlier version of orch kept the commits themselves: those have no date, so that nothing can
/// conclude that their time is over.
#[test]
fn a_rescue_of_an_earlier_version_is_listed_without_a_date() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    fixture.git(["update-ref", &job.rescue(1), "HEAD"]);
    let [rescued] = &workspaces.rescued().unwrap()[..] else {
        panic!("one rescue")
    };
    assert_eq!((rescued.at, rescued.why.as_str()), (None, ""));
    workspaces.restore_rescued(rescued, &branch("old")).unwrap();
    assert!(fixture.exists("old"));
    // A second rescue of the same commit is the same one.
    write(&job.prepare().join("x"), "x");
    job.discard().unwrap();
    job.discard().unwrap();
    assert_eq!(workspaces.rescued().unwrap().len(), 2);
}

/// What git ignores is in no commit. It goes to the trash with the worktree and comes back.
#[test]
fn ignored_files_of_a_removed_worktree_come_back() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let trash = fixture.trash();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("notes.ignored"), "only here\n");
    symlink("/etc", path.join("link.ignored")).unwrap();
    job.discard().unwrap();
    assert!(!path.exists());

    let [item] = &trash.items().unwrap()[..] else {
        panic!("one item")
    };
    let manifest = item.manifest.as_ref().unwrap();
    assert_eq!((manifest.kind, &manifest.task), (Kind::Worktree, &job.task));
    let listed: Vec<String> = trash
        .list(&item.id, 100)
        .unwrap()
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(listed.contains(&"notes.ignored".to_owned()), "{listed:?}");
    assert!(trash.measure(&item.id).unwrap().files >= 4);

    let to = fixture.home.join("back");
    trash.restore(&item.id, &to).unwrap();
    assert_eq!(read(&to.join("notes.ignored")), "only here\n");
    assert_eq!(read(&to.join("README")), "one\n");
    assert!(!to.join(".git").exists(), "it leads nowhere");
    assert!(trash.items().unwrap().is_empty());
}

#[test]
fn a_landed_worktree_leaves_its_ignored_files_in_the_trash() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("work"), "x");
    write(&path.join("secret.ignored"), "y");
    job.save();
    job.landed().unwrap();
    let trash = fixture.trash();
    let item = &trash.items().unwrap()[0];
    assert_eq!(read(&trash.files_of(&item.id).join("secret.ignored")), "y");
}

#[test]
fn restoring_never_overwrites_and_a_failed_restore_moves_nothing() {
    let fixture = Fixture::new();
    let trash = fixture.trash();
    let job = Job::new(&fixture.workspaces(), 1).task;
    let thing = fixture.home.join("thing");
    write(&thing.join("file"), "x");
    let id = trash
        .keep(&thing, &Manifest::now(Kind::Aside, &job, "test", &thing))
        .unwrap();
    let full = fixture.home.join("full");
    write(&full, "mine");
    let taken = trash.restore(&id, &full);
    assert!(matches!(taken, Err(TrashError::Taken(_))), "{taken:?}");
    assert_eq!(read(&full), "mine");
    let empty = fixture.home.join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(trash.restore(&id, &empty).is_err());
    symlink("/nowhere", fixture.home.join("link")).unwrap();
    assert!(trash.restore(&id, &fixture.home.join("link")).is_err());
    assert_eq!(read(&trash.files_of(&id).join("file")), "x");
    trash.restore(&id, &thing).unwrap();
    assert_eq!(read(&thing.join("file")), "x");
    assert!(matches!(
        trash.restore(&id, &thing),
        Err(TrashError::NoSuchItem(_))
    ));
}

/// Fault 36. Injected: what is to be thrown away cannot be moved, the trash is a symbolic link, an
/// item's note is gone, torn, a link or a FIFO. Held: the thing stays where it was, nothing outside
/// is touched, and what nobody can account for is shown and never removed by itself.
#[test]
fn the_trash_survives_whatever_is_done_to_it() {
    let fixture = Fixture::new();
    let trash = fixture.trash();
    let job = Job::new(&fixture.workspaces(), 1).task;
    let manifest = |what: &std::path::Path| Manifest::now(Kind::Run, &job, "test", what);

    let missing = fixture.home.join("missing");
    assert!(trash.keep(&missing, &manifest(&missing)).is_err());
    assert_eq!(
        fs::read_dir(trash.directory()).unwrap().count(),
        0,
        "no empty item stays"
    );

    let mut ids = Vec::new();
    for name in ["gone", "torn", "link", "fifo"] {
        let thing = fixture.home.join(name);
        write(&thing.join("file"), name);
        ids.push(trash.keep(&thing, &manifest(&thing)).unwrap());
    }
    let note = |id: &str| trash.directory().join(id).join("manifest.json");
    fs::remove_file(note(&ids[0])).unwrap();
    fs::write(note(&ids[1]), "{\"version\":1").unwrap();
    fs::remove_file(note(&ids[2])).unwrap();
    symlink("/etc/passwd", note(&ids[2])).unwrap();
    fs::remove_file(note(&ids[3])).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, note(&ids[3]), mode).unwrap();
    let items = trash.items().unwrap();
    assert_eq!(items.len(), 4);
    assert!(
        items.iter().all(|item| item.manifest.is_none()),
        "{items:?}"
    );
    trash.sweep().unwrap();
    assert_eq!(trash.items().unwrap().len(), 4, "nothing goes by itself");
    // A person may still have it back, or give it up.
    trash.restore(&ids[0], &fixture.home.join("gone")).unwrap();
    trash.give_up(&ids[1]).unwrap();
    trash.sweep().unwrap();
    assert_eq!(trash.items().unwrap().len(), 2);

    let elsewhere = fixture.home.join("elsewhere");
    fs::rename(trash.directory(), &elsewhere).unwrap();
    symlink(&elsewhere, trash.directory()).unwrap();
    let thing = fixture.home.join("gone");
    assert!(trash.keep(&thing, &manifest(&thing)).is_err());
    assert!(trash.items().is_err() && trash.sweep().is_err());
    assert_eq!(read(&thing.join("file")), "gone");
}

/// A crash between any two steps leaves something that the next call completes.
#[test]
fn what_was_cut_short_is_completed() {
    let fixture = Fixture::new();
    let trash = fixture.trash();
    let job = Job::new(&fixture.workspaces(), 1).task;
    let thing = fixture.home.join("thing");
    write(&thing.join("file"), "x");
    let mut manifest =
        Manifest::now(Kind::Run, &job, "test", &thing).of_run(&RunId::from_entropy(1));
    manifest.at.0 -= 2 * 3_600_000;
    let id = trash.keep(&thing, &manifest).unwrap();
    // Killed after the note was written, before anything was moved.
    fs::rename(trash.files_of(&id), &thing).unwrap();
    assert!(trash.items().unwrap().is_empty());
    assert!(trash.restore(&id, &fixture.home.join("x")).is_err());
    assert_eq!(trash.keep(&thing, &manifest).unwrap(), format!("{job}.t2"));
    trash.sweep().unwrap();
    assert!(!trash.directory().join(&id).exists());
    // Killed in the middle of removing: half an item is never offered.
    trash.give_up(&format!("{job}.t2")).unwrap();
    assert!(trash.items().unwrap().is_empty());
    fs::remove_file(
        trash
            .directory()
            .join(format!(".removing/{job}.t2-0/files/file")),
    )
    .unwrap();
    trash.sweep().unwrap();
    trash.sweep().unwrap();
    let left = fs::read_dir(trash.directory()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".last-number"]);
}

/// An agent made its own worktree unwritable, locked it and replaced it: it still goes, or stays
/// whole.
#[test]
fn worktrees_in_any_state_are_taken_away_whole_or_left() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let closed = Job::new(&workspaces, 1);
    let path = closed.prepare();
    write(&path.join("a.ignored"), "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    closed.discard().unwrap();
    assert!(!path.exists());

    let locked = Job::new(&workspaces, 2);
    let path = locked.prepare();
    fixture.git([
        "worktree",
        "lock",
        "--reason",
        "mine",
        path.to_str().unwrap(),
    ]);
    locked.discard().unwrap();
    assert!(!path.exists());
    assert_eq!(fixture.git(["worktree", "list"]).lines().count(), 1);

    let unnamed = Job::new(&workspaces, 3);
    write(&unnamed.prepare().join("work"), "x");
    workspaces.discard_all_of(&unnamed.task).unwrap();
    assert!(!fixture.exists(&unnamed.branch));
    assert_eq!(fixture.show(&unnamed.rescue(1), "work").unwrap(), "x");
    workspaces.discard_all_of(&unnamed.task).unwrap();
}

/// Fault 36. Injected: the repository is moved after work was thrown away. Held: what is in the
/// trash and under the rescue refs is found and comes back in the new place.
#[test]
fn a_moved_repository_takes_its_rescues_along() {
    let fixture = Fixture::new();
    let job = {
        let workspaces = fixture.workspaces();
        let job = Job::new(&workspaces, 1);
        let path = job.prepare();
        write(&path.join("work"), "x");
        write(&path.join("only.ignored"), "y");
        job.discard().unwrap();
        job.task
    };
    let moved = fixture.root.with_file_name("moved");
    fs::rename(&fixture.root, &moved).unwrap();
    let trash = orch_host::trash::Trash::new(&moved.join(".orch/trash"));
    let git = orch_host::git::Git::in_environment(fixture.environment()).unwrap();
    let repository = orch_host::git::Repository::discover_with(git, &moved).unwrap();
    let worktrees = moved.join(".orch/worktrees");
    let workspaces = orch_host::workspace::Workspaces::new(
        repository,
        &worktrees,
        trash.clone(),
        branch("main"),
    );
    let rescued = workspaces.find_rescued(&format!("{job}.1")).unwrap();
    workspaces
        .restore_rescued(&rescued, &branch("back"))
        .unwrap();
    assert_eq!(fixture.ok_in(&moved, ["show", "back:work"]), "x");
    trash
        .restore(&format!("{job}.t1"), &moved.join("back"))
        .unwrap();
    assert_eq!(read(&moved.join("back/only.ignored")), "y");
}

/// Commits that an agent amended, reset away, or made on a detached `HEAD` that it left survive the
/// end of the run and of the worktree, each on a ref of its own.
#[test]
fn commits_that_are_only_in_the_reflog_are_kept() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let tree = job.prepare();
    let commit = |text: &str| {
        write(&tree.join("work"), text);
        fixture.ok_in(&tree, ["add", "work"]);
        fixture.ok_in(&tree, ["commit", "-qm", text]);
        fixture.ok_in(&tree, ["rev-parse", "HEAD"])
    };
    let amended = commit("amended");
    write(&tree.join("work"), "amendment");
    fixture.ok_in(&tree, ["commit", "-qa", "--amend", "-m", "amendment"]);
    let below = commit("reset away first");
    let reset = commit("reset away");
    fixture.ok_in(&tree, ["reset", "-q", "--hard", "HEAD~2"]);
    fixture.ok_in(&tree, ["checkout", "-q", "--detach"]);
    let detached = commit("detached");
    fixture.ok_in(&tree, ["checkout", "-q", &job.branch]);

    let saved = job.save();
    let told = saved.warnings.join("; ");
    assert!(told.contains("4 commits"), "{told}");
    let kept = |refs: Vec<_>| {
        let names = refs
            .iter()
            .map(|it: &orch_host::workspace::Rescued| it.commit.to_string());
        names.collect::<std::collections::BTreeSet<String>>()
    };
    // One on top of the other needs one ref.
    let wanted = [&amended, &reset, &detached].map(String::clone);
    assert_eq!(kept(workspaces.rescued().unwrap()), wanted.clone().into());
    // Again, and the worktree gone: still the same, and nothing is said twice.
    assert_eq!(job.save().warnings, Vec::<String>::new());
    job.discard().unwrap();
    fixture.git(["reflog", "expire", "--expire=now", "--all"]);
    fixture.git(["gc", "-q", "--prune=now"]);
    for oid in wanted.iter().chain([&below]) {
        assert!(fixture.exists(oid), "{oid}");
    }
}

/// A rebase of many commits takes one ref and not one each.
#[test]
fn many_commits_that_were_left_behind_share_a_ref() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let tree = job.prepare();
    let mut left = Vec::new();
    for number in 0..20 {
        let text = format!("version {number}");
        let amend: &[&str] = if number == 0 { &[] } else { &["--amend"] };
        let commit = ["commit", "-q", "--allow-empty", "-m", &text];
        fixture.ok_in(&tree, commit.iter().chain(amend));
        left.push(fixture.ok_in(&tree, ["rev-parse", "HEAD"]));
    }
    left.pop();
    job.save();
    assert_eq!(workspaces.rescued().unwrap().len(), 1);
    job.discard().unwrap();
    fixture.git(["reflog", "expire", "--expire=now", "--all"]);
    fixture.git(["gc", "-q", "--prune=now"]);
    assert!(left.iter().all(|oid| fixture.exists(oid)));
}

/// What is in the trash's place for an item and is none is shown and never followed, and the name
/// of an item is not given a second time.
#[test]
fn a_link_in_the_trash_is_shown_and_names_are_not_used_again() {
    let fixture = Fixture::new();
    let (trash, workspaces) = (fixture.trash(), fixture.workspaces());
    let job = Job::new(&workspaces, 1).task;
    let thing = fixture.root.join("thing");
    let keep = || {
        write(&thing, "kept");
        let manifest = Manifest::now(Kind::Aside, &job, "of the test", &thing);
        trash.keep(&thing, &manifest).unwrap()
    };
    let first = keep();
    trash.give_up(&first).unwrap();
    trash.sweep().unwrap();
    assert_ne!(keep(), first);

    let link = format!("{job}.t77");
    symlink("/etc", trash.directory().join(&link)).unwrap();
    let items = trash.items().unwrap();
    let found = items.iter().find(|item| item.id == link).unwrap();
    assert_eq!(found.manifest, None);
    for refused in [
        trash.restore(&link, &fixture.root.join("back")),
        trash.give_up(&link),
        trash.measure(&link).map(drop),
    ] {
        assert!(
            matches!(refused, Err(TrashError::NotOurs { .. })),
            "{refused:?}"
        );
    }
    trash.sweep().unwrap();
    assert!(trash.directory().join(&link).is_symlink());
}
