//! Streams: facts and output, to their present end or on and on.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use orch_core::wait::Service;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::failure::Failed;
use super::tasks::checked_query;
use crate::convert;
use crate::shared::Shared;

/// Chunks that may wait for a slow reader; then the stream waits for it.
const AHEAD: usize = 4;
/// Facts read at once.
const FACTS: usize = 500;

/// Something that can be read on and on.
pub(super) trait Source: Send + 'static {
    /// The next bytes; empty when there are none now, `None` when there will be none any more.
    fn next(&mut self) -> io::Result<Option<Bytes>>;

    /// Wakes when there may be more.
    fn news(&self) -> watch::Receiver<u64>;
}

/// Streams a source. Without `wait`, or when nobody serves any more, it ends at the present end.
pub(super) fn follow(shared: &Arc<Shared>, mut source: impl Source, wait: bool) -> Body {
    let wait = wait && shared.follows;
    // Subscribed before the first read, so that nothing falls between.
    let mut news = source.news();
    let mut facts = shared.news();
    let shared = Arc::clone(shared);
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            news.mark_unchanged();
            facts.mark_unchanged();
            // Asked before reading: what is written before the end is then certainly read.
            let wait = wait && shared.service() != Service::Stopped;
            let chunk = match source.next() {
                Ok(None) => break,
                Ok(Some(bytes)) if bytes.is_empty() && !wait => break,
                Ok(Some(bytes)) => Ok(bytes),
                Err(error) => Err(error),
            };
            let last = chunk.is_err();
            let nothing = chunk.as_ref().is_ok_and(Bytes::is_empty);
            if !nothing && sender.send(chunk).await.is_err() || last {
                break;
            }
            if nothing {
                tokio::select! {
                    _ = news.changed() => {}
                    _ = facts.changed() => {}
                    () = sender.closed() => break,
                }
            }
        }
    });
    Body::from_stream(Chunks(receiver))
}

/// A channel as a stream.
struct Chunks(mpsc::Receiver<io::Result<Bytes>>);

impl futures_core::Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<u64>,
    limit: Option<u64>,
    follow: Option<bool>,
}

/// The facts after a number, as JSON lines.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let query = checked_query(query)?;
    let facts = Facts {
        shared: Arc::clone(&shared),
        after: query.after.unwrap_or(0),
        left: query.limit.unwrap_or(u64::MAX),
    };
    let body = follow(&shared, facts, query.follow.unwrap_or(false));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Facts {
    shared: Arc<Shared>,
    after: u64,
    left: u64,
}

impl Source for Facts {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = usize::try_from(self.left).map_or(FACTS, |left| left.min(FACTS));
        let facts = self
            .shared
            .read(|reader| reader.events(self.after, most))
            .map_err(io::Error::other)?;
        let mut text = Vec::new();
        for fact in &facts {
            serde_json::to_writer(&mut text, &convert::event(fact.seq, &fact.event))?;
            text.push(b'\n');
            self.after = fact.seq;
            self.left -= 1;
        }
        Ok(Some(Bytes::from(text)))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.shared.news()
    }
}
