//! Starting the agent of a recorded run, and finding a run again that an earlier daemon started.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use orch_core::engine::Input;
use orch_core::request::Request;
use orch_core::run::{Failure, FailureCode, Run, RunState};
use orch_core::task::{Task, WorkspaceMode};
use orch_core::{RunId, Timestamp};
use orch_host::adapter::{
    self, Adapter, Definition, Invocation, McpServer, Occasion, SettingsError,
};
use orch_host::consent::{self, Found, Trusted};
use orch_host::environment::{self, EnvError};
use orch_host::errno;
use orch_host::facts;
use orch_host::failpoint::{self, Point};
use orch_host::prompt::PromptInput;
use orch_host::run_dir::RunDir;
use orch_host::supervise::{self, Limits, Spec, Standing};

use super::attend::Output;
use super::live::LiveRun;
use super::machine::Machine;
use crate::brief::{self, Past};
use crate::config::{AgentEntry, Loaded};
use crate::convert;
use crate::log::chain;
use crate::shared::locked;
use crate::vital::caught;

/// Who recorded a run that is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This daemon, just now: nobody else can have started anything of it.
    New,
    /// An earlier daemon, or this one some time ago: a supervisor of it may be on its way.
    Earlier,
}

impl Machine {
    /// Starts the agent; whatever goes wrong before it exists is reported as `not_started`.
    pub(super) fn start(&self, run: Run, task: Task, origin: Origin, output: &Output) {
        let (again, id) = ((run.clone(), task.clone()), run.id.clone());
        let agreed = self.agreed_bytes();
        let started = caught(|| {
            failpoint::hit(Point::StartTaken);
            self.try_start(run, task, output)
        })
        .unwrap_or_else(|panic| {
            let evidence = "starting the agent";
            Err(failure(FailureCode::SpawnFailed, panic, evidence))
        });
        let started = started.map_err(|failure| self.blame_the_disk(failure));
        let Err(failure) = started else { return };
        let lacks_consent = failure.code == FailureCode::NeedsConsent;
        if self.abandon(&id, failure, origin) {
            if lacks_consent && self.agreed_bytes() != agreed {
                // It was given between the look and the news of what was missing.
                self.tell(Input::Request(Request::Agreed));
            }
        } else {
            // A supervisor of an earlier daemon was quicker: the run stands as it stands.
            let dir = RunDir::new(&self.shared.project.runs(), &id);
            if let Ok(adapter) = self.adapter_of(&again.0, &dir) {
                let live = self.attend(again.0, again.1, dir, adapter, output);
                live.launched.store(true, Ordering::Release);
            }
        }
    }

    /// Whatever it was that found no room: it passes, and the task did nothing wrong.
    fn blame_the_disk(&self, failure: Failure) -> Failure {
        let is_about_files = matches!(
            failure.code,
            FailureCode::WorkspaceFailed | FailureCode::SpawnFailed | FailureCode::NoResources
        );
        if !is_about_files || !self.lacks_space(&failure.message) {
            return failure;
        }
        Failure {
            code: FailureCode::NoResources,
            message: format!("no space left on the disk: {}", failure.message),
            ..failure
        }
    }

    /// Reports that a run will not be started, once nobody else can start it any more.
    pub(super) fn abandon(&self, run: &RunId, failure: Failure, origin: Origin) -> bool {
        let dir = RunDir::new(&self.shared.project.runs(), run);
        let launched = origin == Origin::Earlier
            || self
                .live(run)
                .is_some_and(|live| live.launched.load(Ordering::Acquire));
        match supervise::forestall(&dir) {
            Ok(true) => {}
            Ok(false) => return false,
            // Nobody was ever asked to start it, so there is nobody to be shut out.
            Err(_) if !launched => {}
            Err(error) => {
                self.warn(run, format!("its launch gate cannot be shut: {error}"));
                return false;
            }
        }
        self.tell_failed(run, failure);
        true
    }

