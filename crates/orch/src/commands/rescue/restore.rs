//! `orch rescue restore`

use orch_api::types::{RestoreRescue, Restored};

use crate::args::RescueRestore;
use crate::context::Context;
use crate::error::{Result, UserError};
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Gives something back.
pub fn run(context: &Context, args: &RescueRestore) -> Result<Ending> {
    let printer = &context.printer;
    let how = RestoreRescue {
        branch: args.branch.clone(),
        to: absolute(args)?,
    };
    let restored = context.client()?.restore_rescue(&args.id, &how)?;
    if printer.is_json() {
        printer.json(&restored)?;
    } else if printer.is_quiet() {
        printer.line(place(&restored))?;
    } else {
        printer.talk(sentence(&restored))?;
    }
    Ok(Ending::Done)
}

/// The daemon stands elsewhere than who asks it.
fn absolute(args: &RescueRestore) -> Result<Option<String>> {
    let Some(to) = &args.to else {
        return Ok(None);
    };
    let to = std::path::absolute(to)
        .map_err(|error| UserError::io("cannot tell what path is meant", &error))?;
    match to.into_os_string().into_string() {
        Ok(to) => Ok(Some(to)),
        Err(_) => Err(UserError::usage("bad_path", "the path is not UTF-8")),
    }
}

fn place(restored: &Restored) -> &str {
    let place = restored.branch.as_ref().or(restored.path.as_ref());
    place.map_or("", String::as_str)
}

fn sentence(restored: &Restored) -> String {
    let (id, place) = (
        Untrusted::line(&restored.id),
        Untrusted::line(place(restored)),
    );
    match &restored.branch {
        Some(_) => format!("Restored {id} as branch {place}"),
        None => format!("Restored {id} to {place}"),
    }
}
