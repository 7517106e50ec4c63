//! Reads what the driver wrote: the agent's messages, and the driver's own lines.
//!
//! * Only lines of the driver (`orch_acp`) say which session it is, when the prompt was sent and
//!   how it ended. What an agent says of itself is inside of `acp`, wherever it says it.
//! * What comes before the prompt is no part of the run: an agent that loads a session tells the
//!   whole of it again. What comes after the end changes nothing any more.
//! * The end comes with a checksum of everything before it. A success that is not what the driver
//!   wrote, line by line, is none.
//! * The final text is what the agent said after the last tool it used.

use std::borrow::Cow;
use std::collections::BTreeMap;

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use orch_core::text::excerpt;
use serde_json::value::RawValue;

use super::failure;
use super::tally::Tally;
use crate::adapter::json::{self, Fields, Line, Object};
use crate::adapter::{AgentEvent, EventType, Reader, Summary, TAIL_BYTES};

/// Longest session id that is believed, bytes.
const SESSION_BYTES: usize = 1024;
/// Bytes of text after which it is told without waiting for the end of its paragraph.
const PARAGRAPH_BYTES: usize = 4 << 10;
/// Most refused tool calls that are named.
const DENIALS: usize = 10;
/// Most of a refused call that is shown, characters.
const DENIAL_CHARS: usize = 80;
/// Most different refused calls that are counted.
const DENIALS_KEPT: usize = 1_000;
/// Longest message of a failure, characters.
const MESSAGE_CHARS: usize = 2_000;
/// The agent that tells what it used whenever a model has answered it, and ends its turn with a
/// sentence when none has.
const TELLS_USAGE: &str = "Copilot";

#[derive(Default)]
pub(super) struct AcpReader {
    session: Option<Session>,
    prompted: bool,
    /// Text that was not told yet.
    pending: Option<Pending>,
    answer: Answer,
    /// Whether it said something or used a tool since the prompt.
    said: bool,
    tally: Tally,
    /// The call whose input was told last, and a checksum of that input.
    last_input: Option<(Option<String>, Option<u32>)>,
    end: Option<End>,
    denials: BTreeMap<String, u64>,
    not_understood: u64,
    unreadable: u64,
    strays: u64,
    /// Over everything read so far.
    check: crc32fast::Hasher,
}

struct Session {
    id: String,
    agent: String,
    loaded: bool,
}

/// Pieces of text that are told together.
struct Pending {
    kind: EventType,
    text: String,
}

/// What the run amounts to.
struct End {
    verdict: Verdict,
    usage: Usage,
}

/// The final text.
#[derive(Default)]
struct Answer {
    text: String,
    /// Bytes that were dropped at the beginning because there were too many.
    dropped: usize,
    /// The message that the last piece belonged to.
    message: Option<String>,
    /// A tool was used since the last piece.
    is_old: bool,
}

impl Answer {
    fn add(&mut self, text: &str, message: Option<String>) {
        if std::mem::take(&mut self.is_old) {
            *self = Self::default();
        }
        if self.message.is_some() && message.is_some() && self.message != message {
            self.text.push_str("\n\n");
        }
        self.message = message;
        self.text.push_str(text);
        if self.text.len() > TAIL_BYTES + (1 << 20) {
            let mut cut = self.text.len() - TAIL_BYTES;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
            self.dropped += cut;
        }
    }

    fn result(&self) -> Option<String> {
        match (self.text.trim().is_empty(), self.dropped) {
            (true, _) => None,
            (false, 0) => Some(self.text.clone()),
            (false, dropped) => Some(format!(
                "[orch: {dropped} bytes of the answer before this are only in out.log]\n{}",
                self.text
            )),
        }
    }
}

impl Reader for AcpReader {
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let events = self.read(line);
        self.check.update(line);
        self.check.update(b"\n");
        events
    }

    fn unreadable(&mut self, _length: u64, _tail: &[u8]) {
        self.unreadable += 1;
    }

    fn terminal_seen(&self) -> bool {
        self.end.is_some()
    }

    fn summary(&self) -> Summary {
        let end = self.end.as_ref();
        Summary {
            verdict: end.map_or(Verdict::NoResult, |end| end.verdict.clone()),
            result: self.answer.result(),
            usage: end.map_or_else(|| self.usage(&Fields::default()), |end| end.usage),
            session_id: self.session.as_ref().map(|session| session.id.clone()),
            unread_lines: self.unreadable,
            warnings: self.warnings(),
        }
    }
}

