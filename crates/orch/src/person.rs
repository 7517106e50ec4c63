//! What only a person may do: give the word that work is good, and say who works and how.
//!
//! An agent that runs `orch` inside its run must not speak for the person who reviews it. This file
//! must not know what is asked for.

use orch_daemon::consent;

use crate::error::{Kind, Result, UserError};

/// Refuses to go on if an agent has started this.
///
/// # Errors
/// `not_allowed` if one has; or it cannot be told.
pub fn required() -> Result<()> {
    let unknown = |error: std::io::Error| {
        UserError::io("cannot tell whether an agent has started this", &error)
    };
    match consent::is_agents_own().map_err(unknown)? {
        false => Ok(()),
        true => Err(UserError::new(
            Kind::NotAllowed,
            "not_allowed",
            "a person must do this, and this was started by an agent",
        )),
    }
}
