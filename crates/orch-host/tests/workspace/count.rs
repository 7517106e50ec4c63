//! What a run did to its branch, in files and in commits of the agent's own.

use orch_core::run::Changes;

use crate::fixture::{Fixture, Job, write};

fn commit(fixture: &Fixture, path: &std::path::Path, file: &str, text: &str) {
    write(&path.join(file), text);
    fixture.ok_in(path, ["add", "-A"]);
    fixture.ok_in(path, ["commit", "-qm", file]);
}

fn changes(files: u64, commits: u64) -> Changes {
    Changes { files, commits }
}

impl Job<'_> {
    fn tip(&self) -> String {
        let tip = self.workspaces.tip(&self.task, &self.branch).unwrap();
        tip.unwrap()
    }

    fn since(&self, begin: &str) -> Changes {
        self.workspaces
            .changes_since(&self.task, &self.branch, begin)
            .unwrap()
    }
}

#[test]
fn what_orch_commits_for_an_agent_is_no_commit_of_its_own() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    let begin = job.tip();
    assert_eq!(job.since(&begin), changes(0, 0));
    write(&path.join("a"), "left");
    let saved = job.save();
    assert_eq!((saved.commits, saved.own_commits), (1, 0));
    assert_eq!(job.since(&begin), changes(1, 0));
    commit(&fixture, &path, "b", "made");
    write(&path.join("c"), "left");
    let saved = job.save();
    assert_eq!((saved.commits, saved.own_commits), (3, 1));
    assert_eq!(job.since(&begin), changes(3, 1));
    // Counting again after a crash says the same.
    assert_eq!(job.save(), saved);
    assert_eq!(job.since(&begin), changes(3, 1));
}

#[test]
fn what_an_earlier_version_committed_is_told_from_an_agents_work() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    write(&path.join("a"), "left");
    fixture.ok_in(&path, ["add", "-A"]);
    let message = "Do it\n\nLeft uncommitted by ada in run_1234567890ab.";
    fixture.ok_in(&path, ["commit", "-qm", message]);
    assert_eq!(job.save().own_commits, 0);
}

#[test]
fn each_run_is_counted_from_where_it_began() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    commit(&fixture, &path, "a", "first");
    job.save();
    job.prepare();
    let second = job.tip();
    commit(&fixture, &path, "a", "second");
    commit(&fixture, &path, "b", "second");
    let saved = job.save();
    assert_eq!(job.since(&second), changes(2, 2));
    assert_eq!((saved.own_commits, saved.files_changed), (3, 2));
    // What is taken back is a change of this run and none of the branch.
    let third = job.tip();
    fixture.ok_in(&path, ["rm", "-q", "a"]);
    fixture.ok_in(&path, ["commit", "-qm", "gone"]);
    assert_eq!(job.since(&third), changes(1, 1));
    assert_eq!(job.save().files_changed, 1);
}

#[test]
fn what_came_from_the_target_is_nobodys_change_here() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    commit(&fixture, &path, "mine", "x");
    job.save();
    let begin = job.tip();
    fixture.commit("theirs", "x");
    fixture.commit("both", "x");
    fixture.ok_in(&path, ["merge", "-q", "--no-edit", "main"]);
    assert_eq!(job.since(&begin), changes(0, 1), "the merge itself");
    commit(&fixture, &path, "both", "changed here as well");
    assert_eq!(job.since(&begin), changes(1, 2));
    let saved = job.save();
    assert_eq!((saved.own_commits, saved.files_changed), (3, 2));
}

#[test]
fn a_beginning_that_is_no_commit_is_not_counted_from() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    job.prepare();
    let count = |begin: &str| workspaces.changes_since(&job.task, &job.branch, begin);
    assert!(count(&"12".repeat(20)).is_err());
    assert!(count("--output=x").is_err());
}

#[test]
fn who_commits_is_the_user_or_orch() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let who = || workspaces.identity().unwrap();
    assert_eq!(who(), ("Ann".to_owned(), "ann@example.org".to_owned()));
    fixture.git(["config", "user.email", "a b@example.org"]);
    assert_eq!(who(), ("Ann".to_owned(), "a b@example.org".to_owned()));
    fixture.git(["config", "user.name", " "]);
    assert_eq!(who(), ("orch".to_owned(), "orch@localhost".to_owned()));
}
