//! Reads the stream of `qwen -o stream-json`.
//!
//! What decides, as measured with version 0.15.10:
//!
//! * A run ends with one `result` line; the first of the run's own session counts. Its `is_error`
//!   is true only for what went wrong before the model was asked.
//! * When the provider fails, the result says success and the exit status is 0. The program then
//!   appends `[API Error: …]` to whatever the model had said, and that is the final text. A model
//!   can say the same words. They are taken for the model's if the last `assistant` line of the
//!   main conversation says just this text and came with a count of tokens: the program counts
//!   tokens when a provider's answer is complete, and a failed one is not. Then it is a success,
//!   with a warning. In every other case, and where the line is missing, they are the program's.
//! * Two of the program's sentences come after a complete answer, because the answer was empty or
//!   had no proper end. They are known by their words alone.
//! * `usage` is of the whole session, with the runs before this one that were continued, and with
//!   the program's own calls. `input_tokens` includes what came from the cache. The program writes
//!   0 where the provider told it nothing, so a total of 0 is unknown.

use std::borrow::Cow;

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use orch_core::text::excerpt;

use crate::adapter::believed::{self, MESSAGE_CHARS};
use crate::adapter::json::{Fields, Object};
use crate::adapter::messages;
use crate::adapter::provider;
use crate::adapter::stream::{Ending, FirstEnding, Notes, Protocol, event};
use crate::adapter::{AgentEvent, EventType, Summary};

#[derive(Default)]
pub(super) struct Qwen {
    session: Option<String>,
    ending: FirstEnding,
    /// What the last `assistant` line of the main conversation said, if it said something and
    /// came with a count of tokens.
    counted_text: Option<String>,
    notes: Notes,
}

impl Protocol for Qwen {
    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let kind = object.fields.text("type").unwrap_or_default();
        if kind != "result" && self.session.is_none() {
            self.session = believed::session(&object.fields, "session_id");
        }
        match kind.as_ref() {
            "system" => vec![system(object)],
            "assistant" => self.assistant(object),
            "user" => messages::user(object),
            "result" => self.result(object),
            _ => vec![event(EventType::Raw, object.raw)],
        }
    }

    fn has_ended(&self) -> bool {
        self.ending.is_there()
    }

    fn summary(&self) -> Summary {
        self.ending.summary(self.session.clone(), &self.notes)
    }
}

impl Qwen {
    fn assistant(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        if object.fields.text("parent_tool_use_id").is_none() {
            self.counted_text = is_counted(object).then(|| messages::text(object)).flatten();
        }
        messages::assistant(object, tool)
    }

    fn result(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let given = believed::session(&object.fields, "session_id");
        if self.session.is_some() && given.is_some() && self.session != given {
            self.notes
                .add("a result of another session was ignored".to_owned());
            return vec![event(EventType::Raw, object.raw)];
        }
        let is_first = !self.ending.is_there();
        let text = object.fields.text("result");
        let ending = Ending {
            verdict: self.verdict(&object.fields, text.as_deref().unwrap_or_default()),
            result: text.filter(|text| !text.is_empty()).map(Cow::into_owned),
            usage: match is_first {
                true => usage(&object.fields, &mut self.notes),
                false => Usage::default(),
            },
        };
        if !self.ending.take(ending, &mut self.notes) {
            return vec![event(EventType::Raw, object.raw)];
        }
        if let Some(denials) = messages::denials(&object.fields) {
            self.notes.add(denials);
        }
        let used = object.fields.raw("usage");
        let used = used.map(|raw| event(EventType::Usage, raw));
        used.into_iter()
            .chain([event(EventType::Result, object.raw)])
            .collect()
    }

    fn verdict(&mut self, fields: &Fields<'_>, text: &str) -> Verdict {
        let subtype = fields.text("subtype").unwrap_or_default();
        if fields.read("is_error") != Some(false) || subtype.starts_with("error") {
            let message = message(fields, &subtype);
            return provider::verdict(early_cause(&message), message, None);
        }
        let Some(complaint) = Complaint::at_the_end_of(text) else {
            return Verdict::Success;
        };
        let is_models = self.counted_text.as_deref() == Some(text);
        if is_models && !complaint.is_after_an_answer() {
            self.notes.add(
                "its final text reads like an error of its program, and is the model's own"
                    .to_owned(),
            );
            return Verdict::Success;
        }
        let words = excerpt(complaint.words, MESSAGE_CHARS);
        provider::verdict(complaint.cause(), words, None)
    }
}

