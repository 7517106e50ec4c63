//! Reads the stream of `claude -p --output-format stream-json --verbose`.
//!
//! What decides, as measured with version 2.1.197:
//!
//! * A run is one turn, and a turn ends with one `result` line. The first `result` of the run's
//!   own session is the verdict, and nothing after it changes it: the process may stay for some
//!   seconds and print about tasks it kills, and whoever is told that the result is in may end the
//!   process, so a later line must not depend on how long that took. Later results and results
//!   of other sessions are `raw` events and warnings.
//! * In the result, `is_error` decides. `subtype` says `success` for a refused key, so it can only
//!   make a result worse. A result that does not say `"is_error": false` is not a success.
//! * What a turn used is in the result, and there in `modelUsage`, from which the cost is made.
//!   `usage` beside it leaves out what subagents used, and what was asked for again without a
//!   stream after a stream broke. The usage of an `assistant` line is the beginning of a count
//!   that is never finished there.

use std::borrow::Cow;

use orch_core::Timestamp;
use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use orch_core::text::excerpt;
use serde_json::value::RawValue;

use crate::adapter::json::{self, Fields, Line, Object};
use crate::adapter::{AgentEvent, EventType, Reader, Summary};

/// Longest message of a failure, characters. The result holds the text in full.
const MESSAGE_CHARS: usize = 2_000;
/// Longest session id that is believed, bytes. It is a UUID.
const SESSION_BYTES: usize = 256;
/// Largest token count that is believed: what a database holds.
const TOKENS: u64 = i64::MAX as u64;
/// Largest cost that is believed, US dollars.
const COST_USD: f64 = 1e9;
/// Latest reset time that is believed, seconds since 1970: the year 5138. Larger numbers are
/// no seconds.
const RESET_SECONDS: i64 = 100_000_000_000;

/// Most refused tool calls that are named.
const DENIALS: usize = 10;
/// Most of a refused command or path that is shown, characters.
const DENIAL_CHARS: usize = 80;

/// Most notes for people; a stream that goes wrong a million times needs no million notes.
const NOTES: usize = 20;

#[derive(Default)]
pub(super) struct ClaudeReader {
    session: Option<String>,
    terminal: Option<Terminal>,
    /// The latest word on the account's limit, if it is that nothing goes any more.
    rejected: Option<Rejected>,
    /// The `error` of the latest `assistant` line of the main conversation.
    last_error: Option<String>,
    not_understood: u64,
    mended: u64,
    unreadable: u64,
    notes: Vec<String>,
}

/// Adds a note for people, unless it is there already or there are enough.
fn note(notes: &mut Vec<String>, text: String) {
    if notes.len() < NOTES && !notes.contains(&text) {
        notes.push(text);
    }
}

/// The result that counts.
struct Terminal {
    verdict: Verdict,
    result: Option<String>,
    usage: Usage,
}

struct Rejected {
    until: Option<Timestamp>,
}

impl Reader for ClaudeReader {
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
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
        self.terminal.is_some()
    }

    fn summary(&self) -> Summary {
        let mut warnings = self.notes.clone();
        let counted = [
            (self.not_understood, "not JSON objects; kept as raw events"),
            (self.mended, "not quite JSON and were mended"),
            (self.unreadable, "too long to be read"),
        ];
        for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
            warnings.push(format!("lines of its output that were {what}: {count}"));
        }
        let terminal = self.terminal.as_ref();
        Summary {
            verdict: terminal.map_or(Verdict::NoResult, |terminal| terminal.verdict.clone()),
            result: terminal.and_then(|terminal| terminal.result.clone()),
            usage: terminal.map_or_else(Usage::default, |terminal| terminal.usage),
            session_id: self.session.clone(),
            warnings,
        }
    }
}

