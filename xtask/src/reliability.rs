//! Writes the tables of `docs/reliability.md` from what the tests say of themselves, and checks
//! that the page, the tests and the catalogue agree.

mod catalogue;
mod claims;

use anyhow::{Context, Result};

use crate::page::replace;
use crate::tree::{Complaint, Tree, root};
use catalogue::{FAULTS, Fault, PROMISES, Promise};
use claims::{Claims, Witness};

const PAGE: &str = "docs/reliability.md";
const CATALOGUE: &str = "xtask/src/reliability/catalogue.rs";

/// Rewrites the generated parts of the page.
///
/// # Errors
/// The repository cannot be read, a claim cannot be understood, or the page lacks a marker.
pub fn run() -> Result<()> {
    let tree = Tree::read(&root())?;
    let page = tree
        .texts
        .get(PAGE)
        .with_context(|| format!("{PAGE} is missing"))?;
    let fresh = regenerate(page, &claims::collect(&tree)).map_err(anyhow::Error::msg)?;
    std::fs::write(root().join(PAGE), fresh).with_context(|| format!("writing {PAGE}"))?;
    for complaint in in_step(&Tree::read(&root())?) {
        println!("note: {complaint}");
    }
    Ok(())
}

/// Complains where page, tests and catalogue do not agree.
pub fn in_step(tree: &Tree) -> Vec<Complaint> {
    let claims = claims::collect(tree);
    let mut complaints = claims.complaints.clone();
    complaints.extend(PROMISES.iter().filter_map(|row| unshown(row, &claims)));
    complaints.extend(FAULTS.iter().filter_map(|row| uninjected(row, &claims)));
    complaints.extend(unknown(&claims));
    let page = tree.texts.get(PAGE).map_or("", String::as_str);
    match regenerate(page, &claims) {
        Ok(fresh) if fresh == page => {}
        Ok(_) => complaints.push(Complaint::about(
            PAGE,
            "is out of step; run `cargo xtask reliability`",
        )),
        Err(problem) => complaints.push(Complaint::about(PAGE, problem)),
    }
    complaints
}

/// A promise has a test of its name that says which promise it shows, or a reason why not.
fn unshown(row: &Promise, claims: &Claims) -> Option<Complaint> {
    let shown = claims
        .shown
        .iter()
        .any(|shown| shown.number == row.number && shown.by.name == row.name);
    let (number, name) = (row.number, row.name);
    let text = match (shown, row.open) {
        (true, None) | (false, Some(_)) => return None,
        (true, Some(_)) => format!("promise {number} is shown and said to be open"),
        (false, None) => {
            format!("promise {number} needs a test `{name}` with `Promise {number}.` in its doc")
        }
    };
    Some(Complaint::about(CATALOGUE, text))
}

fn uninjected(row: &Fault, claims: &Claims) -> Option<Complaint> {
    let number = row.number;
    let injected = claims.injections.iter().any(|one| one.number == number);
    let text = match (injected, row.open) {
        (true, None) | (false, Some(_)) => return None,
        (true, Some(_)) => format!("fault {number} is injected and said to be open"),
        (false, None) => format!("fault {number} is injected by no test"),
    };
    Some(Complaint::about(CATALOGUE, text))
}

/// Claims about rows that do not exist.
fn unknown(claims: &Claims) -> Vec<Complaint> {
    let promises = claims
        .shown
        .iter()
        .map(|one| ("promise", one.number, &one.by));
    let faults = claims
        .injections
        .iter()
        .map(|one| ("fault", one.number, &one.by));
    let known = |kind: &str, number: u32| match kind {
        "promise" => PROMISES.iter().any(|row| row.number == number),
        _ => FAULTS.iter().any(|row| row.number == number),
    };
    promises
        .chain(faults)
        .filter(|(kind, number, _)| !known(kind, *number))
        .map(|(kind, number, by)| {
            Complaint::at(&by.path, by.line, format!("there is no {kind} {number}"))
        })
        .collect()
}

fn regenerate(page: &str, claims: &Claims) -> Result<String, String> {
    let page = replace(page, "reliability", "promises", &promise_table(claims))?;
    replace(&page, "reliability", "faults", &fault_table(claims))
}

