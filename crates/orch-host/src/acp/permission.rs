//! How requests for permission are answered. Nobody is there to be asked, so rules answer.
//!
//! Only ever once: an answer for always may be written into the user's or the repository's own
//! settings. These rules decide about what an agent asks; an agent that does not ask does what it
//! likes, so they are no sandbox.

mod commands;
mod paths;

use std::path::{Path, PathBuf};

use orch_core::text::excerpt;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::adapter::Permission;
use crate::adapter::json::Fields;

/// Most characters of a title that are written down with an answer.
const TITLE_CHARS: usize = 200;
/// Where agents put the path that a tool is about, in their own input.
const PATH_FIELDS: [&str; 6] = [
    "file_path",
    "filePath",
    "path",
    "abs_path",
    "notebook_path",
    "dir_path",
];

/// What is allowed, and where.
pub(super) struct Rules {
    permission: Permission,
    worktree: PathBuf,
    /// The title of a call that runs a command is the command itself.
    title_is_command: bool,
}

/// An answer to a request.
pub(super) struct Decision {
    /// What the agent is told.
    pub(super) outcome: Value,
    /// What is written down.
    pub(super) note: Value,
}

/// A tool call as far as it matters here.
struct Call {
    kind: String,
    title: String,
    paths: Vec<String>,
    command: Option<Command>,
}

/// A command that an agent wants to run.
enum Command {
    /// A text for a shell.
    Text(String),
    /// Words for the system.
    Words(Vec<String>),
}

impl Rules {
    pub(super) fn new(permission: Permission, worktree: &Path) -> Self {
        Self {
            permission,
            worktree: worktree.to_owned(),
            title_is_command: false,
        }
    }

    /// Some agents tell a command by the title of its call only. Of others a title may be a part
    /// of it, so this is for those that are known.
    pub(super) fn know(&mut self, agent: Option<&str>) {
        self.title_is_command = agent == Some("gemini-cli");
    }

    pub(super) fn worktree(&self) -> &Path {
        &self.worktree
    }

    /// The answer to the request with these parameters.
    pub(super) fn decide(&self, params: Option<&RawValue>) -> Decision {
        let params: Option<Fields<'_>> =
            params.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let call = params.as_ref().and_then(|params| params.object("toolCall"));
        let call = Call::read(call.as_ref(), self.title_is_command);
        let refused = self.objection(&call);
        let wanted = match refused {
            None => "allow_once",
            Some(_) => "reject_once",
        };
        let options: Vec<Fields<'_>> = params
            .and_then(|params| params.read("options"))
            .unwrap_or_default();
        let option = options
            .iter()
            .find(|option| option.text("kind").as_deref() == Some(wanted))
            // Who can only be told so for always is told nothing.
            .or_else(|| {
                let reject =
                    |option: &&Fields<'_>| option.text("kind").as_deref() == Some("reject_once");
                options.iter().find(reject)
            });
        let kind = option.and_then(|option| option.text("kind"));
        let allowed = kind.as_deref() == Some("allow_once");
        let id = option.and_then(|option| option.text("optionId"));
        let why = match (refused, allowed) {
            (None, false) => Some("it can only be allowed for always"),
            (refused, _) => refused,
        };
        Decision {
            note: json!({
                "allowed": allowed && id.is_some(),
                "answer": kind.as_deref().unwrap_or("cancelled"),
                "kind": call.kind,
                "title": excerpt(&call.title, TITLE_CHARS),
                "why": why,
            }),
            outcome: match id {
                Some(id) => json!({ "outcome": { "outcome": "selected", "optionId": id } }),
                None => cancelled(),
            },
        }
    }

