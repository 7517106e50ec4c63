//! Names that may stand on git's command line.

use std::fmt;
use std::str::FromStr;

use orch_core::text::excerpt;

/// Longest branch name, bytes. A file name of 255 bytes must hold the last part and `.lock`.
const BRANCH_BYTES: usize = 240;

/// Why a text is not the name of a branch, a ref or an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not {kind}: {why}")]
pub struct BadName {
    kind: &'static str,
    given: String,
    why: &'static str,
}

/// The full name of an object: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(String);

impl Oid {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Oid {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if matches!(text.len(), 40 | 64) && text.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName {
                kind: "the name of a git object",
                given: excerpt(text, 80),
                why: "it must be 40 or 64 hexadecimal digits",
            })
        }
    }
}

/// A branch without `refs/heads/`. Git's rule, and of its characters only `A-Za-z0-9._/-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(String);

impl BranchName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ref that holds the branch.
    #[must_use]
    pub fn reference(&self) -> RefName {
        RefName(format!("refs/heads/{}", self.0))
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for BranchName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |why| {
            Err(BadName {
                kind: "a branch name that orch can use",
                given: excerpt(text, 80),
                why,
            })
        };
        if let Some(why) = fault(text) {
            return bad(why);
        }
        if text == "HEAD" || text.starts_with("refs/") {
            return bad("it would be taken for something else");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A full ref, like `refs/heads/main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The branch this ref holds, if it is one with a name that orch can use.
    pub fn branch(&self) -> Option<BranchName> {
        self.0.strip_prefix("refs/heads/")?.parse().ok()
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RefName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let why = match fault(text) {
            None if text.starts_with("refs/") => return Ok(Self(text.to_owned())),
            None => "it must begin with refs/",
            Some(why) => why,
        };
        Err(BadName {
            kind: "a ref that orch can use",
            given: excerpt(text, 80),
            why,
        })
    }
}

/// What is wrong with a name, by git's rule and ours.
fn fault(text: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > BRANCH_BYTES {
        Some("it is longer than 240 bytes")
    } else if !text.bytes().all(allowed) {
        Some("only A-Z a-z 0-9 . _ / - are allowed")
    } else if text.starts_with('-') {
        Some("it begins with '-'")
    } else if text.contains("..") {
        Some("it contains '..'")
    } else if text.ends_with('.') {
        Some("it ends with '.'")
    } else if text.split('/').any(str::is_empty) {
        Some("it has an empty part between '/'")
    } else if text
        .split('/')
        .any(|part| part.starts_with('.') || part.ends_with(".lock"))
    {
        Some("a part of it begins with '.' or ends with '.lock'")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_git_or_a_shell_could_misread_is_no_branch() {
        for text in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "x.lock",
            "a/x.lock/b",
            "@{",
            "a b",
            "refs/heads/x",
            "HEAD",
            "a;$(id)`id`|x",
            "a//b",
            "/a",
            "a/",
            ".a",
            "a/.b",
            "a.",
            "a\nb",
            "ä",
            &"x".repeat(300),
        ] {
            assert!(text.parse::<BranchName>().is_err(), "{text:?}");
        }
        for text in ["main", "orch/tsk_7m3k9q2x4d1v-fix", "release-1.2", "a/-b"] {
            assert!(text.parse::<BranchName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_ref_says_which_branch_it_holds() {
        let main: BranchName = "feature/x".parse().unwrap();
        assert_eq!(main.reference().as_str(), "refs/heads/feature/x");
        assert_eq!(main.reference().branch(), Some(main));
        assert_eq!("refs/tags/x".parse::<RefName>().unwrap().branch(), None);
        assert!("heads/x".parse::<RefName>().is_err());
    }

    #[test]
    fn only_full_object_names_are_object_names() {
        assert!("a".repeat(40).parse::<Oid>().is_ok());
        assert!("a".repeat(64).parse::<Oid>().is_ok());
        for text in ["HEAD", "", "-", &"A".repeat(40), &"a".repeat(41)] {
            assert!(text.parse::<Oid>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_branch_name_can_be_an_option_or_leave_its_directory(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<BranchName>() {
                prop_assert!(!name.as_str().starts_with(['-', '/', '.']));
                prop_assert!(!name.as_str().contains(".."));
                prop_assert!(name.as_str().is_ascii());
            }
        }
    }
}