impl ClaudeReader {
    /// The events of one line, `None` if it is not one JSON object.
    fn understand(&mut self, text: &str) -> Option<Vec<AgentEvent>> {
        match json::read(text) {
            Line::Blank => Some(Vec::new()),
            Line::Object(object) => Some(self.object(&object)),
            // A line break got lost. The line is no event of the protocol, but a result in it
            // must not get lost as well.
            Line::Several(objects) => {
                for object in &objects {
                    self.object(object);
                }
                None
            }
            Line::Other => match json::read(&json::mended(text)?) {
                Line::Object(object) => {
                    self.mended += 1;
                    Some(self.object(&object))
                }
                _ => None,
            },
        }
    }

    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let kind = object.fields.text("type").unwrap_or_default();
        if kind != "result" && self.announces_session(object) {
            self.session = session(&object.fields).or(self.session.take());
        }
        match kind.as_ref() {
            "system" => vec![system(object)],
            "assistant" => self.assistant(object),
            "user" => blocks(object, user_block),
            "rate_limit_event" => {
                self.rejected = rejected(&object.fields, &mut self.notes);
                vec![event(EventType::Limit, object.raw)]
            }
            "result" => self.result(object),
            _ => vec![event(EventType::Raw, object.raw)],
        }
    }

    /// Whether this line says which session the run is in: the first that names one, and every
    /// `init` before the result, should the program move to a new session by itself.
    fn announces_session(&self, object: &Object<'_>) -> bool {
        let is_init = || object.fields.text("subtype").as_deref() == Some("init");
        self.session.is_none() || (self.terminal.is_none() && is_init())
    }

    fn assistant(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let error = object.fields.text("error").map(Cow::into_owned);
        let kind = match error.as_deref() {
            Some("rate_limit") => Some(EventType::Limit),
            Some(_) => Some(EventType::Error),
            None => None,
        };
        if object.fields.text("parent_tool_use_id").is_none() {
            self.last_error = error;
        }
        match kind {
            Some(kind) => vec![event(kind, object.raw)],
            None => blocks(object, assistant_block),
        }
    }

    fn result(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let given = session(&object.fields);
        if self.session.is_some() && given.is_some() && self.session != given {
            note(
                &mut self.notes,
                "a result of another session was ignored".to_owned(),
            );
            return vec![event(EventType::Raw, object.raw)];
        }
        let verdict = self.verdict(&object.fields);
        if let Some(first) = &self.terminal {
            note(
                &mut self.notes,
                format!(
                    "another result that says {} came after the first, which says {} and counts",
                    name(&verdict),
                    name(&first.verdict)
                ),
            );
            return vec![event(EventType::Raw, object.raw)];
        }
        self.notes.extend(denials(&object.fields));
        self.terminal = Some(Terminal {
            verdict,
            result: final_text(&object.fields),
            usage: usage(&object.fields, &mut self.notes),
        });
        let used = match by_model(&object.fields) {
            Some(_) => object.fields.raw("modelUsage"),
            None => object.fields.raw("usage"),
        };
        let used = used.map(|raw| event(EventType::Usage, raw));
        used.into_iter()
            .chain([event(EventType::Result, object.raw)])
            .collect()
    }

    fn verdict(&self, fields: &Fields<'_>) -> Verdict {
        let subtype = fields.text("subtype").unwrap_or_default();
        if fields.read("is_error") == Some(false) && !subtype.starts_with("error") {
            return Verdict::Success;
        }
        let message = message(fields, &subtype);
        match self.limit(fields, &subtype) {
            None => Verdict::Error {
                code: FailureCode::AgentError,
                message,
            },
            Some((code, until)) => Verdict::Limited {
                code,
                message,
                until,
            },
        }
    }

    /// The limit that this error is about. A limit of turns or budget that the user set
    /// (`error_max_…`) and an interruption are none: waiting does not lift them.
    fn limit(
        &self,
        fields: &Fields<'_>,
        subtype: &str,
    ) -> Option<(FailureCode, Option<Timestamp>)> {
        let status: Option<u64> = fields.read("api_error_status");
        let says_so = match status {
            Some(status) => status == 429,
            None => self.rejected.is_some() || self.last_error.as_deref() == Some("rate_limit"),
        };
        (says_so && !subtype.starts_with("error")).then_some(match &self.rejected {
            Some(rejected) => (FailureCode::UsageLimit, rejected.until),
            None => (FailureCode::RateLimit, None),
        })
    }
}

const fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "success",
        Verdict::Limited { .. } => "limit",
        _ => "error",
    }
}

fn event(kind: EventType, raw: &RawValue) -> AgentEvent {
    AgentEvent {
        kind,
        data: raw.to_owned(),
    }
}

fn session(fields: &Fields<'_>) -> Option<String> {
    let id = fields.text("session_id")?;
    (!id.is_empty() && id.len() <= SESSION_BYTES).then(|| id.into_owned())
}

fn system(object: &Object<'_>) -> AgentEvent {
    let kind = match object.fields.text("subtype").as_deref() {
        Some("init") => EventType::Session,
        Some("api_retry") if object.fields.text("error").as_deref() == Some("rate_limit") => {
            EventType::Limit
        }
        Some("api_retry" | "model_refusal_no_fallback") => EventType::Error,
        _ => EventType::Raw,
    };
    event(kind, object.raw)
}

/// One event per content block, its data the block; the whole line if it has none.
fn blocks(object: &Object<'_>, kind: fn(&Fields<'_>) -> EventType) -> Vec<AgentEvent> {
    let content: Vec<&RawValue> = object
        .fields
        .object("message")
        .and_then(|message| message.read("content"))
        .unwrap_or_default();
    if content.is_empty() {
        return vec![event(EventType::Raw, object.raw)];
    }
    let kind_of =
        |raw: &RawValue| serde_json::from_str(raw.get()).map_or(EventType::Raw, |f| kind(&f));
    content
        .into_iter()
        .map(|raw| event(kind_of(raw), raw))
        .collect()
}

fn assistant_block(block: &Fields<'_>) -> EventType {
    match block.text("type").as_deref() {
        Some("text") => EventType::Text,
        Some("thinking" | "redacted_thinking") => EventType::Thinking,
        Some("tool_use") => match block.text("name").as_deref() {
            Some("Bash") => EventType::Command,
            Some("Edit" | "MultiEdit" | "Write" | "NotebookEdit") => EventType::FileChange,
            Some("AskUserQuestion") => EventType::Question,
            _ => EventType::ToolCall,
        },
        Some("server_tool_use" | "mcp_tool_use") => EventType::ToolCall,
        Some(kind) if kind.ends_with("_tool_result") => EventType::ToolResult,
        _ => EventType::Raw,
    }
}

fn user_block(block: &Fields<'_>) -> EventType {
    match block.text("type").as_deref() {
        Some("tool_result") => EventType::ToolResult,
        _ => EventType::Raw,
    }
}

fn rejected(fields: &Fields<'_>, notes: &mut Vec<String>) -> Option<Rejected> {
    let info = fields.object("rate_limit_info")?;
    let goes_on = info.read("isUsingOverage") == Some(true);
    if info.text("status").as_deref() != Some("rejected") || goes_on {
        return None;
    }
    let until = info.raw("resetsAt").and_then(|raw| {
        let seconds = serde_json::from_str(raw.get()).ok();
        let seconds = seconds.filter(|seconds| (1..=RESET_SECONDS).contains(seconds));
        if seconds.is_none() {
            note(
                notes,
                format!("a reset time of {} was left out", shown(raw)),
            );
        }
        seconds.map(|seconds| Timestamp(seconds * 1_000))
    });
    Some(Rejected { until })
}

/// The agent's words about its failure.
fn message(fields: &Fields<'_>, subtype: &str) -> String {
    let errors = || {
        fields
            .read::<Vec<String>>("errors")
            .map(|errors| errors.join("; "))
    };
    let text = final_text(fields)
        .or_else(errors)
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| match fields.read("is_error") {
            Some(true) => format!("its result says {subtype}"),
            _ => "its result does not say whether it is an error".to_owned(),
        });
    excerpt(&text, MESSAGE_CHARS)
}

