//! One trial: a fresh repository, a clean home, the real program, the real orch; and what orch
//! recorded in the end.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use orch_field::{Project, Served, text};
use orch_model::{Seen, Server};
use serde_json::Value;

use super::case::{Act, Case, Plan};
use super::expected::{self, Expected};
use super::processes;
use super::programs::{self, Place, Program};
use super::stop;

/// What a project is set up with besides its agent: one attempt, and nothing lands by itself.
const CONFIG: &str = "[defaults]\nmax_attempts = 1\n";
/// What the agent is asked. The server looks whether it arrived.
pub const PROMPT: &str =
    "Please do the task that stands here. Häßliche \"quotes\" and $(this) too.";
/// What is said when work is sent back.
const FEEDBACK: &str = "Once more, and this time remember the word.";
/// Longest a trial may take before its daemon is killed and the trial is wrong.
const LONGEST: Duration = Duration::from_secs(420);
/// Longest an agent may take until its tool runs.
const TOOL_WITHIN: Duration = Duration::from_secs(180);
/// How often to look whether a tool runs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all trials share.
pub struct Stage {
    /// The orch that is tried.
    pub orch: PathBuf,
    /// The model.
    pub server: Server,
    /// Where the programs are installed.
    pub tools: PathBuf,
    /// This program, which also is the MCP server.
    pub this: PathBuf,
    /// Where to keep projects, if they are kept.
    pub keep: Option<PathBuf>,
}

/// What was recorded of a trial.
#[derive(Default)]
pub struct Recorded {
    /// The last run, as `orch runs --json` shows it; null if orch refused the agent.
    pub run: Value,
    /// The run before it, where there is one.
    pub before: Value,
    /// What orch said when it refused the agent.
    pub refusal: Option<String>,
    /// `orch why`.
    pub why: Value,
    /// Subjects of the commits on the task's branch, newest first.
    pub commits: Vec<String>,
    /// Files on the task's branch.
    pub files: Vec<String>,
    /// Processes that were left.
    pub left: Vec<String>,
    /// What the model was asked.
    pub seen: Vec<Seen>,
    /// How long it took.
    pub took: Duration,
}

impl Recorded {
    /// Status and code in one text, like `failed auth_failed`.
    pub fn outcome(&self) -> String {
        if self.refusal.is_some() {
            return "refused".to_owned();
        }
        let status = self.run["status"].as_str().unwrap_or("?");
        match self.run["failure"]["code"].as_str() {
            Some(code) => format!("{status} {code}"),
            None => status.to_owned(),
        }
    }
}

impl Stage {
    /// Plays one trial.
    ///
    /// # Errors
    /// orch or git did what they must never do in any trial.
    pub fn play(&self, program: &Program, case: Case) -> Result<Recorded> {
        let label = format!("{}-{case}", program.name);
        self.in_project(&label, |project| self.trial(project, program, case, &label))
    }

    /// Does something in a fresh project of its own and leaves nothing running, whatever happens.
    ///
    /// # Errors
    /// It failed or panicked, or the project cannot be kept.
    pub fn in_project<T>(
        &self,
        label: &str,
        work: impl FnOnce(&Project) -> Result<T>,
    ) -> Result<T> {
        stop::check()?;
        let project = caught(|| Ok(Project::with_binary(self.orch.clone(), CONFIG)))?;
        let done = caught(|| work(&project));
        processes::end(&project.outside(""));
        if let Some(place) = &self.keep {
            keep(project, &place.join(label))?;
        }
        done
    }

    fn trial(
        &self,
        project: &Project,
        program: &Program,
        case: Case,
        label: &str,
    ) -> Result<Recorded> {
        let start = Instant::now();
        let started = project.outside("tool-runs");
        let plan = case.plan(&started);
        let base = self.server.base(&plan.scenario, label);
        let refusal = self.add_agent(project, program, &plan, &base, "worker")?;
        if refusal.is_some() {
            return Ok(Recorded {
                refusal,
                ..Recorded::default()
            });
        }
        let task = add_task(project, expected::of(program.name, case), "worker");
        let mut served = project.serve_with(&[], &key());
        let watchdog = Watchdog::over(&served);
        act(project, &mut served, &plan, &task, &started)?;
        let recorded = self.recorded(project, &task, label);
        drop(watchdog);
        served.drain();
        Ok(Recorded {
            left: processes::left_in(&project.outside("")),
            took: start.elapsed(),
            ..recorded
        })
    }

