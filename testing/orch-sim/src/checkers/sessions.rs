//! A run goes on with the session of the run before it exactly where it should.

use orch_core::config::{Config, Resumes};
use orch_core::run::{FailureCode as Code, Run};

use super::{Checker, Seen, Verdict, demand};
use crate::rows::Commit;

/// The session that a run is started with is the one its predecessor left, and none after one
/// that could not go on.
pub(super) struct SessionsGoOn;

impl Checker for SessionsGoOn {
    fn promise(&self) -> &'static str {
        "sessions_go_on"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for run in commit.started() {
            let before = seen
                .rows
                .runs
                .values()
                .filter(|other| other.task == run.task && other.attempt < run.attempt)
                .max_by_key(|other| other.attempt);
            let expected = before.and_then(|before| left_by(before, run, seen.config));
            demand(run.resumed_session == expected, || {
                format!(
                    "{} was started with {:?}, the run before left {expected:?}",
                    run.id, run.resumed_session
                )
            })?;
        }
        Ok(())
    }
}

fn left_by(before: &Run, run: &Run, config: &Config) -> Option<String> {
    let ending = before.ending()?;
    let code = ending.outcome.failure().map(|failure| failure.code);
    let cannot = [Code::SessionGone, Code::ContextTooLong, Code::BadRequest];
    let wanted = config
        .agent(&run.agent)
        .is_some_and(|agent| agent.resumes != Resumes::Never);
    if !wanted
        || before.agent != run.agent
        || before.adapter != run.adapter
        || code.is_some_and(|code| cannot.contains(&code))
    {
        return None;
    }
    let said = ending.session_id.clone();
    said.or_else(|| before.resumed_session.clone())
}
