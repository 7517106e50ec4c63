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

use crate::adapter::ending::{Ending, FirstEnding};
use crate::adapter::json::{Fields, Object};
use crate::adapter::lines::{self, Notes, Protocol, TOKENS, event};
use crate::adapter::messages;
use crate::adapter::status::{Trouble, at_second};
use crate::adapter::{AgentEvent, EventType, Summary};

/// How it says that the session to go on with is not there.
pub(super) const NO_SESSION: &str = "No conversation found with session ID";

/// How it says that what came back is no answer of the provider's.
const NO_SENSE: &str = "API Error: API returned an empty or malformed response";

#[derive(Default)]
pub(super) struct Claude {
    session: Option<String>,
    ending: FirstEnding,
    /// The latest word on the account's limit, if it is that nothing goes any more.
    rejected: Option<Rejected>,
    /// The `error` of the latest `assistant` line of the main conversation.
    last_error: Option<String>,
}

struct Rejected {
    until: Option<Timestamp>,
}

impl Protocol for Claude {
    fn object(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent> {
        let kind = object.fields.text("type").unwrap_or_default();
        if kind != "result" && self.announces_session(object) {
            self.session = lines::session(&object.fields, "session_id").or(self.session.take());
        }
        match kind.as_ref() {
            "system" => vec![system(object)],
            "assistant" => self.assistant(object),
            "user" => messages::user(object),
            "rate_limit_event" => {
                self.rejected = rejected(&object.fields, notes);
                vec![event(EventType::Limit, object.raw)]
            }
            "result" => self.result(object, notes),
            _ => vec![event(EventType::Raw, object.raw)],
        }
    }

    fn terminal_seen(&self) -> bool {
        self.ending.is_there()
    }

    fn summary(&self) -> Summary {
        self.ending.summary(self.session.clone())
    }
}

impl Claude {
    /// Whether this line says which session the run is in: the first that names one, and every
    /// `init` before the result, should the program move to a new session by itself.
    fn announces_session(&self, object: &Object<'_>) -> bool {
        let is_init = || object.fields.text("subtype").as_deref() == Some("init");
        self.session.is_none() || (!self.ending.is_there() && is_init())
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
            None => messages::assistant(object, tool),
        }
    }

    fn result(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent> {
        let given = lines::session(&object.fields, "session_id");
        if self.session.is_some() && given.is_some() && self.session != given {
            notes.add("a result of another session was ignored".to_owned());
            return vec![event(EventType::Raw, object.raw)];
        }
        let usage = match self.ending.is_there() {
            true => Usage::default(),
            false => usage(&object.fields, notes),
        };
        let ending = Ending {
            verdict: self.verdict(&object.fields),
            result: final_text(&object.fields),
            usage,
        };
        if !self.ending.take(ending, notes) {
            return vec![event(EventType::Raw, object.raw)];
        }
        if let Some(denials) = messages::denials(&object.fields) {
            notes.add(denials);
        }
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
        let trouble = match self.limit(fields, &subtype) {
            Some((code, until)) => Trouble {
                code: Some(code),
                until,
            },
            None => Trouble {
                code: Some(self.cause(fields, &subtype)),
                until: None,
            },
        };
        trouble.verdict(message)
    }

    /// What kind of error it is, by the words that are made for programs: first those that say
    /// most. `AgentError` if there is none.
    fn cause(&self, fields: &Fields<'_>, subtype: &str) -> FailureCode {
        match subtype {
            "error_max_turns" => return FailureCode::TurnLimit,
            "error_max_budget_usd" => return FailureCode::BudgetLimit,
            _ if subtype.starts_with("error") => return execution_error(fields),
            _ => {}
        }
        if fields.read("is_error") != Some(true) {
            return FailureCode::AgentError;
        }
        let reason = fields.text("terminal_reason").unwrap_or_default();
        let is_refusal = fields.text("stop_reason").as_deref() == Some("refusal");
        match reason.as_ref() {
            "max_turns" => FailureCode::TurnLimit,
            "prompt_too_long" => FailureCode::ContextTooLong,
            _ if is_refusal => FailureCode::Refused,
            _ => self.by_word_or_status(fields),
        }
    }

    /// What the `error` of the last `assistant` line and the HTTP status say together. A failure
    /// of the server that came without a status is one of the way to it.
    fn by_word_or_status(&self, fields: &Fields<'_>) -> FailureCode {
        let status: Option<u64> = fields.read("api_error_status");
        let text = fields.text("result").unwrap_or_default();
        let word = self.last_error.as_deref().unwrap_or_default();
        match (word, status) {
            ("max_output_tokens", _) => FailureCode::AnswerCut,
            ("billing_error", _) => FailureCode::UsageLimit,
            ("model_not_found", _) => FailureCode::ModelNotFound,
            ("authentication_failed" | "oauth_org_not_allowed", _) => FailureCode::AuthFailed,
            ("overloaded", _) => FailureCode::Overloaded,
            (_, Some(status)) => {
                let code = Trouble::by_status(status).code;
                code.unwrap_or(FailureCode::ProviderError)
            }
            ("invalid_request", None) => FailureCode::BadRequest,
            ("server_error", None) => FailureCode::ConnectionFailed,
            ("unknown", None) if text.starts_with(NO_SENSE) => FailureCode::ConnectionFailed,
            _ => FailureCode::AgentError,
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

/// What a run says that came to no end of its own.
fn execution_error(fields: &Fields<'_>) -> FailureCode {
    let errors: Vec<String> = fields.read("errors").unwrap_or_default();
    let is_gone = errors.iter().any(|error| error.starts_with(NO_SESSION));
    match is_gone {
        true => FailureCode::SessionGone,
        false => FailureCode::AgentError,
    }
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

fn rejected(fields: &Fields<'_>, notes: &mut Notes) -> Option<Rejected> {
    let info = fields.object("rate_limit_info")?;
    let goes_on = info.read("isUsingOverage") == Some(true);
    let is_rejected = info.text("status").as_deref() == Some("rejected") && !goes_on;
    is_rejected.then(|| Rejected {
        until: notes.kept(
            info.read("resetsAt").and_then(at_second),
            "a reset time",
            info.raw("resetsAt"),
        ),
    })
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
    lines::message(Some(&text), "")
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

/// What a call of a tool is about.
fn tool(name: &str) -> EventType {
    match name {
        "Bash" => EventType::Command,
        "Edit" | "MultiEdit" | "Write" | "NotebookEdit" => EventType::FileChange,
        "AskUserQuestion" => EventType::Question,
        _ => EventType::ToolCall,
    }
}

fn usage(fields: &Fields<'_>, notes: &mut Notes) -> Usage {
    let tokens = by_model(fields).unwrap_or_else(|| main_conversation(fields, notes));
    let cost_usd = lines::cost(fields, "total_cost_usd", notes);
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
fn main_conversation(fields: &Fields<'_>, notes: &mut Notes) -> Usage {
    let usage = fields.object("usage");
    let mut tokens = |name: &str| lines::tokens(usage.as_ref()?, name, notes);
    Usage {
        input_tokens: tokens("input_tokens"),
        output_tokens: tokens("output_tokens"),
        cache_read_tokens: tokens("cache_read_input_tokens"),
        cache_write_tokens: tokens("cache_creation_input_tokens"),
        cost_usd: None,
    }
}
