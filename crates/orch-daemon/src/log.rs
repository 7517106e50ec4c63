//! What `orch serve` says while it works: one line per fact.

use std::sync::Arc;

use orch_core::Timestamp;
use orch_core::event::{Event, EventKind};
use serde::Serialize;

use crate::convert;

/// One line of the log.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// RFC 3339, UTC.
    pub time: String,
    /// `info`, `warn` or `error`.
    pub level: &'static str,
    /// A fact of the event list, or `serving`, `draining`, `agent_said`, `trouble`, …
    pub event: String,
    /// The task it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The run it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The agent it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A sentence or a status word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where log lines go. Several threads have one.
#[derive(Clone)]
pub struct LogSink(Arc<dyn Fn(Vec<LogLine>) + Send + Sync>);

impl LogSink {
    /// A sink that gives lines to `take`, as many at once as were said at once.
    #[must_use]
    pub fn new(take: impl Fn(Vec<LogLine>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// A sink for lines that nobody reads.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(drop)
    }

    /// Says one line.
    pub fn say(&self, line: LogLine) {
        self.say_all(vec![line]);
    }

    /// Says lines that belong together.
    pub(crate) fn say_all(&self, lines: Vec<LogLine>) {
        if !lines.is_empty() {
            (self.0)(lines);
        }
    }
}

impl LogLine {
    /// A line about the daemon itself.
    pub(crate) fn note(level: &'static str, event: &str, message: impl Into<String>) -> Self {
        Self {
            time: convert::rfc3339(convert::now()),
            level,
            event: event.to_owned(),
            task: None,
            run: None,
            agent: None,
            message: Some(message.into()),
        }
    }

    /// A line about a recorded fact.
    pub(crate) fn fact(event: &Event) -> Self {
        let words = [event.word.as_deref(), event.message.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        Self {
            time: convert::rfc3339(event.time),
            level: level(event.kind),
            event: event.kind.to_string(),
            task: event.task.as_ref().map(ToString::to_string),
            run: event.run.as_ref().map(ToString::to_string),
            agent: event.agent.as_ref().map(ToString::to_string),
            message: (!words.is_empty()).then(|| words.join(": ")),
        }
    }

    /// A line about something an agent said.
    pub(crate) fn said(time: Timestamp, run: &str, agent: &str, message: String) -> Self {
        Self {
            time: convert::rfc3339(time),
            level: "info",
            event: "agent_said".to_owned(),
            task: None,
            run: Some(run.to_owned()),
            agent: Some(agent.to_owned()),
            message: Some(message),
        }
    }
}

const fn level(kind: EventKind) -> &'static str {
    match kind {
        EventKind::TaskFailed => "error",
        EventKind::TaskRetrying
        | EventKind::TaskLimited
        | EventKind::TaskLandingBlocked
        | EventKind::TaskInterrupted => "warn",
        _ => "info",
    }
}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // `transparent` errors repeat themselves.
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
