//! What went wrong between an agent and its provider: told from the status and the body of the
//! provider's answer, from the few sentences that providers have used unchanged for years, and from
//! the fixed words of the libraries in between.
//!
//! This part must not know any agent's fields, nor be shown what a model says.

use orch_core::Timestamp;
use orch_core::outcome::Verdict;
use orch_core::run::FailureCode;

use super::json::{Fields, Line, read};

/// Latest reset time that is believed, seconds since 1970: the year 5138.
const RESET_SECONDS: i64 = 100_000_000_000;
/// Longest wait that is believed, seconds: a hundred days.
const WAIT_SECONDS: f64 = 8_640_000.0;

/// Sentences with which a provider begins an answer, and which say more than its status does.
const SENTENCES: &[(&str, FailureCode)] = &[
    (
        "This model's maximum context length is ",
        FailureCode::ContextTooLong,
    ),
    ("prompt is too long", FailureCode::ContextTooLong),
    ("Prompt is too long", FailureCode::ContextTooLong),
    (
        "input length and `max_tokens` exceed context limit",
        FailureCode::ContextTooLong,
    ),
    ("You exceeded your current quota", FailureCode::UsageLimit),
    ("Your credit balance is too low", FailureCode::UsageLimit),
];

/// What is known of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Trouble {
    /// What kind of failure it is, if that can be told.
    pub code: Option<FailureCode>,
    /// When a limit is lifted, if that was said.
    pub until: Option<Timestamp>,
}

impl Trouble {
    /// What an HTTP status says, if it is one of a failure.
    pub fn by_status(status: u64) -> Self {
        let status = u16::try_from(status).ok();
        let status = status.filter(|status| (400..600).contains(status));
        Self::only(status.map(by_status))
    }

    /// This kind of failure, and nothing about a time.
    pub const fn only(code: Option<FailureCode>) -> Self {
        Self { code, until: None }
    }

    /// What a status, if there is one, and the body of the answer sent at `now` say together.
    pub fn of(status: Option<u64>, body: Option<&str>, now: Option<Timestamp>) -> Self {
        let by_status = status.map(Self::by_status).unwrap_or_default();
        let Some(body) = body else {
            return by_status;
        };
        let by_body = Self::by_body(body, now);
        let closer = match (by_status.code, by_body.code) {
            (None | Some(FailureCode::BadRequest), Some(closer)) => Some(closer),
            (Some(FailureCode::RateLimit), Some(closer @ FailureCode::UsageLimit)) => Some(closer),
            (Some(FailureCode::ProviderError), Some(closer @ FailureCode::Overloaded)) => {
                Some(closer)
            }
            (code, _) => code,
        };
        Self {
            code: closer.map(|code| match code {
                FailureCode::BadRequest if is_too_long(body) => FailureCode::ContextTooLong,
                FailureCode::BadRequest | FailureCode::RateLimit => {
                    by_sentence(body).unwrap_or(code)
                }
                code => code,
            }),
            until: by_body.until,
        }
    }

    /// What the body of an answer says: `{"error": {…}}` or the inner object alone.
    fn by_body(body: &str, now: Option<Timestamp>) -> Self {
        let Line::Object(object) = read(body) else {
            return Self::default();
        };
        let inner = object.fields.object("error");
        Self::by_fields(inner.as_ref().unwrap_or(&object.fields), now)
    }

    fn by_fields(error: &Fields<'_>, now: Option<Timestamp>) -> Self {
        let details: Vec<Fields<'_>> = error.read("details").unwrap_or_default();
        let details = || details.iter();
        let word = |name| by_word(&error.text(name)?);
        let number = || Self::by_status(error.read("code")?).code;
        let delay = || details().find_map(|detail| seconds(&detail.text("retryDelay")?));
        Self {
            code: details()
                .find_map(by_detail)
                .or_else(|| word("code"))
                .or_else(|| word("type"))
                .or_else(number)
                .or_else(|| word("status")),
            until: error
                .read("resets_at")
                .and_then(at_second)
                .or_else(|| after(now?, delay()?)),
        }
    }

    /// The verdict this comes to.
    pub fn verdict(self, message: String) -> Verdict {
        let code = self.code.unwrap_or(FailureCode::AgentError);
        verdict(code, message, self.until)
    }

