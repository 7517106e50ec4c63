//! Which of the tools that an agent offers is meant, and what it wants to be called with.

use serde_json::{Map, Value, json};

use crate::conversation::{Form, Tool};

/// Names of shell tools in lower case, the likeliest first.
const SHELLS: &[&str] = &[
    "bash",
    "run_shell_command",
    "shell_command",
    "exec_command",
    "shell",
    "local_shell",
    "execute_command",
    "run_command",
    "run_terminal_cmd",
    "terminal",
];
/// Names of the argument that holds the command.
const COMMANDS: &[&str] = &["command", "cmd", "script", "commands"];
/// The tool that runs JavaScript in which other tools are functions.
const CODE: &str = "exec";

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments by name; for a tool that takes a text, that text.
    pub arguments: Value,
    /// How it is called.
    pub form: Form,
    /// The group it is in.
    pub group: Option<String>,
}

impl Call {
    fn of(tool: &Tool, arguments: Value) -> Self {
        Self {
            name: tool.name.clone(),
            arguments,
            form: tool.form,
            group: tool.group.clone(),
        }
    }

    /// The arguments as the text that travels.
    pub fn argument_text(&self) -> String {
        match &self.arguments {
            Value::String(text) => text.clone(),
            arguments => arguments.to_string(),
        }
    }
}

/// A call that runs `command`, if there is a tool for it.
pub fn shell(tools: &[Tool], command: &str) -> Option<Call> {
    let named = |name: &str| {
        let mut tools = tools.iter();
        tools.find(|tool| tool.name.eq_ignore_ascii_case(name))
    };
    if let Some(tool) = SHELLS.iter().find_map(|name| named(name)) {
        return Some(Call::of(tool, shell_arguments(tool, command)));
    }
    let code = named(CODE).filter(|tool| tool.form == Form::Text)?;
    let quoted = Value::from(command);
    let program = format!(
        "const r = await tools.exec_command({{cmd: {quoted}}}); text(r.output ?? JSON.stringify(r));"
    );
    Some(Call::of(code, Value::from(program)))
}

fn shell_arguments(tool: &Tool, command: &str) -> Value {
    match tool.form {
        Form::Text => return Value::from(command),
        Form::LocalShell => return json!({"command": ["bash", "-lc", command]}),
        Form::Function => {}
    }
    let properties = &tool.schema["properties"];
    let mut arguments = Map::new();
    for name in COMMANDS
        .iter()
        .filter(|name| properties.get(name).is_some())
    {
        let value = match properties[name]["type"].as_str() {
            Some("array") => json!(["bash", "-lc", command]),
            _ => Value::from(command),
        };
        arguments.insert((*name).to_owned(), value);
    }
    if arguments.is_empty() {
        arguments.insert("command".to_owned(), Value::from(command));
    }
    if properties.get("description").is_some() {
        arguments.insert("description".to_owned(), Value::from("runs a command"));
    }
    fill(&tool.schema, arguments)
}

/// A call of the tool of an MCP server, if the agent shows it.
pub fn mcp(tools: &[Tool], name: &str, text: &str) -> Option<Call> {
    let ends = |tool: &&Tool| {
        let rest = tool.name.strip_suffix(name);
        // Agents join the names of server and tool, or put the tool into a group.
        rest.is_some_and(|rest| rest.ends_with(['_', '-', '.', '/']))
            || (rest == Some("") && tool.group.is_some())
    };
    let tool = tools.iter().find(ends)?;
    let mut arguments = Map::new();
    arguments.insert("text".to_owned(), Value::from(text));
    Some(Call::of(tool, fill(&tool.schema, arguments)))
}

/// A search for a tool that the agent keeps out of sight until it is asked for.
pub fn search(tools: &[Tool], name: &str) -> Option<Call> {
    let tool = tools
        .iter()
        .find(|tool| tool.name.to_lowercase().contains("tool_search"))?;
    let mut arguments = Map::new();
    arguments.insert("query".to_owned(), Value::from(name));
    Some(Call::of(tool, fill(&tool.schema, arguments)))
}

/// Gives everything that is required some value.
fn fill(schema: &Value, mut arguments: Map<String, Value>) -> Value {
    for name in crate::conversation::list(&schema["required"]) {
        let Some(name) = name.as_str() else { continue };
        if !arguments.contains_key(name) {
            arguments.insert(name.to_owned(), some_value(&schema["properties"][name]));
        }
    }
    Value::Object(arguments)
}

fn some_value(schema: &Value) -> Value {
    if let Some(first) = crate::conversation::list(&schema["enum"]).first() {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind.unwrap_or("string").to_lowercase().as_str() {
        "boolean" => Value::from(false),
        "number" | "integer" => Value::from(1),
        "array" => json!([]),
        "object" => json!({}),
        _ => Value::from("scripted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, schema: &Value) -> Tool {
        Tool::function(&json!(name), schema)
    }

    #[test]
    fn each_agents_shell_is_called_as_it_wants() {
        let texts = json!({"properties": {"command": {"type": "string"}, "description": {}}});
        let list = json!({"properties": {"command": {"type": "array"}}});
        let odd = json!({"properties": {"cmd": {}, "is_safe": {"type": "boolean"}}, "required": ["is_safe"]});
        for (name, schema, expected) in [
            (
                "Bash",
                &texts,
                json!({"command": "ls", "description": "runs a command"}),
            ),
            ("shell", &list, json!({"command": ["bash", "-lc", "ls"]})),
            ("exec_command", &odd, json!({"cmd": "ls", "is_safe": false})),
            ("run_shell_command", &Value::Null, json!({"command": "ls"})),
        ] {
            let tools = [tool("Read", &Value::Null), tool(name, schema)];
            let call = shell(&tools, "ls").unwrap();
            assert_eq!((call.name.as_str(), call.arguments), (name, expected));
        }
        assert_eq!(shell(&[tool("Read", &Value::Null)], "ls"), None);
    }

    #[test]
    fn a_tool_that_runs_code_is_given_code() {
        let code = Tool {
            form: Form::Text,
            ..tool("exec", &Value::Null)
        };
        let text = shell(&[code], "echo \"a\"").unwrap().argument_text();
        assert!(
            text.contains("tools.exec_command({cmd: \"echo \\\"a\\\"\"})"),
            "{text}"
        );
    }

    #[test]
    fn the_tool_of_a_server_is_found_under_any_name() {
        for name in [
            "mcp__scripted__ping",
            "mcp_scripted_ping",
            "scripted-ping",
            "scripted_ping",
        ] {
            let tools = [tool("pinging", &Value::Null), tool(name, &Value::Null)];
            assert_eq!(mcp(&tools, "ping", "x").unwrap().name, name);
        }
        assert_eq!(
            mcp(
                &[tool("shaping", &Value::Null), tool("ping", &Value::Null)],
                "ping",
                "x"
            ),
            None
        );
        let grouped = Tool {
            group: Some("scripted".into()),
            ..tool("ping", &Value::Null)
        };
        assert_eq!(
            mcp(&[grouped], "ping", "x").unwrap().group.as_deref(),
            Some("scripted")
        );
    }
}
