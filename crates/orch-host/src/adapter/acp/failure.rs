//! What the end of a conversation means.
//!
//! Only what an agent says in a form made for programs decides: why it stopped, the code of an
//! error, and the words and numbers in its data that are names and not sentences.

use orch_core::outcome::Verdict;
use orch_core::run::FailureCode;
use orch_core::text::excerpt;
use serde_json::value::RawValue;

use crate::adapter::json::Fields;
use crate::adapter::provider::{self, Trouble};

/// Longest message of a failure, characters.
const MESSAGE_CHARS: usize = 2_000;
/// The protocol's own code for a login that is missing.
const AUTH_REQUIRED: i64 = -32000;

/// Fields of an error's data that name its kind.
const KINDS: [&str; 7] = [
    "errorKind",
    "errorName",
    "error_kind",
    "codexErrorInfo",
    "codex_error_info",
    "error",
    "type",
];
/// Fields of an error's data that hold the status of the provider's answer.
const STATUSES: [&str; 7] = [
    "statusCode",
    "status_code",
    "httpStatusCode",
    "http_status_code",
    "httpStatus",
    "status",
    "code",
];
/// Fields of an error's data that hold a sentence.
const SENTENCES: [&str; 4] = ["details", "message", "errorMessage", "detail"];

/// What a conversation amounts to that ended like this, when the agent has `said` something or
/// used a tool since its prompt.
pub(super) fn verdict(end: &Fields<'_>, said: bool) -> Verdict {
    let how = end.text("how").unwrap_or_default();
    let during = end.text("during").unwrap_or_default();
    let message = || excerpt(&end.text("message").unwrap_or_default(), MESSAGE_CHARS);
    let (code, message) = match how.as_ref() {
        "answered" => return answered(end, said),
        "failed" => return failed(end, &during),
        // Nobody's words; the process tells how it ended.
        "died" | "stopped" => return Verdict::NoResult,
        "malformed" => (
            FailureCode::AgentError,
            format!("it answered {during} with neither a result nor an error"),
        ),
        "closed" => (
            FailureCode::NoResult,
            format!("it closed its output before it answered {during}"),
        ),
        "silent" => (
            FailureCode::NoResult,
            format!(
                "it did not answer {during} within {} seconds; does its command start an agent \
                 that speaks the Agent Client Protocol?",
                end.read::<u64>("seconds").unwrap_or_default()
            ),
        ),
        "too_long" => (
            FailureCode::OutputLimit,
            format!(
                "one message was longer than {} bytes",
                end.read::<u64>("limit").unwrap_or_default()
            ),
        ),
        "deaf" => (
            FailureCode::AgentError,
            "it kept asking and did not read what it was answered".to_owned(),
        ),
        "version" => (
            FailureCode::AgentError,
            format!(
                "it speaks version {} of the Agent Client Protocol; orch speaks version 1",
                end.text("given").unwrap_or_default()
            ),
        ),
        "session_gone" => (FailureCode::SessionGone, message()),
        "not_started" => (not_started(end), message()),
        _ => (FailureCode::AgentError, message()),
    };
    Verdict::Error { code, message }
}

fn not_started(end: &Fields<'_>) -> FailureCode {
    let code = end.text("code").and_then(|code| code.parse().ok());
    code.unwrap_or(FailureCode::SpawnFailed)
}

