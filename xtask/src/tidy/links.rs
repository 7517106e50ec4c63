//! Links of the docs: a page, a file or a heading that is not there.

use std::collections::BTreeSet;

use crate::tree::{Complaint, Tree};

/// Links in Markdown that lead nowhere inside the repository.
pub fn links(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in targets(text) {
            if let Some(problem) = problem(tree, path, &target) {
                complaints.push(Complaint::at(path, line, problem));
            }
        }
    }
    complaints
}

fn problem(tree: &Tree, page: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        file => match resolve(page, file) {
            Some(path) if tree.exists(&path) => path,
            _ => return Some(format!("'{target}' leads nowhere")),
        },
    };
    match tree.texts.get(&path) {
        Some(text) if !anchor.is_empty() && !headings(text).contains(anchor) => {
            Some(format!("'{target}': there is no such heading"))
        }
        _ => None,
    }
}

/// `file` as seen from `page`, from the root of the repository; `None` if it leaves that.
fn resolve(page: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Lines of a page that are not code, numbered.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((number, line));
        }
    }
    lines
}

/// The targets of `[text](target)`, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every other piece between back quotes is code.
        let line: Vec<&str> = line.split('`').step_by(2).collect();
        let line = line.join("`");
        for (at, _) in line.match_indices("](") {
            if let Some((target, _)) = line[at + 2..].split_once(')') {
                let target = target.split_whitespace().next().unwrap_or_default();
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// The anchors of a page: its headings in lower case, words joined by `-`.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = prose(text).into_iter();
    let headings = lines.filter_map(|(_, line)| line.strip_prefix('#'));
    headings
        .map(|heading| anchor(heading.trim_start_matches('#').trim()))
        .collect()
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            character => character.is_alphanumeric().then_some(character),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> usize {
        let other = "# Other page\n\n## One, two: `three`\n";
        links(&Tree::of(&[
            ("docs/a.md", text),
            ("docs/b.md", other),
            ("src/c.rs", ""),
        ]))
        .len()
    }

    #[test]
    fn links_lead_somewhere() {
        for good in [
            "[b](b.md)",
            "[b](b.md#one-two-three)",
            "[c](../src/c.rs)",
            "[folder](../src/)",
            "# Here\n[here](#here)",
            "[web](https://example.com/x)",
            "`[not](a link)`",
            "```\n[code](x.md)\n```",
        ] {
            assert_eq!(check(good), 0, "{good}");
        }
        for bad in [
            "[x](x.md)",
            "[b](b.md#four)",
            "[up](../../x)",
            "[here](#here)",
            "`a` [x](y) `b`",
        ] {
            assert_eq!(check(bad), 1, "{bad}");
        }
    }
}
