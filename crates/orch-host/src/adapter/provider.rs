//! What a provider's refusal means: an HTTP status, and the few sentences that providers have used
//! unchanged for years.
//!
//! For what a program says of its provider in a form of its own. This part must not be shown an
//! agent's prose.

use orch_core::Timestamp;
use orch_core::outcome::Verdict;
use orch_core::run::FailureCode;

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

/// What it means that a provider answered with `status` and `words`.
pub(super) fn answer(status: u16, words: &str) -> FailureCode {
    let known = SENTENCES.iter().find(|(start, _)| words.starts_with(start));
    match known {
        Some((_, code)) if (400..500).contains(&status) => *code,
        _ => by_status(status),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
