//! From the text of `orch.toml` to what it says. Pure: no file is touched here.

use std::collections::BTreeMap;

use orch_core::config::{Agent, Config, Resumes, TaskDefaults};
use orch_core::id::AgentName;
use orch_host::adapter::{
    self, Definition, McpServer, McpTransport, Occasion, Rule, SettingsError,
};
use toml_edit::{Document, Item, TableLike};

use super::error::{ConfigError, Fault, Problem, shown};
use super::model::{AgentEntry, Cleanup, PromptFiles, RunLimits};
use super::prices::{self, Prices};
use super::schema::{self, Section};
use super::value::{Checker, Value, key_span, shown_value};

/// Problems that are told one by one; further ones are counted.
const PROBLEMS: usize = 20;

/// The values of one table, by key.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// Everything the file says, checked.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// By section name.
    pub(super) sections: BTreeMap<&'static str, Values>,
    /// In the order of the file.
    pub(super) agents: Vec<(AgentName, Values)>,
    /// What the user says tokens cost.
    pub(super) prices: Prices,
    /// Kinds of agents of the user's own, in the order of the file.
    pub(super) own: Vec<(Definition, Values)>,
}

/// Reads the text of a configuration. All that is wrong with it is reported at once.
pub(super) fn read(text: &str, adapters: &[&str]) -> Result<Tree, ConfigError> {
    let document = Document::parse(text).map_err(|error| syntax(text, &error))?;
    let known = known(adapters, document.as_table());
    let mut checker = Checker::new(&known);
    let tree = sections(&mut checker, document.as_table());
    if checker.found.is_empty() {
        return Ok(tree);
    }
    let mut found = checker.found;
    found.sort_by_key(|located| located.span.as_ref().map_or(0, |span| span.start));
    let more = found.len().saturating_sub(PROBLEMS);
    let problems = found.into_iter().take(PROBLEMS).map(|located| {
        let at = located.span.map_or(0, |span| span.start);
        problem(text, at, located.fault)
    });
    Err(ConfigError::Invalid {
        problems: problems.collect(),
        more,
    })
}

/// All kinds of agents: those of this version, and those that the file defines.
fn known<'a>(adapters: &[&'a str], root: &'a dyn TableLike) -> Vec<&'a str> {
    let own = root.get(schema::ADAPTER.name).and_then(Item::as_table_like);
    let own = own
        .into_iter()
        .flat_map(|table| table.iter().map(|(name, _)| name));
    adapters.iter().copied().chain(own).collect()
}

/// The kinds of agents that a text defines, as far as it can be read.
pub(super) fn own_names(text: &str) -> Vec<String> {
    let Ok(document) = Document::parse(text) else {
        return Vec::new();
    };
    let names = known(&[], document.as_table());
    names.into_iter().map(str::to_owned).collect()
}

pub(super) fn syntax(text: &str, error: &toml_edit::TomlError) -> ConfigError {
    let fault = Fault::plain(error.message().trim().replace('\n', "; "));
    let at = error.span().map_or(text.len(), |span| span.start);
    ConfigError::one(problem(text, at, fault))
}

fn problem(text: &str, at: usize, fault: Fault) -> Problem {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Problem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        fault,
    }
}

fn sections(checker: &mut Checker<'_>, root: &dyn TableLike) -> Tree {
    let mut tree = Tree::default();
    let mut known: Vec<&str> = schema::SECTIONS.iter().map(|s| s.name).collect();
    known.extend([schema::AGENT.name, schema::ADAPTER.name, prices::NAME]);
    // First, because agents refer to them.
    if let Some(item) = root.get(schema::ADAPTER.name)
        && let Some(table) = table_of(checker, root, schema::ADAPTER.name, item)
    {
        tree.own = definitions(checker, table);
    }
    for (name, item) in root
        .iter()
        .filter(|(name, _)| *name != schema::ADAPTER.name)
    {
        let section = schema::SECTIONS.iter().find(|section| section.name == name);
        if !known.contains(&name) {
            let what = format!("unknown section '{}'", shown(name));
            checker.note(key_span(root, name), Fault::unknown(what, name, &known));
        } else if let Some(table) = table_of(checker, root, name, item) {
            match section {
                Some(section) => {
                    let values = values(checker, section, table);
                    tree.sections.insert(section.name, values);
                }
                None if name == prices::NAME => tree.prices = prices::read(checker, table),
                None => tree.agents = agents(checker, table, &tree.own),
            }
        }
    }
    check_retry(checker, root, &tree);
    tree
}

