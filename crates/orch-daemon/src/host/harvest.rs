//! What is done when a run is over: read the rest of what it wrote, save its work, report.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use orch_core::Timestamp;
use orch_core::engine::{End, Report};
use orch_core::outcome::Verdict;
use orch_core::run::Changes;
use orch_core::wait::{Actor, Wait, WaitCode};
use orch_host::adapter::{Counting, Summary};
use orch_host::failpoint::{self, Point};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{self, ExitRecord, Source, Standing};
use orch_host::transcript::{Finished, Transcript};
use orch_host::workspace::{Saved, WorkspaceError};

use super::live::LiveRun;
use super::machine::Machine;
use super::words;
use crate::careful;
use crate::clock;
use crate::convert;
use crate::log::chain;
use crate::shared::locked;
use crate::vital::caught;

/// How often an end is looked after that makes orch itself panic, before it is reported without the
/// agent's words.
const TRIES: u32 = 3;
/// Most processes that are named in a warning.
const STRAYS_NAMED: usize = 16;

impl Machine {
    /// Reports an end. The caller has claimed the harvest; it is released if this fails, so that
    /// the sweep comes back to it.
    pub(super) fn harvest(&self, live: &Arc<LiveRun>, standing: Standing) {
        let Some(end) = end_of(live, &standing) else {
            return live.release_harvest();
        };
        let reading = "its agent has ended; the rest of its output is read and its work is saved";
        let told = self.shared.hindrance(&live.run.id).map(|wait| wait.code);
        // What kept it from being recorded the last time is more than that it is tried again.
        if !matches!(told, Some(WaitCode::Disk | WaitCode::Ending)) {
            self.hinder(live, WaitCode::Ending, Actor::Orch, reading.to_owned());
        }
        let report = caught(|| {
            failpoint::hit(Point::RecordRead);
            match standing {
                Standing::Ended(record) => self.seen(live, &record, end.clone()),
                Standing::Lost(_) => self.lost(live, end.clone()),
                _ => Ok(Report::bare(end.clone(), convert::now())),
            }
        });
        match report {
            Ok(Ok(report)) => self.tell_ended(&live.run.id, report),
            // It may have been a passing trouble: the sweep comes back in a second, and everything
            // is read again from what is on disk.
            Err(panic) if live.panics.fetch_add(1, Ordering::AcqRel) + 1 < TRIES => {
                self.warn(&live.run.id, panic);
                live.release_harvest();
            }
            Err(panic) => {
                // No output, however odd, may keep a run from ending.
                self.warn(&live.run.id, panic.clone());
                let report = self.not_understood(live, end, &panic);
                self.tell_ended(&live.run.id, report);
            }
            Ok(Err(error)) => {
                let (code, actor) = who_acts(&error);
                let message = format!(
                    "its agent has ended, which is tried to be recorded each second: {error}"
                );
                self.hinder(live, code, actor, message);
                self.warn(
                    &live.run.id,
                    format!("its end cannot be reported yet: {error}"),
                );
                live.release_harvest();
            }
        }
    }

    /// Notes what the end waits for, for who asks why.
    fn hinder(&self, live: &LiveRun, code: WaitCode, actor: Actor, message: String) {
        let wait = Wait {
            code,
            message,
            actor,
            until: None,
        };
        self.shared.hinder(&live.run.id, Some(wait));
    }

    /// The end without the agent's words. What it left is saved all the same: a task must not be
    /// done without its work.
    fn not_understood(&self, live: &LiveRun, end: End, panic: &str) -> Report {
        let mut report = Report::bare(end, convert::now());
        if let Err(panic) = caught(|| self.save(live, &mut report)) {
            self.warn(&live.run.id, panic);
        }
        let warning = format!("its output was not understood: {panic}");
        report.warnings.push(warning);
        report
    }

