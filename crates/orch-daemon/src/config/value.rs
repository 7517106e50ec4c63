//! One value of the file: whether it is one for its key, and what it says.

use std::collections::BTreeMap;
use std::ops::Range;

use orch_core::limits;
use orch_core::text::{BadText, check_label, check_optional, check_required, is_invisible};
use orch_host::git::BranchName;
use toml_edit::{Item, TableLike};

use super::environment;
use super::error::{Fault, shown};
use super::schema::{ARGUMENT_BYTES, ARGUMENTS, Kind};
use super::units::{format_duration, format_size, parse_duration, parse_size};

/// A value that has been found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text or a word.
    Text(String),
    /// A number.
    Count(u32),
    /// Milliseconds; `None` for "none".
    Duration(Option<u64>),
    /// Bytes.
    Size(u64),
    /// Yes or no.
    Switch(bool),
    /// Texts in order.
    List(Vec<String>),
    /// Variables.
    Environment(BTreeMap<String, String>),
    /// Runs per adapter.
    Caps(BTreeMap<String, u32>),
}

impl Value {
    /// As JSON, in the words of the file.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Count(number) => (*number).into(),
            Self::Duration(Some(milliseconds)) => format_duration(*milliseconds).into(),
            Self::Duration(None) => "none".into(),
            Self::Size(bytes) => format_size(*bytes).into(),
            Self::Switch(on) => (*on).into(),
            Self::List(texts) => texts.clone().into(),
            Self::Environment(variables) => variables
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Self::Caps(caps) => caps
                .iter()
                .map(|(name, most)| (name.clone(), (*most).into()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// Something wrong in a range of bytes, where the range is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) span: Option<Range<usize>>,
    pub(super) fault: Fault,
}

/// Checks values and collects everything that is wrong with them.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    /// The kinds of agents there are.
    pub(super) adapters: &'a [&'a str],
    /// What was found so far.
    pub(super) found: Vec<Located>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(adapters: &'a [&'a str]) -> Self {
        Self {
            adapters,
            found: Vec::new(),
        }
    }

    /// Notes a fault.
    pub(super) fn note(&mut self, span: Option<Range<usize>>, fault: Fault) {
        self.found.push(Located { span, fault });
    }

    /// What `item` says as the value of a key `name` of this kind; `None` and a note if it may
    /// not stand there.
    pub(super) fn value(&mut self, name: &str, kind: &Kind, item: &Item) -> Option<Value> {
        match (kind, item.as_array(), item.as_table_like()) {
            (Kind::Labels | Kind::Arguments, Some(_), _) => self.list(name, kind, item),
            (Kind::Environment, _, Some(table)) => Some(self.environment(table)),
            (Kind::Caps, _, Some(table)) => Some(self.caps(table)),
            _ => match scalar(name, kind, item, self.adapters) {
                Ok(value) => Some(value),
                Err(fault) => {
                    self.note(item.span(), fault);
                    None
                }
            },
        }
    }

    fn list(&mut self, name: &str, kind: &Kind, item: &Item) -> Option<Value> {
        let array = item.as_array()?;
        let most = match kind {
            Kind::Labels => limits::LABELS,
            _ => ARGUMENTS,
        };
        let expected = kind.expected(self.adapters);
        if array.len() > most {
            let what = format!("{name} has {} entries", array.len());
            self.note(item.span(), Fault::expected(what, &expected));
            return None;
        }
        let mut texts = Vec::new();
        for element in array {
            let checked = match (kind, element.as_str()) {
                (_, None) => Err(format!(
                    "{name} has {} in it",
                    shown_value(&Item::Value(element.clone()))
                )),
                (Kind::Labels, Some(text)) => check_label(text, limits::LABEL_BYTES)
                    .map(|()| text)
                    .map_err(|bad| format!("\"{}\" in {name} {bad}", shown(text))),
                (_, Some(text)) => check_optional(text, ARGUMENT_BYTES)
                    .map(|()| text)
                    .map_err(|bad| format!("\"{}\" in {name} {bad}", shown(text))),
            };
            match checked {
                Ok(text) => texts.push(text.to_owned()),
                Err(what) => self.note(element.span(), Fault::expected(what, &expected)),
            }
        }
        Some(Value::List(texts))
    }

    fn environment(&mut self, table: &dyn TableLike) -> Value {
        let mut variables = BTreeMap::new();
        if table.len() > ARGUMENTS {
            let what = format!("env has {} variables", table.len());
            let fault = Fault::expected(what, &format!("at most {ARGUMENTS}"));
            self.note(first_key_span(table), fault);
            return Value::Environment(variables);
        }
        for (name, item) in table.iter() {
            let checked = match item.as_str() {
                None => {
                    let what = format!("{} is {}", shown(name), shown_value(item));
                    Err(Fault::expected(what, "text in quotes"))
                }
                Some(text) if text.len() > ARGUMENT_BYTES => {
                    let what = format!("{} is {} bytes long", shown(name), text.len());
                    Err(Fault::expected(what, &format!("at most {ARGUMENT_BYTES}")))
                }
                Some(text) => environment::check(name, text).map(|()| text.to_owned()),
            };
            match checked {
                Ok(value) => drop(variables.insert(name.to_owned(), value)),
                Err(fault) => self.note(key_span(table, name), fault),
            }
        }
        Value::Environment(variables)
    }

    fn caps(&mut self, table: &dyn TableLike) -> Value {
        let kind = Kind::Count {
            least: 1,
            most: limits::MAX_AGENTS,
        };
        let mut caps = BTreeMap::new();
        for (name, item) in table.iter() {
            if !self.adapters.contains(&name) {
                let what = format!("unknown adapter '{}'", shown(name));
                let fault = Fault::unknown(what, name, self.adapters);
                self.note(key_span(table, name), fault);
            } else if let Some(Value::Count(most)) = self.value(name, &kind, item) {
                caps.insert(name.to_owned(), most);
            }
        }
        Value::Caps(caps)
    }
}

