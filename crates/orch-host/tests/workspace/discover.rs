//! Finding a repository, and one clear sentence when there is none that can be used.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use orch_host::git::{Git, GitError, Repository};

use crate::fixture::Fixture;

fn discover(fixture: &Fixture, directory: &Path) -> Result<Repository, GitError> {
    let git = Git::in_environment(fixture.environment()).unwrap();
    Repository::discover_with(git, directory)
}

#[test]
fn it_is_found_from_below_and_says_what_is_checked_out() {
    let fixture = Fixture::new();
    let below = fixture.root.join("a/b");
    fs::create_dir_all(&below).unwrap();
    let found = discover(&fixture, &below).unwrap();
    assert_eq!(found.root(), fixture.root);
    assert_eq!(found.common_dir(), fixture.root.join(".git"));
    assert_eq!(found.current_branch().unwrap().unwrap().as_str(), "main");
    assert_eq!(
        found.head().unwrap().as_str(),
        fixture.git(["rev-parse", "HEAD"])
    );
    fixture.git(["checkout", "-q", "--detach"]);
    assert_eq!(found.current_branch().unwrap(), None);
}

#[test]
fn it_is_found_from_a_linked_worktree() {
    let fixture = Fixture::new();
    let linked = fixture.home.join("linked");
    fixture.git([
        OsStr::new("worktree"),
        OsStr::new("add"),
        linked.as_os_str(),
    ]);
    let found = discover(&fixture, &linked).unwrap();
    assert_eq!(found.common_dir(), fixture.root.join(".git"));
    assert_eq!(found.root(), linked);
}

#[test]
fn each_repository_that_cannot_be_used_has_its_own_error() {
    let fixture = Fixture::empty(OsStr::new("project"));
    assert!(matches!(
        discover(&fixture, &fixture.home),
        Err(GitError::NotARepository { .. })
    ));
    assert!(matches!(
        discover(&fixture, &fixture.root),
        Err(GitError::NoCommits { path }) if path == fixture.root
    ));
    assert!(matches!(
        discover(&fixture, &fixture.root.join(".git")),
        Err(GitError::NotARepository { .. })
    ));
    let bare = fixture.home.join("bare");
    fixture.git([OsStr::new("init"), OsStr::new("--bare"), bare.as_os_str()]);
    assert!(matches!(
        discover(&fixture, &bare),
        Err(GitError::Bare { path }) if path == bare
    ));
    assert!(matches!(
        discover(&fixture, &fixture.home.join("absent")),
        Err(GitError::Io { .. })
    ));
}

#[test]
fn an_unborn_branch_beside_others_has_no_commits() {
    let fixture = Fixture::new();
    fixture.git(["checkout", "-q", "--orphan", "fresh"]);
    assert!(matches!(
        discover(&fixture, &fixture.root),
        Err(GitError::NoCommits { .. })
    ));
}

#[test]
fn a_shallow_clone_is_allowed() {
    let fixture = Fixture::new();
    fixture.commit("README", "two\n");
    let (clone, url) = (
        fixture.home.join("clone"),
        format!("file://{}", fixture.root.display()),
    );
    fixture.git(["clone", "-q", "--depth=1", &url, clone.to_str().unwrap()]);
    assert!(discover(&fixture, &clone).unwrap().is_shallow());
    assert!(!fixture.repository().is_shallow());
}

#[test]
fn a_repository_of_another_user_is_refused_with_the_remedy() {
    let fixture = Fixture::new();
    // Only root can give a directory away; for others there is no foreign repository to look at.
    if std::os::unix::fs::chown(&fixture.root, Some(12_345), None).is_err() {
        return;
    }
    let error = discover(&fixture, &fixture.root).unwrap_err();
    assert!(matches!(error, GitError::DubiousOwnership { .. }));
    assert!(error.to_string().contains("safe.directory"));
}

#[test]
fn odd_paths_are_paths() {
    for name in [
        "with space",
        "quote'\"",
        "new\nline",
        "tab\t$(id)`id`",
        "-x",
        "ünï",
    ] {
        let fixture = Fixture::called(OsStr::new(name));
        assert_eq!(fixture.repository().root(), fixture.root, "{name:?}");
    }
}

#[test]
fn a_path_that_is_not_text_is_an_error_and_not_a_guess() {
    let fixture = Fixture::called(OsStr::from_bytes(b"caf\xe9"));
    let error = discover(&fixture, &fixture.root).unwrap_err();
    assert!(matches!(error, GitError::Unexpected { .. }), "{error}");
}

#[test]
fn a_branch_with_a_name_we_do_not_pass_on_is_named() {
    let fixture = Fixture::new();
    fixture.git(["checkout", "-qb", "a;$(id)"]);
    let error = fixture.repository().current_branch().unwrap_err();
    assert!(error.to_string().contains("a;$(id)"), "{error}");
}