    fn seen(&self, live: &LiveRun, record: &ExitRecord, end: End) -> io::Result<Report> {
        if record.source == Source::Daemon {
            // There was no supervisor to end what the agent left behind.
            self.stop(&live.run.id);
        }
        let length = || std::fs::metadata(live.dir.out_log()).map_or(0, |metadata| metadata.len());
        let bytes = record.out_bytes.unwrap_or_else(length);
        let finished = finish(live, bytes, record.finished_at)?;
        self.say(live);
        let mut summary = finished.summary;
        let errors = words::complete(&mut summary, live.adapter, &live.dir, record.exit);
        let end = with_verdict(end, by_our_clock(summary.verdict.clone()), errors);
        let mut report = Report {
            started_at: Some(record.started_at),
            ..self.told(live, end, summary, finished.events, record.finished_at)
        };
        report.warnings.extend(record.warnings.iter().cloned());
        report.warnings.extend(leaked(record));
        if record.source == Source::Daemon {
            report.warnings.extend(strays());
        }
        if record.oom_kills > 0 {
            report.warnings.push(short_of_memory(record));
        }
        self.save(live, &mut report)?;
        Ok(report)
    }

    fn lost(&self, live: &LiveRun, end: End) -> io::Result<Report> {
        // Whatever still carries the run's marker must not live beside the next attempt: until it
        // is gone the end is not reported, because the report is what lets the next one start.
        if !self.stop(&live.run.id) {
            return Err(io::Error::other("processes of it still live"));
        }
        if !live.dir.path().try_exists()? {
            return self.lost_with_output(live, end);
        }
        let length = std::fs::metadata(live.dir.out_log()).map_or(0, |metadata| metadata.len());
        let finished = finish(live, length, convert::now())?;
        let mut report = self.told(live, end, finished.summary, finished.events, convert::now());
        report.warnings.extend(strays());
        self.save(live, &mut report)?;
        Ok(report)
    }

    /// What the agent said, with what there is to know about how it counts.
    fn told(
        &self,
        live: &LiveRun,
        end: End,
        summary: Summary,
        events: u64,
        at: Timestamp,
    ) -> Report {
        let config = self.shared.config();
        let model = config
            .agent(&live.run.agent)
            .and_then(|agent| agent.model.as_deref());
        Report {
            result: summary.result,
            usage: summary.usage,
            cumulative: live.adapter.capabilities.usage == Counting::PerSession,
            price: model.and_then(|model| config.prices.of(model)),
            session_id: summary.session_id,
            events,
            warnings: summary.warnings,
            ..Report::bare(end, at)
        }
    }

    /// The end of a run whose directory is gone: there is nothing to read any more.
    fn lost_with_output(&self, live: &LiveRun, end: End) -> io::Result<Report> {
        let gone = live.dir.path().display();
        let mut report = Report {
            warnings: vec![format!("what it wrote is gone: {gone} was removed")],
            ..Report::bare(end, convert::now())
        };
        self.save(live, &mut report)?;
        Ok(report)
    }