fn table_of<'a>(
    checker: &mut Checker<'_>,
    parent: &dyn TableLike,
    name: &str,
    item: &'a Item,
) -> Option<&'a dyn TableLike> {
    let table = item.as_table_like();
    if table.is_none() {
        let what = format!("{} is {}", shown(name), shown_value(item));
        let expected = match name {
            _ if name == schema::AGENT.name => "a table for each agent, like [agents.claude]",
            prices::NAME => "a table for each model, like [prices.\"gpt-5\"]",
            _ => "a table",
        };
        checker.note(key_span(parent, name), Fault::expected(what, expected));
    }
    table
}

fn values(checker: &mut Checker<'_>, section: &Section, table: &dyn TableLike) -> Values {
    let mut values = Values::new();
    for (name, item) in table.iter() {
        match section.key(name) {
            Some(key) => {
                if let Some(value) = checker.value(key.name, &key.kind, item) {
                    values.insert(key.name, value);
                }
            }
            None => {
                let what = format!("unknown key '{}'", shown(name));
                let fault = Fault::unknown(what, name, &section.names());
                checker.note(key_span(table, name), fault);
            }
        }
    }
    values
}

/// The kinds of agents that the user defines.
fn definitions(checker: &mut Checker<'_>, table: &dyn TableLike) -> Vec<(Definition, Values)> {
    let mut definitions = Vec::new();
    for (name, item) in table.iter() {
        let Some(inner) = table_of(checker, table, name, item) else {
            continue;
        };
        let found = checker.found.len();
        let values = values(checker, &schema::ADAPTER, inner);
        if name.parse::<AgentName>().is_err() || adapter::find(name).is_some() {
            let what = format!("'{}' cannot be the name of an adapter", shown(name));
            let expected = "letters, digits, '.', '_' and '-', and none of the built-in kinds";
            checker.note(key_span(table, name), Fault::expected(what, expected));
        } else if checker.found.len() == found {
            match definition(name, &values) {
                Ok(definition) => definitions.push((definition, values)),
                Err((key, what)) => {
                    let span = key_span(inner, key).or_else(|| key_span(table, name));
                    let what = format!("adapter '{name}': `{key}`: {what}");
                    checker.note(span, Fault::plain(what));
                }
            }
        }
    }
    definitions
}

fn definition(name: &str, values: &Values) -> Result<Definition, (&'static str, String)> {
    let text = |key: &str| text_of(values.get(key));
    let list = |key: &str| list_of(values.get(key));
    let rule = |key: &'static str| {
        let rule = text(key).map(|rule| match rule.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => Ok(Rule {
                path: path.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err((key, "it must be PATH=VALUE".to_owned())),
        });
        rule.transpose()
    };
    let definition = Definition {
        name: name.to_owned(),
        command: list("command"),
        prompt: word_of(values.get("prompt")).unwrap_or_default(),
        is_jsonl: text("output").as_deref() == Some("jsonl"),
        text: text("text"),
        result: text("result"),
        session: text("session"),
        error: text("error"),
        input_tokens: text("input_tokens"),
        output_tokens: text("output_tokens"),
        cost: text("cost"),
        success: rule("success")?,
        limit: rule("limit")?,
        limit_reset: text("limit_reset"),
        resume: list("resume"),
        model: list("model"),
        version: list("version"),
    };
    definition.check()?;
    Ok(definition)
}

fn agents(
    checker: &mut Checker<'_>,
    table: &dyn TableLike,
    own: &[(Definition, Values)],
) -> Vec<(AgentName, Values)> {
    let mut agents = Vec::new();
    for (name, item) in table.iter() {
        let Some(inner) = table_of(checker, table, name, item) else {
            continue;
        };
        let found = checker.found.len();
        let values = values(checker, &schema::AGENT, inner);
        match name.parse::<AgentName>() {
            Ok(parsed) => {
                if checker.found.len() == found {
                    check_settings(checker, table, &entry(parsed.clone(), &values, own));
                }
                agents.push((parsed, values));
            }
            Err(bad) => checker.note(key_span(table, name), Fault::plain(bad.to_string())),
        }
    }
    agents
}

