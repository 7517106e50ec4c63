//! An MCP server with one tool, over stdin and stdout: to see whether an agent really got one.

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

/// The tool's name; agents put the server's name before it.
pub const TOOL: &str = "ping";
/// How its answer begins.
pub const ANSWER: &str = "PONG-FROM-MCP";

/// Answers until its input ends.
///
/// # Errors
/// Input or output broke.
pub fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    for line in input.lines() {
        let Ok(request) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        if let Some(answer) = answer(&request) {
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
    Ok(())
}

/// The answer to one message; none to a notification.
fn answer(request: &Value) -> Option<Value> {
    let id = request.get("id")?;
    let parameters = &request["params"];
    let result = match request["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": parameters["protocolVersion"].as_str().unwrap_or("2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{
            "name": TOOL,
            "description": "Answers what it was sent.",
            "inputSchema": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
        }]}),
        "tools/call" => {
            let text = parameters["arguments"]["text"].as_str().unwrap_or_default();
            json!({"content": [{"type": "text", "text": format!("{ANSWER} {text}")}]})
        }
        "ping" => json!({}),
        method => {
            let error = json!({"code": -32601, "message": format!("there is no {method}")});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lines: &str) -> Vec<Value> {
        let mut output = Vec::new();
        serve(lines.as_bytes(), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_client_finds_the_tool_and_calls_it() {
        let said = answers(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05"}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/list"}
{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"ping","arguments":{"text":"hello"}}}
"#,
        );
        assert_eq!(said.len(), 3);
        assert_eq!(said[0]["result"]["protocolVersion"], "2024-11-05");
        assert_eq!(said[1]["result"]["tools"][0]["name"], TOOL);
        assert_eq!(
            (
                said[2]["id"].clone(),
                said[2]["result"]["content"][0]["text"].clone()
            ),
            (json!("c"), json!("PONG-FROM-MCP hello"))
        );
    }

    #[test]
    fn nonsense_is_passed_over_and_the_unknown_refused() {
        let said =
            answers("nonsense\n{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"resources/list\"}\n");
        assert_eq!(said.len(), 1);
        assert_eq!(said[0]["error"]["code"], -32601);
    }
}
