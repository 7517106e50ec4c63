//! What an agent is told: text made by two templates from a task and from what happened before.
//!
//! The same input gives the same text. A template sees values and nothing else: it can load no
//! file and no other template, it ends, and what it makes has a limit. Words of a task are values,
//! so nothing that stands in them is ever evaluated. This part must not know which kind of agent
//! reads the text, nor whether what it is told is true.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};
use orch_core::run::Failure;
use orch_core::task::{Task, WorkspaceMode};

/// Longest prompt, bytes: a description of the largest size and all that stands around it.
pub const PROMPT_BYTES: usize = 2 << 20;
/// Longest template that a user may give, bytes.
pub const TEMPLATE_BYTES: usize = 256 << 10;
/// Most steps a template may take; the built-in ones take some hundred.
const FUEL: u64 = 1_000_000;
/// Most characters of an earlier failure that are passed on.
const FAILURE_CHARS: usize = 2_000;
/// Most characters of what an earlier run said at its end.
const RESULT_CHARS: usize = 4_000;
/// Most tasks whose results are passed on.
const DEPENDENCIES: usize = 20;

/// A task that was to be done first, and is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its id.
    pub id: String,
    /// What it was about.
    pub title: String,
    /// What its agent said at the end.
    pub result: String,
}

/// Everything a prompt is made of.
#[derive(Debug, Clone, Copy)]
pub struct PromptInput<'a> {
    /// What stands before everything else: [`crate::adapter::Invocation::preamble`].
    pub preamble: Option<&'a str>,
    /// Who reads it.
    pub agent: &'a str,
    /// What that agent is for.
    pub role: Option<&'a str>,
    /// The task's id.
    pub id: &'a str,
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
    /// What the task serves.
    pub goal: Option<&'a str>,
    /// The tasks it builds on.
    pub dependencies: &'a [Dependency],
    /// The words of the last rejection.
    pub feedback: Option<&'a str>,
    /// Why the run before this one did not succeed.
    pub previous_failure: Option<&'a Failure>,
    /// What the run before this one said at its end.
    pub previous_result: Option<&'a str>,
    /// Whether the agent goes on with the session of the run before, and so knows the task.
    pub resumes: bool,
    /// The directory the agent works in.
    pub directory: &'a Path,
    /// Whether the directory is the task's own.
    pub workspace: WorkspaceMode,
    /// The branch that is checked out there, if it is the task's own.
    pub branch: Option<&'a str>,
}

impl<'a> PromptInput<'a> {
    /// The input for `task` in `directory`, as its first run by `agent`, without preamble.
    #[must_use]
    pub fn new(
        task: &'a Task,
        agent: &'a str,
        directory: &'a Path,
        branch: Option<&'a str>,
    ) -> Self {
        Self {
            preamble: None,
            agent,
            role: None,
            id: task.id.as_str(),
            title: &task.title,
            description: &task.description,
            labels: &task.labels,
            scope: &task.scope,
            attachments: &task.attachments,
            goal: None,
            dependencies: &[],
            feedback: task.feedback.as_deref(),
            previous_failure: None,
            previous_result: None,
            resumes: false,
            directory,
            workspace: task.workspace,
            branch,
        }
    }

    fn values(&self) -> Value {
        let trimmed = |text: Option<&str>| {
            let text = text.map(str::trim).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let excerpt = |text: Option<&str>, most| {
            trimmed(text).map(|text| orch_core::text::excerpt(&text, most))
        };
        let failure = self.previous_failure.map(|failure| {
            let message = excerpt(Some(&failure.message), FAILURE_CHARS);
            context! { code => failure.code.as_str(), message => message.unwrap_or_default() }
        });
        let dependencies = self.dependencies.iter().take(DEPENDENCIES).map(|other| {
            let result = excerpt(Some(&other.result), RESULT_CHARS).unwrap_or_default();
            context! { id => other.id.as_str(), title => other.title.as_str(), result => result }
        });
        context! {
            agent => context! { name => self.agent, role => trimmed(self.role) },
            task => context! {
                id => self.id,
                title => self.title,
                description => self.description.trim(),
                labels => self.labels.iter().cloned().collect::<Vec<_>>(),
                scope => self.scope.to_vec(),
                attachments => self.attachments.to_vec(),
            },
            goal => trimmed(self.goal),
            dependencies => dependencies.collect::<Vec<_>>(),
            feedback => trimmed(self.feedback),
            previous => context! {
                failure => failure,
                result => excerpt(self.previous_result, RESULT_CHARS),
            },
            resumes => self.resumes,
            workspace => context! {
                directory => self.directory.display().to_string(),
                is_own => self.workspace == WorkspaceMode::Worktree,
                branch => self.branch,
            },
        }
    }
}

/// The two parts of a prompt as templates: who the agent is and how it works here, and the task.
/// Where the agent goes on with a session, only the second is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Templates {
    /// The user's own; the built-in one, if there is none.
    system: Option<String>,
    task: Option<String>,
}

