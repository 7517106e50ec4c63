//! What all readers of JSON lines have in common: a line becomes one object or is counted as none,
//! and notes for people are few and short.
//!
//! This part must not know what any agent means by its fields.

use std::collections::{BTreeMap, VecDeque};

use orch_core::text::excerpt;
use serde_json::value::RawValue;

use super::json::{self, Fields, Line, Object};
use super::{AgentEvent, EventType, Reader, Summary};

/// Longest message of a failure, characters. The transcript holds the text in full.
pub(super) const MESSAGE_CHARS: usize = 2_000;
/// Longest session id that is believed, bytes.
const SESSION_BYTES: usize = 256;
/// Largest token count that is believed: what a database holds.
pub(super) const TOKENS: u64 = i64::MAX as u64;
/// Largest cost that is believed, US dollars.
const COST_USD: f64 = 1e9;
/// Most notes; a stream that goes wrong a million times needs no million notes.
const NOTES: usize = 20;
/// Most refused calls that are told apart.
const REFUSED: usize = 200;
/// Most calls at work at once that are known by name.
const CALLS: usize = 64;
/// Most refused calls that are named.
const NAMED: usize = 10;
/// Most of a refused command or path that is shown, characters.
const CALL_CHARS: usize = 80;

/// A warning about an end that is good as far as the agent says.
pub(super) const EMPTY_ANSWER: &str = "the last answer of the model was empty";

/// One agent's way of printing JSON lines.
pub(super) trait Protocol {
    /// How a line begins that only repeats what other lines say. It is dropped without being read.
    const REPEATED: Option<&'static [u8]> = None;

    /// The events of one object that was printed.
    fn object(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent>;

    /// Whether the final word was said; see [`Reader::terminal_seen`].
    fn terminal_seen(&self) -> bool;

    /// What everything so far amounts to; its warnings come before those about lines.
    fn summary(&self) -> Summary;
}

/// A [`Reader`] of one agent's JSON lines.
#[derive(Default)]
pub(super) struct JsonLines<P> {
    protocol: P,
    notes: Notes,
    not_understood: u64,
    mended: u64,
    unreadable: u64,
}

impl<P: Protocol> Reader for JsonLines<P> {
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        if P::REPEATED.is_some_and(|head| line.starts_with(head)) {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(line);
        self.understand(&text).unwrap_or_else(|| {
            self.not_understood += 1;
            vec![AgentEvent {
                kind: EventType::Raw,
                data: json::text_data(line),
            }]
        })
    }

    fn unreadable(&mut self, _length: u64, _tail: &[u8]) {
        self.unreadable += 1;
    }

    fn terminal_seen(&self) -> bool {
        self.protocol.terminal_seen()
    }

    fn summary(&self) -> Summary {
        let mut summary = self.protocol.summary();
        summary.warnings.extend(self.notes.0.iter().cloned());
        let counted = [
            (self.not_understood, "not JSON objects; kept as raw events"),
            (self.mended, "not quite JSON and were mended"),
            (self.unreadable, "too long to be read"),
        ];
        for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
            let warning = format!("lines of its output that were {what}: {count}");
            summary.warnings.push(warning);
        }
        summary
    }
}

impl<P: Protocol> JsonLines<P> {
    /// The events of one line, `None` if it is not one JSON object.
    fn understand(&mut self, text: &str) -> Option<Vec<AgentEvent>> {
        match json::read(text) {
            Line::Blank => Some(Vec::new()),
            Line::Object(object) => Some(self.protocol.object(&object, &mut self.notes)),
            // A line break got lost. The line is no event of the protocol, but what decides in it
            // must not get lost as well.
            Line::Several(objects) => {
                for object in &objects {
                    self.protocol.object(object, &mut self.notes);
                }
                None
            }
            Line::Other => match json::read(&json::mended(text)?) {
                Line::Object(object) => {
                    self.mended += 1;
                    Some(self.protocol.object(&object, &mut self.notes))
                }
                _ => None,
            },
        }
    }
}

/// Notes for people: a bounded list without repetitions.
#[derive(Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// Adds a note, unless it is there already or there are enough.
    pub fn add(&mut self, text: String) {
        if self.0.len() < NOTES && !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// `value`, with a note if something was given under this name and is not believed.
    pub fn kept<T>(&mut self, value: Option<T>, name: &str, given: Option<&RawValue>) -> Option<T> {
        if let (None, Some(raw)) = (&value, given.filter(|raw| raw.get() != "null")) {
            self.add(format!("{name} of {} was left out", excerpt(raw.get(), 40)));
        }
        value
    }
}

/// The count of tokens in this field; a note if there is one that cannot be.
pub(super) fn tokens(fields: &Fields<'_>, name: &str, notes: &mut Notes) -> Option<u64> {
    let count = fields.read(name).filter(|&count: &u64| count <= TOKENS);
    notes.kept(count, name, fields.raw(name))
}

/// The cost in US dollars in this field; a note if there is one that cannot be.
pub(super) fn cost(fields: &Fields<'_>, name: &str, notes: &mut Notes) -> Option<f64> {
    let cost = fields.read(name);
    let cost = cost.filter(|cost| (0.0..=COST_USD).contains(cost));
    notes.kept(cost, name, fields.raw(name))
}

