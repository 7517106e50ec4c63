//! Tool calls and texts as several agents print them: what was called, what was refused, what is
//! worth a note.
//!
//! This part must not know any agent's events.

use std::collections::{BTreeMap, VecDeque};

use orch_core::text::excerpt;
use serde_json::value::RawValue;

use super::believed::{MESSAGE_CHARS, TOKENS};
use super::json::Fields;
use super::{AgentEvent, EventType};

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

/// Adds to a sum what was said, if anything was. A sum beyond all bounds stays where it is.
pub(super) fn add(sum: &mut Option<u64>, count: Option<u64>) {
    if let Some(count) = count {
        *sum = Some(sum.unwrap_or(0).saturating_add(count).min(TOKENS));
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
    let names = ["command", "filePath", "file_path", "path", "url"];
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
    fn refused_calls_are_counted_and_named_within_bounds() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.warning(), None);
        refusals.add("bash(rm x)".to_owned());
        refusals.add("bash(rm x)".to_owned());
        let said = refusals.warning().unwrap();
        assert!(said.ends_with("permission: bash(rm x) 2×"), "{said}");
        for number in 0..10_000 {
            refusals.add(format!("call {number}"));
        }
        assert!(refusals.calls.len() <= REFUSED);
        let said = refusals.warning().unwrap();
        assert!(said.ends_with(", and 9991 more"), "{said}");
    }

    #[test]
    fn a_call_is_known_until_it_ends_and_only_so_many_are() {
        let mut calls = Calls::default();
        for number in 0..=CALLS {
            calls.began(&number.to_string(), format!("call {number}"));
        }
        assert_eq!(calls.ended("0"), None);
        assert_eq!(calls.ended("1").as_deref(), Some("call 1"));
        assert_eq!(calls.ended("1"), None);
    }

    #[test]
    fn a_sum_stays_unknown_until_something_was_said() {
        let mut sum = None;
        add(&mut sum, None);
        assert_eq!(sum, None);
        add(&mut sum, Some(0));
        add(&mut sum, Some(TOKENS));
        add(&mut sum, Some(5));
        assert_eq!(sum, Some(TOKENS));
    }
}
