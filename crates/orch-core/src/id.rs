//! Names of things. An id is typed at the edge and cannot be confused with a path or another id.

use std::fmt;
use std::str::FromStr;

use crate::limits;

/// Characters of the random part: Crockford's base 32, lower case, so that no two look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters after the prefix. 60 random bits: among a million ids a clash has a chance of
/// 1 in 2 million, and the primary key would refuse it.
const RANDOM_CHARS: usize = 12;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not a {kind} id; one looks like {example}")]
pub struct BadId {
    kind: &'static str,
    example: &'static str,
    given: String,
}

fn random_part(entropy: u64) -> String {
    (0..RANDOM_CHARS)
        .map(|index| char::from(ALPHABET[(entropy >> (5 * index)) as usize & 31]))
        .collect()
}

fn is_random_part(text: &str) -> bool {
    text.len() == RANDOM_CHARS && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident, $prefix:literal, $kind:literal, $example:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id of 60 bits of `entropy`.
            #[must_use]
            pub fn from_entropy(entropy: u64) -> Self {
                Self(format!("{}{}", $prefix, random_part(entropy)))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                match text.strip_prefix($prefix) {
                    Some(rest) if is_random_part(rest) => Ok(Self(text.to_owned())),
                    _ => Err(BadId {
                        kind: $kind,
                        example: $example,
                        given: crate::text::excerpt(text, 40),
                    }),
                }
            }
        }
    };
}

id_type!(
    /// Names a task, like `tsk_7m3k9q2x4d1v`.
    TaskId, "tsk_", "task", "tsk_7m3k9q2x4d1v"
);
id_type!(
    /// Names a run, like `run_7m3k9q2x4d1v`.
    RunId, "run_", "run", "run_7m3k9q2x4d1v"
);

/// The name of an agent: its identity. Letters, digits, `-`, `_`, `.`; begins with a letter or
/// digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(String);

/// Why a text is not an agent name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an agent name: use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
)]
pub struct BadAgentName(String);

impl AgentName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AgentName {
    type Err = BadAgentName;

    fn from_str(text: &str) -> Result<Self, BadAgentName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= limits::AGENT_NAME_BYTES && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadAgentName(crate::text::excerpt(text, 40)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_it_prints() {
        let id = TaskId::from_entropy(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
    }

    #[test]
    fn nothing_but_an_id_is_an_id() {
        for text in [
            "",
            ".",
            "tsk_",
            "../../etc/passwd",
            "run_7m3k9q2x4d1v",
            "tsk_7m3k9q2x4d1V",
            "tsk_7m3k9q2x4d1v1",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }

    #[test]
    fn agent_names_cannot_hide_anything() {
        for text in ["", "-x", "a b", "a\u{202e}b", "a/b", &"x".repeat(65)] {
            assert!(text.parse::<AgentName>().is_err(), "{text}");
        }
        assert!("claude-2.1_fast".parse::<AgentName>().is_ok());
    }
}
