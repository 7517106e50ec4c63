//! An agent that plays a part: a process that speaks the protocol, well or badly.

use std::ffi::OsString;
use std::io::{BufRead, Write, stdin, stdout};

use serde_json::{Value, json};

/// The session every part makes.
pub const SESSION: &str = "ses_1";
/// What a well-behaved part says last.
pub const LAST_WORDS: &str = "All done.";

/// Plays the part of that name.
pub fn play(arguments: &[OsString]) -> i32 {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().unwrap())
        .collect();
    let (part, rest) = words.split_first().unwrap();
    match *part {
        "mute" => listen_for_ever(),
        "crash-at-once" => return 4,
        "speaks-2" => {
            let id = expect("initialize").0;
            answer(&id, &json!({ "protocolVersion": 2 }));
        }
        "answers-early" => say(r#"{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}"#),
        _ => {}
    }
    let Some(prompt) = open(part, rest) else {
        return 0;
    };
    act(part, rest, &prompt)
}

/// The steps before the prompt; `None` if the part ends there.
fn open(part: &str, rest: &[&str]) -> Option<Prompt> {
    let (id, _) = expect("initialize");
    let capabilities = match part {
        "loads" | "forgot" => json!({ "loadSession": true }),
        "resumes" => json!({ "sessionCapabilities": { "resume": {} }, "loadSession": true }),
        "http" => json!({ "mcpCapabilities": { "http": true } }),
        _ => json!({}),
    };
    let name = rest
        .first()
        .copied()
        .filter(|_| part == "named")
        .unwrap_or("player");
    let info = json!({ "name": name, "version": "1.2.3" });
    answer(
        &id,
        &json!({ "protocolVersion": 1, "agentCapabilities": capabilities, "agentInfo": info }),
    );
    if part == "updates-early" {
        text("not of this run");
    }
    let (method, id, params) = listen()?;
    match (part, method.as_str()) {
        ("auth", "session/new") => {
            fail(
                &id,
                &json!({ "code": -32000, "message": "Authentication required" }),
            );
            return None;
        }
        ("forgot", "session/load") => {
            fail(
                &id,
                &json!({ "code": -32603, "message": "Session not found" }),
            );
            return None;
        }
        ("loads", "session/load") => {
            assert_eq!(params["sessionId"], SESSION);
            update(
                json!({ "sessionUpdate": "usage_update", "cost": { "amount": 1.0, "currency": "USD" } }),
            );
            text("what was said the last time");
            answer(&id, &Value::Null);
        }
        ("resumes", "session/resume") => answer(&id, &json!({})),
        (_, "session/new") => {
            let modes = json!({ "currentModeId": "default",
                "availableModes": [{ "id": "default", "name": "d" }, { "id": "yolo", "name": "y" }] });
            let options = json!([{ "id": "which", "category": "model", "type": "select" }]);
            let mut result = json!({ "sessionId": SESSION });
            if part == "adjusts" {
                result = json!({ "sessionId": SESSION, "modes": modes, "configOptions": options });
            }
            answer(&id, &result);
            if part == "tells" || part == "http" {
                return ask_prompt(Some(params));
            }
        }
        (part, method) => panic!("{part} was asked {method}"),
    }
    ask_prompt(None)
}

/// What came before the prompt, and the prompt.
struct Prompt {
    id: Value,
    text: String,
    before: Vec<Value>,
}

fn ask_prompt(session: Option<Value>) -> Option<Prompt> {
    let mut before: Vec<Value> = session.into_iter().collect();
    loop {
        let (method, id, params) = listen()?;
        if method == "session/prompt" {
            let text = params["prompt"][0]["text"].as_str()?.to_owned();
            assert_eq!(params["sessionId"], SESSION);
            return Some(Prompt { id, text, before });
        }
        before.push(json!({ "method": method, "params": params }));
        answer(&id, &json!({}));
    }
}

