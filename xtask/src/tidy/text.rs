//! Rules about plain text: layout, and paths that exist on one machine only.

use crate::source::Source;
use crate::tree::{Complaint, Tree, root};

/// Columns of a line of Rust. rustfmt keeps code within it but leaves comments alone, and macros,
/// for which tests are excused.
const MAX_COLUMNS: usize = 100;

/// Where people and their tools keep things. Cut in two so that this file may hold them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tm", "p/wt"),
    concat!("/tm", "p/t/"),
    concat!("/ro", "ot/"),
    concat!("/Use", "rs/"),
];

/// Trailing space, missing or surplus newline at the end, lines that are too long.
pub fn layout(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| *path != "Cargo.lock") {
        complaints.extend(lines(path, text, tree.sources.get(path)));
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            complaints.push(Complaint::about(path, "end it with exactly one newline"));
        }
    }
    complaints
}

fn lines(path: &str, text: &str, source: Option<&Source>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (line, content) in (1..).zip(text.split('\n')) {
        if source.is_some_and(|source| source.has_literal(line)) {
            continue;
        }
        if content.ends_with([' ', '\t', '\r']) {
            complaints.push(Complaint::at(
                path,
                line,
                "white space at the end of the line",
            ));
        }
        let columns = content.chars().count();
        let counts = source.is_some_and(|source| !source.is_test(line));
        if counts && columns > MAX_COLUMNS && !content.contains("https://") {
            let text = format!("{columns} columns; at most {MAX_COLUMNS} are allowed");
            complaints.push(Complaint::at(path, line, text));
        }
    }
    complaints
}

/// Absolute paths that mean nothing on another machine.
pub fn machine_paths(tree: &Tree) -> Vec<Complaint> {
    let here = format!("{}/", root().display());
    let mut complaints = Vec::new();
    for (path, text) in &tree.texts {
        for (line, content) in (1..).zip(text.lines()) {
            let known = MACHINE_PATHS.iter().copied().chain([here.as_str()]);
            for found in known.filter(|known| has_path(content, known)) {
                let text = format!("'{found}' exists on one machine only");
                complaints.push(Complaint::at(path, line, text));
            }
        }
    }
    complaints
}

/// Whether `path` stands in `line` as the beginning of an absolute path.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-})]/>*~".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<usize> {
        let tree = Tree::of(&[(path, text)]);
        layout(&tree)
            .into_iter()
            .map(|complaint| complaint.line)
            .collect()
    }

    #[test]
    fn layout_is_checked() {
        let long = format!("// {}\n", "x".repeat(98));
        assert_eq!(check("a.rs", &long), [1]);
        assert_eq!(check("a.md", &long), [0_usize; 0]);
        assert_eq!(check("crates/a/tests/a.rs", &long), [0_usize; 0]);
        assert_eq!(check("a.md", "a \nb\n"), [1]);
        assert_eq!(check("a.rs", "a\r\n"), [1]);
        assert_eq!(check("a.rs", "a"), [0]);
        assert_eq!(check("a.rs", "a\n\n"), [0]);
        assert_eq!(check("a.rs", "a\n"), [0_usize; 0]);
    }

    #[test]
    fn a_literal_may_be_as_long_as_it_must() {
        let text = format!("let a = \"{}\";\nlet b = \"x \n\";\n", "x".repeat(200));
        assert_eq!(check("a.rs", &text), [0_usize; 0]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let path = concat!("/wo", "rk/main");
        for (text, count) in [
            (format!("cd {path}\n"), 1),
            (format!("\"{path}\"\n"), 1),
            (format!("{{dir}}{path} src{path}\n"), 0),
            (format!("{}/Cargo.toml\n", root().display()), 1),
        ] {
            let tree = Tree::of(&[("a.md", &text)]);
            // The repository itself may lie below one of the known places.
            let lines: std::collections::BTreeSet<usize> = machine_paths(&tree)
                .into_iter()
                .map(|complaint| complaint.line)
                .collect();
            assert_eq!(lines.len(), count, "{text}");
        }
    }
}
