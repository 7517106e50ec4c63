//! What an agent is told: plain text made from a task and from what happened before.
//!
//! The same input gives the same text. This part must not know which kind of agent reads it, nor
//! whether what it is told is true.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use orch_core::run::Failure;
use orch_core::task::{Task, WorkspaceMode};

/// Most characters of an earlier failure that are passed on.
const FAILURE_CHARS: usize = 2_000;

/// Everything a prompt is made of.
#[derive(Debug, Clone, Copy)]
pub struct PromptInput<'a> {
    /// What stands before everything else: [`crate::adapter::Invocation::preamble`].
    pub preamble: Option<&'a str>,
    /// The task in one line.
    pub title: &'a str,
    /// What is to be done.
    pub description: &'a str,
    /// What it is about.
    pub labels: &'a BTreeSet<String>,
    /// Paths it is expected to touch.
    pub scope: &'a [String],
    /// Files given along, as absolute paths.
    pub attachments: &'a [String],
    /// The words of the last rejection.
    pub feedback: Option<&'a str>,
    /// Why the run before this one did not succeed.
    pub previous_failure: Option<&'a Failure>,
    /// Whether the agent goes on with the session of an earlier run, and so knows the task and
    /// what it did.
    pub resumes: bool,
    /// The final words of the last run in which an agent worked, for one that does not know them.
    pub last_result: Option<&'a str>,
    /// The directory the agent works in.
    pub directory: &'a Path,
    /// Whether the directory is the task's own.
    pub workspace: WorkspaceMode,
    /// The branch that is checked out there, if it is the task's own.
    pub branch: Option<&'a str>,
}

impl<'a> PromptInput<'a> {
    /// The input for `task` in `directory`, without preamble and earlier failure.
    #[must_use]
    pub fn new(task: &'a Task, directory: &'a Path, branch: Option<&'a str>) -> Self {
        Self {
            preamble: None,
            title: &task.title,
            description: &task.description,
            labels: &task.labels,
            scope: &task.scope,
            attachments: &task.attachments,
            feedback: task.feedback.as_deref(),
            previous_failure: None,
            resumes: false,
            last_result: None,
            directory,
            workspace: task.workspace,
            branch,
        }
    }
}

/// The prompt as text. It is never empty and never begins with what a program could take for a
/// command of its own, like `/clear` or `-p`, unless the preamble does.
#[must_use]
pub fn render(input: &PromptInput<'_>) -> String {
    let mut text = String::new();
    if let Some(preamble) = input
        .preamble
        .filter(|preamble| !preamble.trim().is_empty())
    {
        paragraph(&mut text, preamble.trim());
    }
    paragraph(&mut text, &format!("Task: {}", one_line(input.title)));
    if !input.description.trim().is_empty() {
        paragraph(&mut text, input.description.trim());
    }
    if !input.labels.is_empty() {
        let labels: Vec<&str> = input.labels.iter().map(String::as_str).collect();
        paragraph(&mut text, &format!("Labels: {}", labels.join(", ")));
    }
    list(&mut text, "Expected to change only:", input.scope);
    list(
        &mut text,
        "Files that belong to this task; read them:",
        input.attachments,
    );
    history(&mut text, input);
    paragraph(&mut text, &surroundings(input));
    paragraph(&mut text, finish(input.workspace));
    text
}