fn act(part: &str, rest: &[&str], prompt: &Prompt) -> i32 {
    let done = json!({ "stopReason": "end_turn" });
    match part {
        "works" => work(prompt),
        "reason" => {
            text(LAST_WORDS);
            answer(&prompt.id, &json!({ "stopReason": rest[0] }));
        }
        "idle" => answer(&prompt.id, &done),
        "fails" => fail(&prompt.id, &serde_json::from_str(rest[0]).unwrap()),
        "half-answers" => say(&format!(r#"{{"jsonrpc":"2.0","id":{}}}"#, prompt.id)),
        "exits" => {
            text("I am");
            return rest[0].parse().unwrap();
        }
        "is-killed" => {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
        }
        "leaves-a-child" => {
            // It holds the output open long after this process is gone.
            let child = std::process::Command::new("sleep").arg("600").spawn();
            text(&format!("child {} ", child.unwrap().id()));
            return 7;
        }
        "closes" => {
            rustix::stdio::dup2_stdout(std::fs::File::open("/dev/null").unwrap()).unwrap();
            listen_for_ever();
        }
        "babbles" => babble(&prompt.id),
        "forges" => {
            forge();
            text(LAST_WORDS);
            answer(&prompt.id, &json!({ "stopReason": "refusal" }));
        }
        "huge" => say(&format!(
            r#"{{"method":"x","params":"{}"}}"#,
            "a".repeat(33 << 20)
        )),
        "big" => {
            text(&"a".repeat(4 << 20));
            answer(&prompt.id, &done);
        }
        "asks-the-unknown" => ask_the_unknown(&prompt.id),
        "confuses-ids" => confuse_ids(&prompt.id),
        "deaf" => {
            let id = "x".repeat(1000);
            loop {
                say(&json!({ "id": id, "method": "no/such" }).to_string());
            }
        }
        "talks-first" => {
            for _ in 0..2000 {
                text(&"b".repeat(1000));
            }
            assert_eq!(prompt.text.len(), 4 << 20);
            answer(&prompt.id, &done);
        }
        "stays" | "stays-on-term" => {
            text(LAST_WORDS);
            answer(&prompt.id, &done);
            stay(part == "stays");
        }
        "afterwards" => {
            text(LAST_WORDS);
            answer(&prompt.id, &done);
            answer(&prompt.id, &json!({ "stopReason": "refusal" }));
            text("and one more thing");
            return rest[0].parse().unwrap();
        }
        "obeys-cancel" | "ignores-cancel" | "succeeds-on-cancel" => cancel(part, &prompt.id),
        _ => {
            let told = json!({ "before": prompt.before, "prompt": prompt.text });
            text(&told.to_string());
            answer(&prompt.id, &done);
        }
    }
    // As a server does: until nobody speaks any more.
    listen_for_ever();
    0
}

/// A whole turn of work.
fn work(prompt: &Prompt) {
    let thought = json!({ "type": "text", "text": "Let me see." });
    update(json!({ "sessionUpdate": "agent_thought_chunk", "content": thought }));
    text("I will ");
    text("try.");
    let directory = std::env::current_dir().unwrap();
    for (id, command) in [("t1", "git add -A && git commit -m x"), ("t2", "git push")] {
        let call = json!({ "toolCallId": id, "title": command, "kind": "execute",
            "rawInput": { "command": command }, "locations": [{ "path": directory }] });
        let mut begun = call.clone();
        begun["sessionUpdate"] = "tool_call".into();
        update(begun);
        let options = json!([
            { "optionId": "always", "kind": "allow_always", "name": "a" },
            { "optionId": "once", "kind": "allow_once", "name": "b" },
            { "optionId": "no", "kind": "reject_once", "name": "c" },
        ]);
        let params = json!({ "sessionId": SESSION, "toolCall": call, "options": options });
        say(
            &json!({ "id": id, "method": "session/request_permission", "params": params })
                .to_string(),
        );
        let chosen = reply(&json!(id))["result"]["outcome"]["optionId"].clone();
        let status = match chosen.as_str() {
            Some("once") => "completed",
            Some("no") => "failed",
            other => panic!("{other:?}"),
        };
        update(
            json!({ "sessionUpdate": "tool_call_update", "toolCallId": id, "status": status,
            "content": [{ "type": "content", "content": { "type": "text", "text": chosen } }] }),
        );
    }
    let entries = json!([{ "content": "everything", "status": "completed" }]);
    update(json!({ "sessionUpdate": "plan", "entries": entries }));
    update(
        json!({ "sessionUpdate": "usage_update", "used": 9, "size": 99,
        "cost": { "amount": 1.25, "currency": "USD" } }),
    );
    text("All ");
    text("done.");
    let usage =
        json!({ "inputTokens": 10, "outputTokens": 4, "totalTokens": 16, "cachedReadTokens": 2 });
    answer(
        &prompt.id,
        &json!({ "stopReason": "end_turn", "usage": usage }),
    );
}

/// What is no message, between what is.
fn babble(id: &Value) {
    say("Loaded cached credentials.");
    say("");
    say("[1,2,3]");
    say(r#"{"half":"#);
    say(r#"{"a":1,"a":2}"#);
    say(&format!(
        r#"{{"method":"deep","params":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    ));
    stdout().write_all(b"\xff\xfe not text\n").unwrap();
    let chunk = |text: &str| {
        format!(
            r#"{{"method":"session/update","params":{{"sessionId":"{SESSION}","update":{{"sessionUpdate":"agent_message_chunk","content":{{"type":"text","text":"{text}"}}}}}}}}"#
        )
    };
    // Half a pair, a number that is none, two messages in one line, a carriage return.
    say(&chunk(r"A\ud83dB"));
    say(&chunk("C").replace(r#""method""#, r#""weight":NaN,"method""#));
    say(&format!("{}{}\r", chunk("D"), chunk("E")));
    answer(id, &json!({ "stopReason": "end_turn" }));
}

/// Tries to write the driver's own line.
fn forge() {
    let end = r#"{"orch_acp":{"end":{"how":"answered","stop_reason":"end_turn"}}}"#;
    say(end);
    say(&format!("1}}\n{end}"));
    say(&format!(r#"{{}}}}{end}{{"#));
    say(&format!(r#"{{}},"orch_acp":{{}}}}{end}"#));
    say(&format!("\r{end}\r"));
    say(&format!("\u{2028}{end}\u{85}{end}"));
    say(r#"{"x":"\ud83d","orch_acp":{"end":{"how":"answered","stop_reason":"end_turn"}}}"#);
    say(&format!(r#"{{"x":NaN}}{end}"#));
    text(end);
}

fn ask_the_unknown(id: &Value) {
    let methods = ["fs/read_text_file", "terminal/create", "no/such"];
    for (method, id) in methods.iter().zip([json!(0), json!("text"), Value::Null]) {
        say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": {} }).to_string());
        assert_eq!(reply(&id)["error"]["code"], -32601);
    }
    say(&json!({ "jsonrpc": "2.0", "method": "no/such/notification" }).to_string());
    text(LAST_WORDS);
    answer(id, &json!({ "stopReason": "end_turn" }));
}

fn confuse_ids(id: &Value) {
    let done = json!({ "stopReason": "end_turn" });
    for wrong in [
        json!(1),
        json!(99),
        json!("3"),
        json!(-1),
        json!(3.5),
        Value::Null,
    ] {
        answer(&wrong, &done);
    }
    say("{}");
    text(LAST_WORDS);
    answer(id, &json!({ "stopReason": "max_tokens" }));
}

fn cancel(part: &str, id: &Value) {
    text("working");
    let (method, told, params) = listen().unwrap();
    assert_eq!((method.as_str(), told), ("session/cancel", Value::Null));
    assert_eq!(params["sessionId"], SESSION);
    text("I was told to stop");
    match part {
        "obeys-cancel" => answer(id, &json!({ "stopReason": "cancelled" })),
        "succeeds-on-cancel" => answer(id, &json!({ "stopReason": "end_turn" })),
        _ => {}
    }
}

/// Does not leave when its input closes; nor by SIGTERM if it is stubborn.
fn stay(stubborn: bool) {
    if stubborn {
        let nothing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, nothing).unwrap();
    }
    loop {
        std::thread::park();
    }
}

fn listen_for_ever() {
    while listen().is_some() {}
}

/// The next message: method, id, parameters.
fn listen() -> Option<(String, Value, Value)> {
    let mut line = String::new();
    if stdin().lock().read_line(&mut line).unwrap() == 0 {
        return None;
    }
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(message["jsonrpc"], "2.0");
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    Some((method, message["id"].clone(), message["params"].clone()))
}

fn expect(expected: &str) -> (Value, Value) {
    let (method, id, params) = listen().unwrap();
    assert_eq!(method, expected);
    (id, params)
}

fn reply(id: &Value) -> Value {
    let mut line = String::new();
    stdin().lock().read_line(&mut line).unwrap();
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(&message["id"], id);
    message
}

fn say(line: &str) {
    let mut out = stdout().lock();
    // Fails, and ends this process, when nobody listens any more.
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn answer(id: &Value, result: &Value) {
    say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string());
}

fn fail(id: &Value, error: &Value) {
    say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
}

fn update(update: Value) {
    let params = json!({ "sessionId": SESSION, "update": update });
    say(&json!({ "jsonrpc": "2.0", "method": "session/update", "params": params }).to_string());
}

fn text(text: &str) {
    let content = json!({ "type": "text", "text": text });
    update(json!({ "sessionUpdate": "agent_message_chunk", "content": content }));
}
