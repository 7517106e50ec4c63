//! The protocols of the providers: a request in, a conversation; an answer out, events or one
//! document; a refusal in the provider's own words.
//!
//! A protocol must not know which scenario is played.

mod anthropic;
mod chat;
mod gemini;
mod responses;

use serde_json::Value;

use crate::conversation::Conversation;
use crate::script::{Answer, Failure};

/// One protocol.
pub struct Protocol {
    /// What it is called in what was seen.
    pub name: &'static str,
    /// What a request says.
    pub read: fn(&Value) -> Conversation,
    /// An answer as a stream.
    pub stream: fn(&Sent<'_>) -> Vec<Event>,
    /// An answer in one piece.
    pub whole: fn(&Sent<'_>) -> Value,
    /// A refusal.
    pub refuse: fn(&Failure) -> Refusal,
}

/// What goes into the head of a refusal besides the pause, and what is said.
pub type Refusal = (Vec<(&'static str, String)>, Value);

/// An answer on its way.
#[derive(Debug)]
pub struct Sent<'a> {
    /// What it says.
    pub answer: &'a Answer,
    /// A word that no other answer has.
    pub id: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, where the protocol names its events.
    pub name: Option<String>,
    /// What it carries.
    pub data: String,
}

impl Event {
    /// An event without a name.
    fn plain(data: &Value) -> Self {
        Self {
            name: None,
            data: data.to_string(),
        }
    }

    /// An event that is named as its `type` says.
    fn typed(data: &Value) -> Self {
        Self {
            name: data["type"].as_str().map(str::to_owned),
            data: data.to_string(),
        }
    }
}

/// The protocol of a path, and whether what is wanted there is only a count of tokens.
pub fn of_path(path: &str) -> Option<(&'static Protocol, bool)> {
    let path = path.trim_end_matches('/');
    let ends = |end: &str| path.ends_with(end);
    if ends("/messages") || ends("/messages/count_tokens") {
        return Some((&anthropic::PROTOCOL, ends("/count_tokens")));
    }
    if ends("/chat/completions") {
        return Some((&chat::PROTOCOL, false));
    }
    if ends("/responses") {
        return Some((&responses::PROTOCOL, false));
    }
    if ends(":generateContent") || ends(":streamGenerateContent") || ends(":countTokens") {
        return Some((&gemini::PROTOCOL, ends(":countTokens")));
    }
    None
}

/// The pieces that a text is sent in.
fn pieces(text: &str, characters: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        pieces.push(rest.by_ref().take(characters.max(1)).collect());
    }
    pieces
}

/// What a provider says with a status, in words of its own.
fn words(failure: &Failure) -> &'static str {
    match failure.status {
        400 => "scripted: the request cannot be understood",
        401 => "scripted: this key is not valid",
        403 => "scripted: this key may not do that",
        404 => "scripted: there is no such model",
        429 => "scripted: too many requests, slow down",
        503 | 529 => "scripted: too busy at the moment",
        _ => "scripted: something broke inside",
    }
}

/// Seconds since 1970 at which a limit ends.
fn lifted_at(failure: &Failure) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs()) + failure.retry_after.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_protocol_is_spoken() {
        for (path, name, counts) in [
            ("/v1/messages", "anthropic", false),
            ("/v1/messages/count_tokens", "anthropic", true),
            ("/v1/chat/completions", "chat", false),
            ("/v1/responses", "responses", false),
            ("/v1beta/models/x:streamGenerateContent", "gemini", false),
            ("/v1beta/models/x:countTokens", "gemini", true),
        ] {
            let (protocol, count) = of_path(path).unwrap();
            assert_eq!((protocol.name, count), (name, counts));
        }
        assert!(of_path("/v1/models").is_none());
    }

    #[test]
    fn pieces_put_together_are_the_text() {
        let text = "ab\u{1f600}cd\u{301}e";
        assert_eq!(pieces(text, 2).concat(), text);
        assert_eq!(pieces(text, 2).len(), 4);
        assert!(pieces("", 2).is_empty());
    }
}