    /// Whether it is a limit, which waiting lifts.
    pub const fn is_limit(self) -> bool {
        matches!(
            self.code,
            Some(FailureCode::RateLimit | FailureCode::UsageLimit)
        )
    }
}

/// What it means that a provider answered with `status` and `words`.
pub(super) fn answer(status: u16, words: &str) -> FailureCode {
    let known = by_sentence(words).filter(|_| (400..500).contains(&status));
    known.unwrap_or(by_status(status))
}

/// What a sentence means that a provider's answer begins with.
fn by_sentence(words: &str) -> Option<FailureCode> {
    let known = SENTENCES.iter().find(|(start, _)| words.starts_with(start));
    known.map(|(_, code)| *code)
}

/// What an HTTP status means. 402 is an account without credit, 413 a request beyond all bounds,
/// 529 what Anthropic answers when it is overloaded.
pub(super) const fn by_status(status: u16) -> FailureCode {
    match status {
        401 | 403 => FailureCode::AuthFailed,
        402 => FailureCode::UsageLimit,
        404 => FailureCode::ModelNotFound,
        408 => FailureCode::ConnectionFailed,
        413 => FailureCode::ContextTooLong,
        429 => FailureCode::RateLimit,
        400..=499 => FailureCode::BadRequest,
        503 | 529 => FailureCode::Overloaded,
        _ => FailureCode::ProviderError,
    }
}

/// The verdict of an error with this code: a limit is an ending of its own.
pub(super) const fn verdict(
    code: FailureCode,
    message: String,
    until: Option<Timestamp>,
) -> Verdict {
    match code {
        FailureCode::RateLimit | FailureCode::UsageLimit => Verdict::Limited {
            code,
            message,
            until,
        },
        _ => Verdict::Error { code, message },
    }
}

/// The status and the words of `401 invalid key`: three digits of an error, then a space.
pub(super) fn status_and_words(text: &str) -> Option<(u16, &str)> {
    let (digits, words) = text.split_once(' ')?;
    let is_status = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let status = is_status.then(|| digits.parse().ok()).flatten()?;
    (400..600).contains(&status).then_some((status, words))
}

/// The words that the providers' interfaces use for kinds of errors.
pub(super) fn by_word(word: &str) -> Option<FailureCode> {
    Some(match word {
        "authentication_error"
        | "invalid_api_key"
        | "permission_error"
        | "permission_denied"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED" => FailureCode::AuthFailed,
        "billing_error"
        | "insufficient_quota"
        | "quota_exceeded"
        | "usage_limit_reached"
        | "usage_not_included" => FailureCode::UsageLimit,
        "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => FailureCode::RateLimit,
        "context_length_exceeded" | "request_too_large" => FailureCode::ContextTooLong,
        "model_not_found" | "not_found_error" | "NOT_FOUND" => FailureCode::ModelNotFound,
        "overloaded_error" | "overloaded" | "server_overloaded" | "UNAVAILABLE" => {
            FailureCode::Overloaded
        }
        "api_error" | "server_error" | "INTERNAL" => FailureCode::ProviderError,
        "content_filter" | "content_policy_violation" => FailureCode::Refused,
        "timeout_error" | "DEADLINE_EXCEEDED" => FailureCode::ConnectionFailed,
        "invalid_request_error"
        | "invalid_request"
        | "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION" => FailureCode::BadRequest,
        _ => return None,
    })
}

/// What one of the details says that Google's interfaces add to an error: they refuse a key with
/// the status of a bad request, and a day's quota with that of any limit.
fn by_detail(detail: &Fields<'_>) -> Option<FailureCode> {
    if detail.text("reason").as_deref() == Some("API_KEY_INVALID") {
        return Some(FailureCode::AuthFailed);
    }
    let violations: Vec<Fields<'_>> = detail.read("violations")?;
    let is_daily = |violation: &Fields<'_>| {
        let quota = violation.text("quotaId").unwrap_or_default();
        quota.contains("PerDay") || quota.contains("Daily")
    };
    violations
        .iter()
        .any(is_daily)
        .then_some(FailureCode::UsageLimit)
}

/// A duration as Google's interfaces write it: `"3.5s"`.
fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok()
}

