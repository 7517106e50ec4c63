//! The rules of the house that neither the compiler nor clippy checks.
//!
//! Each rule is a function from the [`Tree`] to complaints, and each has a test that it can fail.

mod code;
mod edges;
mod links;
mod map;
mod points;
mod ratchet;
mod text;

use anyhow::{Result, bail};

use crate::lifecycle;
use crate::limits;
use crate::reliability;
use crate::tree::{Complaint, Tree, root};

/// A rule: what it is called and what it finds.
type Rule = (&'static str, fn(&Tree) -> Vec<Complaint>);

const RULES: &[Rule] = &[
    ("edges between crates", edges::crates),
    ("who may use which library", edges::libraries),
    ("number of packages", edges::package_count),
    ("words that do not belong here", code::words),
    ("SQL outside the store", code::sql),
    ("allow without a reason", code::allows),
    ("module docs", code::module_docs),
    ("function length", ratchet::functions),
    ("layout", text::layout),
    ("paths of one machine", text::machine_paths),
    ("links in docs", links::links),
    ("code map", map::code_map),
    ("failpoints in the code", points::hit_once),
    ("failpoints in no release", points::off_by_default),
    ("lifecycle tables", lifecycle::in_step),
    ("list of limits", limits::in_step),
    ("reliability tables", reliability::in_step),
];

/// Checks the whole repository and says how many rules held.
///
/// # Errors
/// The repository cannot be read, or breaks a rule; every breach has been printed.
pub fn run() -> Result<String> {
    let tree = Tree::read(&root())?;
    let mut complaints = 0;
    for (name, rule) in RULES {
        let found = rule(&tree);
        if !found.is_empty() {
            println!("tidy: {name}");
        }
        for complaint in &found {
            println!("  {complaint}");
        }
        complaints += found.len();
    }
    for note in ratchet::long_files(&tree) {
        println!("note: {note}");
    }
    if complaints > 0 {
        bail!("{complaints} breaches of the rules of the house, listed above");
    }
    let (rules, files) = (RULES.len(), tree.texts.len());
    Ok(format!("{rules} rules hold in {files} files"))
}
