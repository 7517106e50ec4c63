//! From what the host found to what is recorded of the end of a run.

use super::{End, Engine, Report, Result};
use crate::ledger::Ledger;
use crate::outcome::{self, Judged, Witness};
use crate::run::{Changes, Ending, Exit, Failure, FailureCode, Outcome, Run, StopReason, Usage};
use crate::session;
use crate::task::{Require, Task};

/// What a report says of the end itself.
struct Told {
    outcome: Outcome,
    exit: Option<Exit>,
    warnings: Vec<String>,
}

impl<L: Ledger + ?Sized> Engine<'_, '_, L> {
    /// Applies the outcome rule to what the host found.
    pub(super) fn ending(
        &mut self,
        run: &Run,
        task: Option<&Task>,
        report: Report,
    ) -> Result<Ending> {
        let mut warnings = report.warnings;
        let told = self.told(run, task, report.end, report.changes, report.branch);
        warnings.extend(told.warnings);
        let mut usage = match report.cumulative {
            true => self.own_usage(run, report.usage, &mut warnings)?,
            false => report.usage,
        };
        let estimate = match usage.cost_usd {
            Some(_) => None,
            None => report.price.and_then(|price| price.of(&usage)),
        };
        usage.cost_usd = usage.cost_usd.or(estimate);
        Ok(Ending {
            outcome: told.outcome,
            exit: told.exit,
            result: report.result,
            usage,
            cost_estimated: estimate.is_some(),
            session_id: report.session_id,
            commit: report.commit,
            changes: report.changes,
            events: report.events,
            warnings,
            finished_at: report.finished_at,
        })
    }

    fn told(
        &self,
        run: &Run,
        task: Option<&Task>,
        end: End,
        changes: Option<Changes>,
        branch: Option<Changes>,
    ) -> Told {
        let (enforced, exit, stop, verdict, logs) = match end {
            End::Seen {
                exit,
                enforced,
                stopped,
                verdict,
                logs,
            } => (enforced, exit, run.stop.filter(|_| stopped), verdict, logs),
            End::NotStarted(failure) => return unseen(not_started(run, failure)),
            End::Lost(failure) => return unseen(Outcome::Lost(failure)),
        };
        let witness = Witness {
            exit,
            enforced,
            stop,
            logs,
        };
        let mut warnings: Vec<String> = outcome::mismatch(&verdict, &witness).into_iter().collect();
        let outcome = match outcome::decide(&verdict, &witness) {
            Outcome::Completed => {
                let require = self.required(run, task);
                let has_branch = run.branch.is_some();
                let judged = outcome::judge(require, has_branch.then_some(branch), &witness);
                warnings.extend(outcome::did_nothing(changes));
                match judged {
                    Judged::Enough => Outcome::Completed,
                    Judged::Missing(outcome) => outcome,
                    Judged::Unknown(warning) => {
                        warnings.push(warning);
                        Outcome::Completed
                    }
                }
            }
            outcome => outcome,
        };
        Told {
            outcome,
            exit: Some(exit),
            warnings,
        }
    }

    /// What the success of a run must have left: what its task says, or else its agent as it is
    /// configured now.
    fn required(&self, run: &Run, task: Option<&Task>) -> Require {
        let of_agent = || self.context.config.agent(&run.agent)?.require;
        task.and_then(|task| task.require)
            .or_else(of_agent)
            .unwrap_or(Require::Nothing)
    }

    /// What is this run's own of what its agent counted for the whole session.
    fn own_usage(&mut self, run: &Run, total: Usage, warnings: &mut Vec<String>) -> Result<Usage> {
        let Some(session) = &run.resumed_session else {
            return Ok(total);
        };
        let mut session = session.clone();
        let mut earlier = Usage::default();
        let runs = self.ledger.run_ids_of(&run.task)?;
        for id in runs.iter().rev().skip_while(|id| **id != run.id).skip(1) {
            let Some(before) = self.ledger.run(id)? else {
                continue;
            };
            let Some(ending) = before.ending() else {
                continue;
            };
            let had = ending.session_id.as_ref();
            if had.or(before.resumed_session.as_ref()) != Some(&session) {
                continue;
            }
            let is_estimate = ending.cost_estimated;
            let cost_usd = ending.usage.cost_usd.filter(|_| !is_estimate);
            earlier = session::sum(
                &earlier,
                &Usage {
                    cost_usd,
                    ..ending.usage
                },
            );
            match before.resumed_session {
                Some(before) => session = before,
                None => break,
            }
        }
        let (own, fits) = session::own_share(&total, &earlier);
        if !fits {
            warnings.push(
                "it reported less use for the whole session than the runs before it had used; \
                 its own share is not known"
                    .to_owned(),
            );
        }
        Ok(own)
    }
}

/// An end that nobody saw the kernel tell of.
const fn unseen(outcome: Outcome) -> Told {
    Told {
        outcome,
        exit: None,
        warnings: Vec::new(),
    }
}

/// A stop that came before the start leaves nothing to be surprised about.
fn not_started(run: &Run, failure: Failure) -> Outcome {
    let stopped = |code| {
        Outcome::Cancelled(Failure {
            code,
            ..failure.clone()
        })
    };
    match run.stop {
        Some(StopReason::Interrupt) => stopped(FailureCode::Interrupted),
        Some(StopReason::Cancel) => stopped(FailureCode::CancelledByUser),
        Some(StopReason::Linger) | None => Outcome::NotStarted(failure),
    }
}
