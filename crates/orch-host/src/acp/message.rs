//! The messages of JSON-RPC, as far as both sides of this conversation use it.
//!
//! This part must not know what any method means.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::adapter::json::Fields;

/// Longest id of a request that is answered, bytes: it is sent back.
const ID_BYTES: usize = 1024;

/// What the JSON-RPC standard calls a method nobody here has.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;

/// A message of the agent.
pub(super) enum Incoming<'a> {
    /// It wants something and waits for the answer.
    Request {
        /// Its id, to be sent back as it is.
        id: &'a RawValue,
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    /// It tells something.
    Notification,
    /// It answers.
    Answer {
        /// The id it answers; `None` if it is none that this side gives.
        id: Option<u64>,
        /// Its result, or what went wrong.
        result: Result<&'a RawValue, Wrong<'a>>,
    },
    /// None of these.
    Odd,
}

/// What an answer that is no result is.
#[derive(Clone, Copy)]
pub(super) enum Wrong<'a> {
    /// An error in its own words.
    Error(&'a RawValue),
    /// Both or neither of a result and an error.
    Malformed,
}

/// Says what a message is.
pub(super) fn sort<'a>(fields: &Fields<'a>) -> Incoming<'a> {
    let id = fields.raw("id");
    match (fields.text("method"), id) {
        (Some(method), Some(id)) if is_id(id) => Incoming::Request {
            id,
            method,
            params: fields.raw("params"),
        },
        (Some(_), None) => Incoming::Notification,
        (Some(_), Some(_)) => Incoming::Odd,
        (None, id) => answer(fields, id),
    }
}

fn is_id(id: &RawValue) -> bool {
    let text = id.get();
    text.len() <= ID_BYTES && !text.starts_with(['{', '[', 't', 'f'])
}

fn answer<'a>(fields: &Fields<'a>, id: Option<&RawValue>) -> Incoming<'a> {
    let error = fields.raw("error").filter(|raw| raw.get() != "null");
    let result = match (fields.raw("result"), error) {
        (Some(result), None) => Ok(result),
        // An error beside a result that is null is how some libraries print an error.
        (None, Some(error)) => Err(Wrong::Error(error)),
        (Some(result), Some(error)) if result.get() == "null" => Err(Wrong::Error(error)),
        (Some(_), Some(_)) => Err(Wrong::Malformed),
        (None, None) if id.is_none() => return Incoming::Odd,
        (None, None) => Err(Wrong::Malformed),
    };
    // Whoever cannot read a request cannot say which one it was.
    let is_unread = result.is_err() && id.is_none_or(|id| id.get() == "null");
    match id.and_then(|id| serde_json::from_str(id.get()).ok()) {
        Some(id) => Incoming::Answer {
            id: Some(id),
            result,
        },
        None if is_unread => Incoming::Answer { id: None, result },
        None => Incoming::Odd,
    }
}

/// A request to the agent.
pub(super) fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Something the agent is told.
pub(super) fn notification(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The answer to a request of the agent.
pub(super) fn response(id: &RawValue, result: &Value) -> String {
    // The id is sent back exactly: as a number it may be larger than any that is read here.
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.get())
}

/// The refusal of a request of the agent.
pub(super) fn refusal(id: &RawValue, method: &str) -> String {
    let method = orch_core::text::excerpt(method, 100);
    let error = json!({ "code": METHOD_NOT_FOUND, "message": format!("no such method: {method}") });
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::json::{Line, read};

    fn sorted(text: &str) -> String {
        let Line::Object(object) = read(text) else {
            panic!("{text}")
        };
        match sort(&object.fields) {
            Incoming::Request { id, method, .. } => format!("request {id} {method}"),
            Incoming::Notification => "notification".to_owned(),
            Incoming::Odd => "odd".to_owned(),
            Incoming::Answer { id, result } => match result {
                Ok(result) => format!("answer {id:?} {result}"),
                Err(Wrong::Error(error)) => format!("error {id:?} {error}"),
                Err(Wrong::Malformed) => format!("malformed {id:?}"),
            },
        }
    }

    #[test]
    fn messages_are_told_apart() {
        for (text, meant) in [
            (r#"{"id":1,"result":null}"#, "answer Some(1) null"),
            (r#"{"id":1,"result":{}}"#, "answer Some(1) {}"),
            (
                r#"{"id":1,"error":{"code":2}}"#,
                r#"error Some(1) {"code":2}"#,
            ),
            (r#"{"id":1,"result":null,"error":{}}"#, "error Some(1) {}"),
            (r#"{"id":1,"result":{},"error":null}"#, "answer Some(1) {}"),
            (r#"{"id":1,"result":{},"error":{}}"#, "malformed Some(1)"),
            (r#"{"id":1}"#, "malformed Some(1)"),
            (r#"{"id":null,"error":{}}"#, "error None {}"),
            (r#"{"error":{}}"#, "error None {}"),
            (r#"{"id":null,"result":{}}"#, "odd"),
            (r#"{"id":"1","result":{}}"#, "odd"),
            (r#"{"id":-1,"result":{}}"#, "odd"),
            (r#"{"result":{}}"#, "odd"),
            (r#"{"id":"a","method":"m"}"#, r#"request "a" m"#),
            (r#"{"id":null,"method":"m"}"#, "request null m"),
            (r#"{"id":[],"method":"m"}"#, "odd"),
            (r#"{"method":"m","params":[]}"#, "notification"),
            ("{}", "odd"),
        ] {
            assert_eq!(sorted(text), meant, "{text}");
        }
    }

    #[test]
    fn an_id_is_sent_back_as_it_came() {
        let id: Box<RawValue> = serde_json::from_str("123456789012345678901234567890").unwrap();
        assert!(response(&id, &json!({})).contains(r#""id":123456789012345678901234567890,"#));
        assert!(refusal(&id, "x").contains("-32601"));
    }
}
