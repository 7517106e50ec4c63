//! An agent plants programs everywhere it can reach; none of our calls may run one.

use std::fs;
use std::path::{Path, PathBuf};

use orch_host::git::{Git, Repository};

use crate::fixture::{Fixture, Job, read, script, write};

/// A program that leaves a mark, and the mark.
fn canary(fixture: &Fixture) -> (String, PathBuf) {
    let (program, mark) = (fixture.home.join("evil"), fixture.home.join("mark"));
    script(
        &program,
        &format!("echo \"$0 $@\" >> '{}'; cat", mark.display()),
    );
    (program.display().to_string(), mark)
}

/// Keys under which git runs programs, in their ordinary form.
const KEYS: &[&str] = &[
    "core.fsmonitor",
    "core.sshCommand",
    "core.gitProxy",
    "core.askPass",
    "core.editor",
    "core.pager",
    "core.alternateRefsCommand",
    "sequence.editor",
    "diff.external",
    "diff.evil.command",
    "diff.evil.textconv",
    "filter.evil.clean",
    "filter.evil.smudge",
    "filter.evil.process",
    "merge.evil.driver",
    "merge.text.driver",
    "credential.helper",
    "gpg.program",
    "gpg.ssh.program",
    "gpg.ssh.defaultKeyCommand",
    "remote.origin.uploadpack",
    "remote.origin.receivepack",
    "uploadpack.packObjectsHook",
    "receive.procReceiveRefs",
    "interactive.diffFilter",
    "trailer.x.command",
    "trailer.x.cmd",
    "mergetool.evil.cmd",
    "difftool.evil.cmd",
    "pager.log",
    "man.evil.cmd",
    "browser.evil.cmd",
    "sendemail.smtpServer",
    "tar.x.command",
    "lfs.extension.x.clean",
];

/// Settings that make git reach for the programs.
const SWITCHES: &[(&str, &str)] = &[
    ("commit.gpgSign", "true"),
    ("tag.gpgSign", "true"),
    ("log.showSignature", "true"),
    ("merge.default", "evil"),
    ("filter.evil.required", "false"),
    ("extensions.worktreeConfig", "true"),
    ("alias.status", "!touch aliased"),
    ("alias.read-tree", "!touch aliased"),
    ("core.untrackedCache", "true"),
    ("submodule.recurse", "true"),
    ("remote.origin.url", "ext::touch fetched"),
    ("remote.origin.promisor", "true"),
    ("protocol.ext.allow", "always"),
    ("gc.auto", "1"),
    ("maintenance.auto", "true"),
];

fn plant_config(fixture: &Fixture, directory: &Path, evil: &str, scope: &[&str]) {
    let set = |key: &str, value: &str| {
        let arguments = ["config"].iter().chain(scope).copied().chain([key, value]);
        fixture.ok_in(directory, arguments);
    };
    for (key, value) in SWITCHES {
        set(key, value);
    }
    for key in KEYS {
        set(key, evil);
    }
}

fn plant_hooks(hooks: &Path, evil: &str) {
    for hook in [
        "applypatch-msg",
        "commit-msg",
        "fsmonitor-watchman",
        "post-checkout",
        "post-commit",
        "post-index-change",
        "post-merge",
        "post-rewrite",
        "pre-auto-gc",
        "pre-commit",
        "pre-merge-commit",
        "prepare-commit-msg",
        "reference-transaction",
    ] {
        script(&hooks.join(hook), &format!("exec {evil} {hook}"));
    }
}

/// Everything an agent can do to a repository from inside its worktree.
fn plant(fixture: &Fixture, worktree: &Path, evil: &str) {
    plant_config(fixture, worktree, evil, &[]);
    plant_config(fixture, worktree, evil, &["--worktree"]);
    let common = fixture.root.join(".git");
    plant_hooks(&common.join("hooks"), evil);
    plant_hooks(&worktree.join("planted-hooks"), evil);
    let included = fixture.home.join("included");
    write(
        &included,
        &format!(
            "[core]\n\tfsmonitor = {evil}\n\thooksPath = {}\n",
            worktree.join("planted-hooks").display()
        ),
    );
    fixture.ok_in(
        worktree,
        ["config", "include.path", included.to_str().unwrap()],
    );
    let everywhere = "* filter=evil diff=evil merge=evil\n";
    write(&common.join("info/attributes"), everywhere);
    write(&worktree.join(".gitattributes"), everywhere);
}

