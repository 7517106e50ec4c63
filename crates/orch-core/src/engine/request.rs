//! What people and agents ask for: checked first, then written.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Engine, Result, Step};
use crate::event::EventKind;
use crate::id::TaskId;
use crate::ledger::Ledger;
use crate::lifecycle::TaskEvent;
use crate::limits;
use crate::request::{Answer, NewTask, Refusal, Request, TaskEdit};
use crate::run::{Failure, FailureCode, StopReason};
use crate::task::{Dependency, Priority, Require, Review, Task, TaskState, WorkspaceMode};
use crate::text;
use crate::time::Timestamp;

impl<L: Ledger + ?Sized> Engine<'_, '_, L> {
    pub(super) fn request(&mut self, request: Request) -> Result<Step> {
        match request {
            Request::Add(new) => self.add(*new),
            Request::Edit { task, edit } => self.edit(&task, *edit),
            Request::Cancel { task } => self.cancel(&task),
            Request::Retry { task } => self.retry(&task),
            Request::Approve { task } => self.approve_asked(&task),
            Request::Reject { task, reason } => self.reject(&task, reason),
            Request::Resume { task, message } => self.resume(&task, message),
            Request::Delete { task } => self.delete(&task),
            Request::Agreed => self.agreed(),
        }
    }

    fn add(&mut self, new: NewTask) -> Result<Step> {
        check_new(&new)?;
        self.check_agent(new.agent.as_ref())?;
        let dependencies = distinct(&new.dependencies);
        let unmet = self.count_unmet(&dependencies)?;
        let mut task = self.task_from(&new, unmet);
        check_require(task.require, task.workspace)?;
        task.seq = self.ledger.insert_task(&task, &dependencies)?;
        self.note_task(EventKind::TaskAdded, &task, None, Some(&task.title))?;
        Ok(answer(Answer::Task(Box::new(task))))
    }

    fn task_from(&mut self, new: &NewTask, unmet: u32) -> Task {
        let defaults = &self.context.config.defaults;
        Task {
            id: TaskId::from_entropy((self.context.entropy)()),
            seq: 0,
            title: new.title.trim().to_owned(),
            description: new.description.clone(),
            state: TaskState::Todo { hold: None },
            priority: new.priority.unwrap_or(Priority::NORMAL),
            agent: new.agent.clone(),
            labels: new.labels.clone(),
            scope: new.scope.clone(),
            attachments: new.attachments.clone(),
            unmet,
            workspace: new.workspace.unwrap_or(defaults.workspace),
            review: new.review.unwrap_or(defaults.review),
            on_lost: new.on_lost.unwrap_or(defaults.on_lost),
            require: new.require,
            attempts: 0,
            max_attempts: new.max_attempts.unwrap_or(defaults.max_attempts),
            runs: 0,
            start_failures: 0,
            timeout_ms: new.timeout_ms.or(defaults.timeout_ms),
            stall_ms: new.stall_ms.or(defaults.stall_ms),
            result: None,
            feedback: None,
            last_run: None,
            landed: None,
            created_at: self.context.now,
            updated_at: self.context.now,
        }
    }

    fn check_agent(&self, agent: Option<&crate::AgentName>) -> Result<()> {
        match agent {
            Some(name) if self.context.config.agent(name).is_none() => {
                Err(Refusal::NoSuchAgent(name.clone()).into())
            }
            _ => Ok(()),
        }
    }

    fn count_unmet(&mut self, dependencies: &[Dependency]) -> Result<u32> {
        let mut unmet = 0;
        for dependency in dependencies {
            let other = self.require_task(&dependency.on)?;
            unmet += u32::from(!dependency.kind.is_met_by(other.status()));
        }
        Ok(unmet)
    }