/// Whether the provider refuses a request because it is too long, in the fixed words of those
/// providers that have no code for it.
fn is_too_long(body: &str) -> bool {
    [
        "prompt is too long:",
        "maximum context length is ",
        "exceeds the maximum number of tokens allowed",
    ]
    .iter()
    .any(|words| body.contains(words))
}

/// Whether these are the words with which the libraries of JavaScript programs say that a
/// connection did not come to be or broke, or that what came by it is not what was agreed on.
pub(super) fn is_connection(words: &str) -> bool {
    const WHOLE: &[&str] = &[
        "Connection error.",
        "Request timed out.",
        "Request was aborted.",
        "fetch failed",
        "other side closed",
        "socket hang up",
        "terminated",
    ];
    const HEADS: &[&str] = &[
        "Cannot connect to API: ",
        "Connection error: ",
        "Connection reset by server",
        "exception TypeError: fetch failed",
        "read ECONNRESET",
        "connect ECONNREFUSED",
        "Unable to connect. Is the computer able to access the url?",
        "JSON parsing failed: Text: ",
    ];
    let words = words.trim();
    WHOLE.contains(&words)
        || HEADS.iter().any(|head| words.starts_with(head))
        || (words.starts_with("Unexpected ") && words.ends_with(" is not valid JSON"))
}

/// A time given as seconds since 1970.
pub(super) fn at_second(seconds: i64) -> Option<Timestamp> {
    (1..=RESET_SECONDS)
        .contains(&seconds)
        .then(|| Timestamp(seconds * 1_000))
}

/// When a limit is lifted of which these headers, sent at `now`, tell.
pub(super) fn reset_by_headers(headers: &Fields<'_>, now: Option<Timestamp>) -> Option<Timestamp> {
    let number = |name| -> Option<f64> { headers.text(name)?.parse().ok() };
    let absolute = headers
        .text("anthropic-ratelimit-unified-reset")
        .and_then(|text| at_second(text.parse().ok()?));
    absolute.or_else(|| {
        let milliseconds = number("retry-after-ms").map(|number| number / 1_000.0);
        after(now?, milliseconds.or_else(|| number("retry-after"))?)
    })
}