    /// What the run did to its branch. Where it cannot be counted, nothing is claimed.
    fn changes(&self, live: &LiveRun, branch: &str) -> Option<Changes> {
        let begin = match beginning(&live.dir) {
            Ok(begin) => begin,
            // One that never began, or whose directory is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.warn(
                    &live.run.id,
                    format!("its changes are not counted: {error}"),
                );
                return None;
            }
        };
        let counted = self
            .workspaces()
            .and_then(|workspaces| workspaces.changes_since(&live.task.id, branch, &begin));
        counted
            .inspect_err(|error| {
                let error = chain(error);
                self.warn(
                    &live.run.id,
                    format!("its changes are not counted: {error}"),
                );
            })
            .ok()
    }

    /// Commits what the agent left. Trouble here never changes the outcome.
    ///
    /// # Errors
    /// There is no room on the disk, or the repository takes nothing new. The end is not reported
    /// then: work that is in no commit would count as none, and it passes.
    fn save(&self, live: &LiveRun, report: &mut Report) -> io::Result<()> {
        let Some(branch) = &live.run.branch else {
            return Ok(());
        };
        let message = format!(
            "{}\n\nLeft uncommitted by {} in {}.",
            live.task.title, live.run.agent, live.run.id
        );
        let worktree = self.shared.project.worktrees().join(live.task.id.as_str());
        if matches!(worktree.try_exists(), Ok(false)) {
            let gone = worktree.display();
            let warning = format!("its worktree {gone} is gone: what was in no commit is lost");
            report.warnings.push(warning);
        }
        self.room_again(live, branch)?;
        let saved = self
            .workspaces()
            .and_then(|workspaces| workspaces.save(&live.task.id, branch, &message));
        failpoint::hit(Point::WorkSaved);
        let not_kept = matches!(saved, Err(WorkspaceError::NotKept(_)));
        let warnings = match saved {
            Ok(saved) => self.saved(live, branch, report, saved),
            Err(error) => {
                let why = format!("its work was not committed: {}", chain(&error));
                report.left.push(why.clone());
                vec![why]
            }
        };
        let said = warnings.join("; ");
        let lacks_space = !warnings.is_empty() && self.lacks_space(&said);
        live.lacked_room.store(lacks_space, Ordering::Release);
        if lacks_space {
            return Err(io::Error::new(io::ErrorKind::StorageFull, said));
        }
        if not_kept {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, said));
        }
        report.warnings.extend(warnings);
        Ok(())
    }

    /// After a try that found no room: whether there is enough now for all that is to be saved. Git
    /// leaves behind what it could not write to its end, so that a try without room eats whatever
    /// room a person makes. What cannot be measured is tried, unless the disk is full.
    ///
    /// # Errors
    /// There is not enough room.
    fn room_again(&self, live: &LiveRun, branch: &str) -> io::Result<()> {
        if !live.lacked_room.load(Ordering::Acquire) {
            return Ok(());
        }
        let Ok(workspaces) = self.workspaces() else {
            return Ok(());
        };
        match workspaces.cramped(&live.task.id, branch) {
            Some(cramped) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{cramped}, for its work to be committed: make room"),
            )),
            None => Ok(()),
        }
    }

    /// Takes in what was saved; returns what a person should know of it. Where work is in no
    /// commit, it is not claimed that there is none.
    fn saved(
        &self,
        live: &LiveRun,
        branch: &str,
        report: &mut Report,
        saved: Saved,
    ) -> Vec<String> {
        let all = saved.left.is_empty();
        let claimed = |changes: &Changes| all || *changes != Changes::default();
        let of_branch = Changes {
            files: saved.files_changed,
            commits: saved.own_commits,
        };
        report.branch = Some(of_branch).filter(claimed);
        report.commit = saved.commit;
        report.changes = self.changes(live, branch).filter(claimed);
        report.left = saved.left;
        saved.warnings
    }
}

/// What an end waits for that cannot be reported, and who acts: what the system refuses to read or
/// to keep is for a person, however often it is tried meanwhile.
fn who_acts(error: &io::Error) -> (WaitCode, Actor) {
    match error.kind() {
        io::ErrorKind::StorageFull => (WaitCode::Disk, Actor::Person),
        io::ErrorKind::Other => (WaitCode::Ending, Actor::Orch),
        _ => (WaitCode::Ending, Actor::Person),
    }
}

/// Longest name of a commit, bytes, with its line end.
const OID_BYTES: u64 = 65;

