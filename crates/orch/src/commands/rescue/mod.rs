//! `orch rescue`: one file per verb.

mod give_up;
mod list;
mod prune;
mod restore;
mod show;

use orch_api::types::{GivenUp, Rescue as Kept};

use crate::args::Rescue;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::Printer;
use crate::untrusted::Untrusted;
use crate::view;

/// Runs a verb.
pub fn run(context: &Context, command: &Rescue) -> Result<Ending> {
    match command {
        Rescue::List => list::run(context),
        Rescue::Show(args) => show::run(context, args),
        Rescue::Restore(args) => restore::run(context, args),
        Rescue::Drop(args) => give_up::run(context, args),
        Rescue::Prune(args) => prune::run(context, args),
    }
}

/// How much there is of it, for a person.
fn amount(kept: &Kept) -> String {
    match (kept.commits, kept.files, kept.bytes) {
        (Some(commits), _, _) => view::count(commits, "commit"),
        (None, Some(files), Some(bytes)) => {
            format!("{}, {}", view::count(files, "file"), size(bytes))
        }
        _ => String::new(),
    }
}

/// Bytes in a unit that leaves few digits.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes >> shift > 0);
    match unit {
        Some((name, shift)) => format!("{} {name}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

/// Says what was given up: a sentence to a person, the ids when quiet.
fn tell_given_up(printer: &Printer, given_up: &GivenUp) -> Result<()> {
    if printer.is_json() {
        return printer.json(given_up);
    }
    for id in &given_up.given_up {
        if printer.is_quiet() {
            printer.line(id)?;
        } else {
            printer.talk(format!("Gave up {}", Untrusted::line(id)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(1_024), "1 KiB");
        assert_eq!(size(5 << 20), "5 MiB");
        assert_eq!(size(3 << 40), "3072 GiB");
    }
}