impl AcpReader {
    fn read(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let text = String::from_utf8_lossy(line);
        let events = match json::read(&text) {
            Line::Blank => Some(Vec::new()),
            Line::Object(object) => self.understand(&object),
            Line::Several(_) => None,
            Line::Other => json::mended(&text).and_then(|text| match json::read(&text) {
                Line::Object(object) => self.understand(&object),
                _ => None,
            }),
        };
        events.unwrap_or_else(|| {
            self.not_understood += 1;
            vec![AgentEvent {
                kind: EventType::Raw,
                data: json::text_data(line),
            }]
        })
    }

    /// The events of one line; `None` if it is none that a driver writes.
    fn understand(&mut self, object: &Object<'_>) -> Option<Vec<AgentEvent>> {
        let fields = &object.fields;
        if let Some(own) = fields.object("orch_acp") {
            return Some(self.own(&own, object));
        }
        if let Some(raw) = fields.raw("acp") {
            let message: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
            return Some(self.message(raw, &message));
        }
        let text = fields.text("acp_text")?;
        Some(self.with_pending(AgentEvent {
            kind: EventType::Raw,
            data: json::text_data(text.as_bytes()),
        }))
    }

    /// A line of the driver's own. It has one field, and its own only.
    fn own(&mut self, own: &Fields<'_>, object: &Object<'_>) -> Vec<AgentEvent> {
        let inner = |name: &str| Some((own.raw(name)?, own.object(name)?));
        let is_open = self.end.is_none();
        if let Some((raw, session)) = inner("session").filter(|_| self.session.is_none()) {
            return self.session(raw, &session);
        }
        if let Some((raw, end)) = inner("end").filter(|_| is_open) {
            let is_whole = own.read("check") == Some(self.check.clone().finalize());
            return self.end(raw, &end, is_whole);
        }
        if let Some((raw, note)) = inner("permission") {
            return self.permission(raw, &note);
        }
        self.prompted |= is_open && own.raw("prompt").is_some();
        if own.raw("stray").is_some() {
            self.strays += 1;
        }
        self.with_pending(event(EventType::Raw, object.raw))
    }

    fn session(&mut self, raw: &RawValue, session: &Fields<'_>) -> Vec<AgentEvent> {
        let id = session.text("id").unwrap_or_default();
        if id.is_empty() || id.len() > SESSION_BYTES {
            return vec![event(EventType::Raw, raw)];
        }
        self.session = Some(Session {
            id: id.into_owned(),
            agent: session.text("agent").unwrap_or_default().into_owned(),
            loaded: session.read("loaded") == Some(true),
        });
        vec![event(EventType::Session, raw)]
    }

    fn permission(&mut self, raw: &RawValue, note: &Fields<'_>) -> Vec<AgentEvent> {
        if note.read("allowed") == Some(false) && self.denials.len() < DENIALS_KEPT {
            let title = note.text("title").filter(|title| !title.trim().is_empty());
            let title = title.or_else(|| note.text("kind")).unwrap_or_default();
            let words = title.split_whitespace().collect::<Vec<_>>().join(" ");
            *self
                .denials
                .entry(excerpt(&words, DENIAL_CHARS))
                .or_insert(0) += 1;
        }
        self.with_pending(event(EventType::Question, raw))
    }

    fn end(&mut self, raw: &RawValue, end: &Fields<'_>, is_whole: bool) -> Vec<AgentEvent> {
        let answer = end.object("answer").unwrap_or_default();
        let verdict = match self.verdict(end, &answer) {
            Verdict::Success if !is_whole => Verdict::Error {
                code: FailureCode::RecordCorrupt,
                message: "it says that it succeeded, but its output is not what was written"
                    .to_owned(),
            },
            verdict => verdict,
        };
        let kind = match &verdict {
            Verdict::Limited { .. } => Some(EventType::Limit),
            Verdict::Error { .. } => Some(EventType::Error),
            _ => None,
        };
        let trouble = kind.and_then(|kind| Some(event(kind, end.raw("error")?)));
        let used = answer.raw("usage").or_else(|| answer.raw("_meta"));
        let used = used.map(|raw| event(EventType::Usage, raw));
        let usage = self.usage(&answer);
        self.end = Some(End { verdict, usage });
        let mut events: Vec<AgentEvent> = self.told().into_iter().collect();
        events.extend(used);
        events.extend(trouble);
        events.push(event(EventType::Result, raw));
        events
    }