/// What the program appends to the model's text when the provider failed.
struct Complaint<'a> {
    /// All of it.
    words: &'a str,
    /// What is between the brackets.
    inner: &'a str,
}

impl<'a> Complaint<'a> {
    const PREFIX: &'static str = "[API Error: ";
    /// What the program adds after the bracket when the status was 429.
    const AFTER: [&'static str; 2] = [
        "\nPlease wait and try again later.",
        "\nPossible quota limitations in place",
    ];
    /// What it says without brackets.
    const PLAIN: [&'static str; 2] = [
        "Qwen OAuth quota exceeded:",
        "Qwen OAuth free tier has been discontinued",
    ];
    /// What it says of an answer that is complete.
    const AFTER_AN_ANSWER: [&'static str; 2] = [
        "Model stream ended with empty response text",
        "Model stream ended without a finish reason",
    ];

    fn at_the_end_of(text: &'a str) -> Option<Self> {
        let text = text.trim_end();
        if Self::PLAIN.iter().any(|start| text.starts_with(start)) {
            return Some(Self {
                words: text,
                inner: text,
            });
        }
        let words = &text[text.rfind(Self::PREFIX)?..];
        let rest = &words[Self::PREFIX.len()..];
        let closed = |after: &&str| rest.rfind(&format!("]{after}"));
        let end = match rest.strip_suffix(']') {
            Some(inner) => inner.len(),
            None => Self::AFTER.iter().find_map(closed)?,
        };
        Some(Self {
            words,
            inner: &rest[..end],
        })
    }

    fn is_after_an_answer(&self) -> bool {
        let mut known = Self::AFTER_AN_ANSWER.iter();
        known.any(|start| self.inner.starts_with(start))
    }

    fn cause(&self) -> FailureCode {
        const UNREACHABLE: [&str; 6] = [
            "Connection error",
            "terminated",
            "fetch failed",
            "Request timeout after ",
            "Request timed out",
            "Unexpected token ",
        ];
        let starts = |known: &[&str]| known.iter().any(|start| self.inner.starts_with(start));
        match provider::status_and_words(self.inner) {
            Some((status, words)) => provider::answer(status, words),
            None if starts(&Self::PLAIN[..1]) => FailureCode::UsageLimit,
            None if starts(&Self::PLAIN[1..]) => FailureCode::AuthFailed,
            None if self.words.len() > self.inner.len() + Self::PREFIX.len() + 1 => {
                // What it adds only to a 429.
                FailureCode::RateLimit
            }
            None if starts(&UNREACHABLE) || self.is_after_an_answer() => {
                FailureCode::ConnectionFailed
            }
            None => FailureCode::ProviderError,
        }
    }
}

/// Whether a line came with a count of tokens.
fn is_counted(object: &Object<'_>) -> bool {
    let message = object.fields.object("message");
    let usage = message.and_then(|message| message.object("usage"));
    let count = |name| usage.as_ref().and_then(|usage| usage.read::<u64>(name));
    ["input_tokens", "output_tokens"]
        .iter()
        .any(|name| count(name).is_some_and(|count| count > 0))
}

/// The words of an error before the model was asked.
fn message(fields: &Fields<'_>, subtype: &str) -> String {
    let error = fields.object("error");
    let said = error.and_then(|error| error.text("message"));
    let said = said.or_else(|| fields.text("result"));
    let text = match said {
        Some(text) if !text.trim().is_empty() => text,
        _ => Cow::Owned(match fields.read("is_error") {
            Some(true) => format!("its result says {subtype}"),
            _ => "its result does not say whether it is an error".to_owned(),
        }),
    };
    excerpt(&text, MESSAGE_CHARS)
}