#[test]
fn hooks_fsmonitor_and_programs_by_name_never_run() {
    let fixture = Fixture::new();
    let (evil, mark) = canary(&fixture);
    let workspaces = fixture.workspaces();
    let attacker = Job::new(&workspaces, 1);
    let path = attacker.prepare();
    let victims: Vec<_> = (2..=4)
        .map(|number| Job::new(&workspaces, number))
        .collect();
    for victim in &victims {
        victim.prepare();
    }
    plant(&fixture, &path, &evil);
    // The trap is real: git as the user calls it springs it.
    fixture.git_in(&fixture.root, ["status"]);
    assert!(mark.exists(), "the canary sings for an ordinary git");
    fs::remove_file(&mark).unwrap();

    let git = Git::in_environment(fixture.environment()).unwrap();
    let found = Repository::discover_with(git, &fixture.root).unwrap();
    found.current_branch().unwrap();
    write(&path.join("README"), "attacked\n");
    let _ = workspaces.save(&attacker.task, &attacker.branch, "x");
    for victim in &victims {
        let path = fixture.worktrees().join(victim.task.as_str());
        write(&path.join("README"), "victim\n");
        let _ = workspaces.save(&victim.task, &victim.branch, "x");
        let _ = workspaces.prepare(&victim.task, &victim.branch);
    }
    // A fresh worktree, a landing, a conflict, a landing with a checkout in the way, a discard.
    let _ = Job::new(&workspaces, 9).try_prepare();
    for job in victims.iter().chain([&attacker]) {
        let _ = workspaces.land(&job.task, &job.branch, "x");
    }
    fixture.write("README", "local\n");
    let _ = workspaces.land(&attacker.task, &attacker.branch, "x");
    let _ = attacker.discard();
    for victim in &victims {
        let _ = victim.discard();
    }
    assert!(!mark.exists(), "ran: {}", read(&mark));
    for touched in ["aliased", "fetched"] {
        assert!(!fixture.root.join(touched).exists() && !path.join(touched).exists());
    }
}

#[test]
fn configuration_alone_does_not_keep_others_from_working() {
    let fixture = Fixture::new();
    let (evil, mark) = canary(&fixture);
    let workspaces = fixture.workspaces();
    let attacker = Job::new(&workspaces, 1);
    let path = attacker.prepare();
    plant_config(&fixture, &path, &evil, &[]);
    plant_hooks(&fixture.root.join(".git/hooks"), &evil);
    let victim = Job::new(&workspaces, 2);
    write(&victim.prepare().join("README"), "good\n");
    assert_eq!(victim.save().warnings, Vec::<String>::new());
    assert!(victim.landed().is_some());
    assert_eq!(read(&fixture.root.join("README")), "good\n");
    assert!(!mark.exists(), "ran: {}", read(&mark));
}

/// Fault 46. Injected: the repository has files that need a filter, such as that of LFS, which the
/// machine does not have. Held: the filter is named, and nothing is stored unfiltered.
#[test]
fn a_filter_that_only_the_repository_defines_is_named_and_nothing_is_stored_unfiltered() {
    let fixture = Fixture::new();
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    fixture.git(["config", "filter.crypt.clean", "tr a-z n-za-m"]);
    write(&path.join(".gitattributes"), "secret filter=crypt\n");
    write(&path.join("secret"), "plain\n");
    let saved = job.save();
    assert!(saved.warnings[0].contains("crypt"), "{saved:?}");
    assert_eq!(fixture.show(&job.branch, "secret"), None);
    // Once the user says that it is theirs, it is run.
    fixture.git(["config", "--global", "filter.crypt.clean", "tr a-z n-za-m"]);
    assert_eq!(job.save().warnings, Vec::<String>::new());
    assert_eq!(fixture.show(&job.branch, "secret").unwrap(), "cynva\n");
}

#[test]
fn what_the_worktree_says_about_where_git_is_does_not_count() {
    let fixture = Fixture::new();
    let (evil, mark) = canary(&fixture);
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    // A repository of the attacker's own, with everything switched on.
    let own = fixture.home.join("own");
    fs::create_dir(&own).unwrap();
    fixture.ok_in(&own, ["init", "-q"]);
    fixture.ok_in(&own, ["commit", "-q", "--allow-empty", "-m", "x"]);
    plant_config(&fixture, &own, &evil, &[]);
    plant_hooks(&own.join(".git/hooks"), &evil);
    write(
        &path.join(".git"),
        &format!("gitdir: {}/.git\n", own.display()),
    );
    let notes = fixture.root.join(".git/worktrees").join(job.task.as_str());
    write(
        &notes.join("commondir"),
        &format!("{}/.git\n", own.display()),
    );
    fixture.git(["config", "core.worktree", "/"]);
    write(&path.join("new"), "x");
    assert_eq!(job.save().commits, 1);
    assert_eq!(fixture.show(&job.branch, "new").unwrap(), "x");
    assert!(!mark.exists(), "ran: {}", read(&mark));
}

#[test]
fn a_repository_inside_a_worktree_runs_nothing() {
    let fixture = Fixture::new();
    let (evil, mark) = canary(&fixture);
    let workspaces = fixture.workspaces();
    let job = Job::new(&workspaces, 1);
    let path = job.prepare();
    let inner = path.join("inner");
    fs::create_dir(&inner).unwrap();
    fixture.ok_in(&inner, ["init", "-q"]);
    write(&inner.join("file"), "x");
    fixture.ok_in(&inner, ["add", "."]);
    fixture.ok_in(&inner, ["commit", "-qm", "x"]);
    plant_config(&fixture, &inner, &evil, &[]);
    write(&inner.join(".gitattributes"), "* filter=evil\n");
    // Recorded as a submodule, which makes git look inside.
    fixture.git_in(&path, ["-c", "core.fsmonitor=false", "add", "inner"]);
    fixture.git_in(&path, ["commit", "-qm", "inner"]);
    write(&inner.join("file"), "changed");
    let _ = fs::remove_file(&mark);
    write(&path.join("new"), "x");
    job.save();
    let _ = job.land();
    let _ = job.discard();
    assert!(!mark.exists(), "ran: {}", read(&mark));
}
