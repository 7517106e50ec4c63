//! Durations and sizes as people write them.

/// Units of time, longest first, with their length in milliseconds.
const TIME: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of size, largest first, with their length in bytes.
const SIZE: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Milliseconds of a duration like `90s`, `2h`, `1h30m` or `200ms`: whole numbers with their
/// units, longest unit first. `None` for anything else, and for more than 64 bits can count.
#[must_use]
pub fn parse_duration(text: &str) -> Option<u64> {
    parse(text, TIME)
}

/// A duration in the words that [`parse_duration`] reads.
#[must_use]
pub fn format_duration(milliseconds: u64) -> String {
    format(milliseconds, TIME, "0s")
}

/// Bytes of a size like `64MiB` or `512B`. `None` for anything else.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, SIZE)
}

/// A size in the words that [`parse_size`] reads.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    format(bytes, SIZE, "0B")
}

/// Each unit may occur once and only after the larger ones: `30m1h` is more likely a slip.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (mut rest, mut units_left, mut total) = (text, units, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let letters = &rest[digits..];
        let end = letters
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(letters.len());
        let at = units_left
            .iter()
            .position(|(unit, _)| *unit == &letters[..end])?;
        total = number.checked_mul(units_left[at].1)?.checked_add(total)?;
        units_left = &units_left[at + 1..];
        rest = &letters[end..];
    }
    (!text.is_empty()).then_some(total)
}

fn format(total: u64, units: &[(&str, u64)], zero: &str) -> String {
    let mut rest = total;
    let mut words = String::new();
    for (unit, length) in units {
        if rest >= *length {
            words.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if words.is_empty() {
        words.push_str(zero);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        let read = [
            ("90s", 90_000),
            ("30m", 1_800_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("200ms", 200),
            ("1d2h3m4s5ms", 93_784_005),
            ("0s", 0),
        ];
        for (text, expected) in read {
            assert_eq!(parse_duration(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_duration() {
        let wrong = [
            "",
            "90",
            "s",
            "-1s",
            "1.5h",
            "5 parsecs",
            "5m 3s",
            "30m1h",
            "1h1h",
            "1H",
            "1e12s",
            "99999999999999999999s",
            "18446744073709551615d",
            "٣s",
        ];
        for text in wrong {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for milliseconds in [0, 1, 999, 1_000, 61_001, 5_400_000, 2_592_000_000, u64::MAX] {
            let text = format_duration(milliseconds);
            assert_eq!(parse_duration(&text), Some(milliseconds), "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 268_435_456, u64::MAX] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
        assert_eq!(format_size(268_435_456), "256MiB");
        assert_eq!(parse_size("64MB"), None);
        assert_eq!(parse_size("64"), None);
    }
}
