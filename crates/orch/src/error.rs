//! What a person is told when something did not work: what, why, and what to do about it.
//!
//! Every error of every crate becomes a [`UserError`] here, so that all of them look alike.

use std::error::Error;
use std::io;

use orch_api::client::ClientError;
use orch_api::types::ApiError;
use serde::Serialize;

/// What sort of error it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever reads our output has left. Not shown.
    ClosedOutput,
    /// Something that should not happen.
    Internal,
    /// The command line, or a value in it, is not allowed.
    Usage,
    /// There is no such thing.
    NotFound,
    /// The state of things is in the way.
    Conflict,
    /// The daemon or an agent's command cannot be reached.
    Unreachable,
    /// Not allowed.
    NotAllowed,
    /// A limit, or the disk.
    Limit,
    /// The same may work in a moment.
    TryLater,
}

/// An error as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserError {
    /// Decides the exit code.
    #[serde(skip)]
    pub kind: Kind,
    /// A stable word for programs.
    pub code: String,
    /// What did not work.
    pub message: String,
    /// Why, and what to do.
    #[serde(flatten)]
    pub details: Box<Details>,
}

/// What makes an error useful.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Why, from the nearest reason to the deepest.
    #[serde(rename = "cause", skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What was given instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
}

/// The result of anything a command does.
pub type Result<T> = std::result::Result<T, UserError>;

impl UserError {
    /// An error without cause or hint.
    #[must_use]
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            details: Box::default(),
        }
    }

    /// A wrong command line.
    #[must_use]
    pub fn usage(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, code, message)
    }

    /// The same with a hint, unless it has one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.details.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same with every reason of `error` as a cause.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        push_cause(&mut self.details.causes, &self.message, error.to_string());
        self.causes_of(error)
    }

    fn causes_of(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = error.source();
        while let Some(error) = next {
            push_cause(&mut self.details.causes, &self.message, error.to_string());
            next = error.source();
        }
        self
    }

    /// What reading or writing `what` met.
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        let (kind, code) = match error.kind() {
            io::ErrorKind::NotFound => (Kind::NotFound, "not_found"),
            io::ErrorKind::PermissionDenied => (Kind::NotAllowed, "not_allowed"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (Kind::Limit, "disk"),
            _ => (Kind::Internal, "io"),
        };
        let coded = Self::new(kind, code, what).caused_by(error);
        match kind {
            Kind::NotFound => coded.hint("look at the path: it counts from where you are"),
            Kind::NotAllowed => coded.hint("'ls -ld' with that path shows who may use it"),
            Kind::Limit => coded.hint("make room on the disk ('df -h' shows how much there is)"),
            _ => coded,
        }
    }

    /// What writing to standard output met.
    #[must_use]
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(
                Kind::ClosedOutput,
                "closed_output",
                "nobody reads the output",
            );
        }
        Self::io("cannot write the output", error)
    }
}

/// Adds a cause unless the text before it has said it already.
fn push_cause(causes: &mut Vec<String>, message: &str, cause: String) {
    let said = causes.last().map_or(message, String::as_str);
    if !cause.is_empty() && !said.contains(&cause) {
        causes.push(cause);
    }
}

/// The errors of the daemon crate: a word from a closed list, a text, its sources and a hint.
macro_rules! from_coded {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for UserError {
                fn from(error: $error) -> Self {
                    let code = error.code();
                    let coded = Self::new(kind_of(code), code, one_voice(&error.to_string()));
                    let coded = coded.causes_of(&error);
                    match error.hint() {
                        Some(hint) => coded.hint(one_voice(&hint)),
                        None => coded,
                    }
                }
            }
        )*
    };
}

from_coded!(
    orch_daemon::ConnectError,
    orch_daemon::InitError,
    orch_daemon::StartError,
    orch_daemon::config::ConfigError,
    orch_daemon::project::ProjectError,
);

/// Commands stand between single quotes everywhere.
fn one_voice(text: &str) -> String {
    text.replace('`', "'")
}

fn kind_of(code: &str) -> Kind {
    match code {
        "not_initialised" | "not_found" => Kind::NotFound,
        "locked" | "conflict" => Kind::Conflict,
        "unreachable" | "version_mismatch" => Kind::Unreachable,
        "config" | "usage" => Kind::Usage,
        "disk" | "descriptors" => Kind::Limit,
        "not_allowed" => Kind::NotAllowed,
        "busy" => Kind::TryLater,
        _ => Kind::Internal,
    }
}

