//! Text that orch did not write: titles, names, results, output of agents, paths, file contents.
//!
//! Every such text goes to a terminal through [`Untrusted`]. What could move the cursor, set the
//! clipboard, hide or turn text is shown as what it is, `\x1b` or `\u{202e}`.

use std::fmt::{self, Display, Write};

/// Whether line ends and tabs are part of how the text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One line: a line end is shown as `\n`.
    Line,
    /// Many lines: line ends and tabs do what they do.
    Block,
}

/// A hostile text made safe to print.
#[derive(Debug, Clone, Copy)]
pub struct Untrusted<'a> {
    text: &'a str,
    shape: Shape,
}

impl<'a> Untrusted<'a> {
    /// A text that must stay on its line: a title, a name, a table cell.
    #[must_use]
    pub const fn line(text: &'a str) -> Self {
        let shape = Shape::Line;
        Self { text, shape }
    }

    /// A text that has lines of its own: a description, a result, output.
    #[must_use]
    pub const fn block(text: &'a str) -> Self {
        let shape = Shape::Block;
        Self { text, shape }
    }
}

impl Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = ' ';
        let mut characters = self.text.chars().peekable();
        while let Some(character) = characters.next() {
            let part_of_emoji = character == '\u{fe0f}' && is_symbol(previous);
            let part_of_line_end = character == '\r' && characters.peek() == Some(&'\n');
            match character {
                '\n' | '\t' if self.shape == Shape::Block => f.write_char(character)?,
                '\r' if self.shape == Shape::Block && part_of_line_end => {}
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                _ if part_of_emoji => f.write_char(character)?,
                _ if character.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(character))?,
                _ if is_hidden(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
            previous = character;
        }
        Ok(())
    }
}

/// U+FE0F after a symbol only says that the symbol is drawn in colour, as agents love it.
fn is_symbol(character: char) -> bool {
    !character.is_ascii() && !character.is_alphanumeric() && !is_hidden(character)
}

/// Characters that a reader cannot see, or that change how other text is read.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
                | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let hostile = "a\u{1b}[2Jb\u{9b}31mc\u{202e}d\u{200b}e\u{7}\0\u{7f}\u{2028}";
        assert_eq!(
            Untrusted::block(hostile).to_string(),
            r"a\x1b[2Jb\u{9b}31mc\u{202e}d\u{200b}e\x07\x00\x7f\u{2028}"
        );
    }

    #[test]
    fn every_character_that_is_shown_as_itself_is_visible_or_a_line_end() {
        let all: String = ('\0'..=char::MAX).collect();
        let shown = Untrusted::block(&all).to_string();
        let hidden = shown
            .chars()
            .find(|&c| is_hidden(c) && c != '\n' && c != '\t');
        assert_eq!(hidden, None);
    }

    #[test]
    fn a_line_stays_a_line_and_a_block_keeps_its_lines() {
        assert_eq!(Untrusted::line("a\r\nb\tc").to_string(), r"a\r\nb\tc");
        assert_eq!(Untrusted::block("a\r\nb\tc\rd").to_string(), "a\nb\tc\\rd");
    }

    #[test]
    fn emoji_stay_as_they_are() {
        assert_eq!(Untrusted::line("⚠\u{fe0f} ok").to_string(), "⚠\u{fe0f} ok");
        assert_eq!(Untrusted::line("a\u{fe0f}").to_string(), r"a\u{fe0f}");
    }
}
