//! Single keys by their dotted names, as `orch config` shows and sets them.

use super::error::{ConfigError, shown};
use super::read::{self, Tree, Values};
use super::schema::{self, Key, Kind, Section};
use super::value::{Checker, Value};
use super::{did_you_mean, file};
use crate::project::Project;

/// A key and the value that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its dotted name, like `project.max_agents`.
    pub key: String,
    /// The value in the words of the file; null if there is neither a value nor a default.
    pub value: serde_json::Value,
    /// Whether the file says so, rather than the default.
    pub is_set: bool,
}

/// Every key with the value in force, in the order of the page that explains them.
///
/// # Errors
/// As [`super::load`].
pub fn settings(project: &Project, adapters: &[&str]) -> Result<Vec<Setting>, ConfigError> {
    let tree = read::read(&file::read(project)?.text, adapters)?;
    Ok(all(&tree))
}

/// The setting of this name, or all below it when it names a table.
///
/// # Errors
/// `not_found` for a key that does not exist, otherwise as [`super::load`].
pub fn get(project: &Project, key: &str, adapters: &[&str]) -> Result<Vec<Setting>, ConfigError> {
    let tree = read::read(&file::read(project)?.text, adapters)?;
    let key = plain(key);
    let below = format!("{key}.");
    let all = all(&tree);
    let (chosen, others): (Vec<Setting>, Vec<Setting>) = all
        .into_iter()
        .partition(|setting| setting.key == key || setting.key.starts_with(&below));
    if !chosen.is_empty() || key == schema::AGENT.name {
        return Ok(chosen);
    }
    let names = || tree.agents.iter().map(|(name, _)| name.as_str());
    if let Some(name) = agent_of(&key).filter(|name| !names().any(|known| known == *name)) {
        return Err(no_such_agent(name, names()));
    }
    let known = others.iter().map(|setting| setting.key.as_str());
    Err(ConfigError::NoSuchKey {
        suggestion: did_you_mean(&key, known).map(str::to_owned),
        key: shown(&key),
    })
}

/// The error that says that none of the agents `names` is called so.
pub(super) fn no_such_agent<'a>(
    name: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> ConfigError {
    ConfigError::NoSuchAgent {
        suggestion: did_you_mean(name, names).map(str::to_owned),
        name: shown(name),
    }
}

fn agent_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("agents.")?;
    Some(match Address::parse(key) {
        Ok(Address {
            table: Table::Agent(name),
            ..
        }) => name,
        _ => rest,
    })
}

fn all(tree: &Tree) -> Vec<Setting> {
    let nothing = Values::new();
    let mut settings = Vec::new();
    for section in schema::SECTIONS {
        let values = tree.sections.get(section.name).unwrap_or(&nothing);
        add(&mut settings, section.name, section, values);
    }
    for (name, values) in &tree.agents {
        add(
            &mut settings,
            &format!("agents.{name}"),
            &schema::AGENT,
            values,
        );
    }
    for (definition, values) in &tree.own {
        let prefix = format!("adapters.{}", definition.name);
        add(&mut settings, &prefix, &schema::ADAPTER, values);
    }
    settings
}

fn add(settings: &mut Vec<Setting>, prefix: &str, section: &Section, values: &Values) {
    for key in section.keys {
        let value = values.get(key.name);
        let name = format!("{prefix}.{}", key.name);
        let json = value.map(Value::to_json).or_else(|| default_of(key));
        match json {
            Some(serde_json::Value::Object(table)) if !table.is_empty() => {
                settings.extend(table.into_iter().map(|(entry, value)| Setting {
                    key: format!("{name}.{entry}"),
                    value,
                    is_set: true,
                }));
            }
            json => settings.push(Setting {
                key: name,
                value: json.unwrap_or(serde_json::Value::Null),
                is_set: value.is_some(),
            }),
        }
    }
}

/// The default of a key in the words of the file.
pub(super) fn default_of(key: &Key) -> Option<serde_json::Value> {
    let item = toml_edit::Item::Value(key.default?.parse().ok()?);
    Checker::new(&[])
        .value(key.name, &key.kind, &item)
        .map(|value| value.to_json())
}

/// Where a dotted key is written.
#[derive(Debug)]
pub(super) struct Address<'a> {
    /// The table it is in.
    pub(super) table: Table<'a>,
    /// The key in it.
    pub(super) key: &'static Key,
    /// The entry of the key's own table, for `env` and `adapters`.
    pub(super) entry: Option<&'a str>,
}

/// A table of the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table<'a> {
    /// A section.
    Section(&'static str),
    /// An agent.
    Agent(&'a str),
    /// A kind of agent of the user's own.
    Adapter(&'a str),
}

impl<'a> Address<'a> {
    /// Reads `section.key`, `limits.adapters.ADAPTER`, `agents.NAME.key` or
    /// `agents.NAME.env.VARIABLE`. A name may contain dots.
    pub(super) fn parse(key: &'a str) -> Result<Self, ConfigError> {
        let adapter = key.strip_prefix("adapters.");
        let found = match (key.strip_prefix("agents."), adapter) {
            (Some(rest), _) => of_agent(rest),
            (None, Some(rest)) => of_adapter(rest),
            (None, None) => of_section(key),
        };
        found.ok_or_else(|| unknown_key(key))
    }
}

fn of_agent(rest: &str) -> Option<Address<'_>> {
    if let Some((name, variable)) = rest.rsplit_once(".env.") {
        return Some(Address {
            table: Table::Agent(unquoted(name)),
            key: schema::AGENT.key("env")?,
            entry: Some(variable),
        });
    }
    let (name, key) = rest.rsplit_once('.')?;
    Some(Address {
        table: Table::Agent(unquoted(name)),
        key: schema::AGENT.key(key)?,
        entry: None,
    })
}

fn of_adapter(rest: &str) -> Option<Address<'_>> {
    let (name, key) = rest.rsplit_once('.')?;
    Some(Address {
        table: Table::Adapter(unquoted(name)),
        key: schema::ADAPTER.key(key)?,
        entry: None,
    })
}

fn of_section(key: &str) -> Option<Address<'_>> {
    let (section, rest) = key.split_once('.')?;
    let section = schema::SECTIONS.iter().find(|s| s.name == section)?;
    let (name, entry) = match rest.split_once('.') {
        Some((name, entry)) => (name, Some(entry)),
        None => (rest, None),
    };
    let key = section.key(name)?;
    let may_have_entries = matches!(key.kind, Kind::Caps | Kind::Environment);
    (entry.is_none() || may_have_entries).then_some(Address {
        table: Table::Section(section.name),
        key,
        entry,
    })
}

fn unknown_key(key: &str) -> ConfigError {
    let sections = schema::SECTIONS.iter().flat_map(|section| {
        let full = |key: &Key| format!("{}.{}", section.name, key.name);
        section.keys.iter().map(full)
    });
    let agent = key.strip_prefix("agents.").and_then(|r| r.rsplit_once('.'));
    let of_agent = agent.into_iter().flat_map(|(name, _)| {
        let full = move |key: &Key| format!("agents.{name}.{}", key.name);
        schema::AGENT.keys.iter().map(full)
    });
    let known: Vec<String> = sections.chain(of_agent).collect();
    ConfigError::NoSuchKey {
        suggestion: did_you_mean(key, known.iter().map(String::as_str)).map(shown),
        key: shown(key),
    }
}

/// A key without the quotes that TOML wants around a name with dots.
fn plain(key: &str) -> String {
    key.replace('"', "")
}

fn unquoted(name: &str) -> &str {
    name.strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
        .unwrap_or(name)
}
