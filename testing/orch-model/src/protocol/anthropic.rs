//! The protocol of Anthropic: messages, as events or in one document.

use serde_json::{Value, json};

use super::{Event, Protocol, Refusal, Sent, lifted_at, pieces, words};
use crate::conversation::{Conversation, Tool, Turn, list, text_of};
use crate::script::{Cause, Failure, Stop, tokens};
use crate::tools::Call;

/// Anthropic messages.
pub static PROTOCOL: Protocol = Protocol {
    name: "anthropic",
    read,
    stream,
    whole,
    refuse,
};

fn read(request: &Value) -> Conversation {
    let tools = list(&request["tools"])
        .iter()
        .filter(|tool| tool.get("input_schema").is_some())
        .map(|tool| Tool::function(&tool["name"], &tool["input_schema"]));
    Conversation {
        turns: list(&request["messages"]).iter().flat_map(turns).collect(),
        tools: tools.collect(),
        model: request["model"].as_str().unwrap_or_default().to_owned(),
        streams: request["stream"] == true,
        wants_json: request["output_config"]["format"].is_object()
            || request["output_format"].is_object(),
    }
}

fn turns(message: &Value) -> Vec<Turn> {
    let content = &message["content"];
    let parts = list(content).iter();
    if message["role"] == "assistant" {
        let calls = parts.clone().any(|part| part["type"] == "tool_use");
        let text = text_of(content);
        return vec![if calls {
            Turn::Called(text)
        } else {
            Turn::Said(text)
        }];
    }
    let results = parts.filter(|part| part["type"] == "tool_result");
    let results = results.map(|part| text_of(&part["content"]));
    let all = std::iter::once(text_of(content)).chain(results);
    all.map(Turn::Asked).collect()
}

fn usage(output: u64) -> Value {
    json!({
        "input_tokens": tokens::INPUT,
        "cache_creation_input_tokens": tokens::CACHE_WRITE,
        "cache_read_input_tokens": tokens::CACHE_READ,
        "output_tokens": output,
    })
}

fn stop_reason(sent: &Sent<'_>) -> &'static str {
    match sent.answer.stop {
        Stop::Length => "max_tokens",
        Stop::Refusal => "refusal",
        Stop::Complete if sent.answer.calls.is_empty() => "end_turn",
        Stop::Complete => "tool_use",
    }
}

fn call_block(sent: &Sent<'_>, number: usize, call: &Call) -> Value {
    let id = format!("toolu_{}_{number}", sent.id);
    json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments})
}

fn whole(sent: &Sent<'_>) -> Value {
    let mut content = Vec::new();
    if !sent.answer.text.is_empty() {
        content.push(json!({"type": "text", "text": sent.answer.text}));
    }
    let calls = sent.answer.calls.iter().enumerate();
    content.extend(calls.map(|(number, call)| call_block(sent, number, call)));
    json!({
        "id": format!("msg_{}", sent.id), "type": "message", "role": "assistant",
        "model": sent.model, "content": content,
        "stop_reason": stop_reason(sent), "stop_sequence": null,
        "usage": usage(tokens::OUTPUT),
    })
}

fn stream(sent: &Sent<'_>) -> Vec<Event> {
    let mut start = whole(sent);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"] = usage(1);
    let mut events = vec![json!({"type": "message_start", "message": start})];
    let mut index = 0;
    if !sent.answer.text.is_empty() {
        let deltas = pieces(&sent.answer.text, sent.answer.piece).into_iter();
        let deltas = deltas.map(|text| json!({"type": "text_delta", "text": text}));
        block(
            &mut events,
            index,
            json!({"type": "text", "text": ""}),
            deltas,
        );
        index += 1;
    }
    for (number, call) in sent.answer.calls.iter().enumerate() {
        let mut begin = call_block(sent, number, call);
        begin["input"] = json!({});
        let deltas = pieces(&call.argument_text(), 40).into_iter();
        let deltas = deltas.map(|text| json!({"type": "input_json_delta", "partial_json": text}));
        block(&mut events, index, begin, deltas);
        index += 1;
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(sent), "stop_sequence": null},
        "usage": {"output_tokens": tokens::OUTPUT},
    }));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(Event::typed).collect()
}

fn block(events: &mut Vec<Value>, index: usize, begin: Value, deltas: impl Iterator<Item = Value>) {
    events.push(json!({"type": "content_block_start", "index": index, "content_block": begin}));
    events.extend(
        deltas.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
    );
    events.push(json!({"type": "content_block_stop", "index": index}));
}

fn refuse(failure: &Failure) -> Refusal {
    let kind = match failure.status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    };
    let message = match failure.cause {
        Cause::Status => words(failure),
        Cause::Context => "prompt is too long: 250000 tokens > 200000 maximum",
        Cause::UsageLimit => "scripted: the account has used up its share",
    };
    let body = json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_scripted",
    });
    let mut headers = vec![("request-id", "req_scripted".to_owned())];
    if failure.cause == Cause::UsageLimit {
        let lifted = lifted_at(failure).to_string();
        let unified = [
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-reset", lifted.as_str()),
            (
                "anthropic-ratelimit-unified-representative-claim",
                "five_hour",
            ),
            ("anthropic-ratelimit-unified-5h-status", "rejected"),
            ("anthropic-ratelimit-unified-5h-reset", lifted.as_str()),
            ("anthropic-ratelimit-unified-5h-utilization", "1.0"),
            ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ];
        headers.extend(unified.map(|(name, value)| (name, value.to_owned())));
    }
    (headers, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Answer;

    #[test]
    fn a_conversation_is_read() {
        let request = json!({
            "model": "some-model", "stream": true,
            "tools": [{"name": "Bash", "input_schema": {"type": "object"}}, {"type": "web_search"}],
            "messages": [
                {"role": "user", "content": "do it"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash"}]},
                {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "hi"}]}]},
            ],
        });
        let conversation = read(&request);
        assert_eq!((conversation.step(), conversation.tools.len()), (1, 1));
        assert!(conversation.streams && !conversation.wants_json);
        assert!(conversation.asked().contains("do it") && conversation.asked().contains("hi"));
    }

    #[test]
    fn stream_and_document_say_the_same() {
        let tools = [Tool::function(&json!("Bash"), &Value::Null)];
        let mut answer = Answer::text("some words that are longer than one piece");
        answer.calls = vec![crate::tools::shell(&tools, "ls").unwrap()];
        let sent = Sent {
            answer: &answer,
            id: "1",
            model: "m",
        };
        let events: Vec<Value> = stream(&sent)
            .iter()
            .map(|event| serde_json::from_str(&event.data).unwrap())
            .collect();
        let joined = |field: &str| {
            let deltas = events
                .iter()
                .filter_map(|event| event["delta"][field].as_str());
            deltas.collect::<String>()
        };
        let document = whole(&sent);
        assert_eq!(joined("text"), document["content"][0]["text"]);
        let arguments: Value = serde_json::from_str(&joined("partial_json")).unwrap();
        assert_eq!(arguments, document["content"][1]["input"]);
        assert_eq!(joined("stop_reason"), "tool_use");
        assert_eq!(stream(&sent)[0].name.as_deref(), Some("message_start"));
    }

    #[test]
    fn a_used_up_account_says_when_it_is_free() {
        let failure = Failure {
            status: 429,
            cause: Cause::UsageLimit,
            retry_after: Some(60),
        };
        let (headers, body) = refuse(&failure);
        assert!(
            headers
                .iter()
                .any(|(name, _)| name.ends_with("unified-reset"))
        );
        assert_eq!(body["error"]["type"], "rate_limit_error");
    }
}
