//! The newer protocol of OpenAI: a list of items in, a response with a list of items out.

use serde_json::{Value, json};

use super::{Event, Protocol, Refusal, Sent, chat, lifted_at, pieces};
use crate::conversation::{Conversation, Form, Tool, Turn, list, text_of};
use crate::script::{Cause, Failure, Stop, tokens};
use crate::tools::Call;

/// OpenAI responses.
pub static PROTOCOL: Protocol = Protocol {
    name: "responses",
    read,
    stream,
    whole,
    refuse,
};

fn read(request: &Value) -> Conversation {
    let items = list(&request["input"]);
    // Some clients offer their tools as an item of the conversation.
    let more = items
        .iter()
        .filter(|item| item["type"] == "additional_tools");
    let offered = std::iter::once(request).chain(more);
    let tools = offered
        .flat_map(|item| list(&item["tools"]))
        .flat_map(tools);
    let tools = tools.collect();
    let asked = request["input"].as_str();
    let asked = asked.map(|text| Turn::Asked(text.to_owned()));
    let format = request["text"]["format"]["type"].as_str();
    Conversation {
        turns: asked
            .into_iter()
            .chain(items.iter().filter_map(turn))
            .collect(),
        tools,
        model: request["model"].as_str().unwrap_or_default().to_owned(),
        streams: request["stream"] == true,
        wants_json: format.is_some_and(|format| format != "text"),
    }
}

fn tools(tool: &Value) -> Vec<Tool> {
    let form = match tool["type"].as_str() {
        Some("custom") => Form::Text,
        Some("local_shell") => Form::LocalShell,
        Some("function") => Form::Function,
        Some("namespace") => {
            let group = tool["name"].as_str().map(str::to_owned);
            let within = list(&tool["tools"]).iter().flat_map(tools);
            return within
                .map(|tool| Tool {
                    group: group.clone(),
                    ..tool
                })
                .collect();
        }
        _ => return Vec::new(),
    };
    let name = match form {
        Form::LocalShell => "local_shell".into(),
        Form::Function | Form::Text => tool["name"].clone(),
    };
    vec![Tool {
        form,
        ..Tool::function(&name, &tool["parameters"])
    }]
}

/// Each call is an item of its own; those of one answer count as one turn.
fn turn(item: &Value) -> Option<Turn> {
    let text = || text_of(&item["content"]);
    match (
        item["type"].as_str().unwrap_or("message"),
        item["role"].as_str(),
    ) {
        ("message", Some("assistant")) => Some(Turn::Said(text())),
        ("message", _) => Some(Turn::Asked(text())),
        (kind, _) if kind.ends_with("_call") => {
            let is_first = item["call_id"].as_str().is_none_or(|id| id.ends_with("_0"));
            is_first.then(|| Turn::Called(String::new()))
        }
        (kind, _) if kind.ends_with("_output") => Some(Turn::Asked(match &item["output"] {
            Value::Object(output) => output.get("content").map(text_of).unwrap_or_default(),
            output => text_of(output),
        })),
        _ => None,
    }
}

fn usage() -> Value {
    let read = tokens::INPUT + tokens::CACHE_READ + tokens::CACHE_WRITE;
    json!({
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": tokens::CACHE_READ},
        "output_tokens": tokens::OUTPUT,
        "output_tokens_details": {"reasoning_tokens": tokens::REASONING},
        "total_tokens": read + tokens::OUTPUT,
    })
}

fn document(sent: &Sent<'_>, status: &str) -> Value {
    json!({
        "id": format!("resp_{}", sent.id), "object": "response", "created_at": 1_700_000_000,
        "status": status, "model": sent.model, "output": [], "usage": null, "error": null,
        "incomplete_details": null, "parallel_tool_calls": true, "tools": [],
        "tool_choice": "auto", "instructions": null, "metadata": {},
    })
}

fn message_item(sent: &Sent<'_>) -> Value {
    json!({
        "type": "message", "id": format!("msg_{}", sent.id), "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": sent.answer.text, "annotations": []}],
    })
}

fn call_item(sent: &Sent<'_>, number: usize, call: &Call) -> Value {
    let id = format!("{}_{number}", sent.id);
    let mut item = match call.form {
        Form::Function => json!({
            "type": "function_call", "id": format!("fc_{id}"), "call_id": format!("call_{id}"),
            "name": call.name, "arguments": call.argument_text(), "status": "completed",
        }),
        Form::Text => json!({
            "type": "custom_tool_call", "id": format!("ctc_{id}"), "call_id": format!("call_{id}"),
            "name": call.name, "input": call.argument_text(), "status": "completed",
        }),
        Form::LocalShell => json!({
            "type": "local_shell_call", "id": format!("lsh_{id}"), "call_id": format!("call_{id}"),
            "status": "completed",
            "action": {"type": "exec", "env": {}, "command": call.arguments["command"]},
        }),
    };
    if let Some(group) = &call.group {
        item["namespace"] = Value::from(group.as_str());
    }
    item
}

fn whole(sent: &Sent<'_>) -> Value {
    let mut output = Vec::new();
    if !sent.answer.text.is_empty() {
        output.push(message_item(sent));
    }
    let calls = sent.answer.calls.iter().enumerate();
    output.extend(calls.map(|(number, call)| call_item(sent, number, call)));
    let (status, reason) = match sent.answer.stop {
        Stop::Complete => ("completed", None),
        Stop::Length => ("incomplete", Some("max_output_tokens")),
        Stop::Refusal => ("incomplete", Some("content_filter")),
    };
    let mut document = document(sent, status);
    document["output"] = Value::from(output);
    document["usage"] = usage();
    if let Some(reason) = reason {
        document["incomplete_details"] = json!({"reason": reason});
    }
    document
}