    fn verdict(&self, end: &Fields<'_>, answer: &Fields<'_>) -> Verdict {
        let is_in_order = self.session.is_some() && self.prompted;
        let verdict = failure::verdict(end, self.said && is_in_order);
        let agent = self.session.as_ref().map(|session| session.agent.as_str());
        let is_silent = agent == Some(TELLS_USAGE) && answer.raw("usage").is_none();
        if verdict != Verdict::Success || !is_silent {
            return verdict;
        }
        let words = self.answer.result().unwrap_or_default();
        Verdict::Error {
            code: FailureCode::AgentError,
            message: excerpt(&format!("no model answered: {words}"), MESSAGE_CHARS),
        }
    }

    fn usage(&self, answer: &Fields<'_>) -> Usage {
        let session = self.session.as_ref();
        let agent = session.map_or("", |session| session.agent.as_str());
        let loaded = session.is_none_or(|session| session.loaded);
        self.tally.total(answer, agent, loaded)
    }

    fn message(&mut self, raw: &RawValue, message: &Fields<'_>) -> Vec<AgentEvent> {
        let other = match message.text("method").as_deref() {
            Some("session/update") => EventType::Raw,
            Some("session/request_permission") => EventType::Question,
            _ => return self.with_pending(event(EventType::Raw, raw)),
        };
        let Some(params) = message.raw("params") else {
            return self.with_pending(event(EventType::Raw, raw));
        };
        if other == EventType::Question {
            return self.with_pending(event(other, params));
        }
        let fields: Fields<'_> = serde_json::from_str(params.get()).unwrap_or_default();
        match (fields.raw("update"), fields.object("update")) {
            (Some(raw), Some(update)) if self.is_own(&fields) => self.update(raw, &update),
            _ => self.with_pending(event(EventType::Raw, raw)),
        }
    }

    /// Whether an update is of the session that the run is in. Before it is known, none is.
    fn is_own(&self, params: &Fields<'_>) -> bool {
        let id = params.text("sessionId");
        self.session
            .as_ref()
            .is_some_and(|session| Some(session.id.as_str()) == id.as_deref())
    }

    fn update(&mut self, raw: &RawValue, update: &Fields<'_>) -> Vec<AgentEvent> {
        let kind = update.text("sessionUpdate").unwrap_or_default();
        if !self.prompted || self.end.is_some() {
            if kind == "usage_update" && !self.prompted {
                self.tally.update(update, false);
            }
            return self.with_pending(event(EventType::Raw, raw));
        }
        match kind.as_ref() {
            "agent_message_chunk" => self.chunk(EventType::Text, raw, update),
            "agent_thought_chunk" => self.chunk(EventType::Thinking, raw, update),
            "tool_call" => {
                self.said = true;
                self.answer.is_old = true;
                self.with_pending(event(call_kind(update), raw))
            }
            "tool_call_update" => self.call_update(raw, update),
            "plan" => self.with_pending(event(EventType::Thinking, raw)),
            "usage_update" => {
                self.tally.update(update, true);
                self.with_pending(event(EventType::Usage, raw))
            }
            _ => self.with_pending(event(EventType::Raw, raw)),
        }
    }

    /// Some agents repeat a call's input with everything they say about it; it is told once.
    fn call_update(&mut self, raw: &RawValue, update: &Fields<'_>) -> Vec<AgentEvent> {
        let kind = update_kind(update);
        let is_call = !matches!(kind, EventType::ToolResult | EventType::Raw) && !has_diff(update);
        let input = update
            .raw("rawInput")
            .map(|input| crc32fast::hash(input.get().as_bytes()));
        let told = (update.text("toolCallId").map(Cow::into_owned), input);
        if is_call && self.last_input.as_ref() == Some(&told) {
            return self.with_pending(event(EventType::Raw, raw));
        }
        if is_call {
            self.last_input = Some(told);
        }
        self.with_pending(event(kind, raw))
    }

