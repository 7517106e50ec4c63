//! Changing `orch.toml`: one change at a time, checked as a whole before it replaces the file.

use std::collections::BTreeMap;
use std::path::Path;

use orch_core::id::AgentName;
use toml_edit::{Array, InlineTable, Item, Value};

use super::error::{ConfigError, Fault, shown};
use super::model::Loaded;
use super::schema::{self, Kind};
use super::settings::{Address, Table, no_such_agent};
use super::text::{self, Entry};
use super::value::Checker;
use super::{file, loaded, name_of, read, template};
use crate::project::Project;

/// How often a change is made anew when somebody without the lock, such as an editor, replaced
/// the file in the meantime.
const TRIES: u32 = 5;

/// What `orch init` did.
#[derive(Debug)]
pub struct Initialised {
    /// The project.
    pub project: Project,
    /// Whether it was not one before.
    pub created: bool,
}

/// What to write about an agent; `None` leaves a key as it is, and an empty text or list takes
/// it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFields {
    /// The kind of agent.
    pub adapter: Option<String>,
    /// The model it asks for.
    pub model: Option<String>,
    /// What it is for.
    pub role: Option<String>,
    /// What it can do; all labels, not additional ones.
    pub labels: Option<Vec<String>>,
    /// The command, or the program.
    pub command: Option<String>,
    /// What it is told before every task.
    pub system_prompt: Option<String>,
    /// What it may do without asking.
    pub permission: Option<String>,
    /// How hard it is to think.
    pub effort: Option<String>,
    /// A file of MCP servers.
    pub mcp: Option<String>,
    /// What a success must have left behind.
    pub require: Option<String>,
    /// Whether later runs go on with earlier sessions.
    pub resume: Option<bool>,
    /// Most turns in one run.
    pub max_turns: Option<u32>,
    /// Runs at once.
    pub max_parallel: Option<u32>,
    /// Variables to set, or with `None` to take away. As in the file: "$NAME" refers.
    pub env: BTreeMap<String, Option<String>>,
    /// Arguments; all of them, not additional ones.
    pub args: Option<Vec<String>>,
    /// Whether it may be given work.
    pub enabled: Option<bool>,
}

/// Makes `root`, which [`crate::init()`] has found to be the top of a git repository, a project:
/// writes an `orch.toml` with comments and makes the state directory. An `orch.toml` that is there
/// already is left as it is. `name` is the name of the directory unless given, `target` the branch
/// to land on.
///
/// # Errors
/// `config` for a name or branch that cannot be one, `not_allowed` for a state directory that
/// cannot be trusted, `internal` when the disk said no.
pub fn init(
    root: &Path,
    name: Option<&str>,
    target: Option<&str>,
) -> Result<Initialised, ConfigError> {
    let project = Project::at(root)?;
    let usual = name_of(&project.root);
    let name = name.unwrap_or(&usual);
    check("name", "name", &schema::PROJECT, &Value::from(name), &[])?;
    if let Some(branch) = target {
        check(
            "target",
            "target",
            &schema::PROJECT,
            &Value::from(branch),
            &[],
        )?;
    }
    project.ensure_state()?;
    let _lock = file::ConfigLock::take(&project)?;
    let created = project.config.symlink_metadata().is_err();
    if created {
        file::create(&project, &template::render(name, target))?;
    }
    Ok(Initialised { project, created })
}

/// Adds an agent at the end of the file.
///
/// # Errors
/// `conflict` when there is one of this name, `config` for a value that is not one for its key,
/// otherwise as [`super::load`].
pub fn add_agent(
    project: &Project,
    name: &AgentName,
    fields: &AgentFields,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    let own = own_names(project);
    let entries = entries(fields, &with(adapters, &own))?;
    change(project, adapters, |source| {
        if text::has_table(source, &["agents", name.as_str()])? {
            return Err(ConfigError::AgentExists(name.to_string()));
        }
        let kept: Vec<Entry> = entries
            .iter()
            .filter(|e| e.value.is_some())
            .cloned()
            .collect();
        text::add_table(source, &["agents", name.as_str()], &kept)
    })
}

