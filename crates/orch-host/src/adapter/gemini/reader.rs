//! Reads the stream of `gemini --output-format stream-json`.
//!
//! What decides, from the program's source and as measured with version 0.61.0:
//!
//! * A run ends with one `result` line, and the first counts. `status` is `error` or `success`;
//!   anything else is no success.
//! * `success` is also said after the program itself stopped the work: then the last thing before
//!   the result is an `error` line (a loop was detected, a hook forbade to go on, as many turns
//!   as there may be) or a tool's result of the type `stop_execution`. What the model says or does
//!   after a mere warning of a hook's shows that the work went on. And an answer without a word is
//!   an error to the program, so a success has one, after the last tool call.
//! * `error.type` names an error of the program's own. An error of the provider is in
//!   `error.message`, as `[API Error: …]` around the provider's answer, which is JSON, or around
//!   one sentence. After that follows one more line exactly if the status was 429.
//! * Text comes in pieces. The final text is all of it after the last tool call.
//! * `input_tokens` includes what was cached, `output_tokens` excludes thoughts, which are what
//!   remains of the total. An error's zeros mean that no call came to an end: they say nothing.

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};

use crate::adapter::json::{Fields, Object};

use crate::adapter::believed::{session, tokens};
use crate::adapter::calls::{Calls, Refusals, call, message};
use crate::adapter::provider::{Trouble, by_word, is_connection, verdict};
use crate::adapter::stream::{Ending, FirstEnding, Notes, Protocol, event};
use crate::adapter::{AgentEvent, EventType, Summary};

/// Most of the final text that is kept, bytes: its end.
const TEXT_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(in crate::adapter) struct Gemini {
    session: Option<String>,
    /// What was said since the last tool call.
    text: String,
    /// Why the program stopped the work, or forbade to go on, and nothing was done since.
    stopped: Option<Stopped>,
    ending: FirstEnding,
    calls: Calls,
    refusals: Refusals,
    notes: Notes,
}

struct Stopped {
    code: FailureCode,
    words: String,
    /// What comes later cannot show that the work went on.
    is_final: bool,
}

impl Protocol for Gemini {
    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let fields = &object.fields;
        let kind = fields.text("type").unwrap_or_default();
        if kind == "result" {
            return self.result(object);
        }
        if self.ending.is_there() {
            return vec![event(EventType::Raw, object.raw)];
        }
        let kind = match kind.as_ref() {
            "init" => {
                self.session = session(fields, "session_id").or(self.session.take());
                EventType::Session
            }
            "message" if fields.text("role").as_deref() == Some("assistant") => {
                self.say(fields);
                EventType::Text
            }
            "tool_use" => {
                self.text.clear();
                self.went_on();
                self.called(fields)
            }
            "tool_result" => {
                self.tool_result(fields);
                EventType::ToolResult
            }
            "error" => self.error(fields),
            _ => EventType::Raw,
        };
        vec![event(kind, object.raw)]
    }

    fn has_ended(&self) -> bool {
        self.ending.is_there()
    }

    fn summary(&self) -> Summary {
        let mut summary = self.ending.summary(self.session.clone(), &self.notes);
        summary.result = (!self.text.is_empty()).then(|| self.text.clone());
        summary.warnings.extend(self.refusals.warning());
        summary
    }
}

impl Gemini {
    /// The model said or did something.
    fn went_on(&mut self) {
        self.stopped = self.stopped.take().filter(|stopped| stopped.is_final);
    }

    fn say(&mut self, fields: &Fields<'_>) {
        self.went_on();
        if fields.read("delta") != Some(true) {
            self.text.clear();
        }
        self.text
            .push_str(&fields.text("content").unwrap_or_default());
        if self.text.len() > 2 * TEXT_BYTES {
            let from = self.text.ceil_char_boundary(self.text.len() - TEXT_BYTES);
            self.text.drain(..from);
        }
    }

    fn called(&mut self, fields: &Fields<'_>) -> EventType {
        let tool = fields.text("tool_name").unwrap_or_default();
        let input = fields.object("parameters");
        let id = fields.text("tool_id").unwrap_or_default();
        self.calls.began(&id, call(&tool, input.as_ref()));
        match tool.as_ref() {
            "run_shell_command" => EventType::Command,
            "write_file" | "replace" | "edit" => EventType::FileChange,
            "ask_user" => EventType::Question,
            _ => EventType::ToolCall,
        }
    }