fn promise_table(claims: &Claims) -> String {
    let mut text = "| # | promise | shown by |\n| --- | --- | --- |\n".to_owned();
    for row in PROMISES {
        let shown = claims.shown.iter().filter(|one| one.number == row.number);
        let mut by: Vec<String> = shown.map(|one| link(&one.by)).collect();
        // The test of the promise's own name comes first.
        by.sort_by_key(|text| !text.starts_with(&format!("[`{}`]", row.name)));
        by.extend(row.open.map(|reason| format!("**Open.** {reason}")));
        let by = by.join("<br>");
        text.push_str(&format!("| {} | {} | {by} |\n", row.number, row.says));
    }
    text
}

fn fault_table(claims: &Claims) -> String {
    let mut text =
        "| # | fault | what was done | what held | by |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for row in FAULTS {
        let (number, what) = (row.number, row.what);
        if let Some(reason) = row.open {
            text.push_str(&format!("| {number} | {what} | **Open.** {reason} | | |\n"));
        }
        for one in claims.injections.iter().filter(|one| one.number == number) {
            let (injected, held, by) = (cell(&one.injected), cell(&one.held), link(&one.by));
            text.push_str(&format!(
                "| {number} | {what} | {injected} | {held} | {by} |\n"
            ));
        }
    }
    text
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn link(by: &Witness) -> String {
    format!("[`{}`](../{})", by.name, by.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "<!-- promises: generated by cargo xtask reliability -->\n\
                         <!-- promises: end -->\n\
                         <!-- faults: generated by cargo xtask reliability -->\n\
                         <!-- faults: end -->\n";

    fn whole() -> String {
        let mut text = String::new();
        for row in PROMISES.iter().filter(|row| row.open.is_none()) {
            let (number, name) = (row.number, row.name);
            text.push_str(&format!(
                "/// Promise {number}.\n#[test]\nfn {name}() {{}}\n\n"
            ));
        }
        for row in FAULTS.iter().filter(|row| row.open.is_none()) {
            let number = row.number;
            text.push_str(&format!(
                "/// Fault {number}. Injected: it. Held: all.\n#[test]\nfn fault_{number}() {{}}\n\n"
            ));
        }
        text
    }

    fn complaints(tests: &str) -> Vec<Complaint> {
        let claims = claims::collect(&Tree::of(&[("crates/a/tests/a.rs", tests)]));
        let page = regenerate(EMPTY, &claims).unwrap();
        in_step(&Tree::of(&[(PAGE, &page), ("crates/a/tests/a.rs", tests)]))
    }

    #[test]
    fn numbers_are_in_order_and_names_unique() {
        let numbers: Vec<u32> = PROMISES.iter().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=35).collect::<Vec<u32>>());
        let numbers: Vec<u32> = FAULTS.iter().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=48).collect::<Vec<u32>>());
        let names: std::collections::BTreeSet<&str> = PROMISES.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), PROMISES.len());
    }

    #[test]
    fn all_is_well_where_every_row_has_its_test() {
        assert_eq!(complaints(&whole()), []);
    }

    #[test]
    fn a_missing_test_a_second_truth_and_an_unknown_row_are_noticed() {
        let text = whole();
        for (from, to) in [
            ("fn exact_status()", "fn other_status()"),
            ("/// Fault 20. Injected: it. Held: all.\n", ""),
            (
                "/// Fault 20. Injected",
                "/// Promise 99.\n///\n/// Fault 20. Injected",
            ),
            (
                "/// Fault 20. Injected",
                "/// Fault 99. Injected: a. Held: b.\n///\n/// Fault 20. Injected",
            ),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert_eq!(complaints(&changed).len(), 1, "{from} -> {to}");
        }
        let twice = format!("{text}/// Promise 27.\n#[test]\nfn fencing() {{}}\n");
        assert_eq!(complaints(&twice).len(), 1);
    }

    #[test]
    fn a_page_that_says_something_else_is_noticed() {
        let tests = whole();
        let files = [(PAGE, EMPTY), ("crates/a/tests/a.rs", tests.as_str())];
        assert_eq!(in_step(&Tree::of(&files)).len(), 1);
    }
}
