//! The throw-away repository in which an agent is tried out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orch_api::client::{Client, Next, RunQuery, StreamQuery};
use orch_api::types::NewTask;
use orch_daemon::config::{self, AgentEntry, AgentFields};
use orch_daemon::project::Project;
use orch_daemon::{Daemon, LogSink, Options};

use super::judge::{ASKED_FILE, ASKED_MESSAGE, Seen};
use super::{absolute, known};
use crate::error::{Kind, Result, UserError};
use crate::printer::Printer;
use crate::scratch::{Scratch, git, make, repository, write};

/// How long to wait for news before looking whether the daemon has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The stage. It vanishes with this value.
pub struct Stage {
    root: PathBuf,
    project: Project,
    /// What the file must say: not to be guessed from an earlier test.
    word: String,
    _scratch: Scratch,
}

impl Stage {
    /// Builds it for an agent of `project`.
    ///
    /// # Errors
    /// No git, or no place.
    pub fn build(project: &Project, agent: &AgentEntry) -> Result<Self> {
        let scratch = Scratch::make("orch-agent-test", false)?;
        let root = scratch.directory.join("project");
        make(&root)?;
        write(&root.join("README.md"), "A throw-away project of orch.\n")?;
        repository(&root, "orch agent test")?;
        let made = config::init(&root, Some("agent-test"), Some("main"))?.project;
        config::copy_adapter(project, &made, &agent.adapter, &known())?;
        config::add_agent(&made, &agent.name, &fields(project, agent), &known())?;
        // A person asked for this one small task: it does not wait for room on the disk.
        config::set(&made, "limits.free_space", "0B", &known())?;
        git(&root, &["add", "--all"])?;
        git(&root, &["commit", "--quiet", "--message=Start of the test"])?;
        Ok(Self {
            root,
            project: made,
            word: format!("orch {}", std::process::id()),
            _scratch: scratch,
        })
    }

    /// Has the agent do the task, within `timeout_ms`, and says what came of it.
    ///
    /// # Errors
    /// orch itself could not do it.
    pub fn play(&self, printer: &Arc<Printer>, timeout_ms: u64) -> Result<Seen> {
        let client = orch_daemon::connect(&self.project, &LogSink::silent())?;
        client.add_task(&self.task(timeout_ms))?;
        drop(client);
        let options = Options {
            once: true,
            signals: true,
            // Who tries an agent out does not want its work.
            stop_at_once: true,
            ..Options::default()
        };
        let daemon = Daemon::start(&self.project, options, told_of_signals(printer))?;
        let (client, drain) = (daemon.client()?, daemon.drainer());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| leave_at_a_limit(client, drain, &over));
            // How it ended says the run itself.
            let _end = daemon.wait();
            over.store(true, Ordering::Release);
        });
        let client = orch_daemon::connect(&self.project, &LogSink::silent())?;
        self.look(&client)
    }

    fn task(&self, timeout_ms: u64) -> NewTask {
        NewTask {
            title: "Check that you can work here".to_owned(),
            description: format!(
                "Make a file {ASKED_FILE} in this directory whose only line is:\n\n    {}\n\n\
                 Commit it with the message: {ASKED_MESSAGE}\n\nDo nothing else.",
                self.word
            ),
            max_attempts: Some(1),
            timeout_ms: Some(timeout_ms),
            ..NewTask::default()
        }
    }

    fn look(&self, client: &Client) -> Result<Seen> {
        let runs = client.runs(&RunQuery::default())?;
        let Some(run) = runs.into_iter().next() else {
            return Err(interrupted(
                "the test was stopped before the agent was started",
            ));
        };
        if run
            .failure
            .as_ref()
            .is_some_and(|it| it.code == INTERRUPTED)
        {
            return Err(interrupted("the test was stopped, and its agent with it"));
        }
        let at = |what: &[&str]| git(&self.root, what).unwrap_or_default();
        let wait = client.task(&run.task_id)?.wait;
        let commit = run.commit.as_deref().unwrap_or("main");
        let file = at(&["show", &format!("{commit}:{ASKED_FILE}")]);
        let messages = at(&["log", "--format=%s", &format!("main..{commit}")]);
        let changed = at(&["diff", "--name-only", "-z", &format!("main...{commit}")]);
        let others = changed
            .split('\0')
            .filter(|name| !name.is_empty() && *name != ASKED_FILE);
        Ok(Seen {
            wrote: file.trim() == self.word,
            others: others.map(str::to_owned).collect(),
            committed: messages.lines().any(|line| line.contains(ASKED_MESSAGE)),
            until: wait.and_then(|wait| wait.until),
            run,
        })
    }
}

/// What orch calls a run that it was told to stop.
const INTERRUPTED: &str = "interrupted";

fn interrupted(message: &str) -> UserError {
    UserError::new(Kind::TryLater, INTERRUPTED, message)
        .hint("nothing of it is left; the same command tries again")
}

/// Says at once that a signal was heard: the agent may take its time to end.
fn told_of_signals(printer: &Arc<Printer>) -> LogSink {
    let printer = Arc::clone(printer);
    LogSink::new(move |lines| {
        if lines.iter().any(|line| line.event == "stopping") {
            // Talk that nobody hears is no error.
            let _ = printer.talk("Stopping the agent; it may take a moment to tidy up.");
        }
    })
}

/// Has the daemon end when a limit holds the task up: a task waits for its limit, however long
/// that is; who tries an agent out does not. Returns when the daemon is over.
fn leave_at_a_limit(client: Client, drain: impl Fn(), over: &AtomicBool) {
    let query = StreamQuery {
        after: Some(0),
        follow: true,
        ..StreamQuery::default()
    };
    let Ok(mut events) = client.events(&query) else {
        return;
    };
    while !over.load(Ordering::Acquire) {
        match events.next_event(Some(LOOK_EVERY)) {
            Ok(Next::Item(event)) if event.event == "task_limited" => return drain(),
            Ok(Next::Item(_) | Next::Quiet) => {}
            Ok(Next::End) | Err(_) => return,
        }
    }
}

/// The agent as it is, where its paths count from another place.
fn fields(project: &Project, agent: &AgentEntry) -> AgentFields {
    let holds = |path: &str| absolute(&project.root, path).display().to_string();
    let kind = agent.kind();
    let of_own = agent.own.as_ref().and_then(|own| own.command.first());
    let of_own = of_own.filter(|program| program.contains('/'));
    let command = agent.command.as_ref().or(of_own).map(|command| {
        // Of others it is a whole command line, in which any word may be a path.
        let names_program = of_own.is_some() || kind.is_some_and(|kind| kind.program.is_some());
        match names_program && command.contains('/') {
            true => holds(command),
            false => command.clone(),
        }
    });
    let variables = agent.env.iter();
    AgentFields {
        adapter: Some(agent.adapter.clone()),
        model: agent.model.clone(),
        role: agent.role.clone(),
        command,
        system_prompt: agent.system_prompt.clone(),
        permission: agent.permission.clone(),
        effort: agent.effort.clone(),
        mcp: agent.mcp.as_deref().map(holds),
        max_turns: agent.max_turns,
        env: variables
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect(),
        args: Some(agent.args.clone()),
        ..AgentFields::default()
    }
}