    fn tool_result(&mut self, fields: &Fields<'_>) {
        let id = fields.text("tool_id").unwrap_or_default();
        let call = self.calls.ended(&id);
        let error = fields.object("error");
        let kind = error.as_ref().and_then(|error| error.text("type"));
        let words = error.as_ref().and_then(|error| error.text("message"));
        let call = || call.unwrap_or_else(|| "?".to_owned());
        self.went_on();
        match kind.as_deref() {
            Some("stop_execution") => {
                self.stopped = Some(Stopped {
                    code: FailureCode::AgentError,
                    words: message(words.as_deref(), "a hook stopped the work"),
                    is_final: true,
                });
            }
            Some("policy_violation" | "permission_denied") => self.refusals.add(call()),
            // This is how it looks when a tool needs a permission that it was not given.
            Some("tool_not_registered") => {
                let call = call();
                self.notes
                    .add(format!("it called a tool that it did not have: {call}"));
            }
            _ => {}
        }
    }

    fn error(&mut self, fields: &Fields<'_>) -> EventType {
        let words = fields.text("message");
        let words = message(words.as_deref(), "it says that there was an error");
        let is_severe = fields.text("severity").as_deref() != Some("warning");
        self.stopped = Some(Stopped {
            code: own_sentence(&words),
            is_final: is_severe || words == "Loop detected, stopping execution",
            words,
        });
        EventType::Error
    }

    fn result(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let stats = object.fields.object("stats");
        let ending = Ending {
            verdict: self.verdict(&object.fields),
            result: None,
            usage: stats.map_or_else(Usage::default, |stats| usage(&stats, &mut self.notes)),
        };
        if !self.ending.take(ending, &mut self.notes) {
            return vec![event(EventType::Raw, object.raw)];
        }
        let used = object.fields.raw("stats");
        let used = used.map(|raw| event(EventType::Usage, raw));
        used.into_iter()
            .chain([event(EventType::Result, object.raw)])
            .collect()
    }

    fn verdict(&self, fields: &Fields<'_>) -> Verdict {
        let status = fields.text("status").unwrap_or_default();
        match (status.as_ref(), &self.stopped, fields.object("error")) {
            ("success", None, None) if !self.text.is_empty() => Verdict::Success,
            ("success", None, None) => Verdict::Error {
                code: FailureCode::AgentError,
                message: "its result says success, and there is no answer".to_owned(),
            },
            (_, _, Some(error)) => failed(&error),
            (_, Some(stopped), None) => Verdict::Error {
                code: stopped.code,
                message: stopped.words.clone(),
            },
            (status, None, None) => Verdict::Error {
                code: FailureCode::AgentError,
                message: message(None, &format!("its result says '{status}' and not why")),
            },
        }
    }
}

/// The program's own sentences in `error` lines, each of which it prints as it stands here.
fn own_sentence(words: &str) -> FailureCode {
    match words {
        "Maximum session turns exceeded" => FailureCode::TurnLimit,
        "The model response was blocked due to safety settings."
        | "The model response was blocked due to recitation/copyright filters."
        | "The model response was blocked due to other policy settings." => FailureCode::Refused,
        "Model response was truncated because it exceeded the token limit. Try using /compress to \
         free up context space." => FailureCode::AnswerCut,
        "The model returned an empty response with no text or thoughts. This may be a transient \
         API issue; please try again."
        | "The model returned reasoning thoughts but no final response text. If your context \
           window is near capacity, try using /compress." => FailureCode::ProviderError,
        words if BROKEN.contains(&words) => FailureCode::ConnectionFailed,
        _ => FailureCode::AgentError,
    }
}

/// The program's own sentences about an answer that broke off or cannot be understood.
const BROKEN: &[&str] = &[
    "Incomplete JSON segment at the end",
    "Model stream ended without a finish reason.",
];

/// How the words begin that the program puts around an error of a call.
const API_ERROR: &str = "[API Error: ";

/// What an error in the result is about.
fn failed(error: &Fields<'_>) -> Verdict {
    let kind = error.text("type").unwrap_or_default();
    let words = error.text("message");
    let said = words.as_deref().unwrap_or_default();
    let code = match kind.as_ref() {
        "FatalAuthenticationError" | "UnauthorizedError" | "ValidationRequiredError" => {
            Some(FailureCode::AuthFailed)
        }
        "FatalInputError" => Some(FailureCode::BadRequest),
        "FatalTurnLimitedError" => Some(FailureCode::TurnLimit),
        "ModelNotFoundError" => Some(FailureCode::ModelNotFound),
        "TerminalQuotaError" => Some(FailureCode::UsageLimit),
        "RetryableQuotaError" => Some(FailureCode::RateLimit),
        _ => None,
    };
    let trouble = match code {
        code @ Some(_) => Trouble::only(code),
        None => provider_error(said),
    };
    let otherwise = format!("its result says {kind}");
    trouble.verdict(message(words.as_deref(), &otherwise))
}

