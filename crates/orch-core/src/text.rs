//! Rules for text that people and agents give us, and the few shapes we derive from it.

/// A word outside a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not one of {}", .known.join(", "))]
pub struct UnknownWord {
    /// The Rust name of the list.
    pub list: &'static str,
    /// What was given.
    pub given: String,
    /// What would have been accepted.
    pub known: Vec<&'static str>,
}

impl UnknownWord {
    /// Says that `given` is not in `known`.
    #[must_use]
    pub fn new(list: &'static str, given: &str, known: &[&'static str]) -> Self {
        Self {
            list,
            given: excerpt(given, 40),
            known: known.to_vec(),
        }
    }
}

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// Nothing visible in it.
    #[error("is empty")]
    Empty,
    /// Too long.
    #[error("is {got} bytes long; at most {limit} are allowed")]
    TooLong {
        /// The limit, bytes.
        limit: usize,
        /// What was given, bytes.
        got: usize,
    },
    /// A NUL cannot travel through argv, environment or a C string.
    #[error("contains a NUL byte")]
    Nul,
    /// A name may not carry invisible or direction-changing characters.
    #[error("contains the character U+{0:04X}, which a name may not")]
    Hidden(u32),
}

/// Checks a text that must say something: a title, a reason.
///
/// # Errors
/// Empty, too long, or with a NUL.
pub fn check_required(text: &str, limit: usize) -> Result<(), BadText> {
    if text
        .chars()
        .all(|character| character.is_whitespace() || is_invisible(character))
    {
        return Err(BadText::Empty);
    }
    check_optional(text, limit)
}

/// Checks a text that may be empty: a description.
///
/// # Errors
/// Too long, or with a NUL.
pub fn check_optional(text: &str, limit: usize) -> Result<(), BadText> {
    if text.len() > limit {
        return Err(BadText::TooLong {
            limit,
            got: text.len(),
        });
    }
    if text.contains('\0') {
        return Err(BadText::Nul);
    }
    Ok(())
}

/// Checks a label: visible, short, no separator that would make two of it.
///
/// # Errors
/// What is wrong with it.
pub fn check_label(text: &str, limit: usize) -> Result<(), BadText> {
    check_required(text, limit)?;
    match text
        .chars()
        .find(|&c| c.is_control() || is_invisible(c) || c == ',' || c.is_whitespace())
    {
        Some(character) => Err(BadText::Hidden(u32::from(character))),
        None => Ok(()),
    }
}

/// Characters that show nothing or turn the direction of what follows (Unicode Cf and friends).
#[must_use]
pub const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The first `most` characters, with `…` where something was cut.
#[must_use]
pub fn excerpt(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Most names in a sentence.
const NAMED: usize = 10;

/// Names for a sentence: the first few, and how many more there are.
#[must_use]
pub fn named(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A title as part of a branch name: `a-z0-9` and single dashes, at most 40 bytes, maybe empty.
#[must_use]
pub fn slug(title: &str) -> String {
    let mut slug = String::new();
    for character in title.chars().map(|c| c.to_ascii_lowercase()) {
        if slug.len() >= 40 {
            break;
        }
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_of_nothing_visible_is_empty() {
        for title in ["", "   ", "\u{200b}\u{feff}", "\t\n"] {
            assert_eq!(check_required(title, 10), Err(BadText::Empty), "{title:?}");
        }
    }

    #[test]
    fn a_slug_never_carries_anything_into_git() {
        assert_eq!(slug("; rm -rf ~ $(id) `x`"), "rm-rf-id-x");
        assert_eq!(slug("--upload-pack=x"), "upload-pack-x");
        assert_eq!(slug("日本語"), "");
        assert_eq!(slug("a..b.lock @{"), "a-b-lock");
        assert!(slug(&"long words ".repeat(20)).len() <= 40);
    }

    #[test]
    fn ten_names_are_said_and_the_rest_is_counted() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(named(&names[..2]), "0, 1");
        assert_eq!(named(&names), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
    }

    #[test]
    fn an_excerpt_cuts_between_characters() {
        assert_eq!(excerpt("äöü", 2), "äö…");
        assert_eq!(excerpt("äö", 2), "äö");
    }
}