impl From<ClientError> for UserError {
    fn from(error: ClientError) -> Self {
        let (kind, code, hint) = match error {
            ClientError::Api { error, status } => return from_api(*error, status),
            ClientError::Unreachable { .. } => (
                Kind::Unreachable,
                "unreachable",
                "'orch doctor' says who serves this project and how it is",
            ),
            ClientError::Stopped { pid, .. } => {
                return Self::new(Kind::Unreachable, "daemon_stopped", error.to_string()).hint(
                    format!("'kill -CONT {pid}' lets it go on; its agents went on all the time"),
                );
            }
            ClientError::Unanswered { .. } => (
                Kind::Unreachable,
                "unanswered",
                "'orch status' and 'orch events' say what was recorded; do not repeat it unseen",
            ),
            ClientError::Unread { .. } => (
                Kind::Internal,
                "unread",
                "'orch doctor' says what is wrong with this project",
            ),
            ClientError::Version { .. } => (
                Kind::Unreachable,
                "version_mismatch",
                "end the daemon and start it again with this orch: 'orch serve'",
            ),
            ClientError::Protocol { .. } => (
                Kind::Internal,
                "protocol",
                "this is a fault of orch; please report it with this text",
            ),
        };
        Self::new(kind, code, error.to_string())
            .causes_of(&error)
            .hint(hint)
    }
}

fn from_api(error: ApiError, status: u16) -> UserError {
    let kind = match status {
        400 | 415 | 422 => Kind::Usage,
        401 | 403 => Kind::NotAllowed,
        404 => Kind::NotFound,
        409 | 412 => Kind::Conflict,
        413 | 507 => Kind::Limit,
        429 | 503 => Kind::TryLater,
        _ => Kind::Internal,
    };
    UserError {
        kind,
        code: error.code,
        message: error.message,
        details: Box::new(Details {
            causes: error.cause.into_iter().collect(),
            hint: error.hint,
            field: error.field,
            limit: error.limit,
            got: error.got,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::exit;
    use crate::printer::Surroundings;
    use crate::printer::tests::printer;

    fn api(status: u16, code: &str, message: &str, hint: Option<&str>) -> UserError {
        let error = ApiError {
            code: code.to_owned(),
            message: message.to_owned(),
            field: None,
            limit: None,
            got: None,
            cause: None,
            hint: hint.map(str::to_owned),
        };
        let error = Box::new(error);
        ClientError::Api { error, status }.into()
    }

    fn unreachable() -> UserError {
        let at = "/p/.orch/orch.sock".to_owned();
        let source = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        ClientError::Unreachable { at, source }.into()
    }

    fn unanswered() -> UserError {
        let at = "/p/.orch/orch.sock".to_owned();
        let source = io::Error::from(io::ErrorKind::ConnectionReset).into();
        ClientError::Unanswered { at, source }.into()
    }

    fn stopped() -> UserError {
        let (pid, changes) = (4711, true);
        ClientError::Stopped { pid, changes }.into()
    }

    fn version() -> UserError {
        let theirs = "2".to_owned();
        ClientError::Version { ours: 1, theirs }.into()
    }

    fn protocol() -> UserError {
        let what = "the answer of /v1/status was not understood".to_owned();
        let source = Some(io::Error::other("expected value at line 1").into());
        ClientError::Protocol { what, source }.into()
    }

    #[test]
    fn every_kind_of_error_reads_as_written_by_one_person() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let ambiguous = "one of: tsk_7m3k9q2x4d1v, tsk_7m3kaaaaaaaa";
        let errors = [
            api(422, "title_empty", "the title is empty", None),
            api(
                404,
                "not_found",
                "there is no task 'tsk_x'",
                Some("'orch task list' lists them"),
            ),
            api(
                409,
                "ambiguous",
                "'tsk_7m3k' could be 2 things",
                Some(ambiguous),
            ),
            api(413, "too_large", "the request is too large", None),
            api(503, "busy", "orch is ending", Some("try again in a moment")),
            api(500, "internal", "the store could not be read", None),
            unreachable(),
            unanswered(),
            stopped(),
            version(),
            protocol(),
            UserError::io("cannot write /p/x", &full),
            UserError::output(&io::Error::from(io::ErrorKind::BrokenPipe)),
        ];
        let shown = errors.map(|error| {
            let (printer, _, err) = printer(&Global::default(), &Surroundings::default());
            printer.error(&error);
            format!(
                "{}{} (exit code {})\n",
                err.text(),
                error.code,
                exit::of(error.kind)
            )
        });
        insta::assert_snapshot!(shown.join("\n"));
    }
}