fn answered(end: &Fields<'_>, said: bool) -> Verdict {
    let reason = end.text("stop_reason").unwrap_or_default();
    let (code, message) = match reason.as_ref() {
        "end_turn" if said => return Verdict::Success,
        "end_turn" => (
            FailureCode::NoResult,
            "it said that its turn was over, but it had said nothing and used no tool".to_owned(),
        ),
        "max_tokens" => (
            FailureCode::AnswerCut,
            "the answer was cut off at its longest (max_tokens)".to_owned(),
        ),
        "max_turn_requests" => (
            FailureCode::TurnLimit,
            "it took as many turns as it may (max_turn_requests)".to_owned(),
        ),
        "refusal" => (
            FailureCode::Refused,
            "the model refused to answer (refusal)".to_owned(),
        ),
        "cancelled" => (
            FailureCode::AgentError,
            "it says that it was cancelled".to_owned(),
        ),
        "" => (
            FailureCode::AgentError,
            "its answer does not say why it stopped".to_owned(),
        ),
        other => (
            FailureCode::AgentError,
            format!(
                "it stopped for a reason nobody knows: {}",
                excerpt(other, 80)
            ),
        ),
    };
    Verdict::Error { code, message }
}

fn failed(end: &Fields<'_>, during: &str) -> Verdict {
    let error = end.object("error").unwrap_or_default();
    let code = end.read::<i64>("code");
    let message = sentence(&error, code, during);
    let kind = kind(&error, code).unwrap_or(FailureCode::AgentError);
    provider::verdict(kind, message, None)
}

/// The agent's words about an error, and what more it says in the data.
fn sentence(error: &Fields<'_>, code: Option<i64>, during: &str) -> String {
    let data = error.raw("data").map(RawValue::get).unwrap_or("null");
    let more = match serde_json::from_str::<Fields<'_>>(data) {
        Ok(data) => SENTENCES
            .iter()
            .find_map(|name| data.text(name))
            .map(std::borrow::Cow::into_owned),
        Err(_) => serde_json::from_str::<String>(data).ok(),
    };
    let message = error.text("message").unwrap_or_default();
    let message = unwrapped(&message).unwrap_or_else(|| message.into_owned());
    let message = match more {
        Some(more) if !message.contains(&more) => format!("{message}: {more}"),
        _ => message,
    };
    let text = match message.trim() {
        "" => format!(
            "it answered {during} with error {}",
            code.map_or_else(|| "without a code".to_owned(), |code| code.to_string())
        ),
        text => text.to_owned(),
    };
    excerpt(&text, MESSAGE_CHARS)
}

/// The sentence in the provider's answer, where that is the whole message.
fn unwrapped(message: &str) -> Option<String> {
    let answer: Fields<'_> = serde_json::from_str(message).ok()?;
    let sentence = answer.object("error")?.text("message")?;
    Some(sentence.into_owned())
}

/// What an error is about.
fn kind(error: &Fields<'_>, code: Option<i64>) -> Option<FailureCode> {
    let data = error.object("data").unwrap_or_default();
    let named = KINDS.iter().find_map(|name| named_kind(data.raw(name)?));
    let status = || STATUSES.iter().find_map(|name| of_status(data.read(name)?));
    named
        .or_else(status)
        .or_else(|| of_status(code?))
        .or_else(|| (code == Some(AUTH_REQUIRED)).then_some(FailureCode::AuthFailed))
}

/// A kind by its name; or by the one name in an object, beside which a status may stand.
fn named_kind(raw: &RawValue) -> Option<FailureCode> {
    if let Ok(name) = serde_json::from_str::<String>(raw.get()) {
        return of_name(&name);
    }
    let object: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(raw.get()).ok()?;
    let mut entries = object.iter();
    let (Some((name, inner)), None) = (entries.next(), entries.next()) else {
        return None;
    };
    let inner: Fields<'_> = serde_json::from_str(inner.get()).unwrap_or_default();
    let status = STATUSES
        .iter()
        .find_map(|name| of_status(inner.read(name)?));
    status.or_else(|| of_name(name))
}

