//! What every reader of JSON lines does before it knows what a line means, and after.
//!
//! This part must not know any program's fields.

use orch_core::outcome::Verdict;
use orch_core::run::Usage;
use serde_json::value::RawValue;

use super::json::{self, Line, Object};
use super::{AgentEvent, EventType, Reader, Summary};

/// Most notes for people; a stream that goes wrong a million times needs no million notes.
const NOTES: usize = 20;

/// What the lines of one program mean, one JSON object after the other.
pub(super) trait Protocol: Default {
    /// How a line begins that only repeats what other lines say. It is dropped without being read.
    const REPEATED: Option<&'static [u8]> = None;

    /// The events of one object.
    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent>;

    /// Whether the program has said its final word. Never goes back.
    fn has_ended(&self) -> bool;

    /// What everything so far amounts to.
    fn summary(&self) -> Summary;
}

/// Reads lines of JSON as agents really print them, and lets `P` say what they mean.
#[derive(Default)]
pub(super) struct JsonLines<P> {
    protocol: P,
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
        self.protocol.has_ended()
    }

    fn summary(&self) -> Summary {
        let mut summary = self.protocol.summary();
        summary.unread_lines = self.unreadable;
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
            Line::Object(object) => Some(self.protocol.object(&object)),
            // A line break got lost. The line is no event of the protocol, but a result in it
            // must not get lost as well.
            Line::Several(objects) => {
                for object in &objects {
                    self.protocol.object(object);
                }
                None
            }
            Line::Other => match json::read(&json::mended(text)?) {
                Line::Object(object) => {
                    self.mended += 1;
                    Some(self.protocol.object(&object))
                }
                _ => None,
            },
        }
    }
}

/// An event whose data is what was printed.
pub(super) fn event(kind: EventType, raw: &RawValue) -> AgentEvent {
    AgentEvent {
        kind,
        data: raw.to_owned(),
    }
}

/// What a person should know although it changes no verdict; each thing once, and not too many.
#[derive(Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// Adds a note, unless it is there already or there are enough.
    pub fn add(&mut self, text: String) {
        if self.0.len() < NOTES && !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// All of them, for a summary.
    pub fn to_vec(&self) -> Vec<String> {
        self.0.clone()
    }
}

/// The final word of a run.
pub(super) struct Ending {
    /// What it says.
    pub verdict: Verdict,
    /// The final text in full.
    pub result: Option<String>,
    /// What was used.
    pub usage: Usage,
}

/// The first final word, which alone counts: whoever is told that it is in may end the process,
/// so what comes later must not depend on how long that took.
#[derive(Default)]
pub(super) struct FirstEnding(Option<Ending>);

impl FirstEnding {
    /// Whether there is one.
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Takes a final word. `false`, with a note, if it is not the first.
    pub fn take(&mut self, ending: Ending, notes: &mut Notes) -> bool {
        if let Some(first) = &self.0 {
            notes.add(format!(
                "another result that says {} came after the first, which says {} and counts",
                name(&ending.verdict),
                name(&first.verdict)
            ));
            return false;
        }
        self.0 = Some(ending);
        true
    }

    /// A summary with this end, or with none.
    pub fn summary(&self, session_id: Option<String>, notes: &Notes) -> Summary {
        let first = self.0.as_ref();
        Summary {
            verdict: first.map_or(Verdict::NoResult, |ending| ending.verdict.clone()),
            result: first.and_then(|ending| ending.result.clone()),
            usage: first.map_or_else(Usage::default, |ending| ending.usage),
            session_id,
            warnings: notes.to_vec(),
            unread_lines: 0,
        }
    }
}

const fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "success",
        Verdict::Limited { .. } => "limit",
        _ => "error",
    }
}