/// Changes an agent.
///
/// # Errors
/// `not_found` without an agent of this name, `config` for a value that is not one for its key,
/// otherwise as [`super::load`].
pub fn edit_agent(
    project: &Project,
    name: &AgentName,
    fields: &AgentFields,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    let own = own_names(project);
    let mut entries = entries(fields, &with(adapters, &own))?;
    entries.retain(|entry| entry.key != "env");
    let table = ["agents", name.as_str()];
    change(project, adapters, |source| {
        must_exist(source, name.as_str())?;
        let mut result = text::assign(source, &table, &entries)?;
        for (variable, value) in &fields.env {
            let value = value.as_deref().map(Value::from);
            result = text::assign_nested(&result, &table, "env", variable, value)?;
        }
        Ok(result)
    })
}

/// Copies a kind of agent that one project defines into another, where there is none of its name.
///
/// # Errors
/// As [`super::load`], for either of them.
pub fn copy_adapter(
    from: &Project,
    into: &Project,
    name: &str,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    let source = file::read(from)?.text;
    change(into, adapters, |text| {
        text::copy_table(&source, text, schema::ADAPTER.name, name)
    })
}

/// Removes an agent, and the comment directly above it.
///
/// # Errors
/// `not_found` without an agent of this name, otherwise as [`super::load`].
pub fn remove_agent(
    project: &Project,
    name: &AgentName,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    change(project, adapters, |source| {
        must_exist(source, name.as_str())?;
        text::remove_table(source, "agents", name.as_str())
    })
}

/// Lets an agent have work, or not.
///
/// # Errors
/// As [`edit_agent`].
pub fn set_enabled(
    project: &Project,
    name: &AgentName,
    enabled: bool,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    let fields = AgentFields {
        enabled: Some(enabled),
        ..AgentFields::default()
    };
    edit_agent(project, name, &fields, adapters)
}

/// Sets a key by its dotted name. `value` is read as the type the key has: a list as words with
/// commas or as a TOML list, everything else as it is.
///
/// # Errors
/// `not_found` for a key or agent that does not exist, `config` for a value that is not one for
/// the key, otherwise as [`super::load`].
pub fn set(
    project: &Project,
    key: &str,
    value: &str,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    let address = Address::parse(key)?;
    let value = typed(&address, value);
    let own = own_names(project);
    check_at(&address, key, &value, &with(adapters, &own))?;
    assign_at(project, &address, Some(&value), adapters)
}

/// Takes a key away, so that its default is in force.
///
/// # Errors
/// As [`set`].
pub fn unset(project: &Project, key: &str, adapters: &[&str]) -> Result<Loaded, ConfigError> {
    assign_at(project, &Address::parse(key)?, None, adapters)
}

fn assign_at(
    project: &Project,
    address: &Address<'_>,
    value: Option<&Value>,
    adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    change(project, adapters, |source| {
        let path = match address.table {
            Table::Section(section) => vec![section],
            Table::Agent(name) => {
                must_exist(source, name)?;
                vec!["agents", name]
            }
            Table::Adapter(name) => vec![schema::ADAPTER.name, name],
        };
        let (key, value) = (address.key.name, value.cloned());
        match address.entry {
            Some(entry) => text::assign_nested(source, &path, key, entry, value),
            None => text::assign(source, &path, &[Entry { key, value }]),
        }
    })
}

/// The one way a file is changed: lock, read, change, check the whole, replace.
fn change(
    project: &Project,
    adapters: &[&str],
    apply: impl Fn(&str) -> Result<String, ConfigError>,
) -> Result<Loaded, ConfigError> {
    if project.config.symlink_metadata().is_err() {
        // Without a project there is no place for a lock either.
        file::read(project)?;
    }
    project.ensure_state()?;
    let _lock = file::ConfigLock::take(project)?;
    for _ in 0..TRIES {
        let source = file::read_to_edit(project)?;
        let text = apply(&source.text)?;
        let tree = read::read(&text, adapters)?;
        if text == source.text || file::replace(project, &source, &text)? {
            return Ok(loaded(project, &tree, super::stamp(project)?));
        }
    }
    Err(ConfigError::Busy("something else keeps changing it"))
}

/// The kinds of agents that the file defines. A file that cannot be read is told of later.
fn own_names(project: &Project) -> Vec<String> {
    let source = file::read(project);
    source.map_or_else(|_| Vec::new(), |source| read::own_names(&source.text))
}

fn with<'a>(adapters: &[&'a str], own: &'a [String]) -> Vec<&'a str> {
    let own = own.iter().map(String::as_str);
    adapters.iter().copied().chain(own).collect()
}