/// What `[API Error: …]` and what follows it say.
fn provider_error(words: &str) -> Trouble {
    // The program adds one of these sentences exactly if the status was 429.
    const LIMITS: &[&str] = &[
        "]\nPlease wait and try again later.",
        "]\nPossible quota limitations in place",
    ];
    let Some(inner) = words.strip_prefix(API_ERROR) else {
        return Trouble::default();
    };
    let mut limits = LIMITS.iter().filter_map(|words| inner.rsplit_once(words));
    let limit = limits.next().map(|(inner, _)| inner);
    let inner = limit.or_else(|| inner.strip_suffix(']')).unwrap_or(inner);
    let mut trouble = Trouble::of(limit.map(|_| 429), Some(inner), None);
    if trouble.code.is_none() && (is_connection(inner) || BROKEN.contains(&inner)) {
        trouble.code = Some(FailureCode::ConnectionFailed);
    }
    // The program says this in place of the provider's answer when that names a quota of a day.
    if inner == "You have exhausted your daily quota on this model." && limit.is_some() {
        trouble.code = Some(FailureCode::UsageLimit);
    }
    let named = inner
        .strip_suffix(')')
        .and_then(|inner| inner.rsplit_once(" (Status: "));
    if let (None, Some((_, status))) = (trouble.code, named) {
        trouble.code = by_word(status);
    }
    trouble
}

fn usage(stats: &Fields<'_>, notes: &mut Notes) -> Usage {
    let mut of = |name| tokens(stats, name, notes);
    let (total, prompt, output) = (of("total_tokens"), of("input_tokens"), of("output_tokens"));
    let (cached, input) = (of("cached"), of("input"));
    if [total, prompt, output]
        .iter()
        .flatten()
        .all(|count| *count == 0)
    {
        return Usage::default();
    }
    let written = total.zip(prompt);
    let written = written.and_then(|(total, prompt)| total.checked_sub(prompt));
    let uncached = prompt.zip(cached);
    let uncached = uncached.and_then(|(prompt, cached)| prompt.checked_sub(cached));
    Usage {
        input_tokens: input.or(uncached),
        output_tokens: output.map(|output| written.unwrap_or(0).max(output)),
        cache_read_tokens: cached,
        cache_write_tokens: None,
        cost_usd: None,
    }
}

/// What an exit status says that came without a result. Those of 41 and above are the program's
/// own; others are HTTP statuses of which the system keeps the last eight bits.
pub(super) fn explain(code: i32, errors: &str) -> Option<(FailureCode, String)> {
    const RESUMING: &str = "Error resuming session:";
    let gone = errors.lines().find(|line| line.starts_with(RESUMING));
    let (code, words) = match code {
        41 => (
            FailureCode::AuthFailed,
            "it has no login or key that it can use",
        ),
        42 => match gone {
            Some(line) => return Some((FailureCode::SessionGone, message(Some(line), RESUMING))),
            None => (
                FailureCode::BadRequest,
                "it was not given what it needs to begin",
            ),
        },
        44 => (FailureCode::AgentError, "its sandbox failed"),
        52 => (FailureCode::AgentError, "its settings are not valid"),
        53 => (FailureCode::TurnLimit, "it took as many turns as it may"),
        54 => (
            FailureCode::AgentError,
            "a tool failed in a way that ended it",
        ),
        55 => (FailureCode::AgentError, "it does not trust the directory"),
        code => return by_status(status(code).filter(|status| COMMON.contains(status))?),
    };
    Some((code, words.to_owned()))
}

/// The statuses that are believed where no word says that a call failed.
const COMMON: [u64; 12] = [400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 529];

fn by_status(status: u64) -> Option<(FailureCode, String)> {
    let code = Trouble::by_status(status).code?;
    Some((
        code,
        format!("its exit status is what remains of HTTP status {status}"),
    ))
}

/// The HTTP status of which the system kept this. The program's own statuses, and the codes of
/// errors that are none of HTTP, are all below 144, as 400 is. Of those above 511 only the one that
/// says overload is known, which leaves 17.
fn status(code: i32) -> Option<u64> {
    match code {
        17 => Some(529),
        144..=255 => u64::try_from(code).ok().map(|code| code + 256),
        _ => None,
    }
}

/// What the status of an error says about an answer that the program quotes and that has a form of
/// its own, as those of gateways have.
pub(super) fn status_verdict(code: i32, words: &str) -> Option<Verdict> {
    words.strip_prefix(API_ERROR)?;
    let (failure, why) = by_status(status(code)?)?;
    Some(verdict(failure, format!("{words}; {why}"), None))
}