/// What its adapter says about an agent whose values are right one by one.
fn check_settings(checker: &mut Checker<'_>, agents: &dyn TableLike, agent: &AgentEntry) {
    let name = agent.name.as_str();
    let Some(adapter) = agent.kind() else {
        if agent.adapter.is_empty() {
            let what = format!("agent '{name}' has no adapter");
            let expected = schema::Kind::Adapter.expected(checker.adapters);
            let fault = Fault::expected(what, &format!("adapter = {expected}"));
            checker.note(key_span(agents, name), fault);
        }
        return;
    };
    // Which servers the file names is seen when it is read; that there may be one, here.
    let server = [McpServer {
        name: "example".to_owned(),
        transport: McpTransport::Http {
            url: String::new(),
            headers: BTreeMap::new(),
        },
    }];
    let occasion = Occasion {
        mcp: agent.mcp.as_ref().map_or(&[], |_| &server),
        ..Occasion::example()
    };
    if let Err(error) = adapter.start(&agent.settings(), &occasion) {
        let key = match &error {
            SettingsError::Empty { field, .. }
            | SettingsError::Nul { field, .. }
            | SettingsError::LooksLikeOption { field, .. }
            | SettingsError::NotSupported { field, .. } => Some(*field),
            SettingsError::ReservedArgument { .. } => Some("args"),
            SettingsError::NoSuchPermission { .. } => Some("permission"),
            _ => None,
        };
        let table = agents.get(name).and_then(Item::as_table_like);
        let at_key = key.and_then(|key| key_span(table?, key));
        let span = at_key.or_else(|| key_span(agents, name));
        checker.note(span, Fault::plain(error.to_string()));
    }
}

/// A longest wait below the first one would silently win over it.
fn check_retry(checker: &mut Checker<'_>, root: &dyn TableLike, tree: &Tree) {
    let backoff = tree.backoff();
    if backoff.max_ms >= backoff.base_ms {
        return;
    }
    let table = root.get(schema::RETRY.name).and_then(Item::as_table_like);
    let span = ["max", "base"]
        .iter()
        .find_map(|key| table?.get(key)?.span());
    let (base, max) = (
        super::units::format_duration(backoff.base_ms),
        super::units::format_duration(backoff.max_ms),
    );
    let what = format!("retry.max is {max}, less than retry.base, which is {base}");
    checker.note(span, Fault::expected(what, "max to be at least base"));
}

impl Tree {
    fn value(&self, section: &Section, key: &str) -> Option<&Value> {
        self.sections.get(section.name)?.get(key)
    }

    fn text(&self, section: &Section, key: &str) -> Option<String> {
        text_of(self.value(section, key))
    }

    fn milliseconds(&self, section: &Section, key: &str) -> Option<Option<u64>> {
        match self.value(section, key) {
            Some(Value::Duration(length)) => Some(*length),
            _ => None,
        }
    }

    /// The name of the project, if it is given.
    pub(super) fn name(&self) -> Option<String> {
        self.text(&schema::PROJECT, "name")
    }

    /// The branch to land on, if it is given.
    pub(super) fn target(&self) -> Option<String> {
        self.text(&schema::PROJECT, "target")
    }

    /// What the scheduler is to know.
    pub(super) fn core(&self) -> Config {
        let usual = Config::default();
        Config {
            max_agents: count_of(self.value(&schema::PROJECT, "max_agents"))
                .unwrap_or(usual.max_agents),
            adapter_caps: match self.value(&schema::LIMITS, "adapters") {
                Some(Value::Caps(caps)) => caps.clone(),
                _ => usual.adapter_caps,
            },
            agents: self.entries().iter().map(AgentEntry::core).collect(),
            defaults: self.task_defaults(),
            backoff: self.backoff(),
        }
    }

    fn task_defaults(&self) -> TaskDefaults {
        let section = &schema::DEFAULTS;
        let usual = TaskDefaults::default();
        TaskDefaults {
            workspace: word_of(self.value(section, "workspace")).unwrap_or(usual.workspace),
            review: word_of(self.value(section, "review")).unwrap_or(usual.review),
            on_lost: word_of(self.value(section, "on_lost")).unwrap_or(usual.on_lost),
            max_attempts: count_of(self.value(section, "max_attempts"))
                .unwrap_or(usual.max_attempts),
            timeout_ms: self
                .milliseconds(section, "timeout")
                .unwrap_or(usual.timeout_ms),
            stall_ms: self
                .milliseconds(section, "stall_timeout")
                .unwrap_or(usual.stall_ms),
        }
    }