/// The names that agents and their providers give to kinds of errors, whichever way they join
/// the words. Some of them mean more here than where a provider says them: an agent chose them.
fn of_name(name: &str) -> Option<FailureCode> {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    Some(match plain.as_str() {
        "ratelimit" | "ratelimited" | "ratelimiterror" | "ratelimitexceeded" => {
            FailureCode::RateLimit
        }
        "usagelimit" | "usagelimitexceeded" | "usagelimitreached" | "insufficientquota"
        | "quotaexceeded" | "billingerror" => FailureCode::UsageLimit,
        "authenticationfailed"
        | "authenticationerror"
        | "authrequired"
        | "unauthorized"
        | "permissionerror"
        | "providerautherror" => FailureCode::AuthFailed,
        "invalidrequest" | "invalidrequesterror" | "badrequest" => FailureCode::BadRequest,
        "modelnotfound" | "notfounderror" => FailureCode::ModelNotFound,
        "overloaded" | "overloadederror" | "serveroverloaded" => FailureCode::Overloaded,
        // Not `APIError`: the agent that says it means every answer of a provider by it.
        "servererror" | "internalservererror" | "responsetoomanyfailedattempts" => {
            FailureCode::ProviderError
        }
        "httpconnectionfailed"
        | "responsestreamconnectionfailed"
        | "responsestreamdisconnected"
        | "connectionfailed" => FailureCode::ConnectionFailed,
        "contextwindowexceeded"
        | "contextlengthexceeded"
        | "contextoverflowerror"
        | "prompttoolong" => FailureCode::ContextTooLong,
        "maxoutputtokens" | "messageoutputlengtherror" => FailureCode::AnswerCut,
        "contentfilter" | "contentfiltererror" | "refusal" => FailureCode::Refused,
        "sessionbudgetexceeded" => FailureCode::BudgetLimit,
        _ => return None,
    })
}

