//! The files of the repository, read once. Tests build trees of a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::source::Source;

/// Endings of the files that are text written by hand.
const TEXT_ENDINGS: &[&str] = &["rs", "toml", "md", "sh", "py", "yml", "yaml", "sql", "run"];

/// The repository as tidy sees it. Paths are relative to its root, with forward slashes.
pub struct Tree {
    /// Files written by hand, with their text.
    pub texts: BTreeMap<String, String>,
    /// The Rust files among them.
    pub sources: BTreeMap<String, Source>,
    /// Every file, of whatever kind.
    pub paths: BTreeSet<String>,
}

/// Something that breaks a rule of the house.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The file.
    pub path: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub text: String,
}

impl Complaint {
    /// A complaint about one line.
    pub fn at(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }

    /// A complaint about a whole file.
    pub fn about(path: &str, text: impl Into<String>) -> Self {
        Self::at(path, 0, text)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// The root of the workspace: the parent of this package, or where cargo was called for copies of
/// the binary.
#[must_use]
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

impl Tree {
    /// Reads every file git knows or would take, so that a file which was not added yet counts.
    ///
    /// # Errors
    /// git does not run here, or a file cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let output = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .context("git does not start; tidy asks it which files belong to the project")?;
        ensure!(
            output.status.success(),
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut files = Vec::new();
        for name in output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let name = String::from_utf8_lossy(name).into_owned();
            let path = root.join(&name);
            // Deleted but not yet committed.
            if path.is_file() {
                let text = is_text(&name).then(|| std::fs::read_to_string(&path));
                let text = text
                    .transpose()
                    .with_context(|| format!("reading {name}"))?;
                files.push((name, text));
            }
        }
        Ok(Self::build(files))
    }

    /// A tree of these files; binary ones have no text.
    #[must_use]
    pub fn build(files: Vec<(String, Option<String>)>) -> Self {
        let paths = files.iter().map(|(path, _)| path.clone()).collect();
        let texts: BTreeMap<String, String> = files
            .into_iter()
            .filter_map(|(path, text)| Some((path, text?)))
            .collect();
        let sources = sources(&texts);
        Self {
            texts,
            sources,
            paths,
        }
    }

    /// A tree for a test.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| ((*path).to_owned(), Some((*text).to_owned()));
        Self::build(files.iter().map(file).collect())
    }

    /// Whether there is such a file or folder.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.iter().any(|known| known.starts_with(&folder))
    }
}

fn is_text(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, ending)| TEXT_ENDINGS.contains(&ending))
        || matches!(path, ".ci/run" | "Cargo.lock")
}

fn sources(texts: &BTreeMap<String, String>) -> BTreeMap<String, Source> {
    let rust = texts.iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut sources: BTreeMap<String, Source> = rust
        .map(|(path, text)| (path.clone(), Source::new(text, is_test_path(path))))
        .collect();
    let declared: Vec<String> = sources
        .iter()
        .flat_map(|(path, source)| {
            let modules = source.test_modules();
            modules
                .into_iter()
                .flat_map(|name| module_paths(path, &name))
        })
        .collect();
    for path in declared {
        if let Some(text) = texts.get(&path) {
            sources.insert(path, Source::new(text, true));
        }
    }
    sources
}

fn is_test_path(path: &str) -> bool {
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("/tests.rs")
        // What several test programs share is test code too.
        || path.starts_with("testing/orch-field/")
}

/// Where `mod name;` in the file `path` may live.
fn module_paths(path: &str, name: &str) -> [String; 2] {
    let folder = match path.rsplit_once('/') {
        Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    [
        format!("{folder}/{name}.rs"),
        format!("{folder}/{name}/mod.rs"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_declared_for_tests_is_a_test() {
        let tree = Tree::of(&[
            (
                "crates/a/src/lib.rs",
                "#[cfg(test)]\nmod checks;\nmod work;\n",
            ),
            ("crates/a/src/checks.rs", "fn a() {}\n"),
            ("crates/a/src/work.rs", "fn a() {}\n"),
        ]);
        assert!(tree.sources["crates/a/src/checks.rs"].is_test(1));
        assert!(!tree.sources["crates/a/src/work.rs"].is_test(1));
    }

    #[test]
    fn folders_exist() {
        let tree = Tree::of(&[("docs/a.md", "")]);
        assert!(tree.exists("docs") && tree.exists("docs/a.md") && !tree.exists("doc"));
    }
}