fn stream(sent: &Sent<'_>) -> Vec<Event> {
    let begun = document(sent, "in_progress");
    let mut events = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
    ];
    let whole = whole(sent);
    for (index, item) in list(&whole["output"]).iter().enumerate() {
        events.extend(item_events(sent, index, item));
    }
    let kind = match sent.answer.stop {
        Stop::Complete => "response.completed",
        Stop::Length | Stop::Refusal => "response.incomplete",
    };
    events.push(json!({"type": kind, "response": whole}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = Value::from(number);
    }
    events.iter().map(Event::typed).collect()
}

/// An item as it grows: begun without its text, its text in pieces, and then whole.
fn item_events(sent: &Sent<'_>, index: usize, item: &Value) -> Vec<Value> {
    let (field, kind) = match item["type"].as_str() {
        Some("function_call") => ("arguments", "response.function_call_arguments"),
        Some("custom_tool_call") => ("input", "response.custom_tool_call_input"),
        Some("message") => ("text", "response.output_text"),
        _ => ("", ""),
    };
    let is_message = field == "text";
    let text = match is_message {
        true => sent.answer.text.as_str(),
        false => item[field].as_str().unwrap_or_default(),
    };
    let piece = if is_message { sent.answer.piece } else { 40 };
    let mut begun = item.clone();
    begun["status"] = Value::from("in_progress");
    match field {
        "text" => begun["content"] = json!([]),
        "" => {}
        field => begun[field] = Value::from(""),
    }
    let place = json!({"item_id": item["id"], "output_index": index, "content_index": 0});
    let event = |kind: &str, key: &str, value: Value| {
        let mut event = place.clone();
        event["type"] = Value::from(kind);
        event[key] = value;
        event
    };
    let mut events =
        vec![json!({"type": "response.output_item.added", "output_index": index, "item": begun})];
    if is_message {
        let part = json!({"type": "output_text", "text": "", "annotations": []});
        events.push(event("response.content_part.added", "part", part));
    }
    if !kind.is_empty() {
        let deltas = pieces(text, piece).into_iter();
        events.extend(deltas.map(|text| event(&format!("{kind}.delta"), "delta", text.into())));
        events.push(event(&format!("{kind}.done"), field, text.into()));
    }
    if is_message {
        let part = item["content"][0].clone();
        events.push(event("response.content_part.done", "part", part));
    }
    events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    events
}

fn refuse(failure: &Failure) -> Refusal {
    if failure.cause != Cause::UsageLimit {
        return (Vec::new(), json!({"error": chat::error(failure)}));
    }
    let lifted = lifted_at(failure);
    let error = json!({
        "type": "usage_limit_reached", "message": "The usage limit has been reached",
        "plan_type": "plus", "resets_at": lifted, "resets_in_seconds": failure.retry_after,
    });
    let headers = [
        ("x-codex-primary-used-percent", "100.0".to_owned()),
        ("x-codex-primary-window-minutes", "300".to_owned()),
        ("x-codex-primary-reset-at", lifted.to_string()),
    ];
    (headers.to_vec(), json!({"error": error}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Answer;

    #[test]
    fn a_conversation_is_read_and_calls_of_one_answer_are_one_turn() {
        let request = json!({
            "model": "m", "stream": true,
            "tools": [{"type": "function", "name": "shell", "parameters": {}}, {"type": "web_search"}],
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "do it"}]},
                {"type": "function_call", "call_id": "call_x_0"},
                {"type": "function_call", "call_id": "call_x_1"},
                {"type": "function_call_output", "call_id": "call_x_0", "output": "hi"},
                {"type": "additional_tools", "tools": [{"type": "namespace", "name": "files",
                    "tools": [{"type": "custom", "name": "patch"}]}]},
            ],
        });
        let conversation = read(&request);
        assert_eq!(conversation.step(), 1);
        assert_eq!(conversation.tools.len(), 2);
        let patch = &conversation.tools[1];
        assert_eq!(
            (patch.form, patch.group.as_deref()),
            (Form::Text, Some("files"))
        );
        assert!(conversation.asked().contains("hi"));
    }

    #[test]
    fn a_plain_text_is_a_question() {
        let conversation = read(&json!({"input": "do it"}));
        assert_eq!(conversation.turns, [Turn::Asked("do it".into())]);
    }

    #[test]
    fn a_stream_says_what_the_document_says() {
        let tools = [Tool::function(&json!("shell"), &Value::Null)];
        let mut answer = Answer::text("words that are more than one piece of the stream");
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
        let said: String = events
            .iter()
            .filter(|event| event["type"] == "response.output_text.delta")
            .filter_map(|event| event["delta"].as_str())
            .collect();
        assert_eq!(said, answer.text);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        let done: Vec<&Value> = events
            .iter()
            .filter(|event| event["type"] == "response.output_item.done")
            .map(|event| &event["item"])
            .collect();
        assert_eq!(
            done,
            list(&last["response"]["output"]).iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_answer_that_was_cut_off_is_incomplete() {
        let answer = Answer {
            stop: Stop::Length,
            ..Answer::text("a")
        };
        let sent = Sent {
            answer: &answer,
            id: "1",
            model: "m",
        };
        assert_eq!(
            whole(&sent)["incomplete_details"]["reason"],
            "max_output_tokens"
        );
        let last = stream(&sent).pop().unwrap();
        assert_eq!(last.name.as_deref(), Some("response.incomplete"));
    }
}
