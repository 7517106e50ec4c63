//! The outcome rule: from what was seen to what is recorded.
//!
//! The adapter says what the agent's own words amount to ([`Verdict`]), the supervisor what the
//! kernel said and what it had to do ([`Witness`]). This file alone turns the two into an
//! [`Outcome`].

use crate::run::{Changes, Exit, Failure, FailureCode, Outcome, StopReason};
use crate::task::Require;
use crate::time::Timestamp;

/// What the agent's own output says about its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This kind of agent has no result event; the exit status decides.
    ByExitStatus,
    /// It always gives a result event and gave none.
    NoResult,
    /// It gave no result event, and its exit status together with what it printed as an error
    /// says why.
    Explained {
        /// What kind of end.
        code: FailureCode,
        /// In words.
        message: String,
    },
    /// Its result event says success.
    Success,
    /// Its result event says error, in these words.
    Error {
        /// What kind of error, as far as the agent says it in a form made for programs.
        code: FailureCode,
        /// The agent's words.
        message: String,
    },
    /// Its result says that a limit stopped it.
    Limited {
        /// Which limit.
        code: FailureCode,
        /// The provider's words.
        message: String,
        /// When the limit is lifted, if it was said.
        until: Option<Timestamp>,
    },
}

/// A limit the supervisor itself enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// It ran longer than this, milliseconds of active time.
    Timeout {
        /// The limit, milliseconds.
        limit_ms: u64,
    },
    /// It was silent longer than this, milliseconds of active time.
    Stall {
        /// The limit, milliseconds.
        limit_ms: u64,
    },
    /// It wrote more than this.
    Output {
        /// The limit, bytes.
        limit_bytes: u64,
    },
}

/// What the supervisor saw of the end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the kernel said.
    pub exit: Exit,
    /// The limit it enforced before the process ended by itself, if it did.
    pub enforced: Option<Enforced>,
    /// Why the daemon had asked it to stop before the process ended, if it had.
    pub stop: Option<StopReason>,
    /// Where the proof lies, like `out.log bytes 0-1234`.
    pub logs: String,
}

/// Decides how a run ended whose process was seen to end.
#[must_use]
pub fn decide(verdict: &Verdict, witness: &Witness) -> Outcome {
    match verdict {
        Verdict::Success => Outcome::Completed,
        Verdict::Error { code, message } => with_error(*code, message, witness),
        Verdict::Limited {
            code,
            message,
            until,
        } => Outcome::Limited {
            failure: failure(*code, message.clone(), witness, "result event says limit"),
            until: *until,
        },
        Verdict::NoResult | Verdict::ByExitStatus | Verdict::Explained { .. } => {
            without_result(verdict, witness)
        }
    }
}

/// Many agents say an error when they are asked to end: then orch is why, and the words are
/// evidence. What orch stopped is not a failure of the agent.
fn with_error(code: FailureCode, message: &str, witness: &Witness) -> Outcome {
    stopped(witness, Some(message)).unwrap_or_else(|| {
        Outcome::Failed(failure(
            code,
            message.to_owned(),
            witness,
            "result event says error",
        ))
    })
}

/// No word of the agent decides, so who ended it does, and then the kernel's status.
fn without_result(verdict: &Verdict, witness: &Witness) -> Outcome {
    if let Some(outcome) = stopped(witness, None) {
        return outcome;
    }
    match (verdict, witness.exit) {
        (_, Exit::Signal { number, .. }) => Outcome::Failed(failure(
            FailureCode::Signaled,
            format!("killed by signal {number}"),
            witness,
            "signal not sent by orch",
        )),
        (Verdict::ByExitStatus, Exit::Code(0)) => Outcome::Completed,
        (Verdict::ByExitStatus, Exit::Code(code)) => Outcome::Failed(failure(
            FailureCode::ExitNonzero,
            format!("the command ended with exit status {code}"),
            witness,
            "exit status decides",
        )),
        (Verdict::Explained { code, message }, Exit::Code(_)) => explained(*code, message, witness),
        (_, Exit::Code(code)) => Outcome::Failed(failure(
            FailureCode::NoResult,
            format!("the agent ended with exit status {code} and without its result event"),
            witness,
            "no result event in the output",
        )),
    }
}

