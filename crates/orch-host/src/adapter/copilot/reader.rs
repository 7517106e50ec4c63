//! Reads the stream of `copilot --output-format json`.
//!
//! What decides, as measured with version 1.0.102:
//!
//! * A run ends with one `result` line, and the first counts. Its `exitCode` is 0 for success, but
//!   also when the program was asked to end: then an `abort`, an `agent.interrupted` or an
//!   `assistant.idle` that says `aborted` came before, and it is no success.
//!   The last thing that the model said must also be an answer, and no call of a tool.
//! * What went wrong is in `session.error` (`errorType`, `statusCode`) and, closer, in the last
//!   `model.call_failure`: the status and the provider's own answer as JSON. A failed call is
//!   tried again, so it explains an end and does not make one.
//! * Lines that say `ephemeral` are for a screen. Most are dropped; failed calls and thoughts are
//!   among them and are kept.
//! * The stream says nothing of tokens; the usage file has them for each model. Input includes
//!   there what was read from and written to the cache, and output includes reasoning. A session
//!   that is continued counts from its first run on.

use std::collections::BTreeMap;

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use serde_json::value::RawValue;

use crate::adapter::json::{Fields, Line, Object, read};

use crate::adapter::believed::{session, tokens};
use crate::adapter::calls::{Calls, Refusals, add, call, message};
use crate::adapter::provider::Trouble;
use crate::adapter::stream::{Ending, FirstEnding, Notes, Protocol, event};
use crate::adapter::{AgentEvent, EventType, Summary};

#[derive(Default)]
pub(in crate::adapter) struct Copilot {
    session: Option<String>,
    text: Option<String>,
    calls: Calls,
    refusals: Refusals,
    /// What the last call of the model that failed says, if none was answered since.
    call_failure: Option<Failed>,
    /// What the last `session.error` says, if the model was not heard since.
    error: Option<(Trouble, String)>,
    /// The last thing that was heard of the model is an answer, and no call of a tool.
    has_answered: bool,
    /// It was asked to end, and did.
    aborted: bool,
    ending: FirstEnding,
    notes: Notes,
}

struct Failed {
    trouble: Trouble,
    /// There was no answer at all, or it broke off.
    is_transport: bool,
}

impl Protocol for Copilot {
    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let kind = object.fields.text("type").unwrap_or_default();
        if kind == "result" {
            let kind = match self.result(&object.fields) {
                true => EventType::Result,
                false => EventType::Raw,
            };
            return vec![event(kind, object.raw)];
        }
        if self.ending.is_there() {
            return vec![event(EventType::Raw, object.raw)];
        }
        let data = object.fields.object("data");
        let told = data.and_then(|data| self.told(&kind, &data, &object.fields));
        let is_ephemeral = object.fields.read("ephemeral") == Some(true);
        match (told, object.fields.raw("data")) {
            (Some(kind), Some(data)) => vec![event(kind, data)],
            _ if is_ephemeral => Vec::new(),
            _ => vec![event(EventType::Raw, object.raw)],
        }
    }

    fn has_ended(&self) -> bool {
        self.ending.is_there()
    }

    fn summary(&self) -> Summary {
        let mut summary = self.ending.summary(self.session.clone(), &self.notes);
        summary.result = self.text.clone();
        summary.warnings.extend(self.refusals.warning());
        summary
    }
}

impl Copilot {
    /// What a line tells, if its data is worth an event of its own.
    fn told(&mut self, kind: &str, data: &Fields<'_>, line: &Fields<'_>) -> Option<EventType> {
        Some(match kind {
            "session.start" | "session.resume" => {
                self.session = session(data, "sessionId").or(self.session.take());
                EventType::Session
            }
            "assistant.message" => return self.said(data, line),
            "assistant.message_delta" => {
                self.has_answered = true;
                return None;
            }
            "assistant.reasoning" => EventType::Thinking,
            "tool.execution_start" => self.called(data),
            "tool.execution_complete" => {
                self.ended(data);
                EventType::ToolResult
            }
            "model.call_failure" => self.call_failed(data),
            "session.error" => self.failed(data),
            "abort" | "agent.interrupted" => {
                self.aborted = true;
                EventType::Error
            }
            "assistant.idle" => {
                self.aborted |= data.read("aborted") == Some(true);
                return None;
            }
            _ => return None,
        })
    }

    fn said(&mut self, data: &Fields<'_>, line: &Fields<'_>) -> Option<EventType> {
        self.call_failure = None;
        self.error = None;
        let text = data.text("content").filter(|text| !text.is_empty());
        // What an agent within the agent says is no answer to the task.
        let is_inner = line.raw("agentId").is_some() || data.raw("parentToolCallId").is_some();
        if !is_inner {
            let calls: Vec<&RawValue> = data.read("toolRequests").unwrap_or_default();
            self.has_answered = calls.is_empty();
            self.text = text.as_deref().map(str::to_owned);
        }
        text.map(|_| EventType::Text)
    }