/// The built-in templates, each with the part of the prompt that it makes.
const BUILT_IN: [(&str, &str); 2] = [
    ("system", include_str!("prompt/system.jinja")),
    ("task", include_str!("prompt/task.jinja")),
];

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is wrong, or went wrong.
    #[error("the prompt template `{part}` is wrong{place}: {what}")]
    Wrong {
        /// `system` or `task`.
        part: &'static str,
        /// The line, if it is known.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// What it made is too long.
    #[error("the prompt template `{part}` makes more than {PROMPT_BYTES} bytes")]
    TooLong {
        /// `system` or `task`.
        part: &'static str,
    },
}

impl Templates {
    /// The user's own templates, each in place of the built-in one.
    ///
    /// # Errors
    /// One is no template, or asks for a value that there is not.
    pub fn new(system: Option<String>, task: Option<String>) -> Result<Self, TemplateError> {
        let templates = Self { system, task };
        if templates == Self::default() {
            return Ok(templates);
        }
        // What it asks for shows when it is asked; both forms, so that both are tried.
        for resumes in [false, true] {
            let input = PromptInput {
                resumes,
                ..example()
            };
            let values = input.values();
            fill("system", templates.system.as_deref(), &values)?;
            fill("task", templates.task.as_deref(), &values)?;
        }
        Ok(templates)
    }

    /// The prompt as text. It is never empty and never begins with what a program could take for a
    /// command of its own, like `/clear` or `-p`.
    ///
    /// # Errors
    /// A template went wrong, or made too much.
    pub fn render(&self, input: &PromptInput<'_>) -> Result<String, TemplateError> {
        let values = input.values();
        let mut parts = Vec::new();
        if !input.resumes {
            parts.push(input.preamble.unwrap_or_default().to_owned());
            parts.push(fill("system", self.system.as_deref(), &values)?);
        }
        parts.push(fill("task", self.task.as_deref(), &values)?);
        let parts = parts.iter().map(|part| part.trim());
        let said: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        Ok(guarded(said.join("\n\n")))
    }
}

/// What every template is tried on.
fn example() -> PromptInput<'static> {
    static NO_LABELS: BTreeSet<String> = BTreeSet::new();
    PromptInput {
        preamble: None,
        agent: "agent",
        role: None,
        id: "tsk_000000000000",
        title: "A title",
        description: "A description",
        labels: &NO_LABELS,
        scope: &[],
        attachments: &[],
        goal: None,
        dependencies: &[],
        feedback: None,
        previous_failure: None,
        previous_result: None,
        resumes: false,
        directory: Path::new("/repository"),
        workspace: WorkspaceMode::Worktree,
        branch: None,
    }
}

/// What `part` of a prompt says, by the user's `own` template or the built-in one.
fn fill(part: &'static str, own: Option<&str>, values: &Value) -> Result<String, TemplateError> {
    /// To compile the built-in templates takes several times as long as to fill them.
    static BUILT_IN_ONES: LazyLock<Environment<'static>> = LazyLock::new(built_in);
    /// Knows no template, so that the user's own can never reach one.
    static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(environment);
    let mut bounded = Bounded::default();
    let wrong = |error: &minijinja::Error| TemplateError::Wrong {
        part,
        place: error
            .line()
            .map_or_else(String::new, |line| format!(" in line {line}")),
        what: match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        },
    };
    let template = match own {
        Some(source) => PLAIN.template_from_named_str(part, source),
        None => BUILT_IN_ONES.get_template(part),
    };
    let filled = template
        .map_err(|error| wrong(&error))?
        .render_captured_to(values.clone(), &mut bounded)
        .map(drop);
    match filled {
        _ if bounded.is_full => Err(TemplateError::TooLong { part }),
        Err(error) => Err(wrong(&error)),
        Ok(()) => Ok(String::from_utf8_lossy(&bounded.bytes).into_owned()),
    }
}

fn built_in() -> Environment<'static> {
    let mut environment = environment();
    for (part, source) in BUILT_IN {
        let added = environment.add_template(part, source);
        added.expect("the built-in templates are templates");
    }
    environment
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    if let Ok(syntax) = syntax.build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.add_filter("one_line", one_line);
    environment.add_filter("quote", quote);
    environment
}

/// Takes what a template makes, up to [`PROMPT_BYTES`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > PROMPT_BYTES {
            self.is_full = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The text with something harmless before it, if it begins with anything but a word, and with a
/// line end behind it.
fn guarded(text: String) -> String {
    let first = text.trim_start().chars().next();
    match first {
        Some(first) if first.is_alphanumeric() => format!("{text}\n"),
        _ => format!("Your task:\n\n{text}\n"),
    }
}

