//! An agent's own session over several runs: which one a run goes on with, and what is its own of
//! what was counted for all of it.

use crate::config::{Agent, Resumes};
use crate::run::{Ending, FailureCode, Run, Usage};

/// The session that the next run of a task goes on with, by `agent`, after `previous`; `None` for
/// one of its own.
///
/// A run that ended before it said its session had, if any, the one it was started with.
#[must_use]
pub fn to_go_on_with<'a>(previous: &'a Run, agent: &Agent) -> Option<&'a str> {
    let ending = previous.ending()?;
    let is_its_own = previous.agent == agent.name && previous.adapter == agent.adapter;
    let is_of_use = ending
        .outcome
        .failure()
        .is_none_or(|failure| !ends_a_session(failure.code));
    let session = ending.session_id.as_ref();
    let session = session.or(previous.resumed_session.as_ref())?;
    let is_there = match agent.resumes {
        Resumes::Never => false,
        Resumes::Always => true,
        Resumes::OnceAnswered => {
            previous.resumed_session.as_ref() == Some(session) || !is_unanswered(ending)
        }
    };
    (is_there && is_its_own && is_of_use).then_some(session)
}

/// Whether a call to the model failed, and as far as is known none was answered.
fn is_unanswered(ending: &Ending) -> bool {
    let failure = ending.outcome.failure();
    failure.is_some_and(|failure| is_failed_call(failure.code))
        && ending.usage.output_tokens.unwrap_or(0) == 0
}

/// Whether that is what an agent says of a call that failed.
const fn is_failed_call(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::AgentError
            | FailureCode::AuthFailed
            | FailureCode::BadRequest
            | FailureCode::ModelNotFound
            | FailureCode::Overloaded
            | FailureCode::ProviderError
            | FailureCode::ConnectionFailed
            | FailureCode::ContextTooLong
            | FailureCode::Refused
            | FailureCode::AnswerCut
            | FailureCode::RateLimit
            | FailureCode::UsageLimit
    )
}

/// Whether going on with the session could only fail the same way again.
const fn ends_a_session(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::SessionGone | FailureCode::ContextTooLong | FailureCode::BadRequest
    )
}

/// Whether a run failed only because the session it was to go on with is not there any more. It
/// costs no attempt. The next run has a session of its own, so this cannot happen twice in a row.
#[must_use]
pub fn was_gone(run: &Run, code: FailureCode) -> bool {
    run.resumed_session.is_some() && code == FailureCode::SessionGone
}

/// What a run used of `total`, which its agent counted for the whole session, after the runs of
/// the same session before it have used `earlier`. What does not fit is `None`, never less than
/// nothing, and said in the second value.
#[must_use]
pub fn own_share(total: &Usage, earlier: &Usage) -> (Usage, bool) {
    let mut fits = true;
    let mut tokens = |total: Option<u64>, earlier: Option<u64>| {
        let own = total?.checked_sub(earlier.unwrap_or(0));
        fits &= own.is_some();
        own
    };
    let mut own = Usage {
        input_tokens: tokens(total.input_tokens, earlier.input_tokens),
        output_tokens: tokens(total.output_tokens, earlier.output_tokens),
        cache_read_tokens: tokens(total.cache_read_tokens, earlier.cache_read_tokens),
        cache_write_tokens: tokens(total.cache_write_tokens, earlier.cache_write_tokens),
        cost_usd: None,
    };
    if let Some(total) = total.cost_usd {
        let cost = total - earlier.cost_usd.unwrap_or(0.0);
        // Sums of fractions differ in their last digits.
        own.cost_usd = (cost > -1e-9).then_some(cost.max(0.0));
        fits &= own.cost_usd.is_some();
    }
    (own, fits)
}

/// The sum of what two runs used, as far as they said.
#[must_use]
pub fn sum(one: &Usage, other: &Usage) -> Usage {
    let tokens = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    Usage {
        input_tokens: tokens(one.input_tokens, other.input_tokens),
        output_tokens: tokens(one.output_tokens, other.output_tokens),
        cache_read_tokens: tokens(one.cache_read_tokens, other.cache_read_tokens),
        cache_write_tokens: tokens(one.cache_write_tokens, other.cache_write_tokens),
        cost_usd: match (one.cost_usd, other.cost_usd) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(input: Option<u64>, cost: Option<f64>) -> Usage {
        Usage {
            input_tokens: input,
            cost_usd: cost,
            ..Usage::default()
        }
    }

    #[test]
    fn a_share_is_the_difference() {
        let (own, fits) = own_share(&used(Some(30), Some(0.5)), &used(Some(12), Some(0.125)));
        assert_eq!(own, used(Some(18), Some(0.375)));
        assert!(fits);
    }

    #[test]
    fn what_was_not_said_stays_unsaid_on_either_side() {
        let (own, fits) = own_share(&used(None, None), &used(Some(12), Some(0.1)));
        assert_eq!(own, Usage::default());
        assert!(fits);
        let (own, fits) = own_share(&used(Some(30), Some(0.5)), &Usage::default());
        assert_eq!(own, used(Some(30), Some(0.5)));
        assert!(fits);
    }

    #[test]
    fn less_than_nothing_is_unknown_and_said() {
        let (own, fits) = own_share(&used(Some(11), Some(0.5)), &used(Some(12), None));
        assert_eq!(own, used(None, Some(0.5)));
        assert!(!fits);
        let (own, fits) = own_share(&used(None, Some(0.1)), &used(None, Some(0.2)));
        assert_eq!(own.cost_usd, None);
        assert!(!fits);
    }

    #[test]
    fn fractions_that_are_the_same_leave_nothing() {
        let earlier = sum(&used(None, Some(0.1)), &used(None, Some(0.2)));
        assert_eq!(
            own_share(&used(None, Some(0.3)), &earlier).0.cost_usd,
            Some(0.0)
        );
    }
}
