//! Functions and files that grow. A function may have 70 lines; those that were longer when the
//! rule came are listed with their length, and the list only shrinks.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::tree::{Complaint, Tree};

/// Lines a function may have.
const MAX_LINES: usize = 70;
/// Lines without tests from which a file is worth a thought.
const LONG_FILE: usize = 800;
/// The list of known long functions: `"path::name" = lines`.
const LIST: &str = "xtask/long-functions.toml";

/// Functions that are too long, and entries of the list that are out of date.
pub fn functions(tree: &Tree) -> Vec<Complaint> {
    let known = match list(tree) {
        Ok(known) => known,
        Err(error) => return vec![Complaint::about(LIST, error)],
    };
    let found = long_functions(tree);
    let mut complaints = Vec::new();
    for (key, (path, line, length)) in &found {
        let name = key.rsplit("::").next().unwrap_or(key);
        let text = match known.get(key) {
            None => format!("{name} has {length} lines; at most {MAX_LINES} are allowed"),
            Some(before) if length > before => {
                format!("{name} has grown from {before} to {length} lines; it may only shrink")
            }
            Some(before) if length < before => {
                format!("{name} has shrunk to {length} lines; write that down in {LIST}")
            }
            Some(_) => continue,
        };
        complaints.push(Complaint::at(path, *line, text));
    }
    for name in known.keys().filter(|name| !found.contains_key(*name)) {
        complaints.push(Complaint::about(
            LIST,
            format!("{name} is not too long any more; remove it"),
        ));
    }
    complaints
}

/// Files that are worth a thought. A note, not a breach: one concept may need the space.
pub fn long_files(tree: &Tree) -> Vec<String> {
    let files = tree.sources.iter();
    files
        .map(|(path, source)| (path, source.production_lines()))
        .filter(|(_, lines)| *lines > LONG_FILE)
        .map(|(path, lines)| format!("{path} has {lines} lines without tests: one concept?"))
        .collect()
}

fn list(tree: &Tree) -> Result<BTreeMap<String, usize>, String> {
    let text = tree.texts.get(LIST).map_or("", String::as_str);
    let table: Table = text
        .parse()
        .map_err(|error| format!("is not TOML: {error}"))?;
    let entry = |(name, value): (String, Value)| {
        let length = value
            .as_integer()
            .and_then(|length| usize::try_from(length).ok());
        length
            .map(|length| (name.clone(), length))
            .ok_or(format!("{name} has no length"))
    };
    table.into_iter().map(entry).collect()
}

/// The longest function of each name and file that is over the limit: where it is, its length.
fn long_functions(tree: &Tree) -> BTreeMap<String, (String, usize, usize)> {
    let mut found: BTreeMap<String, (String, usize, usize)> = BTreeMap::new();
    for (path, source) in &tree.sources {
        for function in source.functions() {
            if function.length <= MAX_LINES || source.is_test(function.line) {
                continue;
            }
            let entry = (path.clone(), function.line, function.length);
            let longest = found
                .entry(format!("{path}::{}", function.name))
                .or_insert(entry.clone());
            if entry.2 > longest.2 {
                *longest = entry;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2))
    }

    fn check(lines: usize, list: &str) -> Vec<String> {
        let tree = Tree::of(&[("a.rs", &function(lines)), (LIST, list)]);
        functions(&tree)
            .into_iter()
            .map(|complaint| complaint.text)
            .collect()
    }

    #[test]
    fn the_list_only_shrinks() {
        assert_eq!(check(70, ""), [""; 0]);
        assert_eq!(check(71, ""), ["a has 71 lines; at most 70 are allowed"]);
        assert_eq!(check(90, "\"a.rs::a\" = 90"), [""; 0]);
        assert!(check(91, "\"a.rs::a\" = 90")[0].contains("grown from 90 to 91"));
        assert!(check(89, "\"a.rs::a\" = 90")[0].contains("shrunk to 89"));
        assert!(check(70, "\"a.rs::a\" = 90")[0].contains("remove it"));
        assert!(check(70, "\"a.rs::a\" = \"x\"")[0].contains("no length"));
    }

    #[test]
    fn a_long_test_is_its_own_business() {
        let text = format!("#[test]\n{}", function(100));
        assert_eq!(functions(&Tree::of(&[("a.rs", &text)])), []);
    }

    #[test]
    fn long_files_are_noted_without_their_tests() {
        let code = "fn a() {}\n".repeat(LONG_FILE + 1);
        assert_eq!(long_files(&Tree::of(&[("a.rs", &code)])).len(), 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert_eq!(long_files(&Tree::of(&[("a.rs", &tests)])).len(), 0);
    }
}
