//! The `orch.toml` that `orch init` writes.

use toml_edit::Value;

/// A first configuration: what is usual, and how to go on from there.
pub(super) fn render(name: &str, target: Option<&str>) -> String {
    let name = Value::from(name);
    let target = match target {
        Some(branch) => format!("target = {}", Value::from(branch)),
        None => "# target = \"main\"".to_owned(),
    };
    format!(
        "# What orch runs in this repository, and how. Keep this file in git; keep secrets out of it.\n\
         # `orch config get` shows every key with the value in force.\n\
         \n\
         [project]\n\
         name = {name}\n\
         # The branch that finished work lands on. Without it: the one that is checked out.\n\
         {target}\n\
         # Agents at work at once.\n\
         max_agents = 4\n\
         \n\
         [defaults]\n\
         # \"manual\": you approve finished work with `orch task approve`. \"auto\": it lands by itself.\n\
         review = \"manual\"\n\
         # Attempts a task may have, and how long each may take.\n\
         max_attempts = 3\n\
         timeout = \"2h\"\n\
         \n\
         # Agents. `orch agent add claude --adapter claude` writes such a table:\n\
         #\n\
         # [agents.claude]\n\
         # adapter = \"claude\"\n\
         # max_parallel = 2\n\
         # env = {{ ANTHROPIC_API_KEY = \"$ANTHROPIC_API_KEY\" }}\n"
    )
}
