//! Lengths of time as people write them: `90s`, `30m`, `2h`, `1h30m`.

/// Longest time that can be asked for: 30 days, milliseconds.
const MOST_MS: u64 = 30 * 24 * 3_600_000;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 24 * 3_600_000),
];

/// Reads a length of time; the result is in milliseconds.
///
/// # Errors
/// What is wrong with it, with an example of what is right.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let total = sum(text.trim()).ok_or_else(|| {
        "a length of time is a number with a unit (ms, s, m, h, d): 90s, 30m, 2h, 1h30m".to_owned()
    })?;
    match total {
        0 => Err("it must be longer than 0; write 90s, 30m, 2h or 1h30m".to_owned()),
        _ if total > MOST_MS => Err("it must not be longer than 30d".to_owned()),
        _ => Ok(total),
    }
}

/// The sum of all numbers with their units; `None` if there is anything else.
fn sum(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        // A number too large to count is in any case too long, which is what the caller says.
        let number = match number.parse::<u64>() {
            Ok(number) => number,
            Err(_) if number.is_empty() => return None,
            Err(_) => u64::MAX,
        };
        total = total.saturating_add(number.saturating_mul(*factor));
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A length of time for people, in its two largest units: `1h 30m`, `5s`, `230ms`.
#[must_use]
pub fn shown(milliseconds: u64) -> String {
    if milliseconds < 1_000 {
        return format!("{milliseconds}ms");
    }
    let mut parts = Vec::new();
    let mut rest = milliseconds;
    for (unit, factor) in UNITS.iter().rev().filter(|(unit, _)| *unit != "ms") {
        if rest >= *factor {
            parts.push(format!("{}{unit}", rest / factor));
            rest %= factor;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, expected) in [
            ("200ms", 200),
            ("90s", 90_000),
            ("30m", 1_800_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            (" 1d ", 86_400_000),
        ] {
            assert_eq!(milliseconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_length_of_time_says_what_would_be() {
        for text in [
            "",
            "5",
            "-1",
            "-1s",
            "h",
            "5 parsecs",
            "1.5h",
            "1e12",
            "2h 5",
            "٣s",
        ] {
            let error = milliseconds(text).expect_err(text);
            assert!(error.contains("90s, 30m, 2h, 1h30m"), "{text}: {error}");
        }
        for text in ["0", "0s"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
        for text in ["31d", "999999999999999999999999h"] {
            let error = milliseconds(text).expect_err(text);
            assert!(error.contains("30d"), "{text}: {error}");
        }
    }

    #[test]
    fn two_units_are_enough_for_people() {
        for (given, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (5_400, "5s"),
            (5_400_000, "1h 30m"),
            (3_600_000, "1h"),
            (3_605_000, "1h"),
            (90_061_000, "1d 1h"),
        ] {
            assert_eq!(shown(given), expected);
        }
    }
}