    fn backoff(&self) -> orch_core::policy::Backoff {
        let section = &schema::RETRY;
        let usual = orch_core::policy::Backoff::default();
        let length = |key| self.milliseconds(section, key).flatten();
        orch_core::policy::Backoff {
            base_ms: length("base").unwrap_or(usual.base_ms),
            max_ms: length("max").unwrap_or(usual.max_ms),
        }
    }

    /// What bounds a run.
    pub(super) fn limits(&self) -> RunLimits {
        let section = &schema::LIMITS;
        let usual = RunLimits::default();
        let length = |key| self.milliseconds(section, key).flatten();
        RunLimits {
            output_bytes: match self.value(section, "output") {
                Some(Value::Size(bytes)) => *bytes,
                _ => usual.output_bytes,
            },
            stop_grace_ms: length("stop_grace").unwrap_or(usual.stop_grace_ms),
            leak_grace_ms: length("leak_grace").unwrap_or(usual.leak_grace_ms),
            free_space_bytes: match self.value(section, "free_space") {
                Some(Value::Size(bytes)) => Some(*bytes),
                _ => usual.free_space_bytes,
            },
        }
    }

    /// How long what was removed can be had back.
    pub(super) fn cleanup(&self) -> Cleanup {
        let section = &schema::CLEANUP;
        let usual = Cleanup::default();
        Cleanup {
            keep_ms: self.milliseconds(section, "keep").unwrap_or(usual.keep_ms),
            trash_bytes: match self.value(section, "trash") {
                Some(Value::Size(bytes)) => *bytes,
                _ => usual.trash_bytes,
            },
        }
    }

    /// The files that prompts are made by.
    pub(super) fn prompt(&self) -> PromptFiles {
        PromptFiles {
            system: self.text(&schema::PROMPT, "system"),
            task: self.text(&schema::PROMPT, "task"),
        }
    }

    /// The kinds of agents that the user defines.
    pub(super) fn definitions(&self) -> Vec<Definition> {
        let own = self.own.iter();
        own.map(|(definition, _)| definition.clone()).collect()
    }

    /// The agents in full.
    pub(super) fn entries(&self) -> Vec<AgentEntry> {
        self.agents
            .iter()
            .map(|(name, values)| entry(name.clone(), values, &self.own))
            .collect()
    }
}

fn entry(name: AgentName, values: &Values, own: &[(Definition, Values)]) -> AgentEntry {
    let text = |key: &str| text_of(values.get(key));
    let list = |key: &str| list_of(values.get(key));
    let adapter = text("adapter").unwrap_or_default();
    let own = own
        .iter()
        .find(|(definition, _)| definition.name == adapter);
    AgentEntry {
        name,
        adapter,
        own: own.map(|(definition, _)| definition.clone()),
        model: text("model"),
        role: text("role"),
        labels: list("labels").into_iter().collect(),
        command: text("command"),
        system_prompt: text("system_prompt"),
        permission: text("permission"),
        effort: text("effort"),
        mcp: text("mcp"),
        require: text("require").and_then(|word| word.parse().ok()),
        resume: !matches!(values.get("resume"), Some(Value::Switch(false))),
        max_turns: count_of(values.get("max_turns")),
        max_parallel: count_of(values.get("max_parallel")).unwrap_or(1),
        env: match values.get("env") {
            Some(Value::Environment(variables)) => variables.clone(),
            _ => BTreeMap::new(),
        },
        args: list("args"),
        enabled: !matches!(values.get("enabled"), Some(Value::Switch(false))),
    }
}

impl AgentEntry {
    /// The part of it that the scheduler knows.
    fn core(&self) -> Agent {
        Agent {
            name: self.name.clone(),
            adapter: self.adapter.clone(),
            role: self.role.clone(),
            labels: self.labels.clone(),
            max_parallel: self.max_parallel,
            enabled: self.enabled,
            require: self.require,
            resumes: self.resumes(),
        }
    }

    fn resumes(&self) -> Resumes {
        let kind = self.kind().filter(|_| self.resume);
        match kind.map(|kind| (kind.capabilities.resume, kind.capabilities.takes_back)) {
            None | Some((false, _)) => Resumes::Never,
            Some((true, false)) => Resumes::Always,
            Some((true, true)) => Resumes::OnceAnswered,
        }
    }
}

fn text_of(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn list_of(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::List(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

fn count_of(value: Option<&Value>) -> Option<u32> {
    match value {
        Some(Value::Count(number)) => Some(*number),
        _ => None,
    }
}

fn word_of<T: std::str::FromStr>(value: Option<&Value>) -> Option<T> {
    text_of(value)?.parse().ok()
}