fn explained(code: FailureCode, message: &str, witness: &Witness) -> Outcome {
    let rule = match code {
        FailureCode::NoResult => "no result event in those lines of the output that could be read",
        _ => "no result event in the output; its exit status and its errors say why",
    };
    let failure = failure(code, message.to_owned(), witness, rule);
    match code {
        FailureCode::RateLimit | FailureCode::UsageLimit => Outcome::Limited {
            failure,
            until: None,
        },
        _ => Outcome::Failed(failure),
    }
}

/// How it ended if orch is the one who ended it; `words` are the error the agent said, if any.
fn stopped(witness: &Witness, words: Option<&str>) -> Option<Outcome> {
    let failure = |code, message: String, rule: &str| match words {
        None => failure(code, message, witness, rule),
        Some(words) => failure(
            code,
            message,
            witness,
            &format!("{rule}; the agent said: {words}"),
        ),
    };
    match (witness.stop, witness.enforced) {
        (Some(StopReason::Cancel), _) => Some(Outcome::Cancelled(failure(
            FailureCode::CancelledByUser,
            "cancelled while it ran".to_owned(),
            "cancel asked for",
        ))),
        (Some(StopReason::Interrupt), _) => Some(Outcome::Cancelled(failure(
            FailureCode::Interrupted,
            "stopped because orch was told to stop; no attempt was used up".to_owned(),
            "shutdown asked for",
        ))),
        (_, Some(Enforced::Timeout { limit_ms })) => Some(Outcome::TimedOut(failure(
            FailureCode::Timeout,
            format!("ran longer than its timeout of {limit_ms} ms"),
            "timeout",
        ))),
        (_, Some(Enforced::Stall { limit_ms })) => Some(Outcome::TimedOut(failure(
            FailureCode::Stalled,
            format!("wrote nothing for {limit_ms} ms"),
            "stall timeout",
        ))),
        (_, Some(Enforced::Output { limit_bytes })) => Some(Outcome::Failed(failure(
            FailureCode::OutputLimit,
            format!("wrote more than {limit_bytes} bytes"),
            "output limit",
        ))),
        (Some(StopReason::Linger) | None, None) => None,
    }
}

fn failure(code: FailureCode, message: String, witness: &Witness, rule: &str) -> Failure {
    Failure {
        code,
        message,
        evidence: format!("{}; {rule}; {}", witness.exit, witness.logs),
    }
}

/// Whether a success left behind what it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It did, or nothing is required.
    Enough,
    /// It did not: this is how the run ended.
    Missing(Outcome),
    /// Nobody could tell; in words.
    Unknown(String),
}

/// Compares what is required of a success with what the whole branch holds. `branch` is `None`
/// for an agent that worked in a directory with others, where nobody can tell whose change is
/// whose, and holds `None` if the changes could not be counted: what was not seen is no failure.
#[must_use]
pub fn judge(require: Require, branch: Option<Option<Changes>>, witness: &Witness) -> Judged {
    let unknown = |why: &str| Judged::Unknown(format!("require = {require} was not judged: {why}"));
    let changes = match (require, branch) {
        (Require::Nothing, _) => return Judged::Enough,
        (_, None) => return unknown("it worked in the shared directory"),
        (_, Some(None)) => return unknown("what is on its branch could not be counted"),
        (_, Some(Some(changes))) => changes,
    };
    let (is_missing, what) = match require {
        Require::Commit => (changes.commits == 0, "no commit of its own"),
        Require::Changes => (changes.files == 0, "no change"),
        Require::Nothing => (false, ""),
    };
    if !is_missing {
        return Judged::Enough;
    }
    let rule = format!(
        "require = {require}; against the target its branch holds {} changed files and {} commits \
         of the agent's own",
        changes.files, changes.commits
    );
    let message = format!("it says success, and its branch holds {what}");
    // What orch did not let finish is not to blame for what it did not leave.
    let stopped = stopped(witness, Some("success"));
    Judged::Missing(stopped.unwrap_or_else(|| {
        Outcome::Failed(failure(FailureCode::NoChanges, message, witness, &rule))
    }))
}

