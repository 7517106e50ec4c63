//! Gemini's `generateContent` and `streamGenerateContent`. Model and manner are in the path, so the
//! server adds both.

use serde_json::{Value, json};

use super::{Event, Protocol, Refusal, Sent, pieces, words};
use crate::conversation::{Conversation, Tool, Turn, list, text_of};
use crate::script::{Cause, Failure, Stop, tokens};

/// Gemini.
pub static PROTOCOL: Protocol = Protocol {
    name: "gemini",
    read,
    stream,
    whole,
    refuse,
};

fn read(request: &Value) -> Conversation {
    let tools = list(&request["tools"])
        .iter()
        .flat_map(|tool| list(&tool["functionDeclarations"]))
        .map(|function| {
            let newer = function.get("parametersJsonSchema");
            Tool::function(&function["name"], newer.unwrap_or(&function["parameters"]))
        });
    Conversation {
        turns: list(&request["contents"]).iter().flat_map(turns).collect(),
        tools: tools.collect(),
        wants_json: request["generationConfig"]["responseMimeType"] == "application/json",
        ..Conversation::default()
    }
}

fn turns(content: &Value) -> Vec<Turn> {
    let parts = list(&content["parts"]).iter();
    let text = text_of(&content["parts"]);
    if content["role"] == "model" {
        let calls = parts.clone().any(|part| part.get("functionCall").is_some());
        return vec![if calls {
            Turn::Called(text)
        } else {
            Turn::Said(text)
        }];
    }
    let answers = parts.filter_map(|part| part.get("functionResponse"));
    let answers = answers.map(|answer| answer["response"].to_string());
    let all = std::iter::once(text).chain(answers);
    all.map(Turn::Asked).collect()
}

fn usage() -> Value {
    let read = tokens::INPUT + tokens::CACHE_READ + tokens::CACHE_WRITE;
    json!({
        "promptTokenCount": read,
        "cachedContentTokenCount": tokens::CACHE_READ,
        "candidatesTokenCount": tokens::OUTPUT - tokens::REASONING,
        "thoughtsTokenCount": tokens::REASONING,
        "totalTokenCount": read + tokens::OUTPUT,
    })
}

fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::Complete => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Refusal => "SAFETY",
    }
}

fn calls(sent: &Sent<'_>) -> Vec<Value> {
    let calls = sent.answer.calls.iter().enumerate();
    let calls = calls.map(|(number, call)| {
        let id = format!("call_{}_{number}", sent.id);
        json!({"functionCall": {"id": id, "name": call.name, "args": call.arguments}})
    });
    calls.collect()
}

fn frame(sent: &Sent<'_>, parts: Vec<Value>, reason: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(reason) = reason {
        candidate["finishReason"] = Value::from(reason);
    }
    json!({
        "candidates": [candidate], "usageMetadata": usage(),
        "modelVersion": sent.model, "responseId": sent.id,
    })
}

fn whole(sent: &Sent<'_>) -> Value {
    let mut parts = Vec::new();
    if !sent.answer.text.is_empty() {
        parts.push(json!({"text": sent.answer.text}));
    }
    parts.extend(calls(sent));
    frame(sent, parts, Some(finish_reason(sent.answer.stop)))
}

fn stream(sent: &Sent<'_>) -> Vec<Event> {
    let texts = pieces(&sent.answer.text, sent.answer.piece).into_iter();
    let texts = texts.map(|text| json!({"text": text}));
    let mut frames: Vec<Value> = texts
        .chain(calls(sent))
        .map(|part| frame(sent, vec![part], None))
        .collect();
    let reason = finish_reason(sent.answer.stop);
    frames.push(frame(sent, vec![json!({"text": ""})], Some(reason)));
    frames.iter().map(Event::plain).collect()
}

fn refuse(failure: &Failure) -> Refusal {
    let word = match failure.status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let message = match failure.cause {
        Cause::Status => words(failure),
        Cause::Context => {
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        }
        Cause::UsageLimit => "scripted: the account has used up its share",
    };
    let error = json!({
        "code": failure.status, "message": message, "status": word, "details": details(failure),
    });
    (Vec::new(), json!({"error": error}))
}

fn details(failure: &Failure) -> Vec<Value> {
    let google = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    let mut details = Vec::new();
    if failure.status == 401 {
        details.push(json!({
            "@type": google("ErrorInfo"), "reason": "API_KEY_INVALID", "domain": "googleapis.com",
        }));
    }
    if failure.status == 429 {
        let span = match failure.cause {
            Cause::UsageLimit => "PerDay",
            Cause::Status | Cause::Context => "PerMinute",
        };
        details.push(json!({"@type": google("QuotaFailure"), "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
            "quotaId": format!("GenerateRequests{span}PerProjectPerModel"),
        }]}));
        if let Some(seconds) = failure.retry_after {
            let delay = format!("{seconds}s");
            details.push(json!({"@type": google("RetryInfo"), "retryDelay": delay}));
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Answer;

    #[test]
    fn a_conversation_is_read() {
        let request = json!({
            "tools": [{"functionDeclarations": [{"name": "run_shell_command",
                "parametersJsonSchema": {"properties": {"command": {}}}}]}],
            "contents": [
                {"role": "user", "parts": [{"text": "do it"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "run_shell_command"}}]},
                {"role": "user", "parts": [{"functionResponse": {"response": {"output": "hi"}}}]},
            ],
        });
        let conversation = read(&request);
        assert_eq!(conversation.step(), 1);
        assert!(conversation.asked().contains("hi"));
        let call = crate::tools::shell(&conversation.tools, "ls").unwrap();
        assert_eq!(call.arguments, json!({"command": "ls"}));
    }

    #[test]
    fn a_stream_says_what_the_document_says() {
        let answer = Answer::text("words that are more than one piece of the stream");
        let sent = Sent {
            answer: &answer,
            id: "1",
            model: "m",
        };
        let said: String = stream(&sent)
            .iter()
            .map(|event| {
                let frame: Value = serde_json::from_str(&event.data).unwrap();
                text_of(&frame["candidates"][0]["content"]["parts"])
            })
            .collect();
        assert_eq!(said, answer.text);
        assert_eq!(whole(&sent)["candidates"][0]["finishReason"], "STOP");
    }

    #[test]
    fn a_pause_is_asked_for_in_the_details() {
        let failure = Failure {
            status: 429,
            cause: Cause::Status,
            retry_after: Some(7),
        };
        let (_, body) = refuse(&failure);
        assert_eq!(body["error"]["details"][1]["retryDelay"], "7s");
    }
}
