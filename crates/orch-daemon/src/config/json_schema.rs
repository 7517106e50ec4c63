//! The JSON Schema of `orch.toml`, for editors: completion and a first check while typing.
//!
//! It is made from the table that the reader uses. It knows less than the reader: what two keys
//! say together, and the rules for single variables, are not in it.

use orch_core::limits;
use serde_json::{Map, Value, json};

use super::prices;
use super::schema::{self, ARGUMENT_BYTES, ARGUMENTS, Key, Kind, Section};

/// The schema, with these kinds of agents.
#[must_use]
pub fn json_schema(adapters: &[&str]) -> Value {
    let mut sections = Map::new();
    for section in schema::SECTIONS {
        sections.insert(section.name.to_owned(), table(section, adapters));
    }
    let mut agent = table(&schema::AGENT, adapters);
    agent["required"] = json!(["adapter"]);
    let agents = json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": limits::AGENT_NAME_BYTES },
        "additionalProperties": agent,
    });
    sections.insert(schema::AGENT.name.to_owned(), agents);
    sections.insert(prices::NAME.to_owned(), price_table());
    let mut own = table(&schema::ADAPTER, adapters);
    own["required"] = json!(["command"]);
    let own = json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "not": { "enum": adapters } },
        "additionalProperties": own,
    });
    sections.insert(schema::ADAPTER.name.to_owned(), own);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "orch.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

fn table(section: &Section, adapters: &[&str]) -> Value {
    let properties: Map<String, Value> = section
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key, adapters)))
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn price_table() -> Value {
    let dollars = json!({ "type": "number", "minimum": 0, "maximum": prices::MOST });
    let keys = prices::KEYS.map(|key| (key.to_owned(), dollars.clone()));
    json!({
        "type": "object",
        "description": "list prices by model, US dollars per million tokens; MODEL* is every model \
                        whose name begins so",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": false,
            "required": ["input", "output"],
            "properties": keys.into_iter().collect::<Map<_, _>>(),
        },
    })
}

fn property(key: &Key, adapters: &[&str]) -> Value {
    let mut property = of_kind(&key.kind, adapters);
    property["description"] = json!(format!("{}: {}", key.about, key.kind.expected(adapters)));
    if let Some(default) = super::settings::default_of(key) {
        property["default"] = default;
    }
    property
}

fn of_kind(kind: &Kind, adapters: &[&str]) -> Value {
    let text = |most: usize| json!({ "type": "string", "minLength": 1, "maxLength": most });
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        Kind::Line { most } | Kind::Text { most } => text(*most),
        Kind::Label => text(limits::LABEL_BYTES),
        Kind::Branch => pattern("^[^-. ~^:?*\\[\\\\][^ ~^:?*\\[\\\\]*$"),
        // One of those, or one that the file itself defines.
        Kind::Adapter => json!({ "anyOf": [{ "enum": adapters }, text(limits::AGENT_NAME_BYTES)] }),
        Kind::Word(words) => json!({ "enum": words() }),
        Kind::Count { least, most } => count(*least, *most),
        Kind::Duration { optional, .. } => pattern(if *optional {
            "^(none|(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"
        } else {
            "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
        }),
        Kind::Size { .. } => pattern("^(?=.)([0-9]+[TGMK]iB)*([0-9]+B)?$"),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Labels => json!({
            "type": "array",
            "maxItems": limits::LABELS,
            "items": text(limits::LABEL_BYTES),
        }),
        Kind::Arguments => json!({
            "type": "array",
            "maxItems": ARGUMENTS,
            "items": { "type": "string", "maxLength": ARGUMENT_BYTES },
        }),
        Kind::Environment => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "additionalProperties": { "type": "string", "maxLength": ARGUMENT_BYTES },
        }),
        Kind::Caps => json!({
            "type": "object",
            "propertyNames": { "anyOf": [{ "enum": adapters }, text(limits::AGENT_NAME_BYTES)] },
            "additionalProperties": count(1, limits::MAX_AGENTS),
        }),
    }
}

fn count(least: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published file.
    const PUBLISHED: &str = include_str!("../../../../docs/orch.schema.json");

    #[test]
    fn the_published_schema_is_what_the_reader_knows() {
        let adapters: Vec<&str> = orch_host::adapter::all().iter().map(|a| a.name).collect();
        let schema = json_schema(&adapters);
        if serde_json::from_str::<Value>(PUBLISHED).ok().as_ref() != Some(&schema) {
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            let fresh = std::env::temp_dir().join("orch.schema.json");
            std::fs::write(&fresh, text).unwrap();
            panic!(
                "docs/orch.schema.json is not up to date; {} is",
                fresh.display()
            );
        }
    }

    #[test]
    fn every_key_is_described() {
        let schema = json_schema(&["shell"]);
        let agent = &schema["properties"]["agents"]["additionalProperties"]["properties"];
        for key in schema::AGENT.keys {
            assert!(agent[key.name]["description"].is_string(), "{}", key.name);
        }
        assert_eq!(
            schema["properties"]["defaults"]["properties"]["timeout"]["default"],
            "2h"
        );
    }
}
