//! Everything that can be wrong with a request, in one shape: [`orch_api::types::ErrorBody`].

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use orch_api::types::{ApiError, ErrorBody};
use orch_core::ledger::LedgerError;
use orch_core::request::Refusal;
use orch_core::text::BadText;
use orch_store::StoreError;

use crate::log::chain;
use crate::wake::NotDone;

/// An answer that is not a success. Boxed: it is rare, and every handler's result carries it.
#[derive(Debug)]
pub(crate) struct Failed(Box<(StatusCode, ApiError)>);

impl Failed {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = ApiError {
            code: code.to_owned(),
            message: message.into(),
            field: None,
            limit: None,
            got: None,
            cause: None,
            hint: None,
        };
        Self(Box::new((status, error)))
    }

    /// A field of the request breaks its rule.
    pub(crate) fn field(field: &str, code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message).about(field)
    }

    pub(crate) fn not_found(kind: &str, what: &str) -> Self {
        let what = orch_core::text::excerpt(what, 40);
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {kind} '{what}'"),
        )
        .hint(
            format!(
                "'orch {} list' shows what there is",
                if kind == "run" { "runs" } else { kind }
            )
            .replace("orch runs list", "orch runs"),
        )
    }

    /// The daemon ended before the request was recorded.
    pub(crate) fn ending() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "orch is ending and did not record this",
        )
        .hint("do it again: without a daemon the command does it by itself")
    }

    pub(crate) fn about(mut self, field: &str) -> Self {
        self.0.1.field = Some(field.to_owned());
        self
    }

    pub(crate) fn limit(mut self, limit: impl ToString, got: impl ToString) -> Self {
        self.0.1.limit = Some(limit.to_string());
        self.0.1.got = Some(got.to_string());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.1.hint = Some(hint.into());
        self
    }

    fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.1.cause = Some(cause.into());
        self
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (status, error) = *self.0;
        (status, Json(ErrorBody { error })).into_response()
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        let (status, code) = match error.is_disk_full() {
            true => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            false => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
        };
        Self::new(status, code, "the database could not be read").cause(chain(&error))
    }
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "store", "the database could not be read").cause(chain(&error))
    }
}

impl From<NotDone> for Failed {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Refused(refusal) => refusal.into(),
            NotDone::LandingBlocked { message, files } => landing_blocked(message, &files),
            NotDone::LandingUnfinished => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "landing_unfinished",
                "approved; orch ended before the branch was landed",
            )
            .hint("the next 'orch serve' or 'orch run' lands it"),
            NotDone::Unknown { message } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "unknown",
                "it is not known whether this was recorded",
            )
            .cause(message)
            .hint("look whether it is there before you do it again; orch had to stop"),
            NotDone::Store { message, disk_full } => {
                let (status, code) = match disk_full {
                    true => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
                    false => (StatusCode::SERVICE_UNAVAILABLE, "store"),
                };
                Self::new(
                    status,
                    code,
                    "this could not be recorded; nothing was changed",
                )
                .cause(message)
            }
        }
    }
}

fn landing_blocked(message: String, files: &[String]) -> Failed {
    let message = match files {
        [] => message,
        files => format!("{message}: {}", orch_core::text::named(files)),
    };
    Failed::new(StatusCode::CONFLICT, "landing_blocked", message).hint(
        "the task stays in review: mend it and approve again, or 'orch task reject ID -r WHY'",
    )
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let unprocessable =
            |code: &str| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, &*message);
        let conflict = |code: &str| Self::new(StatusCode::CONFLICT, code, &*message);
        match &refusal {
            Refusal::Text { field, problem } => text(field, problem, &message),
            Refusal::Scope { .. } => unprocessable("bad_scope").about("scope"),
            Refusal::Range {
                field,
                least,
                most,
                got,
            } => unprocessable("out_of_range")
                .about(field)
                .limit(format!("{least} to {most}"), got),
            Refusal::TooMany { field, most, got } => {
                unprocessable("too_many").about(field).limit(most, got)
            }
            Refusal::NoSuchTask(_) => Self::new(StatusCode::NOT_FOUND, "not_found", &*message)
                .hint("'orch task list' shows what there is"),
            Refusal::NoSuchAgent(_) => unprocessable("no_such_agent")
                .about("agent")
                .hint("'orch agent list' shows what there is"),
            Refusal::Cycle(_) => unprocessable("cycle").about("depends_on"),
            Refusal::NotTogether { .. } => unprocessable("not_together"),
            Refusal::Busy { .. } => conflict("busy"),
            Refusal::Needed { .. } => conflict("needed"),
            Refusal::Illegal(_) => conflict("illegal_transition"),
        }
    }
}

fn text(field: &str, problem: &BadText, message: &str) -> Failed {
    let failed = |code: String| Failed::field(field, &code, message);
    match problem {
        BadText::Empty => failed(format!("{field}_empty")).hint("say it in a few words"),
        BadText::TooLong { limit, got } => failed(format!("{field}_too_long"))
            .limit(format!("{limit} bytes"), format!("{got} bytes"))
            .hint("say it in fewer words; a file can be given along with '--attach'"),
        BadText::Nul => failed("nul_byte".to_owned()).hint("leave the NUL byte out"),
        BadText::Hidden(_) => {
            failed("hidden_character".to_owned()).hint("type it anew, without what cannot be seen")
        }
    }
}
