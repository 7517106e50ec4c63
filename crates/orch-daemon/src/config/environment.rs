//! What an agent's `env` table may say, beyond what [`orch_host::environment`] demands: names that
//! every shell can set, and no secrets, because the file belongs in git.

use orch_host::environment;

use super::error::{Fault, shown};

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

/// Checks `name = value` in an `env` table.
pub(super) fn check(name: &str, value: &str) -> Result<(), Fault> {
    if !is_name(name) {
        let what = format!("'{}' is not the name of a variable", shown(name));
        let expected = "letters, digits and _, not beginning with a digit";
        return Err(Fault::expected(what, expected));
    }
    environment::check(name, value).map_err(|error| Fault::plain(error.to_string()))?;
    if is_secret(name, value) {
        let what = format!("{name} looks like a secret, and this file belongs in git");
        let expected = format!("a reference to your environment: {name} = \"${name}\"");
        let hint = format!("export {name} where you start orch, and write \"${name}\" here");
        return Err(Fault::expected(what, &expected).with_hint(hint));
    }
    Ok(())
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
    let reference = value.starts_with('$') && !value.starts_with("$$");
    named && !setting && !switch && !reference
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
            assert!(fault.what.contains(name), "{fault}");
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
            assert!(check(name, "$$HERE").is_err(), "a literal in disguise");
            assert!(check(name, "").is_ok(), "an empty value hides a variable");
        }
        assert!(check("MAX_THINKING_TOKENS", "many").is_ok());
        assert!(check("API_KEY_HELPER_TTL_MS", "3600000").is_ok());
        assert!(check("KEYBOARD", "qwerty").is_ok());
    }
}