    /// Why a call is not allowed; `None` if it is.
    fn objection(&self, call: &Call) -> Option<&'static str> {
        match self.permission {
            Permission::Full => None,
            Permission::Ask => Some("only what the agent's own configuration allows is allowed"),
            Permission::Edits => self.objection_to_edits(call),
        }
    }

    fn objection_to_edits(&self, call: &Call) -> Option<&'static str> {
        const OUTSIDE: Option<&str> =
            Some("it is about a path outside of the worktree, or in .git");
        let inside = |path: &String| paths::is_inside(&self.worktree, path);
        let all_inside = call.paths.iter().all(inside);
        match call.kind.as_str() {
            "think" => None,
            "read" | "edit" | "delete" | "move" if call.paths.is_empty() => {
                Some("it does not say which file it is about")
            }
            "read" | "edit" | "delete" | "move" | "search" if all_inside => None,
            "read" | "edit" | "delete" | "move" | "search" => OUTSIDE,
            "execute" if !all_inside => OUTSIDE,
            "execute" => {
                let is_git = match &call.command {
                    Some(Command::Text(text)) => commands::is_git_work(text, &inside_of(inside)),
                    Some(Command::Words(words)) => commands::is_git_words(words),
                    None => false,
                };
                (!is_git).then_some("only files may be changed and committed")
            }
            _ => Some("only files may be changed and committed"),
        }
    }
}

fn inside_of(inside: impl Fn(&String) -> bool) -> impl Fn(&str) -> bool {
    move |path| inside(&path.to_owned())
}

/// The answer where no other is possible, and to what is asked after a cancel.
pub(super) fn cancelled() -> Value {
    json!({ "outcome": { "outcome": "cancelled" } })
}

impl Call {
    fn read(call: Option<&Fields<'_>>, title_is_command: bool) -> Self {
        let text = |name: &str| call.and_then(|call| call.text(name));
        Self {
            kind: text("kind").map_or_else(|| "other".to_owned(), |kind| excerpt(&kind, 40)),
            title: text("title").unwrap_or_default().into_owned(),
            paths: call.map(paths_of).unwrap_or_default(),
            command: call.and_then(command_of).or_else(|| {
                let title = text("title").filter(|_| title_is_command)?;
                Some(Command::Text(title.into_owned()))
            }),
        }
    }
}

