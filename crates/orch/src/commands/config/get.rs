//! `orch config get`

use orch_daemon::config::{self, Setting};
use serde_json::{Map, Value, json};

use crate::args::ConfigGet;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::table::{Cell, Table};
use crate::untrusted::Untrusted;

/// Prints one value, or a table of them.
pub fn run(context: &Context, args: &ConfigGet) -> Result<Ending> {
    let project = context.project()?;
    let adapters = orch_daemon::adapters();
    let settings = match &args.key {
        Some(key) => config::get(&project, key, &adapters)?,
        None => config::settings(&project, &adapters)?,
    };
    let printer = &context.printer;
    match (settings.as_slice(), &args.key) {
        ([only], Some(key)) if only.key == *key => one(printer, only)?,
        _ => several(printer, &settings)?,
    }
    Ok(Ending::Done)
}

fn one(printer: &Printer, setting: &Setting) -> Result<()> {
    if printer.is_json() {
        let Setting { key, value, is_set } = setting;
        return printer.json(&json!({ "key": key, "value": value, "is_set": is_set }));
    }
    printer.line(Untrusted::block(&shown(&setting.value)))
}

fn several(printer: &Printer, settings: &[Setting]) -> Result<()> {
    if printer.is_json() {
        let values = settings.iter().map(|it| (it.key.clone(), it.value.clone()));
        return printer.json(&values.collect::<Map<String, Value>>());
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]).giving_way("VALUE");
    for setting in settings {
        let from = if setting.is_set {
            "orch.toml"
        } else {
            "default"
        };
        let from = Cell::new(from).label(Label::Faint);
        table.row(vec![
            setting.key.as_str().into(),
            shown(&setting.value).into(),
            from,
        ]);
    }
    printer.table(&table)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