    fn try_start(&self, run: Run, task: Task, output: &Output) -> Result<(), Failure> {
        let config = self.shared.config();
        let entry = config.agent(&run.agent).ok_or_else(|| {
            let message = format!("agent '{}' is no longer configured", run.agent);
            failure(FailureCode::SpawnFailed, message, "looked up in orch.toml")
        })?;
        let dir = RunDir::new(&self.shared.project.runs(), &run.id);
        let own = entry.own.as_ref().filter(|own| own.name == run.adapter);
        let adapter = match own {
            Some(definition) => definition.adapter(),
            None => self.adapter_of(&run, &dir)?,
        };
        let place = || dir.path().display().to_string();
        let spawn_failed = |what: &str, error: &(dyn std::error::Error + 'static)| {
            let failed = failed(FailureCode::SpawnFailed, error, &place());
            let message = format!("{what}: {}", failed.message);
            Failure { message, ..failed }
        };
        dir.create()
            .map_err(|error| spawn_failed("making the run directory", &error))?;
        failpoint::hit(Point::DirectoryMade);
        let workspace = self.workspace(&task, &run)?;
        self.note_begin(&task, &run, &dir);
        failpoint::hit(Point::WorktreeReady);
        self.ask_for_consent(adapter, &workspace)?;
        let past = Past::of(&self.shared, &task, Some(&run));
        self.refuse_moved(&run, past.runs(), &workspace)?;
        let unread = |error| spawn_failed("reading what the configuration names", &error);
        let servers = brief::mcp_servers(&self.shared.project, entry).map_err(unread)?;
        let templates = brief::templates(&self.shared.project, &config).map_err(unread)?;
        let mut invocation = self
            .invocation(entry, adapter, &run, &workspace, &dir, &servers)
            .map_err(|error| spawn_failed("reading the agent's settings", &error))?;
        let prompt = past.tell(PromptInput {
            preamble: invocation.preamble.as_deref(),
            role: entry.role.as_deref(),
            resumes: run.resumed_session.is_some(),
            ..PromptInput::new(&task, run.agent.as_str(), &workspace, run.branch.as_deref())
        });
        let prompt = templates
            .render(&prompt)
            .map_err(|error| spawn_failed("making the prompt", &error))?;
        write_private(&dir.prompt(), &prompt)
            .map_err(|error| spawn_failed("writing the prompt", &error))?;
        complete_own(own, entry, &dir, &prompt, &mut invocation)
            .map_err(|error| spawn_failed("making the adapter's command", error.as_ref()))?;
        write_files(&dir, &invocation)
            .map_err(|error| spawn_failed("writing the agent's files", &error))?;
        failpoint::hit(Point::PromptWritten);
        let environment = self.environment(entry, adapter, &invocation, &task, &run, &dir)?;
        let spec = self.spec(
            &run,
            &task,
            &config,
            invocation,
            environment,
            &workspace,
            &dir,
        );
        let live = self.attend(run, task, dir, adapter, output);
        live.launched.store(true, Ordering::Release);
        self.launcher
            .launch(&live.dir, &spec)
            .map_err(|error| failed(FailureCode::NoResources, &error, "starting the supervisor"))
    }

    /// Puts a run under watch, before anything of it can happen. One that is watched already goes
    /// on: two readers of one output would both write what it means.
    fn attend(
        &self,
        run: Run,
        task: Task,
        dir: RunDir,
        adapter: &'static Adapter,
        output: &Output,
    ) -> Arc<LiveRun> {
        let limits = limits(&task, &self.shared.config());
        let live = {
            let mut runs = locked(&self.runs);
            let live = runs
                .entry(run.id.clone())
                .or_insert_with(|| Arc::new(LiveRun::new(run, task, dir, adapter, &limits)));
            Arc::clone(live)
        };
        *locked(&live.since) = Instant::now();
        output.watch(&live.run.id, &live.dir);
        live
    }