/// Every path a call names, wherever an agent may put it.
fn paths_of(call: &Fields<'_>) -> Vec<String> {
    let lists = ["locations", "content"]
        .iter()
        .filter_map(|name| call.read::<Vec<Fields<'_>>>(name))
        .flatten();
    let mut paths: Vec<String> = lists
        .filter_map(|entry| entry.text("path").map(std::borrow::Cow::into_owned))
        .collect();
    if let Some(input) = call.object("rawInput") {
        let named = PATH_FIELDS.iter().filter_map(|name| input.text(name));
        paths.extend(named.map(std::borrow::Cow::into_owned));
    }
    paths
}

fn command_of(call: &Fields<'_>) -> Option<Command> {
    let input = call.object("rawInput")?;
    if let Some(text) = input.text("command") {
        return Some(Command::Text(text.into_owned()));
    }
    let words: Vec<String> = input.read("command")?;
    Some(match words.as_slice() {
        [shell, option, text] if is_shell(shell) && matches!(option.as_str(), "-c" | "-lc") => {
            Command::Text(text.clone())
        }
        _ => Command::Words(words),
    })
}

fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    matches!(name, "sh" | "bash" | "zsh" | "dash")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(permission: Permission, call: &Value, kinds: &[&str]) -> (Value, Value) {
        let options: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({ "optionId": format!("id-{kind}"), "kind": kind, "name": kind }))
            .collect();
        let params = json!({ "sessionId": "s", "toolCall": call, "options": options });
        let params = crate::adapter::json::raw(&params);
        let decision = Rules::new(permission, Path::new("/tmp")).decide(Some(&params));
        (decision.outcome["outcome"].clone(), decision.note)
    }

    const ALL: &[&str] = &["allow_always", "allow_once", "reject_once", "reject_always"];

    fn chosen(permission: Permission, call: &Value) -> String {
        let (outcome, note) = decide(permission, call, ALL);
        let id = outcome["optionId"].as_str().unwrap().to_owned();
        assert_eq!(note["allowed"], id == "id-allow_once");
        id
    }

    fn may_edit(call: &Value) -> bool {
        chosen(Permission::Edits, call) == "id-allow_once"
    }

    #[test]
    fn each_permission_answers_in_its_own_way_and_never_for_always() {
        let anything = json!({ "kind": "execute", "rawInput": { "command": "rm -rf /" } });
        assert_eq!(chosen(Permission::Ask, &anything), "id-reject_once");
        assert_eq!(chosen(Permission::Edits, &anything), "id-reject_once");
        assert_eq!(chosen(Permission::Full, &anything), "id-allow_once");
        let edit = json!({ "kind": "edit", "locations": [{ "path": "/tmp/a" }] });
        assert_eq!(chosen(Permission::Ask, &edit), "id-reject_once");
        assert_eq!(chosen(Permission::Edits, &edit), "id-allow_once");
    }

    #[test]
    fn an_agent_that_knows_only_always_is_refused() {
        let call = json!({ "kind": "edit", "locations": [{ "path": "/tmp/a" }] });
        for kinds in [&["allow_always", "reject_always"][..], &[]] {
            let (outcome, note) = decide(Permission::Full, &call, kinds);
            assert_eq!(outcome, json!({ "outcome": "cancelled" }));
            assert_eq!(note["allowed"], false);
            assert_eq!(note["why"], "it can only be allowed for always");
        }
        let (outcome, _) = decide(Permission::Full, &call, &["allow_always", "reject_once"]);
        assert_eq!(outcome["optionId"], "id-reject_once");
        let (outcome, _) = decide(Permission::Ask, &call, &["allow_once", "reject_always"]);
        assert_eq!(outcome, json!({ "outcome": "cancelled" }));
        let nothing = Rules::new(Permission::Full, Path::new("/tmp")).decide(None);
        assert_eq!(nothing.outcome["outcome"]["outcome"], "cancelled");
    }

    #[test]
    fn edits_stay_in_the_worktree() {
        for (call, expected) in [
            (
                json!({ "kind": "edit", "locations": [{ "path": "/tmp/a" }] }),
                true,
            ),
            (
                json!({ "kind": "edit", "locations": [{ "path": "a/b" }] }),
                true,
            ),
            (
                json!({ "kind": "delete", "rawInput": { "file_path": "/tmp/a" } }),
                true,
            ),
            (
                json!({ "kind": "edit", "content": [{ "type": "diff", "path": "/tmp/a" }] }),
                true,
            ),
            (
                json!({ "kind": "edit", "locations": [{ "path": "/etc/passwd" }] }),
                false,
            ),
            (
                json!({ "kind": "edit", "locations": [{ "path": "/tmp/a" }], "content": [{ "path": "/etc/x" }] }),
                false,
            ),
            (
                json!({ "kind": "edit", "locations": [{ "path": "/tmp/a" }], "rawInput": { "path": "/etc/x" } }),
                false,
            ),
            (json!({ "kind": "edit" }), false),
            (json!({ "kind": "read" }), false),
            (json!({ "kind": "search" }), true),
            (
                json!({ "kind": "search", "rawInput": { "path": "/etc" } }),
                false,
            ),
            (json!({ "kind": "think" }), true),
            (json!({ "kind": "fetch" }), false),
            (json!({ "kind": "switch_mode" }), false),
            (json!({}), false),
        ] {
            assert_eq!(may_edit(&call), expected, "{call}");
        }
    }

    #[test]
    fn of_commands_only_those_that_commit_are_edits() {
        for (command, expected) in [
            (json!("git add -A && git commit -m 'x y'"), true),
            (json!(["git", "commit", "-m", "$(x)"]), true),
            (json!(["bash", "-lc", "git add ."]), true),
            (json!(["/bin/sh", "-c", "git add .; reboot"]), false),
            (json!(["sh", "-x", "git add ."]), false),
            (json!("cargo test"), false),
            (json!(7), false),
        ] {
            let call = json!({ "kind": "execute", "rawInput": { "command": command } });
            assert_eq!(may_edit(&call), expected, "{call}");
        }
        let by_title = json!({ "toolCall": { "kind": "execute", "title": "git add ." } });
        let by_title = crate::adapter::json::raw(&by_title);
        let mut rules = Rules::new(Permission::Edits, Path::new("/tmp"));
        for (agent, expected) in [(None, false), (Some("gemini-cli"), true)] {
            rules.know(agent);
            let why = rules.decide(Some(&by_title)).note["why"].clone();
            assert_eq!(why == "it can only be allowed for always", expected);
        }
    }
}