    /// A piece of text. Pieces are told together, by paragraphs.
    fn chunk(&mut self, kind: EventType, raw: &RawValue, update: &Fields<'_>) -> Vec<AgentEvent> {
        let content = update.object("content").unwrap_or_default();
        let Some(text) = content.text("text") else {
            // A picture, a link: something that was said.
            self.said |= kind == EventType::Text && content.text("type").is_some();
            return self.with_pending(event(EventType::Raw, raw));
        };
        if self.tally.chunk(update) {
            return self.with_pending(event(EventType::Usage, raw));
        }
        let mut events = Vec::new();
        if self.pending.as_ref().is_some_and(|it| it.kind != kind) {
            events.extend(self.told());
        }
        if kind == EventType::Text {
            self.said |= !text.trim().is_empty();
            let message = update.text("messageId").map(Cow::into_owned);
            self.answer.add(&text, message);
        }
        let pending = self.pending.get_or_insert_with(|| Pending {
            kind,
            text: String::new(),
        });
        pending.text.push_str(&text);
        events.extend(pending.paragraphs());
        events
    }

    /// What was held back, then this.
    fn with_pending(&mut self, event: AgentEvent) -> Vec<AgentEvent> {
        self.told().into_iter().chain([event]).collect()
    }

    fn told(&mut self) -> Option<AgentEvent> {
        self.pending.take().and_then(|pending| pending.event())
    }

    fn warnings(&self) -> Vec<String> {
        let counted = [
            (self.not_understood, "its driver did not write"),
            (self.unreadable, "were too long to be read"),
        ];
        let lines = counted.into_iter().filter(|(count, _)| *count > 0);
        let lines = lines.map(|(count, what)| format!("lines of its output that {what}: {count}"));
        let strays =
            (self.strays > 0).then(|| "it sent answers to nothing it was asked".to_owned());
        denials(&self.denials)
            .into_iter()
            .chain(lines)
            .chain(strays)
            .collect()
    }
}

impl Pending {
    /// The whole paragraphs so far.
    fn paragraphs(&mut self) -> Option<AgentEvent> {
        let end = match self.text.rfind("\n\n") {
            Some(at) => at + 2,
            None if self.text.len() >= PARAGRAPH_BYTES => self.text.len(),
            None => return None,
        };
        let rest = self.text.split_off(end);
        let told = Self {
            kind: self.kind,
            text: std::mem::replace(&mut self.text, rest),
        };
        told.event()
    }

    fn event(self) -> Option<AgentEvent> {
        let text = self.text.trim_matches('\n');
        (!text.is_empty()).then(|| AgentEvent {
            kind: self.kind,
            data: json::text_data(text.as_bytes()),
        })
    }
}

fn event(kind: EventType, raw: &RawValue) -> AgentEvent {
    AgentEvent {
        kind,
        data: raw.to_owned(),
    }
}

fn call_kind(call: &Fields<'_>) -> EventType {
    match call.text("kind").as_deref() {
        Some("execute") => EventType::Command,
        Some("edit" | "delete" | "move") => EventType::FileChange,
        _ if has_diff(call) => EventType::FileChange,
        _ => EventType::ToolCall,
    }
}

/// A call that is over is a result. Before that its input may become known bit by bit; what is
/// said on the way that tells nothing new for people stays as it is.
fn update_kind(update: &Fields<'_>) -> EventType {
    let status = update.text("status");
    let has_input = update
        .object("rawInput")
        .is_some_and(|input| !input.is_empty());
    match status.as_deref() {
        Some("completed" | "failed") => EventType::ToolResult,
        _ if has_diff(update) => EventType::FileChange,
        _ if has_input => call_kind(update),
        _ => EventType::Raw,
    }
}

fn has_diff(call: &Fields<'_>) -> bool {
    let content: Vec<Fields<'_>> = call.read("content").unwrap_or_default();
    let is_diff = |entry: &Fields<'_>| entry.text("type").as_deref() == Some("diff");
    content.iter().any(is_diff)
}

/// Which tool calls were refused.
fn denials(denials: &BTreeMap<String, u64>) -> Option<String> {
    let calls = denials
        .iter()
        .take(DENIALS)
        .map(|(call, count)| match count {
            1 => call.clone(),
            count => format!("{call} {count}×"),
        });
    let calls: Vec<String> = calls.collect();
    let and_more = match denials.len().saturating_sub(DENIALS) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    (!calls.is_empty()).then(|| {
        format!(
            "tool calls that were refused for want of permission: {}{and_more}",
            calls.join(", ")
        )
    })
}
