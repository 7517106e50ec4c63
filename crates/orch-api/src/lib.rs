//! What crosses the wire between orch's daemon and its clients.
//!
//! This crate must not know how anything is decided, stored or run. Fields may be added, none is
//! renamed or removed: scripts rely on them.

pub mod client;
pub mod types;

/// The version of this interface. Daemon and client must agree on it.
pub const API_VERSION: u32 = 1;

/// The header that carries [`API_VERSION`] in every request and response.
pub const VERSION_HEADER: &str = "orch-api-version";
