//! Whether a path that an agent names lies in its worktree.

use std::path::{Component, Path};

/// Whether what is at `path`, or would be made there, lies in `worktree` and is none of git's own
/// files, which could make git run code. What cannot be told does not.
pub(super) fn is_inside(worktree: &Path, path: &str) -> bool {
    resolved(worktree, path).unwrap_or(false)
}

fn resolved(worktree: &Path, path: &str) -> Option<bool> {
    if path.contains('\0') {
        return None;
    }
    let root = worktree.canonicalize().ok()?;
    // An absolute path takes the worktree's place.
    let path = worktree.join(path.strip_prefix("file://").unwrap_or(path));
    let there = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let (ancestor, real) = there?;
    let rest = path.strip_prefix(ancestor).ok()?;
    let mut parts = rest.components();
    if !parts.all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    // What is there and cannot be followed is a link to what is not there yet.
    if let Some(first) = rest.components().next()
        && ancestor.join(first).symlink_metadata().is_ok()
    {
        return None;
    }
    let full = real.join(rest);
    let below = full.strip_prefix(&root).ok()?;
    let is_git = |part: Component<'_>| part.as_os_str().eq_ignore_ascii_case(".git");
    Some(!below.components().any(is_git))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_detours_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        std::fs::create_dir_all(root.join("a/.git")).unwrap();
        std::fs::write(root.join(".git"), "gitdir: x").unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        };
        link("/etc", "out");
        link("/nowhere/at/all", "dangling");
        link("a", "in");
        link(".", "self");
        for (path, expected) in [
            ("new", true),
            ("a/new/deep", true),
            ("a/../b", true),
            ("in/x", true),
            ("self/self/x", true),
            (".gitignore", true),
            ("", true),
            ("..", false),
            ("../tree2/x", false),
            ("missing/../../x", false),
            ("out/passwd", false),
            ("dangling", false),
            ("dangling/x", false),
            (".git", false),
            (".GIT/hooks/x", false),
            ("a/.git/config", false),
            ("self/.git", false),
            ("/etc/passwd", false),
            ("file:///etc/passwd", false),
            ("a\0b", false),
        ] {
            assert_eq!(is_inside(&root, path), expected, "{path}");
        }
        let absolute = root.join("x");
        assert!(is_inside(&root, absolute.to_str().unwrap()));
        assert!(is_inside(&root, &format!("file://{}", absolute.display())));
        assert!(!is_inside(&root.join("missing"), "x"));
    }
}
