//! MCP servers that an agent is given, as the file says that most programs share:
//! `{"mcpServers": {"NAME": {"command": …, "args": […], "env": {…}} or {"url": …, "headers": {…}}}}`.
//!
//! This part must not know which agent is given them, nor start anything.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Most servers one agent is given.
const SERVERS: usize = 64;

/// What the file is called that tells a program its servers, in the files of a run.
pub(super) const MCP_FILE: &str = "mcp.json";

/// One MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// How it is reached.
    pub transport: McpTransport,
}

/// How an MCP server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpTransport {
    /// A program that is started and spoken to by its stdin and stdout.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables for it.
        env: BTreeMap<String, String>,
    },
    /// A server that runs already.
    Http {
        /// Where.
        url: String,
        /// What is sent along.
        headers: BTreeMap<String, String>,
    },
}

/// Why a file of MCP servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum McpUnreadable {
    /// It is not JSON of this form.
    #[error("it is no JSON of the form {{\"mcpServers\": {{\"NAME\": {{\"command\": …}}}}}}: {0}")]
    Form(#[from] serde_json::Error),
    /// A server has neither a command nor a url, or both.
    #[error("server '{0}' needs either a `command` or a `url`")]
    Transport(String),
    /// A name that some programs cannot use.
    #[error("server name '{0}' must be 1 to 64 letters, digits, '_' or '-'")]
    Name(String),
    /// More than any agent can use.
    #[error("it names {0} servers; at most {SERVERS} are allowed")]
    TooMany(usize),
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl McpServer {
    /// The servers of such a file, by name.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Vec<Self>, McpUnreadable> {
        let file: File = serde_json::from_str(text)?;
        if file.servers.len() > SERVERS {
            return Err(McpUnreadable::TooMany(file.servers.len()));
        }
        file.servers.into_iter().map(server).collect()
    }
}

impl McpServer {
    /// The file that most programs share, with these servers.
    pub(super) fn file(servers: &[Self]) -> String {
        let entries = servers.iter().map(|it| (it.name.clone(), it.entry()));
        let entries: serde_json::Map<String, serde_json::Value> = entries.collect();
        serde_json::json!({ "mcpServers": entries }).to_string()
    }

    fn entry(&self) -> serde_json::Value {
        match &self.transport {
            McpTransport::Stdio { command, args, env } => {
                serde_json::json!({ "command": command, "args": args, "env": env })
            }
            // Some want to be told the kind, and none minds.
            McpTransport::Http { url, headers } => {
                serde_json::json!({ "type": "http", "url": url, "headers": headers })
            }
        }
    }
}

fn server((name, entry): (String, Entry)) -> Result<McpServer, McpUnreadable> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return Err(McpUnreadable::Name(orch_core::text::excerpt(&name, 64)));
    }
    let transport = match (entry.command, entry.url) {
        (Some(command), None) => McpTransport::Stdio {
            command,
            args: entry.args,
            env: entry.env,
        },
        (None, Some(url)) => McpTransport::Http {
            url,
            headers: entry.headers,
        },
        _ => return Err(McpUnreadable::Transport(name)),
    };
    Ok(McpServer { name, transport })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_servers_are_read() {
        let text = r#"{"mcpServers": {
            "web": {"type": "http", "url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}},
            "files": {"command": "serve-files", "args": ["--root", "."], "env": {"A": "b"}}}}"#;
        let servers = McpServer::parse(text).unwrap();
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["files", "web"]);
        let McpTransport::Stdio { command, args, env } = &servers[0].transport else {
            panic!("{servers:?}");
        };
        assert_eq!(
            (command.as_str(), args.len(), env["A"].as_str()),
            ("serve-files", 2, "b")
        );
        assert!(
            matches!(&servers[1].transport, McpTransport::Http { headers, .. } if headers["X"] == "y")
        );
    }

    #[test]
    fn a_file_that_was_made_can_be_read() {
        let text = r#"{"mcpServers": {
            "web": {"url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}},
            "files": {"command": "serve-files", "args": ["--root", "."], "env": {"A": "b"}}}}"#;
        let servers = McpServer::parse(text).unwrap();
        assert_eq!(
            McpServer::parse(&McpServer::file(&servers)).unwrap(),
            servers
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("[]", "mcpServers"),
            (r#"{"mcpServers": {"a": {}}}"#, "'a' needs either"),
            (
                r#"{"mcpServers": {"a": {"command": "x", "url": "y"}}}"#,
                "'a' needs either",
            ),
            (r#"{"mcpServers": {"a b": {"command": "x"}}}"#, "'a b'"),
            (r#"{"mcpServers": {"": {"command": "x"}}}"#, "''"),
        ];
        for (text, said) in cases {
            let error = McpServer::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