    fn workspace(&self, task: &Task, run: &Run) -> Result<PathBuf, Failure> {
        match (task.workspace, &run.branch) {
            (WorkspaceMode::Worktree, Some(branch)) => self
                .workspaces()
                .and_then(|workspaces| workspaces.prepare(&task.id, branch))
                .map_err(|error| {
                    let place = format!("branch {branch}");
                    failed(FailureCode::WorkspaceFailed, &error, &place)
                }),
            _ => Ok(self.shared.project.root.clone()),
        }
    }

    /// What reads a run: a kind of this version, or one of the user's own, as it was when the run
    /// was started or, if that was not written down yet, as it is now.
    fn adapter_of(&self, run: &Run, dir: &RunDir) -> Result<&'static Adapter, Failure> {
        let own = || {
            let kept = Definition::kept(&dir.definition());
            let config = self.shared.config();
            let mut configured = config.own_adapters.iter();
            let configured = || configured.find(|it| it.name == run.adapter).cloned();
            let definition = kept.or_else(configured)?;
            Some(definition.adapter())
        };
        adapter::find(&run.adapter).or_else(own).ok_or_else(|| {
            let message = format!("there is no adapter '{}' any more", run.adapter);
            let evidence = "looked up among the adapters and in orch.toml";
            failure(FailureCode::SpawnFailed, message, evidence)
        })
    }

    /// Refuses to start a program on configuration of the repository that nobody has agreed to.
    fn ask_for_consent(&self, adapter: &Adapter, workspace: &Path) -> Result<(), Failure> {
        if consent::paths(adapter.name).is_empty() {
            return Ok(());
        }
        let workspaces = self.workspaces().map_err(|error| {
            failed(
                FailureCode::WorkspaceFailed,
                &error,
                "opening the repository",
            )
        })?;
        let unsure = |error: &(dyn std::error::Error + 'static)| {
            let message = format!("whether it may be started cannot be told: {}", chain(error));
            failure(
                FailureCode::NeedsConsent,
                message,
                workspace.display().to_string(),
            )
        };
        let found = consent::look(workspaces.repository(), workspace, adapter.name)
            .map_err(|error| unsure(&error))?;
        if found.is_empty() {
            return Ok(());
        }
        let trusted =
            Trusted::read(&self.shared.project.trusted()).map_err(|error| unsure(&error))?;
        let unknown = trusted.unknown(&found);
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(needs_consent(adapter.name, &unknown)),
        }
    }

    /// How much has been agreed to: a file that is only ever added to.
    fn agreed_bytes(&self) -> u64 {
        let noted = fs::symlink_metadata(self.shared.project.trusted());
        noted.map_or(0, |noted| noted.len())
    }

    /// Writes down where the run's branch stands, so that what the agent does to it can be
    /// counted. Where that fails it is not counted, which is no reason not to start.
    fn note_begin(&self, task: &Task, run: &Run, dir: &RunDir) {
        let Some(branch) = &run.branch else { return };
        let tip = self
            .workspaces()
            .and_then(|workspaces| workspaces.tip(&task.id, branch));
        let noted = match tip {
            Ok(Some(tip)) => write_private(&dir.begin(), &tip).map_err(|error| chain(&error)),
            Ok(None) => Ok(()),
            Err(error) => Err(chain(&error)),
        };
        if let Err(error) = noted {
            self.warn(
                &run.id,
                format!("what it changes will not be counted: {error}"),
            );
        }
    }

    fn invocation(
        &self,
        entry: &AgentEntry,
        adapter: &Adapter,
        run: &Run,
        workspace: &Path,
        dir: &RunDir,
        servers: &[McpServer],
    ) -> Result<Invocation, SettingsError> {
        let mut invocation = adapter.start(
            &entry.settings(),
            &Occasion {
                session: run.resumed_session.as_deref(),
                directory: workspace,
                files: &dir.agent_files(),
                mcp: servers,
                orch: &shim_program(),
            },
        )?;
        past_the_wrapper(adapter, workspace, &mut invocation);
        Ok(invocation)
    }

    /// A session belongs to the directory it was made in: elsewhere some agents do not find it and
    /// others work in the old place. The repository may have been moved since.
    fn refuse_moved(&self, run: &Run, runs: &[Run], workspace: &Path) -> Result<(), Failure> {
        let Some(session) = &run.resumed_session else {
            return Ok(());
        };
        let had_it = |other: &&Run| {
            let said = other.ending().and_then(|ending| ending.session_id.as_ref());
            said.or(other.resumed_session.as_ref()) == Some(session)
        };
        let place = |other: &Run| {
            let dir = RunDir::new(&self.shared.project.runs(), &other.id);
            supervise::directory_of(&dir)
        };
        match runs.iter().filter(had_it).find_map(place) {
            Some(before) if before != workspace => Err(failure(
                FailureCode::SessionGone,
                "its session was made in another directory",
                format!("{}, and now {}", before.display(), workspace.display()),
            )),
            _ => Ok(()),
        }
    }

    fn environment(
        &self,
        entry: &AgentEntry,
        adapter: &Adapter,
        invocation: &Invocation,
        task: &Task,
        run: &Run,
        dir: &RunDir,
    ) -> Result<Vec<(String, String)>, Failure> {
        let mut environment =
            environment::allow_list(adapter, invocation, &entry.env, std::env::vars_os())
                .map_err(|error| no_environment(run, &error))?;
        let own = [
            ("ORCH_TASK_ID", task.id.to_string()),
            ("ORCH_RUN_ID", run.id.to_string()),
            ("ORCH_AGENT", run.agent.to_string()),
            ("ORCH_ATTEMPT", run.attempt.to_string()),
            ("ORCH_PROMPT_FILE", dir.prompt().display().to_string()),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        // A command of the user's own reads the user's own configuration, and asking git costs as
        // much as a short command.
        if adapter.program.is_some() || adapter.has_result_event {
            self.add_identity(&mut environment);
        }
        Ok(environment)
    }

    /// Says who commits. Not every agent lets git read the user's own configuration.
    fn add_identity(&self, environment: &mut Vec<(String, String)>) {
        let Ok((name, email)) = self
            .workspaces()
            .and_then(|workspaces| workspaces.identity())
        else {
            return;
        };
        for (variable, value) in [
            ("GIT_AUTHOR_NAME", &name),
            ("GIT_AUTHOR_EMAIL", &email),
            ("GIT_COMMITTER_NAME", &name),
            ("GIT_COMMITTER_EMAIL", &email),
        ] {
            if !environment.iter().any(|(known, _)| known == variable) {
                environment.push((variable.to_owned(), value.clone()));
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "it gathers what a run consists of, once"
    )]
    fn spec(
        &self,
        run: &Run,
        task: &Task,
        config: &Loaded,
        invocation: Invocation,
        environment: Vec<(String, String)>,
        workspace: &Path,
        dir: &RunDir,
    ) -> Spec {
        Spec {
            run: run.id.clone(),
            task: task.id.clone(),
            attempt: run.attempt,
            argv: invocation.argv.into_iter().map(Into::into).collect(),
            env: environment
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cwd: workspace.to_owned(),
            stdin: invocation.prompt_on_stdin.then(|| dir.prompt()),
            limits: limits(task, config),
            stop_signal: invocation.stop_signal,
            news: self.shared.project.news_socket(),
            boot: run.boot.clone(),
        }
    }

    /// Finds out how a run stands that an earlier daemon had in hand. Whatever goes wrong, the run
    /// is watched afterwards: one that nobody looks at would stay as it is for ever.
    pub(super) fn adopt(&self, run: Run, task: Task, output: &Output) {
        let (again, of) = ((run.clone(), task.clone()), run.id.clone());
        if let Err(panic) = caught(|| self.try_adopt(run, task, output)) {
            self.warn(&of, panic);
            let dir = RunDir::new(&self.shared.project.runs(), &of);
            if let Ok(adapter) = self.adapter_of(&again.0, &dir) {
                self.attend(again.0, again.1, dir, adapter, output);
            }
        }
    }

    fn try_adopt(&self, run: Run, task: Task, output: &Output) {
        let dir = RunDir::new(&self.shared.project.runs(), &run.id);
        let adapter = match self.adapter_of(&run, &dir) {
            Ok(adapter) => adapter,
            // It may be at work all the same, started by another version.
            Err(failure) => {
                if !self.abandon(&run.id, failure.clone(), Origin::Earlier) {
                    self.warn(&run.id, format!("left as it is: {}", failure.message));
                }
                return;
            }
        };
        failpoint::hit(Point::Adopting);
        let standing = inspect_recorded(&dir, &run);
        failpoint::hit(Point::Adopted);
        match standing {
            Ok(Standing::Fresh) if run.stop.is_some() => {
                if !self.abandon(&run.id, stopped_before_start(), Origin::Earlier) {
                    self.attend(run, task, dir, adapter, output);
                }
            }
            // The one who starts it again is the daemon that serves; a passing command leaves it.
            Ok(Standing::Fresh) if self.shared.follows => {
                self.start(run, task, Origin::Earlier, output);
            }
            Ok(Standing::Fresh) => {}
            Ok(standing) => {
                let live = self.attend(run, task, dir, adapter, output);
                self.look(&live, standing);
            }
            Err(error) => {
                self.warn(&run.id, format!("its directory cannot be read: {error}"));
                self.attend(run, task, dir, adapter, output);
            }
        }
    }

    /// Takes in how a run stands.
    pub(super) fn look(&self, live: &Arc<LiveRun>, standing: Standing) {
        match standing {
            Standing::Fresh | Standing::Launching => {}
            Standing::Running { started_at } => self.spawned(live, started_at),
            Standing::Unsupervised { started_at, .. } => {
                self.spawned(live, started_at.unwrap_or_else(convert::now));
            }
            standing @ (Standing::Ended(_) | Standing::NotStarted(_) | Standing::Lost(_)) => {
                if live.claim_harvest() {
                    self.harvest(live, standing);
                }
            }
        }
    }

    /// Notes that the agent's process exists.
    pub(super) fn spawned(&self, live: &LiveRun, at: Timestamp) {
        if !live.spawned_told.swap(true, Ordering::AcqRel) {
            failpoint::hit(Point::RunningHeard);
            self.tell(Input::Spawned {
                run: live.run.id.clone(),
                at,
            });
        }
    }
}

fn limits(task: &Task, config: &Loaded) -> Limits {
    Limits {
        timeout_ms: task.timeout_ms,
        stall_ms: task.stall_ms,
        output_bytes: Some(config.limits.output_bytes),
        stop_grace_ms: config.limits.stop_grace_ms,
        leak_grace_ms: config.limits.leak_grace_ms,
    }
}

/// How a run stands.
pub(super) fn inspect(dir: &RunDir, run: &Run) -> std::io::Result<Standing> {
    supervise::inspect(dir, &run.id, run.attempt, run.boot.as_deref())
}

/// How a recorded run stands. The directory of a run that was only just recorded may not have
/// been made yet; for any other it is missed, and so is what lay in it.
fn inspect_recorded(dir: &RunDir, run: &Run) -> std::io::Result<Standing> {
    let standing = inspect(dir, run)?;
    let missed = matches!(&standing, Standing::Lost(why) if why.code == FailureCode::RecordMissing);
    Ok(match standing {
        Standing::Lost(_) if missed && run.state == RunState::Starting => Standing::Fresh,
        Standing::Fresh if run.state == RunState::Running => Standing::Lost(failure(
            FailureCode::RecordMissing,
            "the files that say how far the run got are gone",
            format!(
                "it was recorded as running and {} says that it never started",
                dir.path().display()
            ),
        )),
        standing => standing,
    })
}

/// Only a person can mend it, so it is not tried again.
fn no_environment(run: &Run, error: &EnvError) -> Failure {
    let agent = &run.agent;
    let mend = match error {
        EnvError::Missing { reference, name } => format!(
            "export {reference} and start orch again, or: orch agent edit {agent} --env \
             {name}=VALUE; then: orch task retry {}",
            run.task
        ),
        _ => format!("mend it in orch.toml, then: orch task retry {}", run.task),
    };
    failure(
        FailureCode::NotExecutable,
        format!("the environment of agent '{agent}' cannot be made: {error}; {mend}"),
        "its `env` in orch.toml, and the environment that orch was started with",
    )
}

fn needs_consent(adapter: &str, unknown: &[Found]) -> Failure {
    let paths: Vec<String> = unknown.iter().map(|it| it.path.clone()).collect();
    let digests = unknown.iter().take(20);
    let digests: Vec<String> = digests
        .map(|it| format!("{} {}", it.digest, it.path))
        .collect();
    failure(
        FailureCode::NeedsConsent,
        format!(
            "{adapter} would read configuration of this repository that can run code and that \
             nobody has agreed to: {}; look at it, then 'orch agent trust'",
            orch_core::text::named(&paths)
        ),
        digests.join(", "),
    )
}

/// Puts the native program of a known agent in the place of the script that npm installs for it:
/// signals to the script do not reach the program.
fn past_the_wrapper(adapter: &Adapter, workspace: &Path, invocation: &mut Invocation) {
    // Any other command line is the user's own words, or orch's.
    let (Some(_), Some(program)) = (adapter.program, invocation.argv.first_mut()) else {
        return;
    };
    let found = facts::program::find(program, workspace);
    if let Some(native) = found.and_then(|path| facts::native(&path))
        && let Some(native) = native.to_str()
    {
        native.clone_into(program);
    }
}

/// For an adapter of the user's own: the prompt, where its command wants it, and what the output
/// will be read by.
fn complete_own(
    own: Option<&Definition>,
    entry: &AgentEntry,
    dir: &RunDir,
    prompt: &str,
    invocation: &mut Invocation,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(definition) = own else {
        return Ok(());
    };
    definition.complete(
        &mut invocation.argv,
        &dir.prompt(),
        prompt,
        &entry.settings(),
    )?;
    Ok(write_private(&dir.definition(), &definition.to_keep())?)
}

/// Writes what the agent needs beside its prompt. Nothing is written for one that needs nothing.
fn write_files(dir: &RunDir, invocation: &Invocation) -> std::io::Result<()> {
    if invocation.files.is_empty() {
        return Ok(());
    }
    dir.create_agent_files()?;
    for (name, text) in &invocation.files {
        let path = dir.agent_files().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        write_private(&path, text)?;
    }
    Ok(())
}

/// Writes a file that nobody else may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// This very binary: the supervisor is its hidden subcommand. An upgrade replaces the file by
/// another; the kernel keeps the one that runs reachable under this name.
pub(super) fn shim_program() -> PathBuf {
    let kept = Path::new("/proc/self/exe");
    if kept.exists() {
        return kept.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("orch"))
}

/// What an error means for a start: `code`, unless the machine has nothing left to give, which is
/// nobody's fault and passes.
fn failed(code: FailureCode, error: &(dyn std::error::Error + 'static), place: &str) -> Failure {
    let root = errno::root(error);
    let code = match root {
        Some(root) if errno::is_exhausted(root) => FailureCode::NoResources,
        _ => code,
    };
    let evidence = match root {
        Some(root) => format!("{place}: {}", errno::named(root)),
        None => place.to_owned(),
    };
    failure(code, chain(error), evidence)
}

/// What becomes of a run that was asked to stop before anything of it was there.
pub(super) fn stopped_before_start() -> Failure {
    failure(
        FailureCode::Interrupted,
        "stopped before the agent was started",
        "its launch gate was shut",
    )
}

/// A failure of the machine before the agent could be started.
fn failure(code: FailureCode, message: impl Into<String>, evidence: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        evidence: evidence.into(),
    }
}
