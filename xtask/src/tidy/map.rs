//! The code map of `docs/architecture.md` and the modules that exist: each names all of the other.

use std::collections::BTreeSet;

use crate::tree::{Complaint, Tree};

const PAGE: &str = "docs/architecture.md";

/// Modules the page does not name in the section of their crate, and names without a module.
pub fn code_map(tree: &Tree) -> Vec<Complaint> {
    let Some(page) = tree.texts.get(PAGE) else {
        return vec![Complaint::about(PAGE, "is missing")];
    };
    let mut complaints = Vec::new();
    for name in crates(tree) {
        let Some(section) = section(page, name) else {
            let text = format!("has no section '### {name}'");
            complaints.push(Complaint::about(PAGE, text));
            continue;
        };
        let (there, named) = (modules(tree, name), named(section));
        for module in there.difference(&named) {
            let text = format!("the table of {name} does not name its module `{module}`");
            complaints.push(Complaint::about(PAGE, text));
        }
        for module in named.difference(&there) {
            let text = format!("the table of {name} names `{module}`, which is not there");
            complaints.push(Complaint::about(PAGE, text));
        }
    }
    complaints
}

fn crates(tree: &Tree) -> BTreeSet<&str> {
    let paths = tree.paths.iter();
    let inside = paths.filter_map(|path| path.strip_prefix("crates/")?.split('/').next());
    inside.collect()
}

/// The modules at the top of a crate that are not only tests.
fn modules<'a>(tree: &'a Tree, name: &str) -> BTreeSet<&'a str> {
    let folder = format!("crates/{name}/src/");
    let sources = tree
        .sources
        .iter()
        .filter(|(_, source)| source.production_lines() > 0);
    let inside = sources.filter_map(|(path, _)| path.strip_prefix(&folder));
    inside
        .map(|path| {
            path.split('/')
                .next()
                .unwrap_or(path)
                .trim_end_matches(".rs")
        })
        .filter(|module| !matches!(*module, "lib" | "main"))
        .collect()
}

/// The text from a crate's heading to the next one.
fn section<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n### {name}\n"))?;
    Some(rest.split("\n#").next().unwrap_or(rest))
}

/// What the first column of the section's tables names.
fn named(section: &str) -> BTreeSet<&str> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split('|').next());
    let names = cells.flat_map(|cell| cell.trim().trim_end_matches('`').split("`, `"));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str) -> Vec<String> {
        let tree = Tree::of(&[
            (PAGE, page),
            ("crates/a/src/lib.rs", "//! A.\n#[cfg(test)]\nmod checks;\n"),
            ("crates/a/src/one.rs", "fn a() {}\n"),
            ("crates/a/src/two/mod.rs", "fn a() {}\n"),
            ("crates/a/src/checks.rs", "fn a() {}\n"),
        ]);
        code_map(&tree)
            .into_iter()
            .map(|complaint| complaint.text)
            .collect()
    }

    #[test]
    fn map_and_modules_name_each_other() {
        assert_eq!(
            check("\n### a\n| module | what |\n| `one`, `two` | x |\n"),
            [""; 0]
        );
        assert_eq!(
            check("\n### a\n| `one` | x |\n| `three` | x |\n\n### b\n| `two` | x |\n"),
            [
                "the table of a does not name its module `two`",
                "the table of a names `three`, which is not there"
            ]
        );
        assert_eq!(check("# Nothing\n"), ["has no section '### a'"]);
        assert_eq!(code_map(&Tree::of(&[])).len(), 1);
    }
}