/// A success that did nothing, for a person.
#[must_use]
pub fn did_nothing(changes: Option<Changes>) -> Option<String> {
    (changes == Some(Changes::default()))
        .then(|| "it says success, and it changed no file and made no commit".to_owned())
}

/// What a person should know about an end that the outcome does not say.
#[must_use]
pub fn mismatch(verdict: &Verdict, witness: &Witness) -> Option<String> {
    match (verdict, witness.exit) {
        // Whether it said so before or after it was asked, nobody can tell from here; some agents
        // go on without the tool that was taken from them.
        (Verdict::Success, exit) if let Some(why) = asked_to_stop(witness) => Some(format!(
            "the result says success, but it had been asked to stop ({why}) before its process \
             ended with {exit}"
        )),
        (Verdict::Success, Exit::Code(0)) => None,
        (Verdict::Success, exit) if witness.stop == Some(StopReason::Linger) => Some(format!(
            "its process stayed after the result and had to be ended ({exit})"
        )),
        (Verdict::Success, exit) => Some(format!(
            "the result says success but the process ended with {exit}"
        )),
        // What was asked to stop may say that it was and end well.
        (Verdict::Error { .. }, Exit::Code(0)) if asked_to_stop(witness).is_none() => {
            Some("the result says error but the process ended with exit status 0".to_owned())
        }
        _ => None,
    }
}