fn final_text(fields: &Fields<'_>) -> Option<String> {
    let text: Option<String> = fields.read("result");
    let structured = || {
        fields
            .raw("structured_output")
            .map(|raw| raw.get().to_owned())
    };
    text.filter(|text| !text.is_empty()).or_else(structured)
}

/// Which tool calls were refused, each with what a rule that allows it would name: the command
/// or the file.
fn denials(fields: &Fields<'_>) -> Option<String> {
    let denials: Vec<Fields<'_>> = fields.read("permission_denials")?;
    let mut counts = std::collections::BTreeMap::new();
    for denial in &denials {
        *counts.entry(refused(denial)).or_insert(0_u64) += 1;
    }
    let calls: Vec<String> = counts
        .iter()
        .take(DENIALS)
        .map(|(call, n)| match n {
            1 => call.clone(),
            n => format!("{call} {n}×"),
        })
        .collect();
    let more = counts.len().saturating_sub(DENIALS);
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

fn refused(denial: &Fields<'_>) -> String {
    let tool = denial.text("tool_name").unwrap_or(Cow::Borrowed("?"));
    let tool = excerpt(&tool, 60);
    let input = denial.object("tool_input");
    let names = ["command", "file_path", "notebook_path", "url"];
    let what = input.and_then(|input| names.iter().find_map(|name| input.text(name)));
    match what {
        None => tool,
        Some(what) => format!("{tool}({})", excerpt(&one_line(&what), DENIAL_CHARS)),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn usage(fields: &Fields<'_>, notes: &mut Vec<String>) -> Usage {
    let tokens = by_model(fields).unwrap_or_else(|| main_conversation(fields, notes));
    let cost_usd = fields.raw("total_cost_usd").and_then(|raw| {
        let cost = serde_json::from_str(raw.get()).ok();
        let cost = cost.filter(|cost| (0.0..=COST_USD).contains(cost));
        kept(cost, "total_cost_usd", raw, notes)
    });
    Usage { cost_usd, ..tokens }
}

/// The tokens of all models together; `None` if there is no model, or a count that cannot be.
fn by_model(fields: &Fields<'_>) -> Option<Usage> {
    let models: std::collections::BTreeMap<String, Fields<'_>> = fields.read("modelUsage")?;
    let sum = |name: &str| {
        let mut counts = models.values().map(|model| model.read::<u64>(name));
        let sum = counts.try_fold(0_u64, |sum, count| sum.checked_add(count?))?;
        (sum <= TOKENS).then_some(sum)
    };
    if models.is_empty() {
        return None;
    }
    Some(Usage {
        input_tokens: Some(sum("inputTokens")?),
        output_tokens: Some(sum("outputTokens")?),
        cache_read_tokens: Some(sum("cacheReadInputTokens")?),
        cache_write_tokens: Some(sum("cacheCreationInputTokens")?),
        cost_usd: None,
    })
}

/// The tokens of the main conversation alone.
fn main_conversation(fields: &Fields<'_>, notes: &mut Vec<String>) -> Usage {
    let usage = fields.object("usage");
    let mut tokens = |name: &str| {
        let raw = usage.as_ref()?.raw(name)?;
        let count = serde_json::from_str(raw.get())
            .ok()
            .filter(|&count| count <= TOKENS);
        kept(count, name, raw, notes)
    };
    Usage {
        input_tokens: tokens("input_tokens"),
        output_tokens: tokens("output_tokens"),
        cache_read_tokens: tokens("cache_read_input_tokens"),
        cache_write_tokens: tokens("cache_creation_input_tokens"),
        cost_usd: None,
    }
}

/// `value`, with a note if it was given and is not believed.
fn kept<T>(value: Option<T>, name: &str, raw: &RawValue, notes: &mut Vec<String>) -> Option<T> {
    if value.is_none() && raw.get() != "null" {
        note(notes, format!("{name} of {} was left out", shown(raw)));
    }
    value
}

fn shown(raw: &RawValue) -> String {
    excerpt(raw.get(), 40)
}
