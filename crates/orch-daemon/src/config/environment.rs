//! What an agent's `env` table may say.

use super::error::{Fault, shown};

/// The value of a variable that an agent is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// This text.
    Literal(String),
    /// What this variable is in orch's own environment when the run starts.
    FromEnvironment(String),
}

impl EnvValue {
    /// Reads `$NAME` or `${NAME}` as a reference, `$$text` as the text `$text`, and anything that
    /// does not begin with `$` as itself. `None` for any other use of a leading `$`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(rest) = text.strip_prefix('$') else {
            return Some(Self::Literal(text.to_owned()));
        };
        if rest.starts_with('$') {
            return Some(Self::Literal(rest.to_owned()));
        }
        let braced = rest.strip_prefix('{').and_then(|r| r.strip_suffix('}'));
        let name = braced.unwrap_or(rest);
        is_name(name).then(|| Self::FromEnvironment(name.to_owned()))
    }

    /// The value as it is written in the file.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::Literal(text) if text.starts_with('$') => format!("${text}"),
            Self::Literal(text) => text.clone(),
            Self::FromEnvironment(name) => format!("${name}"),
        }
    }
}

/// Variables that make the loader run code of their choice in every program an agent starts.
const LOADER: &[&str] = &["LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES"];

/// Words in a variable's name that mean its value is a secret. Whole words: `MAX_TOKENS` is not.
const SECRET_WORDS: &[&str] = &[
    "KEY",
    "APIKEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
];

/// What is wrong with `name = value` in an `env` table.
pub(super) fn check(name: &str, value: &str) -> Result<EnvValue, Fault> {
    if let Some(fault) = name_fault(name) {
        return Err(fault);
    }
    if value.contains('\0') {
        let what = format!("the value of {name} contains a NUL byte");
        return Err(Fault::expected(what, "text without one"));
    }
    let Some(parsed) = EnvValue::parse(value) else {
        let what = format!("{name} is \"{}\"", shown(value));
        let expected = "\"$NAME\" for a variable of your environment, or \"$$\" for a dollar sign";
        return Err(Fault::expected(what, expected));
    };
    if matches!(parsed, EnvValue::Literal(_)) && is_secret(name, value) {
        let what = format!("{name} looks like a secret, and this file belongs in git");
        let expected = format!("a reference to your environment: {name} = \"${name}\"");
        let hint = format!("export {name} where you start orch, and write \"${name}\" here");
        return Err(Fault::expected(what, &expected).with_hint(hint));
    }
    Ok(parsed)
}

fn name_fault(name: &str) -> Option<Fault> {
    if !is_name(name) {
        let what = format!("'{}' is not the name of a variable", shown(name));
        let expected = "letters, digits and _, not beginning with a digit";
        return Some(Fault::expected(what, expected));
    }
    let reason = if LOADER.contains(&name) {
        "it loads code into every program"
    } else if name.starts_with("ORCH_") {
        "orch sets the variables of this prefix itself"
    } else if name.starts_with("GIT_") && !is_git_identity(name) {
        "it changes which repository or program git uses"
    } else {
        return None;
    };
    Some(Fault {
        what: format!("{name} may not be set for an agent: {reason}"),
        remedy: String::new(),
        hint: None,
    })
}

fn is_git_identity(name: &str) -> bool {
    name.starts_with("GIT_AUTHOR_") || name.starts_with("GIT_COMMITTER_")
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(allowed) && text.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

/// Numbers and switches are settings about a secret, such as how long one is kept.
fn is_secret(name: &str, value: &str) -> bool {
    let setting = value.len() <= 10 && value.bytes().all(|byte| byte.is_ascii_digit());
    let switch = ["true", "false"].contains(&value);
    let named = name
        .to_ascii_uppercase()
        .split('_')
        .any(|word| SECRET_WORDS.contains(&word));
    named && !setting && !switch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_take_over_an_agent_are_refused_by_name() {
        let refused = [
            "LD_PRELOAD",
            "GIT_DIR",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "ORCH_PROMPT_FILE",
        ];
        for name in refused {
            let fault = check(name, "x").unwrap_err();
            assert!(fault.what.starts_with(name), "{fault}");
        }
        for name in ["", "A=B", "A\0B", "1A", "A B", "Ä", "A\u{202e}B"] {
            let fault = check(name, "x").unwrap_err();
            assert!(fault.what.contains("is not the name"), "{fault}");
            assert!(!fault.to_string().contains('\u{202e}'));
        }
        for name in [
            "GIT_AUTHOR_NAME",
            "GIT_COMMITTER_EMAIL",
            "GITHUB_ACTOR",
            "_A1",
        ] {
            assert!(check(name, "x").is_ok(), "{name}");
        }
    }

    #[test]
    fn a_secret_is_a_reference() {
        for name in ["ANTHROPIC_API_KEY", "token", "DB_PASSWORD", "MY_SECRET_2"] {
            let fault = check(name, "sk-123").unwrap_err();
            assert!(
                fault
                    .hint
                    .as_ref()
                    .unwrap()
                    .contains(&format!("\"${name}\""))
            );
            assert!(!fault.to_string().contains("sk-123"), "{fault}");
            assert!(check(name, "$HERE").is_ok());
            assert!(check(name, "").is_ok(), "an empty value hides a variable");
        }
        assert!(check("MAX_THINKING_TOKENS", "many").is_ok());
        assert!(check("API_KEY_HELPER_TTL_MS", "3600000").is_ok());
        assert!(check("KEYBOARD", "qwerty").is_ok());
    }

    #[test]
    fn a_dollar_sign_refers_or_is_doubled() {
        let parsed = |text| EnvValue::parse(text);
        let from = |name: &str| Some(EnvValue::FromEnvironment(name.to_owned()));
        let literal = |text: &str| Some(EnvValue::Literal(text.to_owned()));
        assert_eq!(parsed("$HOME"), from("HOME"));
        assert_eq!(parsed("${HOME}"), from("HOME"));
        assert_eq!(parsed("$$HOME"), literal("$HOME"));
        assert_eq!(parsed("a$HOME"), literal("a$HOME"));
        for text in ["$", "$HOME/bin", "${HOME", "${}", "$1"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        for text in ["$HOME", "$$HOME", "a$HOME", ""] {
            assert_eq!(parsed(text).unwrap().written(), text);
        }
    }
}