/// Where a key stands.
pub(super) fn key_span(table: &dyn TableLike, name: &str) -> Option<Range<usize>> {
    table.get_key_value(name).and_then(|(key, _)| key.span())
}

fn first_key_span(table: &dyn TableLike) -> Option<Range<usize>> {
    let (name, _) = table.iter().next()?;
    key_span(table, name)
}

fn scalar(name: &str, kind: &Kind, item: &Item, adapters: &[&str]) -> Result<Value, Fault> {
    let expected = kind.expected(adapters);
    let wrong = || Fault::expected(format!("{name} is {}", shown_value(item)), &expected);
    match kind {
        Kind::Switch => item.as_bool().map(Value::Switch).ok_or_else(wrong),
        Kind::Count { least, most } => item
            .as_integer()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (least..=most).contains(&number))
            .map(Value::Count)
            .ok_or_else(wrong),
        Kind::Duration {
            least,
            most,
            optional,
        } => match item.as_str() {
            Some("none") if *optional => Ok(Value::Duration(None)),
            text => text
                .and_then(parse_duration)
                .filter(|length| (least..=most).contains(&length))
                .map(|length| Value::Duration(Some(length)))
                .ok_or_else(wrong),
        },
        Kind::Size { least, most } => item
            .as_str()
            .and_then(parse_size)
            .filter(|bytes| (least..=most).contains(&bytes))
            .map(Value::Size)
            .ok_or_else(wrong),
        Kind::Labels | Kind::Arguments | Kind::Environment | Kind::Caps => Err(wrong()),
        _ => text(name, kind, item.as_str().ok_or_else(wrong)?, adapters),
    }
}

fn text(name: &str, kind: &Kind, text: &str, adapters: &[&str]) -> Result<Value, Fault> {
    let expected = kind.expected(adapters);
    let bad = |bad: BadText| Fault::expected(format!("{name} {bad}"), &expected);
    let unknown = |known: &[&str]| {
        let what = format!("{name} is \"{}\"", shown(text));
        match super::suggest::did_you_mean(text, known.iter().copied()) {
            Some(_) => Fault::unknown(what, text, known),
            None => Fault::expected(what, &expected),
        }
    };
    match kind {
        Kind::Text { most } => check_required(text, *most).map_err(bad)?,
        Kind::Line { most } => {
            check_required(text, *most).map_err(bad)?;
            if let Some(hidden) = text.chars().find(|&c| c.is_control() || is_invisible(c)) {
                return Err(bad(BadText::Hidden(u32::from(hidden))));
            }
        }
        Kind::Label => check_label(text, limits::LABEL_BYTES).map_err(bad)?,
        Kind::Branch if text.parse::<BranchName>().is_err() => {
            let what = format!("{name} is \"{}\"", shown(text));
            return Err(Fault::expected(what, &expected));
        }
        Kind::Adapter if !adapters.contains(&text) => return Err(unknown(adapters)),
        Kind::Word(words) if !words().contains(&text) => return Err(unknown(&words())),
        _ => {}
    }
    Ok(Value::Text(text.to_owned()))
}

/// A value as part of a message.
pub(super) fn shown_value(item: &Item) -> String {
    match item {
        Item::Value(toml_edit::Value::String(text)) => format!("\"{}\"", shown(text.value())),
        Item::Value(toml_edit::Value::Array(_)) => "a list".to_owned(),
        Item::ArrayOfTables(_) => "a list of tables".to_owned(),
        item if item.is_table_like() => "a table".to_owned(),
        Item::Value(value) => shown(value.clone().decorated("", "").to_string().trim()),
        _ => "nothing".to_owned(),
    }
}