/// Why it was asked to stop at work, if it was.
const fn asked_to_stop(witness: &Witness) -> Option<&'static str> {
    match (witness.stop, witness.enforced) {
        (Some(StopReason::Cancel), _) => Some("cancelled"),
        (Some(StopReason::Interrupt), _) => Some("orch was told to stop"),
        (_, Some(Enforced::Timeout { .. })) => Some("timeout"),
        (_, Some(Enforced::Stall { .. })) => Some("stall timeout"),
        (_, Some(Enforced::Output { .. })) => Some("output limit"),
        (Some(StopReason::Linger) | None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunStatus;

    fn witness(exit: Exit) -> Witness {
        Witness {
            exit,
            enforced: None,
            stop: None,
            logs: "out.log bytes 0-10".into(),
        }
    }

    fn check(verdict: Verdict, witness: Witness, status: RunStatus, code: Option<FailureCode>) {
        let outcome = decide(&verdict, &witness);
        assert_eq!(
            (outcome.status(), outcome.failure().map(|f| f.code)),
            (status, code)
        );
        assert!(outcome.failure().is_none_or(|f| !f.evidence.is_empty()));
    }

    const KILLED: Exit = Exit::Signal {
        number: 9,
        core: false,
    };

    #[test]
    fn a_success_that_was_seen_is_a_success_whatever_came_after() {
        for exit in [Exit::Code(0), Exit::Code(1), KILLED] {
            check(Verdict::Success, witness(exit), RunStatus::Completed, None);
        }
    }

    #[test]
    fn an_error_that_was_seen_is_an_error_whatever_the_exit_code() {
        for exit in [Exit::Code(0), Exit::Code(1), KILLED] {
            let verdict = Verdict::Error {
                code: FailureCode::AgentError,
                message: "401".into(),
            };
            check(
                verdict,
                witness(exit),
                RunStatus::Failed,
                Some(FailureCode::AgentError),
            );
        }
    }

    #[test]
    fn the_complaint_of_an_agent_that_orch_ended_is_evidence_and_not_the_reason() {
        let complaint = Verdict::Error {
            code: FailureCode::AgentError,
            message: "I was interrupted".into(),
        };
        let stopped = |stop, enforced| Witness {
            stop,
            enforced,
            ..witness(Exit::Code(1))
        };
        let timeout = Some(Enforced::Timeout { limit_ms: 5 });
        for (witness, status, code) in [
            (
                stopped(Some(StopReason::Interrupt), None),
                RunStatus::Cancelled,
                FailureCode::Interrupted,
            ),
            (
                stopped(Some(StopReason::Cancel), None),
                RunStatus::Cancelled,
                FailureCode::CancelledByUser,
            ),
            (
                stopped(None, timeout),
                RunStatus::TimedOut,
                FailureCode::Timeout,
            ),
            (
                stopped(Some(StopReason::Linger), None),
                RunStatus::Failed,
                FailureCode::AgentError,
            ),
        ] {
            let outcome = decide(&complaint, &witness);
            let told = outcome
                .failure()
                .map(|it| format!("{} {}", it.message, it.evidence));
            assert!(told.is_some_and(|it| it.contains("I was interrupted")));
            check(complaint.clone(), witness, status, Some(code));
        }
    }

    #[test]
    fn silence_is_never_success() {
        for code in [0, 1, 3] {
            let witness = witness(Exit::Code(code));
            check(
                Verdict::NoResult,
                witness,
                RunStatus::Failed,
                Some(FailureCode::NoResult),
            );
        }
        check(
            Verdict::NoResult,
            witness(KILLED),
            RunStatus::Failed,
            Some(FailureCode::Signaled),
        );
    }

    #[test]
    fn a_command_without_a_result_is_judged_by_its_exit_status() {
        check(
            Verdict::ByExitStatus,
            witness(Exit::Code(0)),
            RunStatus::Completed,
            None,
        );
        let nonzero = witness(Exit::Code(3));
        check(
            Verdict::ByExitStatus,
            nonzero,
            RunStatus::Failed,
            Some(FailureCode::ExitNonzero),
        );
        check(
            Verdict::ByExitStatus,
            witness(KILLED),
            RunStatus::Failed,
            Some(FailureCode::Signaled),
        );
    }

    #[test]
    fn who_stopped_it_decides_when_nothing_else_does() {
        let timed_out = Witness {
            enforced: Some(Enforced::Timeout { limit_ms: 5 }),
            ..witness(Exit::Code(0))
        };
        check(
            Verdict::ByExitStatus,
            timed_out,
            RunStatus::TimedOut,
            Some(FailureCode::Timeout),
        );
        let cancelled = Witness {
            stop: Some(StopReason::Cancel),
            ..witness(KILLED)
        };
        check(
            Verdict::NoResult,
            cancelled,
            RunStatus::Cancelled,
            Some(FailureCode::CancelledByUser),
        );
        let interrupted = Witness {
            stop: Some(StopReason::Interrupt),
            ..witness(KILLED)
        };
        check(
            Verdict::NoResult,
            interrupted,
            RunStatus::Cancelled,
            Some(FailureCode::Interrupted),
        );
    }

    #[test]
    fn a_mismatch_is_said() {
        assert_eq!(mismatch(&Verdict::Success, &witness(Exit::Code(0))), None);
        assert!(mismatch(&Verdict::Success, &witness(Exit::Code(1))).is_some());
        let cancelled = Witness {
            stop: Some(StopReason::Cancel),
            ..witness(Exit::Code(0))
        };
        let said = mismatch(&Verdict::Success, &cancelled);
        assert!(said.is_some_and(|said| said.contains("cancelled")));
        let error = Verdict::Error {
            code: FailureCode::AgentError,
            message: String::new(),
        };
        assert_eq!(mismatch(&error, &cancelled), None);
        assert!(
            mismatch(
                &Verdict::Error {
                    code: FailureCode::AgentError,
                    message: String::new()
                },
                &witness(Exit::Code(0))
            )
            .is_some()
        );
    }
}
