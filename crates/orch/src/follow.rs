//! Following what happens: facts one by one, through the daemon that serves now or one that
//! comes later.
//!
//! Without a daemon the project must not stay locked while somebody only watches, so it is
//! opened, read and closed again, once in a while.

use std::ops::ControlFlow;
use std::time::Duration;

use orch_api::client::{Client, ClientError, Next, StreamQuery};
use orch_api::types::Event;

use crate::context::Context;
use crate::error::{Kind, Result};

/// How often a project without a daemon is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a follower is told.
#[derive(Debug)]
pub enum News<'a> {
    /// Something happened.
    Event(&'a Event),
    /// Nothing did for as long as the follower's patience.
    Quiet,
}

/// Tells `each` what happens after event number `after`, until it breaks.
///
/// # Errors
/// The project cannot be opened, or `each` failed.
pub fn events(
    context: &Context,
    mut after: u64,
    patience: Duration,
    each: &mut dyn FnMut(&Client, News<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    loop {
        let client = match context.client() {
            Ok(client) => client,
            // Somebody else is at it for a moment.
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::TryLater) => {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            Err(error) => return Err(error),
        };
        let serving = is_served(&client)?;
        let query = StreamQuery {
            after: Some(after),
            follow: serving,
            ..StreamQuery::default()
        };
        match until_end(&client, &query, patience, &mut after, each) {
            Ok(ControlFlow::Break(())) => return Ok(()),
            Ok(ControlFlow::Continue(())) => {}
            // The daemon left; the next look finds whoever is there then.
            Err(Failed::Client(ClientError::Unreachable { .. })) if serving => {}
            Err(Failed::Client(error)) => return Err(error.into()),
            Err(Failed::Follower(error)) => return Err(error),
        }
        if !serving {
            if each(&client, News::Quiet)?.is_break() {
                return Ok(());
            }
            drop(client);
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether a daemon answers, not this process for itself.
///
/// # Errors
/// Nobody answers.
pub fn is_served(client: &Client) -> Result<bool> {
    Ok(client.status()?.service != "stopped")
}

enum Failed {
    Client(ClientError),
    Follower(crate::error::UserError),
}

fn until_end(
    client: &Client,
    query: &StreamQuery,
    patience: Duration,
    after: &mut u64,
    each: &mut dyn FnMut(&Client, News<'_>) -> Result<ControlFlow<()>>,
) -> std::result::Result<ControlFlow<()>, Failed> {
    let mut lines = client.events(query).map_err(Failed::Client)?;
    loop {
        let flow = match lines.next_event(Some(patience)).map_err(Failed::Client)? {
            Next::Item(event) => {
                *after = event.seq;
                each(client, News::Event(&event))
            }
            Next::Quiet => each(client, News::Quiet),
            Next::End => return Ok(ControlFlow::Continue(())),
        };
        if flow.map_err(Failed::Follower)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}