    /// What is known of a task whose runs are over, besides what still runs and how long it took.
    pub fn recorded(&self, project: &Project, task: &str, label: &str) -> Recorded {
        let runs = project.json(&["runs", "--task", task]);
        // After a session that is gone the next attempt begins at once.
        let over = |run: &&Value| !matches!(text(run, "status"), "starting" | "running");
        let mut runs = runs.as_array().into_iter().flatten().filter(over).cloned();
        let (run, before) = (runs.next().unwrap_or_default(), runs.next());
        let branch = run["branch"].as_str().unwrap_or("main").to_owned();
        let lines = |arguments: &[&str]| {
            let text = project.git(arguments);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        Recorded {
            run,
            before: before.unwrap_or_default(),
            why: project.json(&["why", task]),
            commits: lines(&["log", "--format=%s", &format!("main..{branch}")]),
            files: lines(&["ls-tree", "-r", "--name-only", &branch]),
            seen: self.server.seen(label),
            ..Recorded::default()
        }
    }

    /// Adds the agent as a user would; what orch said if it refused.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn add_agent(
        &self,
        project: &Project,
        program: &Program,
        plan: &Plan,
        base: &str,
        name: &str,
    ) -> Result<Option<String>> {
        let home = project.outside("home");
        let binary = program.package.program_in(&self.tools);
        let place = Place {
            base,
            login: plan.login,
        };
        let setup = (program.setup)(&place);
        for (path, text) in &setup.files {
            write(&home.join(path), text)?;
        }
        self.share_cache(program, &home)?;
        let mut command = vec![binary.to_string_lossy().into_owned()];
        command.extend(setup.words.iter().map(|word| (*word).to_owned()));
        let command = command.join(" ");
        let mut arguments = vec!["agent", "add", name, "--adapter", program.adapter];
        arguments.extend(["--command", &command]);
        arguments.extend(["--permission", plan.permission]);
        arguments.extend(setup.options.iter().map(String::as_str));
        if let Some(turns) = plan.turns {
            arguments.extend(["--max-turns", turns]);
        }
        if plan.mcp {
            let servers = programs::mcp_file(&self.this).to_string();
            fs::write(project.root().join("mcp.json"), servers)?;
            arguments.extend(["--mcp", "mcp.json"]);
        }
        let output = project.output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((!output.status.success()).then_some(said))
    }

    /// Some programs unpack hundreds of megabytes into the cache of each home.
    fn share_cache(&self, program: &Program, home: &Path) -> Result<()> {
        let shared = self.tools.join("cache").join(program.package.program);
        fs::create_dir_all(&shared)?;
        let cache = home.join(".cache");
        if !cache.exists() {
            std::os::unix::fs::symlink(shared, cache)?;
        }
        Ok(())
    }
}

/// In the field a panic is the report.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        bail!("panicked: {}", words.unwrap_or("without words"))
    })
}

/// The key, as a variable of whoever starts the daemon.
pub fn key() -> [(&'static str, PathBuf); 1] {
    let (name, key) = programs::KEY;
    [(name, PathBuf::from(key))]
}

/// Adds the task of a trial; its id.
pub fn add_task(project: &Project, expected: &Expected, agent: &str) -> String {
    let limits = ["--timeout", expected.timeout(), "--agent", agent];
    let mut options = vec!["--description", PROMPT];
    options.extend(limits);
    project.add("Trial", &options)
}

/// Leaves a project where a person can look.
fn keep(project: Project, target: &Path) -> Result<()> {
    let from = project.keep();
    fs::create_dir_all(target.parent().context("a place to keep projects in")?)?;
    // What an earlier call left there is of no use any more.
    let _ = fs::remove_dir_all(target);
    let status = Command::new("cp")
        .arg("-a")
        .arg(&from)
        .arg(target)
        .status()?;
    ensure!(status.success(), "{} cannot be kept", from.display());
    fs::remove_dir_all(&from).with_context(|| format!("removing {}", from.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().context("a file has a directory")?;
    fs::create_dir_all(parent)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Does what the plan says and waits until the task is at rest.
fn act(
    project: &Project,
    served: &mut Served,
    plan: &Plan,
    task: &str,
    started: &Path,
) -> Result<()> {
    match plan.act {
        Act::Wait => {}
        Act::Cancel => {
            wait_for_tool(project, task, started)?;
            project.ok(&["task", "cancel", task]);
        }
        Act::Signal(signal) => {
            wait_for_tool(project, task, started)?;
            let record = project.run_dir(&project.last_run(task)).join("pid.json");
            let record: Value = serde_json::from_str(&fs::read_to_string(record)?)?;
            let number = record["pid"]
                .as_i64()
                .and_then(|pid| i32::try_from(pid).ok());
            let pid = number.and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.context("the agent's number")?, signal)?;
        }
        Act::Reject => {
            served.wait_for_events("run_ended", 1);
            let status = project.task(task);
            ensure!(
                text(&status, "status") == "review",
                "the first run ended the task as {status}"
            );
            project.ok(&["task", "reject", task, "-r", FEEDBACK]);
        }
    }
    served.wait_for_events("run_ended", 1);
    Ok(())
}

/// The tool tells nobody but a file that it runs, so the file is looked for.
fn wait_for_tool(project: &Project, task: &str, started: &Path) -> Result<()> {
    let until = Instant::now() + TOOL_WITHIN;
    while fs::read_to_string(started).unwrap_or_default().is_empty() {
        stop::check()?;
        if Instant::now() > until {
            bail!("no tool ran; the run is {}", project.last_run(task));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Kills a daemon that does not come to an end, so that whoever reads its log finds the end.
pub struct Watchdog {
    _done: Sender<()>,
}

impl Watchdog {
    /// Watches this daemon until dropped.
    pub fn over(served: &Served) -> Self {
        let (done, waits) = channel::<()>();
        let pid = i32::try_from(served.pid()).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        std::thread::spawn(move || {
            if waits.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout)
                && let Some(pid) = pid
            {
                // It may have ended in this very moment.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        Self { _done: done }
    }
}
