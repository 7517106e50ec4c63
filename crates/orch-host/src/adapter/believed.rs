//! Values out of a stream, as far as they can be believed.
//!
//! What cannot be is left out with a note, and stays unknown: a wrong number is worse than none.

use orch_core::Timestamp;
use orch_core::text::excerpt;
use serde_json::value::RawValue;

use super::json::Fields;
use super::stream::Notes;

/// Longest message of a failure, characters. The result holds the text in full.
pub(super) const MESSAGE_CHARS: usize = 2_000;
/// Longest session id that is believed, bytes. They are UUIDs and the like.
const SESSION_BYTES: usize = 256;
/// Largest token count that is believed: what a database holds.
pub(super) const TOKENS: u64 = i64::MAX as u64;
/// Largest cost that is believed, US dollars.
const COST_USD: f64 = 1e9;
/// Latest time that is believed, seconds since 1970: the year 5138. Larger numbers are no seconds.
const SECONDS: i64 = 100_000_000_000;

/// A session id. It becomes an argument when the session is continued, so it may not look like an
/// option.
pub(super) fn session(fields: &Fields<'_>, name: &str) -> Option<String> {
    let id = fields.text(name)?;
    let is_short = !id.is_empty() && id.len() <= SESSION_BYTES;
    let is_plain = id.chars().all(|c| c.is_ascii_graphic()) && !id.starts_with('-');
    (is_short && is_plain).then(|| id.into_owned())
}

/// A count of tokens.
pub(super) fn tokens(fields: &Fields<'_>, name: &str, notes: &mut Notes) -> Option<u64> {
    let raw = fields.raw(name)?;
    let count = serde_json::from_str(raw.get()).ok();
    kept(count.filter(|&count| count <= TOKENS), name, raw, notes)
}

/// A cost, US dollars.
pub(super) fn cost_usd(fields: &Fields<'_>, name: &str, notes: &mut Notes) -> Option<f64> {
    let raw = fields.raw(name)?;
    let cost = serde_json::from_str(raw.get()).ok();
    let cost = cost.filter(|cost| (0.0..=COST_USD).contains(cost));
    kept(cost, name, raw, notes)
}

/// A time in seconds since 1970.
pub(super) fn seconds(fields: &Fields<'_>, name: &str, notes: &mut Notes) -> Option<Timestamp> {
    let raw = fields.raw(name)?;
    let seconds: Option<i64> = serde_json::from_str(raw.get()).ok();
    let seconds = seconds.filter(|seconds| (1..=SECONDS).contains(seconds));
    if seconds.is_none() {
        notes.add(format!("a reset time of {} was left out", shown(raw)));
    }
    seconds.map(|seconds| Timestamp(seconds * 1_000))
}

/// `value`, with a note if it was given and is not believed.
fn kept<T>(value: Option<T>, name: &str, raw: &RawValue, notes: &mut Notes) -> Option<T> {
    if value.is_none() && raw.get() != "null" {
        notes.add(format!("{name} of {} was left out", shown(raw)));
    }
    value
}

fn shown(raw: &RawValue) -> String {
    excerpt(raw.get(), 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_that_could_not_be_an_argument_is_none() {
        let read = |json: &str| {
            let fields: Fields<'_> = serde_json::from_str(json).unwrap();
            session(&fields, "id")
        };
        assert_eq!(read(r#"{"id":"ses_1-2"}"#).as_deref(), Some("ses_1-2"));
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(SESSION_BYTES + 1));
        for bad in [
            r#"{"id":""}"#,
            r#"{"id":"--x"}"#,
            r#"{"id":"a b"}"#,
            r#"{"id":7}"#,
            &long,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
