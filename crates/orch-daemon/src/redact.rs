//! Secrets that agents were given do not go out: not in answers, not in streams, not in the log.
//! What is stored stays as it was written.
//!
//! Known are the secrets that this process finds in its own environment: what the configuration
//! hands to an agent by `$NAME`, and what an agent inherits under a name that says so. This part
//! must not know what is in a text.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;

use orch_host::{adapter, environment};

use crate::config::{AgentEntry, Loaded};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";
/// A shorter value is no secret that could be told from an ordinary word, bytes.
const SHORTEST: usize = 8;
/// Ends of names that say that their value is a secret.
const SECRET_ENDS: &[&str] = &["KEY", "TOKEN", "SECRET", "PASSWORD"];

/// Takes secrets out of texts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Redactor {
    /// Each as it is and as JSON writes it; the longest first, so that none that is part of
    /// another leaves a rest.
    needles: Vec<String>,
}

impl Redactor {
    /// For the agents of a configuration, in this environment.
    pub(crate) fn of(
        config: &Loaded,
        parent: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut needles = BTreeSet::new();
        for (name, value) in parent {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
                continue;
            };
            let given = config.agents.iter().any(|agent| is_given(agent, name));
            if given && value.len() >= SHORTEST {
                needles.extend(spellings(value));
            }
        }
        let mut needles: Vec<String> = needles.into_iter().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Self { needles }
    }

    /// Whether there is no secret.
    pub(crate) const fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// The text without secrets.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for needle in &self.needles {
            if clean.contains(needle.as_str()) {
                clean = Cow::Owned(clean.replace(needle.as_str(), REDACTED));
            }
        }
        clean
    }

    /// The bytes without secrets; `None` where there are none in them.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        // What is not UTF-8 cannot be JSON; it is looked at in whole pieces that are.
        let mut clean = Vec::with_capacity(bytes.len());
        let mut changed = false;
        for chunk in bytes.utf8_chunks() {
            let text = self.text(chunk.valid());
            changed |= matches!(text, Cow::Owned(_));
            clean.extend_from_slice(text.as_bytes());
            clean.extend_from_slice(chunk.invalid());
        }
        changed.then_some(clean)
    }
}

/// Whether an agent is given the variable of this name as a secret.
fn is_given(agent: &AgentEntry, name: &str) -> bool {
    let reference = format!("${name}");
    let by_name = agent.env.values().any(|value| *value == reference);
    let upper = name.to_ascii_uppercase();
    let says_so = SECRET_ENDS.iter().any(|end| upper.ends_with(end));
    let inherited = || {
        adapter::find(&agent.adapter)
            .is_some_and(|adapter| environment::is_inherited(adapter, name))
    };
    (by_name && !environment::is_common(name)) || (says_so && inherited())
}

/// A secret as it may stand in a text: as it is, and as JSON writes it.
fn spellings(secret: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(secret).to_string();
    let escaped = quoted.trim_start_matches('"');
    let escaped = escaped.strip_suffix('"').unwrap_or(escaped).to_owned();
    vec![secret.to_owned(), escaped.replace('/', "\\/"), escaped]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(agents: &str, parent: &[(&str, &str)]) -> Redactor {
        let config = crate::config::parsed(agents);
        let own = |&(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        Redactor::of(&config, parent.iter().map(own))
    }

    const AGENTS: &str = "[agents.a]\nadapter = \"claude\"\n\
        env = { MINE = \"$VAULT\", HOME = \"$HOME\", PRICE = \"$$VAULT_TWO\" }\n";

    #[test]
    fn what_an_agent_was_given_is_taken_out() {
        let parent = [
            ("VAULT", "canary-one"),
            ("VAULT_TWO", "canary-two"),
            ("ANTHROPIC_API_KEY", "canary-three"),
            ("ANTHROPIC_BASE_URL", "http://elsewhere"),
            ("OTHER_API_KEY", "canary-four"),
            ("CLAUDE_TOKEN", "short"),
            ("HOME", "/home/developer"),
        ];
        let redactor = redactor(AGENTS, &parent);
        let all: Vec<&str> = parent.iter().map(|(_, value)| *value).collect();
        assert_eq!(
            redactor.text(&all.join(" ")),
            "[redacted] canary-two [redacted] http://elsewhere canary-four short /home/developer"
        );
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it() {
        let redactor = redactor(AGENTS, &[("VAULT", "a\"b/c\\d\ne")]);
        let json = serde_json::json!({ "text": "x a\"b/c\\d\ne y" }).to_string();
        for json in [json.clone(), json.replace('/', "\\/")] {
            let clean = redactor.bytes(json.as_bytes()).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&clean).unwrap();
            assert_eq!(value["text"], "x [redacted] y");
        }
    }

    #[test]
    fn a_secret_that_is_part_of_another_leaves_no_rest() {
        let agents = "[agents.a]\nadapter = \"claude\"\nenv = { A = \"$A1\", B = \"$B1\" }\n";
        let redactor = redactor(agents, &[("A1", "canary-1"), ("B1", "canary-1-and-more")]);
        assert_eq!(
            redactor.text("canary-1-and-more, canary-1"),
            "[redacted], [redacted]"
        );
    }

    #[test]
    fn without_secrets_nothing_is_touched() {
        let redactor = redactor(AGENTS, &[]);
        assert!(redactor.is_empty());
        assert_eq!(redactor.bytes(b"\xff text"), None);
    }
}