    fn called(&mut self, data: &Fields<'_>) -> EventType {
        let tool = data.text("toolName").unwrap_or_default();
        let input = data.object("arguments");
        let id = data.text("toolCallId").unwrap_or_default();
        self.calls.began(&id, call(&tool, input.as_ref()));
        // By this one it says that it is done.
        self.has_answered = tool == "task_complete";
        match tool.as_ref() {
            "bash" | "powershell" | "shell" | "local_shell" => EventType::Command,
            "create" | "edit" | "write" | "str_replace" | "str_replace_editor" | "apply_patch" => {
                EventType::FileChange
            }
            "ask_user" => EventType::Question,
            _ => EventType::ToolCall,
        }
    }

    fn ended(&mut self, data: &Fields<'_>) {
        let id = data.text("toolCallId").unwrap_or_default();
        let call = self.calls.ended(&id);
        let error = data.object("error");
        let code = error.as_ref().and_then(|error| error.text("code"));
        if matches!(code.as_deref(), Some("denied" | "rejected")) {
            self.refusals.add(call.unwrap_or_else(|| "?".to_owned()));
        }
    }

    fn call_failed(&mut self, data: &Fields<'_>) -> EventType {
        // The provider's answer, or a JSON string with the words of an error of the network.
        let body = data.text("errorMessage");
        let trouble = Trouble::of(data.read("statusCode"), body.as_deref(), None);
        let is_transport = data.text("failureKind").as_deref() == Some("transport");
        let kind = kind_of(trouble);
        self.call_failure = Some(Failed {
            trouble,
            is_transport,
        });
        kind
    }

    fn failed(&mut self, data: &Fields<'_>) -> EventType {
        let kind = data.text("errorType").unwrap_or_default();
        let words = data.text("message");
        let words = message(words.as_deref(), &format!("it says {kind}"));
        let trouble = self.trouble(&kind, data.read("statusCode"));
        self.error = Some((trouble, words));
        kind_of(trouble)
    }

    /// What an error is about: the provider's own word, the status, the program's word.
    fn trouble(&self, kind: &str, status: Option<u64>) -> Trouble {
        let call = self.call_failure.as_ref();
        let by_call = call.map(|failed| failed.trouble).unwrap_or_default();
        if by_call.code.is_some() {
            return by_call;
        }
        let by_status = status.map(Trouble::by_status).unwrap_or_default();
        let code = by_status.code.or_else(|| {
            Some(match kind {
                "authentication" | "authorization" => FailureCode::AuthFailed,
                "quota" => FailureCode::UsageLimit,
                "rate_limit" => FailureCode::RateLimit,
                "context_limit" => FailureCode::ContextTooLong,
                _ if call.is_some_and(|failed| failed.is_transport) => {
                    FailureCode::ConnectionFailed
                }
                _ => return None,
            })
        });
        Trouble::only(code)
    }

    /// Takes the final word; `false` if it was there already.
    fn result(&mut self, fields: &Fields<'_>) -> bool {
        if !self.ending.is_there() {
            self.session = session(fields, "sessionId").or(self.session.take());
        }
        let code: Option<i64> = fields.read("exitCode");
        let verdict = match (code, &self.error, self.aborted) {
            (_, Some((trouble, words)), _) => trouble.verdict(words.clone()),
            (_, None, true) => Verdict::Error {
                code: FailureCode::AgentError,
                message: "it was interrupted before it was done".to_owned(),
            },
            (Some(0), None, false) if self.has_answered => Verdict::Success,
            (code, None, false) => {
                let code = code.map_or("nothing".to_owned(), |code| code.to_string());
                Verdict::Error {
                    code: FailureCode::AgentError,
                    message: format!(
                        "its result says {code} for an exit status, and there is no answer"
                    ),
                }
            }
        };
        let ending = Ending {
            verdict,
            result: None,
            usage: Usage::default(),
        };
        self.ending.take(ending, &mut self.notes)
    }
}

fn kind_of(trouble: Trouble) -> EventType {
    match trouble.is_limit() {
        true => EventType::Limit,
        false => EventType::Error,
    }
}

/// What its usage file says, all models together; `None` if no call was answered.
pub(super) fn usage_file(text: &str) -> Option<Usage> {
    let Line::Object(object) = read(text) else {
        return None;
    };
    let models: BTreeMap<String, Fields<'_>> = object.fields.read("modelMetrics")?;
    let used = models.values().filter_map(|model| model.object("usage"));
    let mut sum = Usage::default();
    for used in used {
        let counts = [
            "inputTokens",
            "outputTokens",
            "cacheReadTokens",
            "cacheWriteTokens",
        ];
        let [input, output, read, write] =
            counts.map(|name| tokens(&used, name, &mut Notes::default()));
        let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
        add(
            &mut sum.input_tokens,
            input.and_then(|input| input.checked_sub(cached)),
        );
        add(&mut sum.output_tokens, output);
        add(&mut sum.cache_read_tokens, read);
        add(&mut sum.cache_write_tokens, write);
    }
    (sum != Usage::default()).then_some(sum)
}

/// What it says on stderr when it ends before it has a session.
pub(super) fn explain(_code: i32, errors: &str) -> Option<(FailureCode, String)> {
    let starts = |head: &str| errors.lines().find(|line| line.starts_with(head));
    let (code, line) = match starts("Error: No session, task, or name matched ") {
        Some(line) => (FailureCode::SessionGone, line),
        None => (
            FailureCode::AuthFailed,
            starts("Error: No authentication information found")?,
        ),
    };
    Some((code, message(Some(line), "")))
}