/// What a provider's status means; `None` for a number that is none of a failure.
fn of_status(status: i64) -> Option<FailureCode> {
    Trouble::by_status(u64::try_from(status).ok()?).code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(end: &str, said: bool) -> Verdict {
        verdict(&serde_json::from_str(end).unwrap(), said)
    }

    fn code(end: &str) -> (FailureCode, bool) {
        match of(end, true) {
            Verdict::Error { code, message } => {
                assert!(!message.trim().is_empty(), "{end}");
                (code, false)
            }
            Verdict::Limited { code, .. } => (code, true),
            other => panic!("{end}: {other:?}"),
        }
    }

    fn error(code_and_data: &str) -> (FailureCode, bool) {
        let number = code_and_data
            .split_once(',')
            .map_or(code_and_data, |(number, _)| number);
        let error = format!(r#"{{"message":"no","code":{code_and_data}}}"#);
        code(&format!(
            r#"{{"how":"failed","during":"session/prompt","code":{number},"error":{error}}}"#
        ))
    }

    #[test]
    fn only_a_turn_that_ended_and_did_something_is_a_success() {
        let end = r#"{"how":"answered","stop_reason":"end_turn"}"#;
        assert_eq!(of(end, true), Verdict::Success);
        let Verdict::Error { code: none, .. } = of(end, false) else {
            panic!("nothing was done");
        };
        assert_eq!(none, FailureCode::NoResult);
        for (reason, expected) in [
            (r#""max_tokens""#, FailureCode::AnswerCut),
            (r#""max_turn_requests""#, FailureCode::TurnLimit),
            (r#""refusal""#, FailureCode::Refused),
            (r#""cancelled""#, FailureCode::AgentError),
            (r#""END_TURN""#, FailureCode::AgentError),
            ("null", FailureCode::AgentError),
        ] {
            let end = format!(r#"{{"how":"answered","stop_reason":{reason}}}"#);
            assert_eq!(code(&end), (expected, false));
        }
    }

    #[test]
    fn every_other_end_is_a_failure_that_says_why() {
        for (end, expected) in [
            (
                r#"{"how":"malformed","during":"initialize"}"#,
                FailureCode::AgentError,
            ),
            (r#"{"how":"closed","during":"x"}"#, FailureCode::NoResult),
            (
                r#"{"how":"silent","during":"x","seconds":3}"#,
                FailureCode::NoResult,
            ),
            (r#"{"how":"too_long","limit":7}"#, FailureCode::OutputLimit),
            (r#"{"how":"deaf"}"#, FailureCode::AgentError),
            (r#"{"how":"version","given":"2"}"#, FailureCode::AgentError),
            (r#"{"how":"unable","message":"m"}"#, FailureCode::AgentError),
            (
                r#"{"how":"session_gone","message":"m"}"#,
                FailureCode::SessionGone,
            ),
            (
                r#"{"how":"not_started","code":"command_not_found","message":"m"}"#,
                FailureCode::CommandNotFound,
            ),
            (
                r#"{"how":"not_started","message":"m"}"#,
                FailureCode::SpawnFailed,
            ),
        ] {
            assert_eq!(code(end), (expected, false), "{end}");
        }
        for end in [r#"{"how":"died"}"#, r#"{"how":"stopped"}"#] {
            assert_eq!(of(end, true), Verdict::NoResult);
        }
        assert!(matches!(of("{}", true), Verdict::Error { .. }));
    }

    #[test]
    fn errors_are_known_by_names_and_numbers_and_not_by_sentences() {
        let limit = |code| (code, true);
        let failure = |code| (code, false);
        for (given, expected) in [
            ("-32000", failure(FailureCode::AuthFailed)),
            ("-32603", failure(FailureCode::AgentError)),
            (
                r#"-32603,"data":{"errorKind":"rate_limit"}"#,
                limit(FailureCode::RateLimit),
            ),
            (
                r#"-32603,"data":{"errorKind":"something_new"}"#,
                failure(FailureCode::AgentError),
            ),
            (
                r#"-32603,"data":{"codexErrorInfo":"usageLimitExceeded"}"#,
                limit(FailureCode::UsageLimit),
            ),
            (
                r#"-32603,"data":{"codex_error_info":"usage_limit_exceeded"}"#,
                limit(FailureCode::UsageLimit),
            ),
            (
                r#"-32603,"data":{"codexErrorInfo":{"responseTooManyFailedAttempts":{"httpStatusCode":529}}}"#,
                failure(FailureCode::Overloaded),
            ),
            (
                r#"-32603,"data":{"codexErrorInfo":{"httpConnectionFailed":{"httpStatusCode":null}}}"#,
                failure(FailureCode::ConnectionFailed),
            ),
            (
                r#"-32603,"data":{"errorName":"APIError","service":"session"}"#,
                failure(FailureCode::AgentError),
            ),
            (
                r#"-32603,"data":{"errorName":"ContextOverflowError"}"#,
                failure(FailureCode::ContextTooLong),
            ),
            (
                r#"-32603,"data":{"status":401}"#,
                failure(FailureCode::AuthFailed),
            ),
            (
                r#"-32603,"data":"429 too many requests""#,
                failure(FailureCode::AgentError),
            ),
            ("400", failure(FailureCode::BadRequest)),
            ("404", failure(FailureCode::ModelNotFound)),
            ("429", limit(FailureCode::RateLimit)),
            ("500", failure(FailureCode::ProviderError)),
            ("503", failure(FailureCode::Overloaded)),
            ("200", failure(FailureCode::AgentError)),
        ] {
            assert_eq!(error(given), expected, "{given}");
        }
    }

    #[test]
    fn the_agents_words_are_told() {
        let end = r#"{"how":"failed","during":"session/prompt","code":-32603,
            "error":{"code":-32603,"message":"Internal error","data":{"details":"boom"}}}"#;
        let Verdict::Error { message, .. } = of(end, true) else {
            panic!("{end}");
        };
        assert_eq!(message, "Internal error: boom");
        let end = r#"{"how":"failed","during":"session/prompt","code":401,
            "error":{"code":401,"message":"{\"error\":{\"code\":401,\"message\":\"no key\"}}"}}"#;
        let Verdict::Error { message, .. } = of(end, true) else {
            panic!("{end}");
        };
        assert_eq!(message, "no key");
    }
}