/// The time this many seconds after another.
pub(super) fn after(now: Timestamp, seconds: f64) -> Option<Timestamp> {
    let wait = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    let wait = u64::try_from(wait.as_millis()).ok()?;
    (seconds <= WAIT_SECONDS).then(|| now.plus_millis(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Option<u64>, body: &str) -> Option<&'static str> {
        let trouble = Trouble::of(status, Some(body), Some(Timestamp(1_000)));
        trouble.code.map(FailureCode::as_str)
    }

    #[test]
    fn a_body_says_more_than_its_status_where_it_may() {
        let error = |fields: &str| format!(r#"{{"type":"error","error":{{{fields}}}}}"#);
        let cases = [
            (
                Some(400),
                r#""code":"context_length_exceeded""#,
                "context_too_long",
            ),
            (
                Some(400),
                r#""message":"prompt is too long: 3 tokens > 2""#,
                "context_too_long",
            ),
            (
                Some(400),
                r#""code":400,"details":[{"reason":"API_KEY_INVALID"}]"#,
                "auth_failed",
            ),
            (
                Some(400),
                r#""type":"invalid_request_error""#,
                "bad_request",
            ),
            (None, r#""type":"overloaded_error""#, "overloaded"),
            (None, r#""code":529"#, "overloaded"),
            (
                None,
                r#""code":null,"status":"UNAUTHENTICATED""#,
                "auth_failed",
            ),
            (Some(429), r#""type":"usage_limit_reached""#, "usage_limit"),
            (Some(429), r#""type":"overloaded_error""#, "rate_limit"),
            (
                Some(429),
                r#""details":[{"violations":[{"quotaId":"RequestsPerDay"}]}]"#,
                "usage_limit",
            ),
            (Some(500), r#""code":"overloaded""#, "overloaded"),
            // A status that is clear is not made another thing by a word that is not.
            (
                Some(401),
                r#""type":"invalid_request_error""#,
                "auth_failed",
            ),
            (Some(404), r#""type":"rate_limit_error""#, "model_not_found"),
        ];
        for (status, fields, expected) in cases {
            assert_eq!(
                told(status, &error(fields)),
                Some(expected),
                "{status:?} {fields}"
            );
        }
        assert_eq!(told(None, "{}"), None);
        assert_eq!(told(None, "no JSON"), None);
        assert_eq!(told(Some(200), "{}"), None);
        assert_eq!(told(Some(u64::MAX), ""), None);
    }

    #[test]
    fn a_limit_is_lifted_when_the_provider_says_so() {
        let until = |body: &str| Trouble::of(Some(429), Some(body), Some(Timestamp(1_000))).until;
        assert_eq!(until(r#"{"resets_at":90}"#), Some(Timestamp(90_000)));
        let delay = r#"{"error":{"details":[{"retryDelay":"2.5s"}]}}"#;
        assert_eq!(until(delay), Some(Timestamp(3_500)));
        for nothing in [
            r#"{"resets_at":0}"#,
            r#"{"resets_at":-5}"#,
            r#"{"resets_at":9e30}"#,
            r#"{"error":{"details":[{"retryDelay":"9e99s"}]}}"#,
            r#"{"error":{"details":[{"retryDelay":"-1s"}]}}"#,
            r#"{"error":{"details":[{"retryDelay":"NaNs"}]}}"#,
        ] {
            assert_eq!(until(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn headers_tell_a_time_by_themselves_or_from_now_on() {
        let told = |json: &str, now| {
            let Line::Object(object) = read(json) else {
                panic!("{json}");
            };
            reset_by_headers(&object.fields, now)
        };
        let now = Some(Timestamp(5_000));
        assert_eq!(told(r#"{"retry-after":"2"}"#, now), Some(Timestamp(7_000)));
        assert_eq!(
            told(r#"{"retry-after-ms":"250"}"#, now),
            Some(Timestamp(5_250))
        );
        assert_eq!(told(r#"{"retry-after":"2"}"#, None), None);
        let absolute = r#"{"anthropic-ratelimit-unified-reset":"60","retry-after":"2"}"#;
        assert_eq!(told(absolute, None), Some(Timestamp(60_000)));
        for nothing in [
            r#"{"retry-after":"soon"}"#,
            r#"{"retry-after":"1e12"}"#,
            "{}",
        ] {
            assert_eq!(told(nothing, now), None, "{nothing}");
        }
    }

    #[test]
    fn words_about_connections_are_known_whole() {
        for words in [
            "terminated",
            " Connection error.",
            "read ECONNRESET",
            "Cannot connect to API: The socket connection was closed unexpectedly.",
            "fetch failed",
        ] {
            assert!(is_connection(words), "{words}");
        }
        assert!(is_connection(
            r#"Unexpected token '<', "<html>" is not valid JSON"#
        ));
        for words in [
            "",
            "the fetch failed",
            "terminated by the user",
            "Unexpected end",
        ] {
            assert!(!is_connection(words), "{words}");
        }
    }

    #[test]
    fn a_status_says_what_kind_of_refusal_it_is() {
        let said = |status| by_status(status).as_str();
        let statuses = [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 529];
        let words: Vec<_> = statuses.map(|it| format!("{it} {}", said(it))).to_vec();
        insta::assert_snapshot!(words.join("\n"), @r"
        400 bad_request
        401 auth_failed
        402 usage_limit
        403 auth_failed
        404 model_not_found
        413 context_too_long
        422 bad_request
        429 rate_limit
        500 provider_error
        502 provider_error
        503 overloaded
        529 overloaded
        ");
    }

    #[test]
    fn known_sentences_say_more_than_the_status_and_only_at_the_beginning() {
        let long = "This model's maximum context length is 128000 tokens.";
        assert_eq!(answer(400, long), FailureCode::ContextTooLong);
        assert_eq!(answer(500, long), FailureCode::ProviderError);
        assert_eq!(
            answer(400, &format!("it said: {long}")),
            FailureCode::BadRequest
        );
    }

    #[test]
    fn only_an_error_status_with_words_is_one() {
        assert_eq!(status_and_words("401 bad key"), Some((401, "bad key")));
        for text in ["401", "4010 x", "200 fine", "+40 x", "x 401", ""] {
            assert_eq!(status_and_words(text), None, "{text}");
        }
    }
}
