use std::io::{Read, Write};

use super::*;

/// Sends one request and reads until the other side closes; head and body as one text.
fn exchange(server: &Server, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let length = body.len();
    let text = format!("{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn post(server: &Server, scenario: &str, path: &str, body: &Value) -> String {
    let head = format!("POST /s/{scenario}@test{path} HTTP/1.1\r\nauthorization: Bearer x");
    exchange(server, &head, &body.to_string())
}

const PATHS: [&str; 4] = [
    "/v1/messages",
    "/v1/responses",
    "/v1/chat/completions",
    "/v1beta/models/m:streamGenerateContent",
];

/// A body that every protocol takes for a request with one tool, as a stream.
fn any_request() -> Value {
    json!({
        "model": "m", "stream": true,
        "tools": [{
            "type": "function", "name": "bash", "input_schema": {}, "parameters": {},
            "function": {"name": "bash", "parameters": {}},
            "functionDeclarations": [{"name": "bash"}],
        }],
    })
}

#[test]
fn every_protocol_streams_a_call() {
    let server = Server::start(0).unwrap();
    for path in PATHS {
        let answer = post(&server, "ok", path, &any_request());
        assert!(answer.contains("text/event-stream"), "{answer}");
        assert!(
            answer.contains("git add") && answer.ends_with("0\r\n\r\n"),
            "{answer}"
        );
    }
    let seen = server.seen("test");
    assert_eq!(seen.len(), 4);
    assert!(
        seen.iter()
            .all(|seen| seen.has_key && seen.tools == ["bash"] && seen.model == "m")
    );
}

#[test]
fn every_protocol_refuses_in_its_own_words() {
    let server = Server::start(0).unwrap();
    for path in PATHS {
        let answer = post(&server, "e429;retry=7", path, &any_request());
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(
            answer.contains("retry-after: 7\r\n") && answer.contains("slow down"),
            "{answer}"
        );
        let answer = post(&server, "e529", path, &any_request());
        assert!(
            answer.starts_with("HTTP/1.1 529 ") && !answer.contains("retry-after"),
            "{answer}"
        );
    }
}

#[test]
fn a_cut_stream_has_a_beginning_and_no_end() {
    let server = Server::start(0).unwrap();
    for path in PATHS {
        let answer = post(&server, "cut", path, &any_request());
        assert!(
            answer.contains("data: ") && !answer.ends_with("0\r\n\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("SCRIPT-END"), "{answer}");
    }
}

#[test]
fn a_silent_server_says_nothing_until_the_agent_leaves() {
    let server = Server::start(0).unwrap();
    // The helper closes its side for writing: to the server the agent has left.
    assert_eq!(post(&server, "hang", "/v1/messages", &any_request()), "");
    assert_eq!(server.seen("test").len(), 1);
}

#[test]
fn a_document_is_given_to_whoever_wants_no_stream() {
    let server = Server::start(0).unwrap();
    let mut request = any_request();
    request["stream"] = json!(false);
    for path in [
        "/v1/messages",
        "/v1/responses",
        "/v1/chat/completions",
        "/v1beta/models/m:generateContent",
    ] {
        let answer = post(&server, "text", path, &request);
        assert!(
            answer.contains("application/json") && answer.contains(script::FINAL),
            "{answer}"
        );
    }
}

#[test]
fn failures_are_counted_by_label_and_errands_are_not() {
    let server = Server::start(0).unwrap();
    let mut errand = any_request();
    errand["tools"] = json!([]);
    let scenario = "e500;times=1";
    let status = |body: &Value| post(&server, scenario, "/v1/messages", body)[9..12].to_owned();
    assert_eq!(status(&errand), "500");
    assert_eq!(status(&any_request()), "500");
    assert_eq!(status(&any_request()), "200");
    assert!(post(&server, "text", "/v1/messages", &errand).contains("A title"));
}

#[test]
fn half_an_emoji_is_sent_as_an_escape() {
    let server = Server::start(0).unwrap();
    let answer = post(&server, "surrogate", "/v1/chat/completions", &any_request());
    assert!(answer.contains("[\\ud83d]"), "{answer}");
}

#[test]
fn a_body_in_chunks_is_read() {
    let server = Server::start(0).unwrap();
    let body = any_request().to_string();
    let (first, second) = body.split_at(10);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let text = format!(
        "POST /s/text@c/v1/messages HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("message_stop"), "{answer}");
}

#[test]
fn what_has_no_meaning_is_said_to_have_none() {
    let server = Server::start(0).unwrap();
    for (head, said) in [
        ("POST /v1/messages HTTP/1.1", "must begin with /s/"),
        (
            "POST /s/nonsense/v1/messages HTTP/1.1",
            "no scenario is called 'nonsense'",
        ),
        ("POST /s/ok/v1/other HTTP/1.1", "nothing here"),
        (
            "GET /s/ok/v1/responses HTTP/1.1\r\nupgrade: websocket",
            "only HTTP",
        ),
    ] {
        let answer = exchange(&server, head, "{}");
        assert!(answer.contains(said), "{answer}");
    }
    let answer = post(&server, "ok", "/v1/messages", &json!("x"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(exchange(&server, "HEAD / HTTP/1.1", "").starts_with("HTTP/1.1 200"));
    assert!(exchange(&server, "GET /s/ok/v1/models HTTP/1.1", "").contains("scripted"));
}
