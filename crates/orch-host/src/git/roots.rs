//! What a sandbox must let an agent write so that it can commit in a linked worktree.
//!
//! Of the repository these are the objects, the refs, the reflogs and the notes about this one
//! worktree: not the hooks and not the configuration, which would run in the user's own git. In a
//! directory with a `.git` of its own there is nothing such: there it can change files, and who
//! looks after the directory commits them.
//!
//! An agent can write the worktree's `.git` file. So nothing it says is believed that the
//! repository does not say as well, and nothing outside of that repository is ever named.

use std::fs;
use std::path::Path;

/// Longest pointer file that is read, bytes.
const POINTER_BYTES: u64 = 64 * 1024;

/// The directories, absolute; none if `directory` is no linked worktree that its repository knows.
pub(crate) fn of_a_commit(directory: &Path) -> Vec<String> {
    linked(directory).unwrap_or_default()
}

fn linked(directory: &Path) -> Option<Vec<String>> {
    let pointer = directory.join(".git");
    let text = pointed(&pointer)?;
    let own = fs::canonicalize(directory.join(text.strip_prefix("gitdir:")?.trim())).ok()?;
    let worktrees = own.parent()?;
    let repository = worktrees.parent()?;
    let back = fs::canonicalize(pointed(&own.join("gitdir"))?.trim()).ok()?;
    let is_known = worktrees.file_name()? == "worktrees"
        && back == fs::canonicalize(&pointer).ok()?
        && repository.join("HEAD").is_file();
    if !is_known {
        return None;
    }
    let parts = ["objects", "refs", "logs", "reftable"].map(|part| repository.join(part));
    let inside = |path: &Path| fs::canonicalize(path).is_ok_and(|real| real == path);
    let roots = parts
        .into_iter()
        .filter(|part| part.is_dir() && inside(part));
    let roots = roots.chain([own.clone()]);
    roots.map(|root| root.to_str().map(str::to_owned)).collect()
}

/// The text of a small file that is a file.
fn pointed(path: &Path) -> Option<String> {
    let about = fs::symlink_metadata(path).ok()?;
    let is_small = about.is_file() && about.len() <= POINTER_BYTES;
    is_small.then(|| fs::read_to_string(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository at `base/repo` with a linked worktree at `base/tree`.
    fn repository(base: &Path) {
        for directory in [
            "repo/.git/objects",
            "repo/.git/refs",
            "repo/.git/worktrees/t",
            "tree",
        ] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        let git = base.join("repo/.git");
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        let tree = base.join("tree/.git");
        fs::write(
            git.join("worktrees/t/gitdir"),
            format!("{}\n", tree.display()),
        )
        .unwrap();
        fs::write(tree, format!("gitdir: {}/worktrees/t\n", git.display())).unwrap();
    }

    #[test]
    fn a_commit_may_be_written_and_hooks_and_configuration_may_not() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        repository(&base);
        let git = base.join("repo/.git");
        let expected = ["objects", "refs", "worktrees/t"].map(|it| git.join(it));
        let expected: Vec<String> = expected.iter().map(|it| it.display().to_string()).collect();
        assert_eq!(of_a_commit(&base.join("tree")), expected);
        assert!(of_a_commit(&base.join("repo")).is_empty());
        assert!(of_a_commit(&base.join("nothing")).is_empty());
    }

    #[test]
    fn what_the_repository_does_not_say_as_well_is_not_believed() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        repository(&base);
        let tree = base.join("tree");
        let git = base.join("repo/.git");
        // Another worktree of the same repository.
        let other = base.join("other");
        fs::create_dir(&other).unwrap();
        fs::copy(tree.join(".git"), other.join(".git")).unwrap();
        assert!(of_a_commit(&other).is_empty());
        // A link instead of refs.
        fs::remove_dir(git.join("refs")).unwrap();
        std::os::unix::fs::symlink(&base, git.join("refs")).unwrap();
        let named = of_a_commit(&tree);
        assert!(
            !named.iter().any(|root| root.ends_with("refs")),
            "{named:?}"
        );
        // A repository that is none.
        fs::remove_file(git.join("HEAD")).unwrap();
        assert!(of_a_commit(&tree).is_empty());
    }
}
