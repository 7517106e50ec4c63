//! The API on a unix socket, and the same API without a socket for commands that run alone.
//!
//! Handlers read what is committed, or hand a request to the loop and wait for its answer. They
//! decide nothing.

mod body;
mod events;
mod failure;
mod project;
mod prompt;
mod rescue;
mod runs;
mod server;
mod tasks;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use orch_api::{API_VERSION, VERSION_HEADER};
use orch_core::request::{Answer, Request as Ask};

use crate::shared::Shared;
use crate::wake::Wake;
use failure::Failed;
pub(crate) use server::Server;

/// Largest body of a request: a description of 1 MiB, escaped, and the rest of a task.
const BODY_BYTES: usize = 4 << 20;

/// Every route. Anything else is answered in the same shape.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/daemon", get(project::daemon))
        .route("/v1/status", get(project::status))
        .route("/v1/reload", post(project::reload))
        .route("/v1/agreed", post(project::agreed))
        .route("/v1/resolve/{prefix}", get(project::resolve))
        .route("/v1/events", get(events::events))
        .route("/v1/tasks", get(tasks::list).post(tasks::add))
        .route(
            "/v1/tasks/{id}",
            get(tasks::show).patch(tasks::edit).delete(tasks::delete),
        )
        .route("/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route("/v1/tasks/{id}/retry", post(tasks::retry))
        .route("/v1/tasks/{id}/approve", post(tasks::approve))
        .route("/v1/tasks/{id}/reject", post(tasks::reject))
        .route("/v1/tasks/{id}/resume", post(tasks::resume))
        .route("/v1/tasks/{id}/why", get(tasks::why))
        .route("/v1/tasks/{id}/prompt", get(prompt::show))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/events", get(runs::events))
        .route("/v1/runs/{id}/log", get(runs::log))
        .route("/v1/rescue", get(rescue::list))
        .route("/v1/rescue/prune", post(rescue::prune))
        .route("/v1/rescue/{id}", get(rescue::show).delete(rescue::give_up))
        .route("/v1/rescue/{id}/restore", post(rescue::restore))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(promises))
        .layer(middleware::from_fn(versions))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            redacted,
        ))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(shared)
}

async fn no_such_route(request: Request) -> Failed {
    let path = orch_core::text::excerpt(request.uri().path(), 80);
    Failed::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is nothing at {path}"),
    )
}

async fn no_such_method(request: Request) -> Failed {
    let message = format!("{} cannot be done here", request.method());
    Failed::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

/// A header that would make a change safe to repeat or bind it to a version, and that is not
/// understood, must not be passed over: whoever sent it counts on it.
const PROMISES: [(&str, StatusCode); 2] = [
    ("if-match", StatusCode::PRECONDITION_FAILED),
    ("idempotency-key", StatusCode::UNPROCESSABLE_ENTITY),
];

async fn promises(request: Request, next: Next) -> Response {
    let asked = PROMISES
        .iter()
        .find(|(name, _)| request.headers().contains_key(*name));
    match asked {
        Some((name, status)) => {
            let message = format!("this daemon does not know {name}; nothing was changed");
            Failed::new(*status, "unsupported_header", message).into_response()
        }
        None => next.run(request).await,
    }
}

/// Takes secrets out of every answer but the bytes that an agent wrote, which are asked for as they
/// are. A stream of lines comes in pieces of whole lines.
async fn redacted(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let redactor = shared.redactor();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_stream = match kind {
        "application/json" => false,
        "application/x-ndjson" => true,
        _ => return response,
    };
    if redactor.is_empty() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    if is_stream {
        let clean = move |bytes: Bytes| redactor.bytes(&bytes).map_or(bytes, Bytes::from);
        let body = body.map_frame(move |frame| frame.map_data(&clean));
        return Response::from_parts(parts, Body::new(body));
    }
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return Failed::ending().into_response();
    };
    let clean = redactor.bytes(&bytes).map_or(bytes, Bytes::from);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(clean))
}

/// Both sides say which version of the interface they speak; they must agree.
async fn versions(request: Request, next: Next) -> Response {
    let theirs = request
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok());
    let mut response = match theirs {
        Some(theirs) if theirs != API_VERSION.to_string() => {
            let message = format!("this daemon speaks version {API_VERSION}, the client {theirs}");
            Failed::new(StatusCode::BAD_REQUEST, "version_mismatch", message).into_response()
        }
        _ => next.run(request).await,
    };
    response
        .headers_mut()
        .insert(VERSION_HEADER, HeaderValue::from(API_VERSION));
    response
}

/// Hands a request to the loop and waits until it is recorded.
async fn ask(shared: &Shared, request: Ask) -> Result<Answer, Failed> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    shared
        .wakes
        .send(Wake::Ask { request, reply })
        .map_err(|_| Failed::ending())?;
    Ok(answer.await.map_err(|_| Failed::ending())??)
}

#[cfg(test)]
mod tests;
