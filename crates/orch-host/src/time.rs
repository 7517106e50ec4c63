//! A moment, as people and files read it.

use orch_core::Timestamp;

/// `now` as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(now: Timestamp) -> String {
    // A clock that is off by ten thousand years still gives a time.
    let time = jiff::Timestamp::from_millisecond(now.0).unwrap_or(if now.0 < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_told() {
        let now = Timestamp(1_795_364_103_004);
        assert_eq!(rfc3339(now), "2026-11-22T16:15:03.004Z");
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        for now in [i64::MIN, i64::MAX] {
            assert!(rfc3339(Timestamp(now)).parse::<jiff::Timestamp>().is_ok());
        }
    }
}
