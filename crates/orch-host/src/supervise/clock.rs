//! The wall clock, for display only; durations use [`std::time::Instant`], which stands still
//! while the machine is suspended.

use std::time::{SystemTime, UNIX_EPOCH};

use orch_core::Timestamp;

/// Now, as a person would say.
pub(crate) fn now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    Timestamp(millis)
}