fn early_cause(message: &str) -> FailureCode {
    match Complaint::at_the_end_of(message) {
        Some(complaint) => complaint.cause(),
        None if is_about_login(message) => FailureCode::AuthFailed,
        None => FailureCode::AgentError,
    }
}

/// Whether the program says so that it was not told how to log in, or that the way it was told is
/// none. It says other things in other languages, if it is set to one.
fn is_about_login(message: &str) -> bool {
    const HEADS: [&str; 6] = [
        "No auth type is selected.",
        "The configured auth type is ",
        "Invalid auth method selected.",
        "Missing API key",
        "Missing credentials for ",
        "Qwen OAuth free tier was discontinued",
    ];
    // Behind the name of the variable; without these endings it is about an address.
    const VARIABLE: [&str; 2] = [
        " environment variable not found (or set settings.security.auth.apiKey)",
        " environment variable not found. Please set it",
    ];
    let after_name = message.trim_start_matches(|it: char| it.is_ascii_alphanumeric() || it == '_');
    HEADS.iter().any(|head| message.starts_with(head))
        || VARIABLE.iter().any(|words| after_name.starts_with(words))
}

fn system(object: &Object<'_>) -> AgentEvent {
    let kind = match object.fields.text("subtype").as_deref() {
        Some("init") => EventType::Session,
        _ => EventType::Raw,
    };
    event(kind, object.raw)
}

/// What a call of a tool is about.
fn tool(name: &str) -> EventType {
    match name {
        "run_shell_command" => EventType::Command,
        "edit" | "write_file" | "replace" => EventType::FileChange,
        "ask_user_question" => EventType::Question,
        _ => EventType::ToolCall,
    }
}

/// What the session used.
fn usage(fields: &Fields<'_>, notes: &mut Notes) -> Usage {
    let usage = fields.object("usage");
    let mut tokens = |name: &str| believed::tokens(usage.as_ref()?, name, notes);
    let (input, output) = (tokens("input_tokens"), tokens("output_tokens"));
    let read = tokens("cache_read_input_tokens");
    if input.unwrap_or(0) == 0 && output.unwrap_or(0) == 0 {
        return Usage::default();
    }
    Usage {
        input_tokens: input.and_then(|input| input.checked_sub(read.unwrap_or(0))),
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: None,
        cost_usd: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<FailureCode> {
        Complaint::at_the_end_of(text).map(|it| it.cause())
    }

    #[test]
    fn a_complaint_is_known_by_its_form() {
        let cases = [
            ("[API Error: 401 bad key]", FailureCode::AuthFailed),
            (
                "half a sen[API Error: terminated (cause: x)]",
                FailureCode::ConnectionFailed,
            ),
            ("[API Error: fake: Overloaded]", FailureCode::ProviderError),
            (
                "[API Error: 400 This model's maximum context length is 5]",
                FailureCode::ContextTooLong,
            ),
            (
                "[API Error: slow down]\nPossible quota limitations in place or slow response \
                 times detected. Please wait and try again later.",
                FailureCode::RateLimit,
            ),
            (
                "Qwen OAuth quota exceeded: come back",
                FailureCode::UsageLimit,
            ),
            (
                "[API Error: Model stream ended with empty response text.]",
                FailureCode::ConnectionFailed,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text), Some(expected), "{text}");
        }
        for text in [
            "All done.",
            "I saw [API Error: 401 x] in the log.",
            "[API Error: ",
            "",
        ] {
            assert_eq!(code(text), None, "{text}");
        }
    }

    #[test]
    fn a_login_that_is_missing_is_known_by_the_programs_sentences() {
        for said in [
            "Missing credentials for modelProviders model 'a'. Current configured envKey: 'B'.",
            "MY_KEY environment variable not found. Please set it in your .env file.",
            "Invalid auth method selected.",
        ] {
            assert_eq!(early_cause(said), FailureCode::AuthFailed, "{said}");
        }
        for said in [
            "ANTHROPIC_BASE_URL environment variable not found.",
            "Missing model for openai auth. Set the environment variable 'OPENAI_MODEL'.",
            "it said: No auth type is selected.",
            "",
        ] {
            assert_eq!(early_cause(said), FailureCode::AgentError, "{said}");
        }
    }
}