/// Filter `one_line`: a text that must stay on its line.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Filter `quote`: words that say something and ask for nothing.
fn quote(text: &str) -> String {
    let lines = text.trim().lines();
    let quoted: Vec<String> = lines
        .map(|line| format!("> {line}").trim_end().to_owned())
        .collect();
    quoted.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use orch_core::run::FailureCode;

    fn input() -> PromptInput<'static> {
        PromptInput {
            agent: "ada",
            id: "tsk_7m3k9q2x4d1v",
            title: "Fix the login page",
            description: "",
            directory: Path::new("/repo/.orch/worktrees/tsk_7m3k9q2x4d1v"),
            branch: Some("orch/tsk_7m3k9q2x4d1v-fix-the-login-page"),
            ..example()
        }
    }

    fn rendered(input: &PromptInput<'_>) -> String {
        Templates::default().render(input).unwrap()
    }

    #[test]
    fn the_shortest_prompt() {
        insta::assert_snapshot!(rendered(&input()));
    }

    #[test]
    fn the_longest_prompt() {
        let labels = ["ui", "bug"].map(str::to_owned).into();
        let failure = Failure {
            code: FailureCode::AgentError,
            message: "API Error: 529\noverloaded".into(),
            evidence: "exit status 1".into(),
        };
        let text = rendered(&PromptInput {
            preamble: Some("You are a careful engineer.\n"),
            role: Some("frontend"),
            title: "Fix\nthe login page",
            description: "It shows nothing.\n\n    keep this indent\n",
            labels: &labels,
            scope: &["src/login/**".to_owned(), "docs/".to_owned()],
            attachments: &["/tmp/screen shot.png".to_owned()],
            goal: Some("Nobody is locked out"),
            dependencies: &[Dependency {
                id: "tsk_1m3k9q2x4d1v".into(),
                title: "Find out why".into(),
                result: "The cookie is too old.\n".into(),
            }],
            feedback: Some("No test.\n\nAnd the title is wrong."),
            previous_failure: Some(&failure),
            previous_result: Some("I changed the page."),
            directory: Path::new("/repo"),
            workspace: WorkspaceMode::Shared,
            branch: None,
            ..input()
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_session_that_goes_on_is_told_what_is_new() {
        let text = rendered(&PromptInput {
            preamble: Some("You are a careful engineer.\n"),
            description: "It shows nothing.",
            feedback: Some("No test."),
            previous_result: Some("I changed the page."),
            resumes: true,
            ..input()
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_prompt_never_begins_with_a_command_whatever_made_it() {
        let bare = Templates::new(Some(String::new()), Some("{{ task.description }}".into()));
        let bare = bare.unwrap();
        for words in [
            "/clear",
            "-p x",
            "!rm -rf ~",
            "\u{200b}",
            "",
            "\n\n /clear",
            "@file",
        ] {
            let text = bare
                .render(&PromptInput {
                    description: words,
                    ..input()
                })
                .unwrap();
            assert!(text.starts_with("Your task:"), "{words:?}: {text}");
            let text = rendered(&PromptInput {
                title: words,
                preamble: Some(words),
                ..input()
            });
            assert!(text.starts_with(char::is_alphanumeric), "{text}");
        }
    }

    #[test]
    fn words_of_a_task_are_never_evaluated() {
        let hostile =
            "{{ agent.name }}{% for x in range(9) %}{% include '/etc/passwd' %}{% endfor %}";
        let text = rendered(&PromptInput {
            title: hostile,
            description: hostile,
            feedback: Some(hostile),
            ..input()
        });
        assert_eq!(
            text.matches("{% include '/etc/passwd' %}").count(),
            3,
            "{text}"
        );
    }

    #[test]
    fn a_template_of_ones_own_stands_in_place_of_the_usual_one() {
        let own = "Do {{ task.title }}{% if feedback %} again: {{ feedback | quote }}{% endif %}";
        let templates = Templates::new(Some("Be brief.".into()), Some(own.into())).unwrap();
        let text = templates.render(&input()).unwrap();
        assert_eq!(text, "Be brief.\n\nDo Fix the login page\n");
    }

    #[test]
    fn what_is_wrong_with_a_template_is_told_before_it_is_used() {
        let cases = [
            ("one\n{{ task.titel }}", "in line 2"),
            ("{% if %}", "in line 1"),
            ("{% include \"/etc/passwd\" %}", "include"),
            ("{{ read_file(\"/etc/passwd\") }}", "read_file"),
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
                "fuel",
            ),
            (
                "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
                "bytes",
            ),
        ];
        for (source, said) in cases {
            let error = Templates::new(None, Some(source.into()))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(said) && error.contains("`task`"),
                "{source}: {error}"
            );
        }
    }

    /// What earlier runs said is bounded, however much it was.
    #[test]
    fn the_past_takes_up_a_bounded_part() {
        let long = "x".repeat(1 << 20);
        let many: Vec<Dependency> = (0..100)
            .map(|number| Dependency {
                id: format!("tsk_{number}"),
                title: "A title".into(),
                result: long.clone(),
            })
            .collect();
        let text = rendered(&PromptInput {
            dependencies: &many,
            previous_result: Some(&long),
            ..input()
        });
        assert!(text.len() < 100_000, "{}", text.len());
    }
}
