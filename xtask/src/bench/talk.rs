//! An agent that talks as a coding agent does: it thinks, uses a tool, is answered, at a steady
//! rate, until it is ended.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

/// `cargo xtask bench-part talk`
#[derive(Args)]
pub struct Talk {
    /// Lines a second
    #[arg(long)]
    rate: u32,
}

/// Bytes of what the agent says in a line, and of what a tool answers.
const WORDS: usize = 200;

impl Talk {
    /// Talks.
    ///
    /// # Errors
    /// Nobody can be talked to.
    pub fn run(&self) -> Result<()> {
        ensure!(self.rate > 0, "no lines a second is silence");
        let mut output = io::stdout().lock();
        let began = Instant::now();
        writeln!(output, "{}", beginning()).context("talking")?;
        for number in 1.. {
            let due = began + Duration::from_secs(1) * number / self.rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            writeln!(output, "{}", line(number)).context("talking")?;
            output.flush().context("talking")?;
        }
        Ok(())
    }
}

fn beginning() -> Value {
    json!({ "type": "system", "subtype": "init", "session_id": SESSION, "model": "claude",
        "cwd": "/", "tools": ["Bash"], "mcp_servers": [], "permissionMode": "acceptEdits" })
}

const SESSION: &str = "00000000-0000-4000-8000-000000000000";

/// A thought, a call of a tool, its answer, and again.
fn line(number: u32) -> Value {
    let words = "word ".repeat(WORDS / 5);
    let call = format!("toolu_{}", number / 3);
    let (role, content) = match number % 3 {
        0 => ("assistant", json!({ "type": "text", "text": words })),
        1 => (
            "assistant",
            json!({ "type": "tool_use", "id": call, "name": "Bash",
                "input": { "command": "cargo test", "description": words } }),
        ),
        _ => (
            "user",
            json!({ "type": "tool_result", "tool_use_id": call, "content": words,
                "is_error": false }),
        ),
    };
    let usage = json!({ "input_tokens": 1111, "output_tokens": 22,
        "cache_creation_input_tokens": 33, "cache_read_input_tokens": 222 });
    json!({ "type": role, "session_id": SESSION, "parent_tool_use_id": null,
        "message": { "id": format!("msg_{number}"), "type": "message", "role": role,
            "model": "claude", "content": [content], "usage": usage } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_to_the_call_before_it() {
        let content = |number| line(number)["message"]["content"][0].clone();
        let (call, answer, thought) = (content(4), content(5), content(6));
        assert_eq!(call["type"], "tool_use");
        assert_eq!(answer["tool_use_id"], call["id"]);
        assert_eq!(thought["type"], "text");
    }
}
