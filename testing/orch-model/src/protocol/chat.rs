//! OpenAI chat completions, as many providers and proxies speak them.

use serde_json::{Value, json};

use super::{Event, Protocol, Refusal, Sent, pieces, words};
use crate::conversation::{Conversation, Tool, Turn, list, text_of};
use crate::script::{Cause, Failure, Stop, tokens};

/// OpenAI chat completions.
pub static PROTOCOL: Protocol = Protocol {
    name: "chat",
    read,
    stream,
    whole,
    refuse,
};

fn read(request: &Value) -> Conversation {
    let tools = list(&request["tools"])
        .iter()
        .map(|tool| &tool["function"])
        .filter(|function| function.is_object())
        .map(|function| Tool::function(&function["name"], &function["parameters"]));
    let format = request["response_format"]["type"].as_str();
    Conversation {
        turns: list(&request["messages"]).iter().map(turn).collect(),
        tools: tools.collect(),
        model: request["model"].as_str().unwrap_or_default().to_owned(),
        streams: request["stream"] == true,
        wants_json: format.is_some_and(|format| format != "text"),
    }
}

fn turn(message: &Value) -> Turn {
    let text = text_of(&message["content"]);
    match message["role"].as_str() {
        Some("assistant") if !list(&message["tool_calls"]).is_empty() => Turn::Called(text),
        Some("assistant") => Turn::Said(text),
        _ => Turn::Asked(text),
    }
}

fn usage() -> Value {
    let read = tokens::INPUT + tokens::CACHE_READ + tokens::CACHE_WRITE;
    json!({
        "prompt_tokens": read,
        "completion_tokens": tokens::OUTPUT,
        "total_tokens": read + tokens::OUTPUT,
        "prompt_tokens_details": {"cached_tokens": tokens::CACHE_READ},
        "completion_tokens_details": {"reasoning_tokens": tokens::REASONING},
    })
}

fn finish_reason(sent: &Sent<'_>) -> &'static str {
    match sent.answer.stop {
        Stop::Length => "length",
        Stop::Refusal => "content_filter",
        Stop::Complete if sent.answer.calls.is_empty() => "stop",
        Stop::Complete => "tool_calls",
    }
}

fn calls(sent: &Sent<'_>) -> Vec<Value> {
    let calls = sent.answer.calls.iter().enumerate();
    let calls = calls.map(|(number, call)| {
        json!({
            "id": format!("call_{}_{number}", sent.id), "type": "function",
            "function": {"name": call.name, "arguments": call.argument_text()},
        })
    });
    calls.collect()
}

fn frame(sent: &Sent<'_>, object: &str, choices: Value) -> Value {
    json!({
        "id": format!("chatcmpl-{}", sent.id), "object": object, "created": 1_700_000_000,
        "model": sent.model, "choices": choices,
    })
}

fn whole(sent: &Sent<'_>) -> Value {
    let mut message = json!({"role": "assistant", "content": sent.answer.text});
    let calls = calls(sent);
    if !calls.is_empty() {
        message["tool_calls"] = Value::from(calls);
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": finish_reason(sent)});
    let mut document = frame(sent, "chat.completion", json!([choice]));
    document["usage"] = usage();
    document
}

fn stream(sent: &Sent<'_>) -> Vec<Event> {
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    let texts = pieces(&sent.answer.text, sent.answer.piece).into_iter();
    deltas.extend(texts.map(|text| json!({"content": text})));
    for (index, mut call) in calls(sent).into_iter().enumerate() {
        let arguments = call["function"]["arguments"].take();
        call["index"] = Value::from(index);
        call["function"]["arguments"] = Value::from("");
        deltas.push(json!({"tool_calls": [call]}));
        let parts = pieces(arguments.as_str().unwrap_or_default(), 40).into_iter();
        deltas.extend(parts.map(
            |part| json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]}),
        ));
    }
    let choice = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        frame(sent, "chat.completion.chunk", json!([choice]))
    };
    let mut frames: Vec<Value> = deltas
        .into_iter()
        .map(|delta| choice(delta, None))
        .collect();
    frames.push(choice(json!({}), Some(finish_reason(sent))));
    let mut last = frame(sent, "chat.completion.chunk", json!([]));
    last["usage"] = usage();
    frames.push(last);
    let mut events: Vec<Event> = frames.iter().map(Event::plain).collect();
    events.push(Event {
        name: None,
        data: "[DONE]".to_owned(),
    });
    events
}

/// The error of OpenAI, in all of its protocols.
pub(super) fn error(failure: &Failure) -> Value {
    let (kind, code) = match (failure.cause, failure.status) {
        (Cause::Context, _) => ("invalid_request_error", "context_length_exceeded"),
        (Cause::UsageLimit, _) => ("insufficient_quota", "insufficient_quota"),
        (Cause::Status, 400) => ("invalid_request_error", "invalid_request"),
        (Cause::Status, 401) => ("invalid_request_error", "invalid_api_key"),
        (Cause::Status, 403) => ("permission_error", "permission_denied"),
        (Cause::Status, 404) => ("invalid_request_error", "model_not_found"),
        (Cause::Status, 429) => ("rate_limit_error", "rate_limit_exceeded"),
        (Cause::Status, _) => ("server_error", "server_error"),
    };
    let message = match failure.cause {
        Cause::Status => words(failure),
        Cause::Context => {
            "This model's maximum context length is 128000 tokens. However, your messages resulted \
             in 250000 tokens."
        }
        Cause::UsageLimit => "scripted: the account has used up its share",
    };
    json!({"message": message, "type": kind, "param": null, "code": code})
}

fn refuse(failure: &Failure) -> Refusal {
    (Vec::new(), json!({"error": error(failure)}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Answer;

    #[test]
    fn a_conversation_is_read() {
        let request = json!({
            "model": "m", "stream": true, "response_format": {"type": "json_object"},
            "tools": [{"type": "function", "function": {"name": "bash", "parameters": {}}}],
            "messages": [
                {"role": "system", "content": "be good"},
                {"role": "user", "content": [{"type": "text", "text": "do it"}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "hi"},
                {"role": "assistant", "content": "done"},
                {"role": "user", "content": "more"},
                {"role": "assistant", "tool_calls": [{"id": "2"}]},
            ],
        });
        let conversation = read(&request);
        assert_eq!((conversation.step(), conversation.tools.len()), (1, 1));
        assert!(conversation.remembers("done") && conversation.wants_json);
    }

    #[test]
    fn a_stream_put_together_is_the_call() {
        let tools = [Tool::function(&json!("bash"), &Value::Null)];
        let long = "echo this command is longer than one piece of its arguments may be";
        let answer = Answer::calls(vec![crate::tools::shell(&tools, long).unwrap()]);
        let sent = Sent {
            answer: &answer,
            id: "1",
            model: "m",
        };
        let events = stream(&sent);
        assert_eq!(
            events.last().map(|event| event.data.as_str()),
            Some("[DONE]")
        );
        let frames: Vec<Value> = events[..events.len() - 1]
            .iter()
            .map(|event| serde_json::from_str(&event.data).unwrap())
            .collect();
        let arguments: String = frames
            .iter()
            .filter_map(|frame| {
                frame["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
            })
            .collect();
        assert_eq!(arguments, answer.calls[0].argument_text());
        let reasons = frames
            .iter()
            .filter_map(|frame| frame["choices"][0]["finish_reason"].as_str());
        assert_eq!(reasons.collect::<Vec<_>>(), ["tool_calls"]);
        assert_eq!(
            frames.last().map(|frame| &frame["usage"]),
            Some(&whole(&sent)["usage"])
        );
    }
}