/// The commit that was written down before the agent began.
fn beginning(dir: &RunDir) -> io::Result<String> {
    let mut text = String::new();
    let file = careful::open_regular(&dir.begin())?;
    file.take(OID_BYTES).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// What is known of an end before the agent's words are read; `None` if it is none.
fn end_of(live: &LiveRun, standing: &Standing) -> Option<End> {
    let enforced = *locked(&live.enforced);
    match standing {
        Standing::Ended(record) => Some(End::Seen {
            exit: record.exit,
            enforced: record.enforced.or(enforced),
            stopped: may_be_stopped(record),
            verdict: Verdict::NoResult,
            logs: evidence(record),
        }),
        Standing::NotStarted(failure) => Some(End::NotStarted(failure.clone())),
        Standing::Lost(failure) => {
            let mut failure = failure.clone();
            if enforced.is_some() {
                failure
                    .message
                    .push_str("; the daemon had ended it for a limit it passed");
            }
            Some(End::Lost(failure))
        }
        Standing::Fresh
        | Standing::Launching
        | Standing::Running { .. }
        | Standing::Unsupervised { .. } => None,
    }
}

/// Whether the agent may have been asked to stop before it ended. A shim knows. Where there is none
/// the daemon kills, and what was killed has no exit status of its own.
const fn may_be_stopped(record: &ExitRecord) -> bool {
    match record.source {
        Source::Shim => record.stopped,
        Source::Daemon => matches!(record.exit, orch_core::run::Exit::Signal { .. }),
    }
}

/// Where the proof of an end lies.
fn evidence(record: &ExitRecord) -> String {
    match record.oom_killed() {
        true => format!("oom_killed: {}; {}", short_of_memory(record), record.logs()),
        false => record.logs(),
    }
}

fn short_of_memory(record: &ExitRecord) -> String {
    let count = record.oom_kills;
    format!(
        "for want of memory the kernel ended processes of its control group while it ran: {count}"
    )
}

/// A provider says by the wall's clock when its limit is lifted.
fn by_our_clock(said: Verdict) -> Verdict {
    match said {
        Verdict::Limited {
            code,
            message,
            until,
        } => Verdict::Limited {
            code,
            message,
            until: until.map(clock::from_wall),
        },
        said => said,
    }
}

/// The same end with the agent's words, and what it printed as an error among the evidence.
fn with_verdict(end: End, said: Verdict, errors: Option<String>) -> End {
    match end {
        End::Seen {
            exit,
            enforced,
            stopped,
            logs,
            ..
        } => End::Seen {
            exit,
            enforced,
            stopped,
            verdict: said,
            logs: match errors {
                Some(errors) => format!("{logs}; {errors}"),
                None => logs,
            },
        },
        end => end,
    }
}

/// What the agent left behind, for a person.
fn leaked(record: &ExitRecord) -> Option<String> {
    if record.leaked_count == 0 {
        return None;
    }
    let names: Vec<String> = record
        .leaked
        .iter()
        .map(|it| format!("{} (pid {})", it.name, it.pid))
        .collect();
    let still = record.leaked.iter().any(|it| it.alive);
    let count = record.leaked_count;
    let (left, end) = match (count, still) {
        (1, false) => ("1 process was left behind".to_owned(), "and was ended"),
        (1, true) => (
            "1 process was left behind".to_owned(),
            "and could not be ended",
        ),
        (_, false) => (
            format!("{count} processes were left behind"),
            "and were ended",
        ),
        (_, true) => (
            format!("{count} processes were left behind"),
            "and could not all be ended",
        ),
    };
    Some(format!("{left} {end}: {}", names.join(", ")))
}

/// What may have been left behind by an agent whose supervisor was killed, and cannot be assigned:
/// nothing is ended that may be another's, and nothing is kept quiet.
fn strays() -> Option<String> {
    let strays = supervise::strays()
        .ok()
        .filter(|strays| !strays.is_empty())?;
    let names: Vec<String> = strays
        .iter()
        .take(STRAYS_NAMED)
        .map(|(pid, name)| format!("{name} (pid {pid})"))
        .collect();
    Some(format!(
        "its supervisor was killed, and {} processes live that descend from an agent and carry no \
         mark of a run; they may be of this one and were not ended: {}",
        strays.len(),
        names.join(", ")
    ))
}

/// Reads the output to its end. Opening the transcript again gives the same events.
fn finish(live: &LiveRun, bytes: u64, at: Timestamp) -> io::Result<Finished> {
    // Held to the end: nobody else may append to the events meanwhile.
    let mut held = locked(&live.transcript);
    let finished = match held.take() {
        Some(transcript) => transcript.finish(bytes, at),
        None => Transcript::of_ended(live.dir.clone(), live.adapter, bytes, at),
    };
    failpoint::hit(Point::TranscriptFinished);
    finished
}