fn must_exist(source: &str, name: &str) -> Result<(), ConfigError> {
    if text::has_table(source, &["agents", name])? {
        return Ok(());
    }
    let names = text::keys(source, "agents")?;
    Err(no_such_agent(name, names.iter().map(String::as_str)))
}

/// The fields as entries of a table, in the order of the schema, each checked.
fn entries(fields: &AgentFields, adapters: &[&str]) -> Result<Vec<Entry>, ConfigError> {
    let text = |field: &Option<String>| field.as_deref().map(Value::from);
    let list = |field: &Option<Vec<String>>| {
        let texts = field.as_ref()?;
        Some(Value::Array(texts.iter().map(String::as_str).collect()))
    };
    let count = |field: Option<u32>| field.map(|number| Value::from(i64::from(number)));
    let all = [
        ("adapter", text(&fields.adapter)),
        ("model", text(&fields.model)),
        ("role", text(&fields.role)),
        ("labels", list(&fields.labels)),
        ("command", text(&fields.command)),
        ("system_prompt", text(&fields.system_prompt)),
        ("permission", text(&fields.permission)),
        ("effort", text(&fields.effort)),
        ("mcp", text(&fields.mcp)),
        ("require", text(&fields.require)),
        ("resume", fields.resume.map(Value::from)),
        ("max_turns", count(fields.max_turns)),
        ("max_parallel", count(fields.max_parallel)),
        ("env", environment(&fields.env)),
        ("args", list(&fields.args)),
        ("enabled", fields.enabled.map(Value::from)),
    ];
    let mut entries = Vec::new();
    for (key, value) in all {
        let Some(value) = value else { continue };
        let value = if is_empty(&value) {
            None
        } else {
            check(key, key, &schema::AGENT, &value, adapters)?;
            Some(value)
        };
        entries.push(Entry { key, value });
    }
    Ok(entries)
}

fn environment(variables: &BTreeMap<String, Option<String>>) -> Option<Value> {
    let table: InlineTable = variables
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
        .collect();
    (!table.is_empty()).then_some(Value::InlineTable(table))
}

fn is_empty(value: &Value) -> bool {
    value.as_str() == Some("") || value.as_array().is_some_and(Array::is_empty)
}

/// Checks a value before it is written, so that the error speaks of the key and not of a line
/// that does not exist yet.
fn check(
    said: &str,
    key: &str,
    section: &schema::Section,
    value: &Value,
    adapters: &[&str],
) -> Result<(), ConfigError> {
    let mut checker = Checker::new(adapters);
    if let Some(key) = section.key(key) {
        checker.value(said, &key.kind, &Item::Value(value.clone()));
    }
    first_fault(checker)
}

fn check_at(
    address: &Address<'_>,
    said: &str,
    value: &Value,
    adapters: &[&str],
) -> Result<(), ConfigError> {
    let whole = match address.entry {
        Some(entry) => Value::InlineTable([(entry, value.clone())].into_iter().collect()),
        None => value.clone(),
    };
    let mut checker = Checker::new(adapters);
    checker.value(&shown(said), &address.key.kind, &Item::Value(whole));
    first_fault(checker)
}

fn first_fault(checker: Checker<'_>) -> Result<(), ConfigError> {
    let faults: Vec<Fault> = checker.found.into_iter().map(|l| l.fault).collect();
    match faults.into_iter().next() {
        Some(fault) => Err(ConfigError::Value(fault)),
        None => Ok(()),
    }
}

/// A word of the command line as the type that the key has. What does not look like it stays a
/// text, and the check says what is wrong with it.
fn typed(address: &Address<'_>, text: &str) -> Value {
    let as_text = || Value::from(text);
    let written = || text.parse::<Value>().ok();
    match address.key.kind {
        Kind::Caps if address.entry.is_some() => number(text).unwrap_or_else(as_text),
        Kind::Environment if address.entry.is_some() => as_text(),
        Kind::Caps | Kind::Environment => written().unwrap_or_else(as_text),
        Kind::Count { .. } => number(text).unwrap_or_else(as_text),
        Kind::Switch => text.parse::<bool>().map_or_else(|_| as_text(), Value::from),
        Kind::Labels | Kind::Arguments => match written().filter(Value::is_array) {
            Some(list) => list,
            None => Value::Array(words(text)),
        },
        _ => as_text(),
    }
}

fn number(text: &str) -> Option<Value> {
    text.parse::<i64>().ok().map(Value::from)
}

fn words(text: &str) -> Array {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}
