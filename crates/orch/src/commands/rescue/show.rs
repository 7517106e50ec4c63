//! `orch rescue show`

use orch_api::types::RescueContents;

use super::{amount, size};
use crate::args::RescueId;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// Characters of a commit's name that tell it apart for a person.
const SHORT_COMMIT: usize = 10;

/// Shows what is in something that is kept.
pub fn run(context: &Context, args: &RescueId) -> Result<Ending> {
    let printer = &context.printer;
    let contents = context.client()?.rescue(&args.id)?;
    if printer.is_json() {
        printer.json(&contents)?;
    } else if printer.is_quiet() {
        printer.line(&contents.rescue.id)?;
    } else {
        tell(printer, &contents)?;
    }
    Ok(Ending::Done)
}

fn tell(printer: &Printer, contents: &RescueContents) -> Result<()> {
    let kept = &contents.rescue;
    printer.line(format!(
        "{}  {}  {}",
        Untrusted::line(&kept.id),
        Untrusted::line(&kept.kind),
        amount(kept)
    ))?;
    let moment = |time: &Option<String>| time.as_ref().map(|it| view::moment(printer, it));
    let facts = [
        ("why", kept.why.clone()),
        ("since", moment(&kept.at)),
        ("until", moment(&kept.expires_at)),
        ("ref", kept.reference.clone()),
        ("files", kept.path.clone()),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            let name = printer.painted(Label::Faint, &format!("{name:6}"));
            printer.line(format!("{name} {}", Untrusted::line(&value)))?;
        }
    }
    for commit in &contents.list_of_commits {
        let short: String = commit.commit.chars().take(SHORT_COMMIT).collect();
        let subject = Untrusted::line(&commit.subject);
        printer.line(format!("commit {} {subject}", Untrusted::line(&short)))?;
    }
    for file in &contents.list_of_files {
        let path = Untrusted::line(&file.path);
        match file.bytes {
            Some(bytes) => printer.line(format!("file   {path}  {}", size(bytes)))?,
            None => printer.line(format!("file   {path}"))?,
        }
    }
    if contents.more {
        printer.line("and more")?;
    }
    printer.hint(format!(
        "'orch rescue restore {}' gives it back",
        Untrusted::line(&kept.id)
    ))
}