    fn edit(&mut self, id: &TaskId, edit: TaskEdit) -> Result<Step> {
        let mut task = self.require_task(id)?;
        if !matches!(
            task.state,
            TaskState::Todo { .. } | TaskState::Retrying { .. }
        ) {
            let why = "only a task that waits for its turn can be changed";
            return Err(busy(&task, why));
        }
        if edit.title.is_some() && task.runs > 0 {
            return Err(busy(&task, "its branch already carries the title"));
        }
        check_edit(&edit)?;
        check_attempt_left(&task, edit.max_attempts)?;
        check_require(edit.require.flatten(), task.workspace)?;
        if let Some(agent) = &edit.agent {
            self.check_agent(agent.as_ref())?;
        }
        if let Some(dependencies) = &edit.dependencies {
            let dependencies = distinct(dependencies);
            let unmet = self.count_unmet(&dependencies)?;
            self.check_acyclic(id, &dependencies)?;
            self.ledger.set_dependencies(id, &dependencies)?;
            task.unmet = unmet;
        }
        apply(&mut task, edit);
        self.write_task(&mut task)?;
        self.note_task(EventKind::TaskEdited, &task, None, None)?;
        Ok(answer(Answer::Task(Box::new(task))))
    }

    /// Walks from what `id` would wait for; meeting `id` again is a cycle, named with its path.
    fn check_acyclic(&mut self, id: &TaskId, dependencies: &[Dependency]) -> Result<()> {
        let mut came_from: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        let mut open: Vec<TaskId> = Vec::new();
        for dependency in dependencies {
            came_from.insert(dependency.on.clone(), id.clone());
            open.push(dependency.on.clone());
        }
        while let Some(at) = open.pop() {
            if &at == id {
                return Err(Refusal::Cycle(path_to(id, &came_from)).into());
            }
            for next in self.ledger.dependencies(&at)? {
                let on = next.dependency.on;
                if !came_from.contains_key(&on) {
                    came_from.insert(on.clone(), at.clone());
                    open.push(on);
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, id: &TaskId) -> Result<Step> {
        let mut task = self.require_task(id)?;
        match &task.state {
            TaskState::Cancelled { .. } => Ok(answer(Answer::Unchanged(Box::new(task)))),
            TaskState::InProgress { run } => {
                let run = run.clone();
                self.cancel_run(task, &run)
            }
            _ => {
                let failure = Failure {
                    code: FailureCode::CancelledByUser,
                    message: "cancelled before it ran".to_owned(),
                    evidence: format!("was {}", task.status()),
                };
                self.move_task(&mut task, TaskEvent::Cancelled(failure))?;
                self.note_task(EventKind::TaskCancelled, &task, None, None)?;
                Ok(answer(Answer::Task(Box::new(task))))
            }
        }
    }

    /// The task is `cancelled` only when its run has ended and nothing of it is alive.
    fn cancel_run(&mut self, task: Task, id: &crate::RunId) -> Result<Step> {
        match self.ledger.run(id)? {
            Some(run) if run.stop == Some(StopReason::Cancel) => {
                Ok(answer(Answer::Unchanged(Box::new(task))))
            }
            Some(run) => {
                let mut step = self.stop(run, StopReason::Cancel)?;
                step.answer = Some(Answer::Stopping(Box::new(task)));
                Ok(step)
            }
            None => Ok(answer(Answer::Unchanged(Box::new(task)))),
        }
    }

    fn retry(&mut self, id: &TaskId) -> Result<Step> {
        let mut task = self.require_task(id)?;
        if matches!(task.state, TaskState::Todo { hold: None }) {
            return Ok(answer(Answer::Unchanged(Box::new(task))));
        }
        task.attempts = 0;
        task.start_failures = 0;
        self.move_task(&mut task, TaskEvent::RetryAsked)?;
        self.note_task(EventKind::TaskRetryAsked, &task, None, None)?;
        Ok(answer(Answer::Task(Box::new(task))))
    }

    fn approve_asked(&mut self, id: &TaskId) -> Result<Step> {
        let mut task = self.require_task(id)?;
        match &task.state {
            TaskState::Done => Ok(answer(Answer::Unchanged(Box::new(task)))),
            TaskState::Review(Review::Landing) => Ok(answer(Answer::Landing(Box::new(task)))),
            _ => {
                let effect = self.approve(&mut task)?;
                let task = Box::new(task);
                let answer = match effect {
                    Some(_) => Answer::Landing(task),
                    None => Answer::Task(task),
                };
                Ok(Step {
                    effects: effect.into_iter().collect(),
                    answer: Some(answer),
                })
            }
        }
    }

    fn reject(&mut self, id: &TaskId, reason: String) -> Result<Step> {
        check_words("reason", &reason)?;
        let task = self.require_task(id)?;
        self.send_back(task, reason, TaskEvent::Rejected, EventKind::TaskRejected)
    }

    /// As a rejection, and from more states. Its agent goes on with its session where it can.
    fn resume(&mut self, id: &TaskId, message: String) -> Result<Step> {
        check_words("message", &message)?;
        let task = self.require_task(id)?;
        if task.runs == 0 && task.status().is_ended() {
            let why = "it has never run, so there is nothing to go on with; retry it";
            return Err(busy(&task, why));
        }
        self.send_back(task, message, TaskEvent::Resumed, EventKind::TaskResumed)
    }

    fn send_back(
        &mut self,
        mut task: Task,
        words: String,
        event: TaskEvent,
        kind: EventKind,
    ) -> Result<Step> {
        task.attempts = 0;
        task.start_failures = 0;
        task.feedback = Some(match &task.state {
            // Without it the next attempt would do the same and meet the same obstacle.
            TaskState::Review(Review::Blocked { message, files }) => format!(
                "{words}\n\nYour work could not be landed: {message} ({}). If it conflicts with \
                 another branch, merge that branch into yours and resolve the conflicts.",
                text::named(files)
            ),
            _ => words,
        });
        self.move_task(&mut task, event)?;
        let words = task.feedback.clone();
        self.note_task(kind, &task, None, words.as_deref())?;
        Ok(answer(Answer::Task(Box::new(task))))
    }

    /// Ends the wait of every task that a person's consent was missing for. The starts that failed
    /// over that say nothing about the next one.
    fn agreed(&mut self) -> Result<Step> {
        let mut released = 0;
        let ever = Timestamp(i64::MAX);
        for id in self.ledger.due(ever, limits::WAITING_PER_CONSENT)? {
            let mut task = self.require_task(&id)?;
            let hold = task.state.hold();
            if hold.is_none_or(|hold| hold.failure.code != FailureCode::NeedsConsent) {
                continue;
            }
            task.start_failures = 0;
            self.move_task(&mut task, TaskEvent::HoldPassed)?;
            self.note_task(EventKind::TaskHoldPassed, &task, None, None)?;
            released += 1;
        }
        Ok(answer(Answer::Released(released)))
    }

    fn delete(&mut self, id: &TaskId) -> Result<Step> {
        let task = self.require_task(id)?;
        if matches!(
            task.state,
            TaskState::InProgress { .. } | TaskState::Review(Review::Landing)
        ) {
            return Err(busy(&task, "cancel it first"));
        }
        if let Some(needed_by) = self.ledger.dependants(id)?.into_iter().next() {
            return Err(Refusal::Needed {
                task: id.clone(),
                needed_by,
            }
            .into());
        }
        let runs = self.ledger.run_ids_of(id)?;
        self.ledger.delete_task(id)?;
        self.note_task(EventKind::TaskDeleted, &task, None, Some(&task.title))?;
        Ok(Step {
            effects: vec![Effect::Discard {
                task: Box::new(task),
                runs,
            }],
            answer: Some(Answer::Deleted(id.clone())),
        })
    }
}

fn answer(answer: Answer) -> Step {
    Step {
        effects: Vec::new(),
        answer: Some(answer),
    }
}

fn busy(task: &Task, why: &'static str) -> super::StepError {
    Refusal::Busy {
        task: task.id.clone(),
        status: task.status(),
        why,
    }
    .into()
}

/// Asking twice for the same thing is asking once: what is counted must be what is stored.
fn distinct(dependencies: &[Dependency]) -> Vec<Dependency> {
    let distinct: BTreeSet<&Dependency> = dependencies.iter().collect();
    distinct.into_iter().cloned().collect()
}

fn path_to(id: &TaskId, came_from: &BTreeMap<TaskId, TaskId>) -> Vec<TaskId> {
    let mut path = vec![id.clone()];
    let mut at = id;
    while let Some(previous) = came_from.get(at) {
        path.push(previous.clone());
        at = previous;
        if at == id {
            break;
        }
    }
    path.reverse();
    path
}

fn apply(task: &mut Task, edit: TaskEdit) {
    let TaskEdit {
        title,
        description,
        priority,
        agent,
        labels,
        dependencies: _,
        max_attempts,
        timeout_ms,
        require,
    } = edit;
    if let Some(title) = title {
        task.title = title.trim().to_owned();
    }
    task.description = description.unwrap_or_else(|| std::mem::take(&mut task.description));
    task.priority = priority.unwrap_or(task.priority);
    task.agent = agent.unwrap_or_else(|| task.agent.take());
    task.labels = labels.unwrap_or_else(|| std::mem::take(&mut task.labels));
    task.max_attempts = max_attempts.unwrap_or(task.max_attempts);
    task.timeout_ms = timeout_ms.or(task.timeout_ms);
    task.require = require.unwrap_or(task.require);
}

fn check_new(new: &NewTask) -> std::result::Result<(), Refusal> {
    check_title(&new.title)?;
    check_description(&new.description)?;
    check_labels(&new.labels)?;
    check_paths("scope", &new.scope)?;
    new.scope.iter().try_for_each(|scope| check_scope(scope))?;
    check_paths("attachments", &new.attachments)?;
    check_numbers(new.max_attempts, new.timeout_ms)?;
    check_range_ms("stall timeout", new.stall_ms)?;
    check_count("dependencies", new.dependencies.len(), limits::DEPENDENCIES)
}

fn check_words(field: &'static str, words: &str) -> std::result::Result<(), Refusal> {
    text::check_required(words, limits::REASON_BYTES)
        .map_err(|problem| Refusal::Text { field, problem })
}

/// What cannot be judged must not be promised.
fn check_require(
    require: Option<Require>,
    workspace: WorkspaceMode,
) -> std::result::Result<(), Refusal> {
    match require {
        Some(require @ (Require::Changes | Require::Commit))
            if workspace == WorkspaceMode::Shared =>
        {
            Err(Refusal::NotTogether {
                one: format!("require = {require}"),
                other: "the shared workspace",
                why: "nobody can tell there whose change is whose",
            })
        }
        _ => Ok(()),
    }
}

/// A task that waits for its turn is going to use one more attempt: it must be allowed to.
fn check_attempt_left(task: &Task, max_attempts: Option<u32>) -> std::result::Result<(), Refusal> {
    max_attempts.map_or(Ok(()), |got| {
        check_range(
            "max attempts",
            u64::from(task.attempts) + 1,
            u64::from(limits::MAX_ATTEMPTS),
            u64::from(got),
        )
    })
}

fn check_edit(edit: &TaskEdit) -> std::result::Result<(), Refusal> {
    edit.title.as_deref().map_or(Ok(()), check_title)?;
    edit.description
        .as_deref()
        .map_or(Ok(()), check_description)?;
    edit.labels.as_ref().map_or(Ok(()), check_labels)?;
    check_numbers(edit.max_attempts, edit.timeout_ms)?;
    check_count(
        "dependencies",
        edit.dependencies.as_ref().map_or(0, Vec::len),
        limits::DEPENDENCIES,
    )
}

fn check_title(title: &str) -> std::result::Result<(), Refusal> {
    let one_line = match title.trim().chars().find(|c| matches!(c, '\n' | '\r')) {
        Some(line_end) => Err(text::BadText::Hidden(u32::from(line_end))),
        None => text::check_required(title, limits::TITLE_BYTES),
    };
    one_line.map_err(|problem| Refusal::Text {
        field: "title",
        problem,
    })
}

fn check_description(description: &str) -> std::result::Result<(), Refusal> {
    text::check_optional(description, limits::DESCRIPTION_BYTES).map_err(|problem| Refusal::Text {
        field: "description",
        problem,
    })
}

fn check_labels(labels: &BTreeSet<String>) -> std::result::Result<(), Refusal> {
    check_count("labels", labels.len(), limits::LABELS)?;
    labels.iter().try_for_each(|label| {
        text::check_label(label, limits::LABEL_BYTES).map_err(|problem| Refusal::Text {
            field: "label",
            problem,
        })
    })
}

/// Paths end up in the prompt: a person must be able to tell each of them from the next.
fn check_paths(field: &'static str, paths: &[String]) -> std::result::Result<(), Refusal> {
    check_count(field, paths.len(), limits::PATHS)?;
    paths.iter().try_for_each(|path| {
        text::check_required(path, limits::PATH_BYTES)
            .map_err(|problem| Refusal::Text { field, problem })
    })
}

/// An agent is told a scope as the only place where it should change something: a pattern that no
/// file of the repository can match would tell it to change nothing, or something elsewhere.
fn check_scope(scope: &str) -> std::result::Result<(), Refusal> {
    let wrong = |why| {
        let scope = text::excerpt(scope, SCOPE_SHOWN_CHARS);
        Err(Refusal::Scope { scope, why })
    };
    if scope.starts_with('/') {
        return wrong("begins with '/': it is a path or pattern from the top of the repository");
    }
    if scope.split('/').any(|part| part == "..") {
        return wrong("leads out of the repository, or back: write it without '..'");
    }
    match has_open_end(scope) {
        true => wrong("is no pattern: it ends within a '[' or behind a '\\'"),
        false => Ok(()),
    }
}

/// Longest part of a wrong scope that is shown, characters.
const SCOPE_SHOWN_CHARS: usize = 80;

/// Whether a pattern ends before its last bracket is closed or its last backslash has something
/// to stand for.
fn has_open_end(pattern: &str) -> bool {
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next().is_none() => return true,
            '[' => {
                // A bracket that comes first, or first after a negation, is one of the characters.
                characters.next_if(|it| ['!', '^'].contains(it));
                characters.next_if_eq(&']');
                if !characters.any(|it| it == ']') {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

fn check_count(field: &'static str, got: usize, most: usize) -> std::result::Result<(), Refusal> {
    if got > most {
        Err(Refusal::TooMany { field, most, got })
    } else {
        Ok(())
    }
}

fn check_numbers(
    max_attempts: Option<u32>,
    timeout_ms: Option<u64>,
) -> std::result::Result<(), Refusal> {
    if let Some(got) = max_attempts {
        check_range(
            "max attempts",
            1,
            u64::from(limits::MAX_ATTEMPTS),
            u64::from(got),
        )?;
    }
    check_range_ms("timeout", timeout_ms)
}

fn check_range_ms(field: &'static str, got: Option<u64>) -> std::result::Result<(), Refusal> {
    got.map_or(Ok(()), |got| {
        check_range(field, limits::TIMEOUT_MIN_MS, limits::TIMEOUT_MAX_MS, got)
    })
}

fn check_range(
    field: &'static str,
    least: u64,
    most: u64,
    got: u64,
) -> std::result::Result<(), Refusal> {
    if (least..=most).contains(&got) {
        Ok(())
    } else {
        Err(Refusal::Range {
            field,
            least,
            most,
            got,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_path_or_pattern_of_the_repository() {
        for good in [
            "src/**",
            "docs",
            "a..b/..c",
            "app/[id]/page.tsx",
            "[]x]y",
            "[!]]z",
            "*.[ch]",
            "\\[",
            "!x",
            "{a,b}",
            "ö/[ä]",
        ] {
            assert_eq!(check_scope(good), Ok(()), "{good}");
        }
        for wrong in [
            "../x", "..", "a/../b", "a/..", "/etc", "/", "[", "a[", "[]", "[!]", "a[b/c", "x\\",
        ] {
            let refusal = check_scope(wrong).unwrap_err().to_string();
            let named = refusal.starts_with(&format!("scope '{wrong}' "));
            assert!(named, "{refusal}");
        }
    }
}
