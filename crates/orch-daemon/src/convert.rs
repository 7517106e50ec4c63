//! From core's types to the wire's and back. Nothing is decided here.

use std::time::{SystemTime, UNIX_EPOCH};

use orch_api::types as api;
use orch_core::Timestamp;
use orch_core::event::Event;
use orch_core::ledger::DependencyStatus;
use orch_core::run::{Changes, Ending, Exit, Failure, Outcome, Run};
use orch_core::task::{DependencyKind, Task, WorkspaceMode};
use orch_core::wait::Wait;

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `2026-11-22T17:03:04.005Z`: always three digits, so that times sort as text.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

pub(crate) fn failure(failure: &Failure) -> api::Failure {
    api::Failure {
        code: failure.code.to_string(),
        message: failure.message.clone(),
        evidence: failure.evidence.clone(),
    }
}

pub(crate) fn wait(wait: &Wait) -> api::Wait {
    api::Wait {
        code: wait.code.to_string(),
        message: wait.message.clone(),
        actor: wait.actor.to_string(),
        until: wait.until.map(rfc3339),
    }
}

/// A task as the wire shows it.
pub(crate) fn task(
    task: &Task,
    dependencies: &[DependencyStatus],
    waits: Option<&Wait>,
) -> api::Task {
    let of_kind = |kind: DependencyKind| {
        dependencies
            .iter()
            .filter(|it| it.dependency.kind == kind)
            .map(|it| it.dependency.on.to_string())
            .collect()
    };
    api::Task {
        id: task.id.to_string(),
        title: task.title.clone(),
        description: task.description.clone(),
        status: task.status().to_string(),
        priority: task.priority.number(),
        agent: task.agent.as_ref().map(ToString::to_string),
        labels: task.labels.iter().cloned().collect(),
        depends_on: of_kind(DependencyKind::Succeeded),
        after_any: of_kind(DependencyKind::Ended),
        scope: task.scope.clone(),
        attachments: task.attachments.clone(),
        workspace: task.workspace.to_string(),
        review: task.review.to_string(),
        attempts: task.attempts,
        max_attempts: task.max_attempts,
        timeout_ms: task.timeout_ms,
        stall_ms: task.stall_ms,
        require: task.require.map(|require| require.to_string()),
        result: task.result.clone(),
        failure: task.state.failure().map(failure),
        wait: waits.map(wait),
        feedback: task.feedback.clone(),
        last_run: task.last_run.as_ref().map(ToString::to_string),
        branch: (task.workspace == WorkspaceMode::Worktree).then(|| task.branch()),
        landed: task.landed.clone(),
        created_at: rfc3339(task.created_at),
        updated_at: rfc3339(task.updated_at),
    }
}

/// A run as the wire and `run.json` show it.
pub(crate) fn run(run: &Run) -> api::Run {
    let ending = run.ending();
    let (exit_code, signal) = match ending.and_then(|ending| ending.exit) {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal { number, .. }) => (None, Some(number)),
        None => (None, None),
    };
    let usage = ending.map(|ending| ending.usage).unwrap_or_default();
    api::Run {
        id: run.id.to_string(),
        task_id: run.task.to_string(),
        agent: run.agent.to_string(),
        adapter: run.adapter.clone(),
        attempt: run.attempt,
        status: run.status().to_string(),
        exit_code,
        signal,
        failure: ending
            .and_then(|ending| ending.outcome.failure())
            .map(failure),
        result: ending.and_then(|ending| ending.result.clone()),
        usage: api::Usage {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
        },
        cost_usd: usage.cost_usd,
        cost_estimated: usage
            .cost_usd
            .and(ending.map(|ending| ending.cost_estimated)),
        session_id: ending.and_then(|ending| ending.session_id.clone()),
        resumed_session: run.resumed_session.clone(),
        branch: run.branch.clone(),
        commit: ending.and_then(|ending| ending.commit.clone()),
        changes: ending.and_then(|ending| ending.changes).map(changes),
        warnings: ending.map_or_else(Vec::new, |ending: &Ending| ending.warnings.clone()),
        events: ending.map_or(0, |ending| ending.events),
        created_at: rfc3339(run.created_at),
        started_at: run.started_at.map(rfc3339),
        finished_at: ending.and_then(seen_to_end),
        noticed_at: ending.map(|ending| rfc3339(ending.finished_at)),
    }
}

const fn changes(changes: Changes) -> api::Changes {
    api::Changes {
        files: changes.files,
        commits: changes.commits,
    }
}

/// When a run ended, if anybody saw it: for a lost run nobody did.
fn seen_to_end(ending: &Ending) -> Option<String> {
    (!matches!(ending.outcome, Outcome::Lost(_))).then(|| rfc3339(ending.finished_at))
}

/// A fact as the wire shows it.
pub(crate) fn event(seq: u64, event: &Event) -> api::Event {
    api::Event {
        seq,
        time: rfc3339(event.time),
        event: event.kind.to_string(),
        task: event.task.as_ref().map(ToString::to_string),
        run: event.run.as_ref().map(ToString::to_string),
        agent: event.agent.as_ref().map(ToString::to_string),
        word: event.word.clone(),
        message: event.message.clone(),
    }
}