/// Adds to a sum what was said, if anything was. A sum beyond all bounds stays where it is.
pub(super) fn add(sum: &mut Option<u64>, count: Option<u64>) {
    if let Some(count) = count {
        *sum = Some(sum.unwrap_or(0).saturating_add(count).min(TOKENS));
    }
}

/// An event whose data is what the agent printed.
pub(super) fn event(kind: EventType, raw: &RawValue) -> AgentEvent {
    AgentEvent {
        kind,
        data: raw.to_owned(),
    }
}

/// An event about some of the fields of what the agent printed, each as it was printed.
pub(super) fn event_of(kind: EventType, fields: &[(&str, Option<&RawValue>)]) -> AgentEvent {
    let given = fields
        .iter()
        .filter_map(|(name, raw)| Some((*name, (*raw)?)));
    let object: BTreeMap<&str, &RawValue> = given.collect();
    AgentEvent {
        kind,
        data: serde_json::value::to_raw_value(&object)
            .expect("an object of JSON values is a JSON value"),
    }
}

/// The session named in this field, if it can be one. It becomes an argument when the session is
/// continued, so it may not look like an option.
pub(super) fn session(fields: &Fields<'_>, name: &str) -> Option<String> {
    let id = fields.text(name)?;
    let is_short = !id.is_empty() && id.len() <= SESSION_BYTES;
    let is_plain = id.chars().all(|c| c.is_ascii_graphic()) && !id.starts_with('-');
    (is_short && is_plain).then(|| id.into_owned())
}

/// An agent's words about its failure, or `otherwise` if it has none.
pub(super) fn message(words: Option<&str>, otherwise: &str) -> String {
    let words = words.filter(|words| !words.trim().is_empty());
    excerpt(words.unwrap_or(otherwise), MESSAGE_CHARS)
}

/// Tool calls that were refused for want of permission.
#[derive(Default)]
pub(super) struct Refusals {
    calls: BTreeMap<String, u64>,
    others: u64,
}

impl Refusals {
    /// Notes a call, as [`call`] names it.
    pub fn add(&mut self, call: String) {
        if self.calls.len() < REFUSED || self.calls.contains_key(&call) {
            *self.calls.entry(call).or_insert(0) += 1;
        } else {
            self.others += 1;
        }
    }

    /// A sentence for people, if a call was refused.
    pub fn warning(&self) -> Option<String> {
        let calls: Vec<String> = self
            .calls
            .iter()
            .take(NAMED)
            .map(|(call, count)| match count {
                1 => call.clone(),
                count => format!("{call} {count}×"),
            })
            .collect();
        let more = self.calls.len().saturating_sub(NAMED) as u64 + self.others;
        let and_more = match more {
            0 => String::new(),
            _ => format!(", and {more} more"),
        };
        (!calls.is_empty()).then(|| {
            format!(
                "tool calls that were refused for want of permission: {}{and_more}",
                calls.join(", ")
            )
        })
    }
}

/// Tool calls that have begun, by their ids, in the words of [`call`].
#[derive(Default)]
pub(super) struct Calls(VecDeque<(String, String)>);

impl Calls {
    /// Notes a call. The oldest is forgotten if there are too many.
    pub fn began(&mut self, id: &str, call: String) {
        if self.0.len() >= CALLS {
            self.0.pop_front();
        }
        self.0.push_back((id.to_owned(), call));
    }

    /// The call that ended, if its beginning was seen.
    pub fn ended(&mut self, id: &str) -> Option<String> {
        let at = self.0.iter().position(|(began, _)| began == id)?;
        self.0.remove(at).map(|(_, call)| call)
    }
}

/// A tool call with what a rule that allows it would name: the command, file or address.
pub(super) fn call(tool: &str, input: Option<&Fields<'_>>) -> String {
    let names = [
        "command",
        "filePath",
        "file_path",
        "notebook_path",
        "path",
        "url",
    ];
    let tool = excerpt(tool, 60);
    let what = input.and_then(|input| names.iter().find_map(|name| input.text(name)));
    match what {
        None => tool,
        Some(what) => {
            let one_line = what.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{tool}({})", excerpt(&one_line, CALL_CHARS))
        }
    }
}

/// The text at the end of this path of fields.
pub(super) fn said(data: &serde_json::Value, path: &[&str]) -> Option<String> {
    let mut values = path.iter();
    let value = values.try_fold(data, |value, name| value.get(name))?;
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_that_could_not_be_an_argument_is_none() {
        let read = |json: &str| {
            let fields: Fields<'_> = serde_json::from_str(json).unwrap();
            session(&fields, "id")
        };
        assert_eq!(read(r#"{"id":"ses_1-2"}"#).as_deref(), Some("ses_1-2"));
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(SESSION_BYTES + 1));
        for bad in [
            r#"{"id":""}"#,
            r#"{"id":"--x"}"#,
            r#"{"id":"a b"}"#,
            r#"{"id":7}"#,
            &long,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
