//! Lines of JSON as agents really print them.
//!
//! This part must not know what any field means. It makes sure of two things: whatever leaves it
//! as event data can be read by [`serde_json::Value`], and a slip of the printer (half a
//! surrogate pair, `NaN`, a number beyond all bounds) does not cost the rest of the line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A line of output as far as JSON goes.
pub(crate) enum Line<'a> {
    /// Nothing but white space.
    Blank,
    /// One JSON object.
    Object(Object<'a>),
    /// Several complete JSON objects, which is one too many.
    Several(Vec<Object<'a>>),
    /// Anything else.
    Other,
}

/// One JSON object and its own text.
pub(crate) struct Object<'a> {
    /// The object as it was printed.
    pub raw: &'a RawValue,
    /// Its fields, each as printed.
    pub fields: Fields<'a>,
}

/// Reads a line. Text that is not JSON as it stands is read by way of [`mended`].
pub(crate) fn read(text: &str) -> Line<'_> {
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        return Line::Blank;
    }
    if !trimmed.starts_with('{') || !trimmed.ends_with('}') {
        return Line::Other;
    }
    let mut objects = Vec::new();
    let mut values = serde_json::Deserializer::from_str(trimmed).into_iter::<&RawValue>();
    for value in &mut values {
        match value.ok().and_then(object) {
            Some(object) => objects.push(object),
            None => return Line::Other,
        }
    }
    match objects.len() {
        1 => objects.pop().map_or(Line::Other, Line::Object),
        _ => Line::Several(objects),
    }
}

fn object(raw: &RawValue) -> Option<Object<'_>> {
    is_sound(raw.get()).then_some(())?;
    let fields = serde_json::from_str(raw.get()).ok()?;
    Some(Object { raw, fields })
}

/// `text` without what JSON printers get wrong: lone surrogate escapes become `\ufffd`; `NaN`,
/// `Infinity` and numbers too large for a double become `null`. `None` if there is nothing to mend.
pub(crate) fn mended(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find([
        '"', 'N', 'I', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
    ]) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if rest.starts_with('"') {
            mend_string(rest, &mut out, &mut changed)
        } else {
            mend_number(rest, &mut out, &mut changed)
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// Copies the string literal at the head of `text`, mended; its length.
fn mend_string(text: &str, out: &mut String, changed: &mut bool) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut copied) = (1, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                break;
            }
            b'\\' => match surrogate(&bytes[at..]) {
                Some(0xd800..=0xdbff)
                    if matches!(bytes.get(at + 6..).and_then(surrogate), Some(0xdc00..)) =>
                {
                    at += 12;
                }
                Some(_) => {
                    out.push_str(&text[copied..at]);
                    out.push_str("\\ufffd");
                    *changed = true;
                    at += 6;
                    copied = at;
                }
                None => at += 2,
            },
            _ => at += 1,
        }
    }
    // A backslash at the very end would step beyond it, or into a character.
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    out.push_str(&text[copied..end]);
    end
}

/// The surrogate that `bytes` begin with as an escape.
fn surrogate(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

/// Copies the number, or what should be one, at the head of `text`, mended; its length.
fn mend_number(text: &str, out: &mut String, changed: &mut bool) -> usize {
    let length = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))
        .unwrap_or(text.len())
        .max(1);
    let token = &text[..length];
    let is_broken = token.parse::<f64>().is_ok_and(|number| !number.is_finite());
    out.push_str(if is_broken { "null" } else { token });
    *changed |= is_broken;
    length
}

/// Whether [`serde_json::Value`] could read `json`. [`RawValue`] is more lenient: it lets pass
/// lone surrogates, numbers beyond all bounds and any depth.
pub(crate) fn is_sound(json: &str) -> bool {
    serde_json::from_str::<Sound>(json).is_ok()
}

/// Reads everything and keeps nothing.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// The fields of one object, each as printed. An object that has a field twice is not read: which
/// of the two was meant nobody knows.
#[derive(Default)]
pub(crate) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// The field as printed.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// The field, if it is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.read(name)
    }

    /// The field, if it is of this type.
    pub fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields of the field, if it is an object.
    pub fn object(&self, name: &str) -> Option<Self> {
        self.read(name)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<String, &'de RawValue>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a field occurs twice"));
            }
        }
        Ok(fields)
    }
}

/// Event data for bytes that are not JSON: `{"text": …}`, with `"lossy": true` where bytes that
/// are not UTF-8 were replaced.
pub(crate) fn text_data(bytes: &[u8]) -> Box<RawValue> {
    /// Written as it is: a map made for each line of output would cost more than the line.
    #[derive(Serialize)]
    struct Text<'a> {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        lossy: bool,
        text: &'a str,
    }
    let text = String::from_utf8_lossy(bytes);
    let lossy = matches!(text, Cow::Owned(_));
    raw(&Text { lossy, text: &text })
}

/// A value as raw JSON.
pub(crate) fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a JSON value has no key that is not a string")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_are_not() {
        let mend = |text: &str| mended(text);
        assert_eq!(mend(r#"{"a":"\ud83d\ude00 \\ud83d"}"#), None);
        assert_eq!(
            mend(r#"{"a":"\ud83d"}"#).as_deref(),
            Some(r#"{"a":"\ufffd"}"#)
        );
        assert_eq!(
            mend(r#"{"a":"\uDE00x\uD83D\n"}"#).as_deref(),
            Some(r#"{"a":"\ufffdx\ufffd\n"}"#)
        );
        assert_eq!(
            mend(r#"{"a":"\ud83d\ud83d\ude00"}"#).as_deref(),
            Some(r#"{"a":"\ufffd\ud83d\ude00"}"#)
        );
    }

    #[test]
    fn numbers_that_are_none_become_null() {
        let text = r#"{"a":NaN,"b":-Infinity,"c":1e999,"d":[-1.5,2],"e":"NaN 1e999"}"#;
        let mended = mended(text).unwrap();
        assert_eq!(
            mended,
            r#"{"a":null,"b":null,"c":null,"d":[-1.5,2],"e":"NaN 1e999"}"#
        );
        assert!(is_sound(&mended));
    }

    #[test]
    fn mending_steps_over_every_broken_end() {
        for text in ["\"\\", "\"\\é", "\"a\\u12", "\"\\ud83d", "-", "N", "I"] {
            let _ = mended(text);
        }
    }

    #[test]
    fn only_what_a_reader_can_read_is_sound() {
        assert!(is_sound(r#"{"a":[1,2.5,-3,true,null,"x"]}"#));
        for bad in [r#""\ud83d""#, "1e999", "{", &"[".repeat(200)] {
            assert!(!is_sound(bad), "{bad}");
        }
    }

    #[test]
    fn an_object_with_a_field_twice_is_not_read() {
        assert!(matches!(read(r#"{"a":1,"a":2}"#), Line::Other));
        assert!(matches!(read(r#"{"a":1} {"a":2}"#), Line::Several(two) if two.len() == 2));
        assert!(matches!(read("  \r"), Line::Blank));
        assert!(matches!(read("[1]"), Line::Other));
    }
}
