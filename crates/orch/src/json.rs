//! JSON for programs that is also harmless on a terminal: what serde leaves as it is although a
//! terminal may act on it (C1 controls, direction changes, invisible characters) is escaped too.
//! The value stays the same.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::untrusted::is_hidden;

/// `value` as one line of JSON.
///
/// # Errors
/// The value refuses to be JSON.
pub fn line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    rendered(value, CompactFormatter)
}

/// `value` as JSON for reading.
///
/// # Errors
/// The value refuses to be JSON.
pub fn pretty<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    rendered(value, PrettyFormatter::new())
}

fn rendered<T: Serialize + ?Sized, F: Formatter>(
    value: &T,
    inner: F,
) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Visible(inner)))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Lays out as the formatter inside does, and escapes what cannot be seen.
struct Visible<F>(F);

macro_rules! as_inside {
    ($($name:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {
        $(
            fn $name<W: ?Sized + Write>(
                &mut self,
                writer: &mut W,
                $($argument: $kind),*
            ) -> io::Result<()> {
                self.0.$name(writer, $($argument),*)
            }
        )*
    };
}

impl<F: Formatter> Formatter for Visible<F> {
    as_inside!(
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
    );

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|&(_, c)| is_hidden(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped_and_the_value_stays() {
        let value = "a\u{1b}[2J\u{9b}\u{202e}\u{e0041}é✓\n";
        let bytes = line(value).expect("JSON");
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(text, "\"a\\u001b[2J\\u009b\\u202e\\udb40\\udc41é✓\\n\"\n");
        assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), value);
    }

    #[test]
    fn pretty_is_the_same_value_on_more_lines() {
        let value = serde_json::json!({"a": [1, {"b": "\u{200b}"}], "c": []});
        let text = String::from_utf8(pretty(&value).expect("JSON")).expect("text");
        assert!(text.lines().count() > 3, "{text}");
        assert!(text.contains("\\u200b"), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(back, value);
    }
}