fn paragraph(text: &mut String, paragraph: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(paragraph);
    text.push('\n');
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(text: &mut String, title: &str, items: &[String]) {
    if !items.is_empty() {
        let items: Vec<String> = items
            .iter()
            .map(|item| format!("\n- {}", path(item)))
            .collect();
        paragraph(text, &format!("{title}{}", items.concat()));
    }
}

/// A path as it is, unless it would break the line.
fn path(path: &str) -> String {
    match path.contains(char::is_control) {
        true => format!("{path:?}"),
        false => path.to_owned(),
    }
}

/// What happened before. The words are quoted: they say what went wrong and ask for nothing.
fn history(text: &mut String, input: &PromptInput<'_>) {
    if let Some(feedback) = input
        .feedback
        .filter(|feedback| !feedback.trim().is_empty())
    {
        let title =
            "Your earlier work on this task was reviewed and sent back. The reviewer wrote:";
        paragraph(text, &format!("{title}{}", quoted(feedback)));
    }
    if let Some(failure) = input.previous_failure {
        let message = orch_core::text::excerpt(&failure.message, FAILURE_CHARS);
        let title = "An earlier attempt at this task did not succeed";
        paragraph(
            text,
            &format!("{title} ({}):{}", failure.code, quoted(&message)),
        );
    }
    if let Some(result) = input.last_result.filter(|_| !input.resumes) {
        let result = orch_core::text::excerpt(result, FAILURE_CHARS);
        let title = "The last thing an earlier attempt said:";
        paragraph(text, &format!("{title}{}", quoted(&result)));
    }
    if input.feedback.is_some() || input.previous_failure.is_some() {
        paragraph(
            text,
            "What earlier attempts left behind is still here. Look at it first and go on from there.",
        );
    }
}

fn quoted(text: &str) -> String {
    text.trim().lines().fold(String::new(), |mut quoted, line| {
        let _ = write!(quoted, "\n{}", format!("> {line}").trim_end());
        quoted
    })
}

fn surroundings(input: &PromptInput<'_>) -> String {
    let directory = input.directory.display();
    match (input.workspace, input.branch) {
        (WorkspaceMode::Worktree, Some(branch)) => format!(
            "You work in {directory}, a git worktree of your own with the branch {branch}. Stay in \
             this directory and on this branch; do not push or rebase, and merge only if you are asked to."
        ),
        (WorkspaceMode::Worktree, None) => {
            format!("You work in {directory}, a directory of your own. Stay in this directory.")
        }
        (WorkspaceMode::Shared, _) => format!(
            "You work in {directory}, which others use at the same time. Stay in this directory, \
             touch only what this task needs, and do not switch branches, push, merge or rebase."
        ),
    }
}

const fn finish(workspace: WorkspaceMode) -> &'static str {
    match workspace {
        WorkspaceMode::Worktree => {
            "When you are done, commit your work with a message that says what changed and why. \
             What you leave uncommitted is committed for you. Nobody is there to answer questions: \
             decide, and say what you decided. End with a short summary of what you did and of \
             what is not done."
        }
        WorkspaceMode::Shared => {
            "When you are done, commit your own changes and nothing else. Nobody is there to answer \
             questions: decide, and say what you decided. End with a short summary of what you did \
             and of what is not done."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orch_core::run::FailureCode;

    fn render_with(change: impl FnOnce(&mut PromptInput<'_>)) -> String {
        let mut input = PromptInput {
            preamble: None,
            title: "Fix the login page",
            description: "",
            labels: &BTreeSet::new(),
            scope: &[],
            attachments: &[],
            feedback: None,
            previous_failure: None,
            resumes: false,
            last_result: None,
            directory: Path::new("/repo/.orch/worktrees/tsk_7m3k9q2x4d1v"),
            workspace: WorkspaceMode::Worktree,
            branch: Some("orch/tsk_7m3k9q2x4d1v-fix-the-login-page"),
        };
        change(&mut input);
        render(&input)
    }

    #[test]
    fn the_shortest_prompt() {
        insta::assert_snapshot!(render_with(|_| ()), @r"
        Task: Fix the login page

        You work in /repo/.orch/worktrees/tsk_7m3k9q2x4d1v, a git worktree of your own with the branch orch/tsk_7m3k9q2x4d1v-fix-the-login-page. Stay in this directory and on this branch; do not push or rebase, and merge only if you are asked to.

        When you are done, commit your work with a message that says what changed and why. What you leave uncommitted is committed for you. Nobody is there to answer questions: decide, and say what you decided. End with a short summary of what you did and of what is not done.
        ");
    }

    #[test]
    fn what_an_earlier_attempt_said_is_told_to_one_that_does_not_know_it() {
        let said = render_with(|input| input.last_result = Some("half done\nrest open"));
        let words = "The last thing an earlier attempt said:\n> half done\n> rest open";
        assert!(said.contains(words), "{said}");
        let said = render_with(|input| {
            input.last_result = Some("half done");
            input.resumes = true;
        });
        assert!(!said.contains("half done"), "{said}");
    }

    #[test]
    fn the_longest_prompt() {
        let labels = ["ui", "bug"].map(str::to_owned).into();
        let failure = Failure {
            code: FailureCode::AgentError,
            message: "API Error: 529\noverloaded".into(),
            evidence: "exit status 1".into(),
        };
        let text = render(&PromptInput {
            preamble: Some("You are a careful engineer.\n"),
            title: "Fix\nthe login page",
            description: "It shows nothing.\n\n    keep this indent\n",
            labels: &labels,
            scope: &["src/login/**".to_owned(), "docs/".to_owned()],
            attachments: &["/tmp/screen shot.png".to_owned()],
            feedback: Some("No test.\n\nAnd the title is wrong."),
            previous_failure: Some(&failure),
            resumes: false,
            last_result: None,
            directory: Path::new("/repo"),
            workspace: WorkspaceMode::Shared,
            branch: None,
        });
        insta::assert_snapshot!(text, @r"
        You are a careful engineer.

        Task: Fix the login page

        It shows nothing.

            keep this indent

        Labels: bug, ui

        Expected to change only:
        - src/login/**
        - docs/

        Files that belong to this task; read them:
        - /tmp/screen shot.png

        Your earlier work on this task was reviewed and sent back. The reviewer wrote:
        > No test.
        >
        > And the title is wrong.

        An earlier attempt at this task did not succeed (agent_error):
        > API Error: 529
        > overloaded

        What earlier attempts left behind is still here. Look at it first and go on from there.

        You work in /repo, which others use at the same time. Stay in this directory, touch only what this task needs, and do not switch branches, push, merge or rebase.

        When you are done, commit your own changes and nothing else. Nobody is there to answer questions: decide, and say what you decided. End with a short summary of what you did and of what is not done.
        ");
    }

    #[test]
    fn a_title_is_never_taken_for_a_command() {
        for title in ["/clear", "-p x", "!rm -rf ~", "\u{200b}", "a\n/clear"] {
            let text = render_with(|input| input.title = title);
            assert!(text.starts_with("Task: "), "{text}");
            assert!(
                !text.lines().any(|line| line.starts_with(['/', '!', '-'])),
                "{text}"
            );
        }
    }
}
