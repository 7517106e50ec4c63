//! Reading a JSON body: every way it can be wrong has its own answer.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::BODY_BYTES;
use super::failure::Failed;

/// A body as it came, or why it could not be read.
pub(super) type Raw = Result<Bytes, BytesRejection>;

/// Reads a body. The content type must be JSON: a form of a web page never is.
pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Raw) -> Result<T, Failed> {
    check_type(headers)?;
    let body = body.map_err(unread)?;
    let text = std::str::from_utf8(&body).map_err(|error| {
        let message = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Failed::new(StatusCode::BAD_REQUEST, "not_utf8", message)
    })?;
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => Failed::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
            error.to_string(),
        ),
        Category::Io | Category::Syntax | Category::Eof => {
            Failed::new(StatusCode::BAD_REQUEST, "not_json", error.to_string())
        }
    })
}

fn unread(rejection: BytesRejection) -> Failed {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failed::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the body is too large",
        )
        .limit(format!("{BODY_BYTES} bytes"), "more"),
        status => Failed::new(status, "bad_body", rejection.body_text()),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Failed> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let given = given.unwrap_or("nothing");
    if given
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    {
        return Ok(());
    }
    let message = format!("the content type must be application/json, not {given}");
    Err(Failed::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_json",
        message,
    ))
}
