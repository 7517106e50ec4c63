//! One round: a project, its agents, the faults, and the oracle at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orch_api::types::NewTask;
use rustix::process::Signal;

use super::Tally;
use super::faults::{live_draws, wait};
use super::keeper::Keeper;
use super::plan::Plan;
use super::random::Random;
use crate::Project;
use crate::oracle::{self, Expect, Ledger, Scene, Violation};

/// Longest a round may take to come to rest: what is set in motion takes a second or two, and a
/// busy machine many times that.
const REST: Duration = Duration::from_secs(60);
/// How long an agent may take to end when asked, and what it leaves running to end by itself.
const STOP_GRACE_MS: u64 = 200;
const LEAK_GRACE_MS: u64 = 50;
/// Between two looks at a daemon that serves on. It has nothing to wait for from outside.
const LOOK_MS: u64 = 5;

/// A round that is being played.
pub(super) struct Round<'a> {
    pub(super) project: &'a Project,
    pub(super) ledger: &'a Ledger,
    pub(super) keeper: Option<Keeper>,
    pub(super) random: Random,
    pub(super) tally: Tally,
    /// What went wrong that is not for the oracle to see.
    pub(super) trouble: Vec<String>,
}

/// Plays the round of a seed in `project` and judges it.
pub(super) fn play(project: &Project, seed: u64, plan: &Plan) -> (Tally, Vec<Violation>) {
    let ledger = Ledger::new(project.outside("ledger"));
    configure(project, plan, &ledger);
    let mut round = Round {
        project,
        ledger: &ledger,
        keeper: None,
        random: live_draws(seed),
        tally: Tally::default(),
        trouble: Vec::new(),
    };
    if let Err(why) = round.play(plan) {
        round.trouble.push(why);
    }
    let (tally, trouble) = (round.tally, round.trouble);
    judge(project, &ledger, plan, tally, trouble)
}

fn judge(
    project: &Project,
    ledger: &Ledger,
    plan: &Plan,
    mut tally: Tally,
    trouble: Vec<String>,
) -> (Tally, Vec<Violation>) {
    let scene = Scene::of(project, ledger);
    let expect = Expect {
        max_agents: plan.max_agents,
        grace_ms: (STOP_GRACE_MS + LEAK_GRACE_MS) as i64,
        ..Expect::default()
    };
    let mut violations = oracle::judge(&scene, &expect);
    violations.extend(trouble.into_iter().map(|what| Violation {
        promise: 12,
        check: "the daemon goes on",
        what,
    }));
    tally.count(&scene);
    for left in &scene.left {
        oracle::signal(left.pid, left.start_time, Signal::KILL);
    }
    (tally, violations)
}

impl Round<'_> {
    fn play(&mut self, plan: &Plan) -> Result<(), String> {
        if plan.add_before {
            self.add_by_command(plan);
            self.start_daemon(&[])?;
        } else {
            self.start_daemon(&[])?;
            self.add_by_client(plan)?;
        }
        for (delay_ms, fault) in &plan.faults {
            wait(*delay_ms);
            self.inject(*fault)?;
        }
        if plan.once {
            self.end_once()
        } else {
            self.end_drained()
        }
    }

    pub(super) fn start_daemon(&mut self, more: &[&str]) -> Result<(), String> {
        self.keeper = Some(Keeper::start(self.project, self.ledger, more)?);
        Ok(())
    }

    fn add_by_client(&mut self, plan: &Plan) -> Result<(), String> {
        let client = self.project.client();
        let mut ids: Vec<String> = Vec::new();
        for index in 0..plan.agents.len() {
            let mut new = NewTask {
                title: format!("task {index}"),
                agent: Some(agent_name(index)),
                timeout_ms: plan.agents[index].timeout_ms,
                ..NewTask::default()
            };
            match plan.agents[index].after {
                Some((needs, true)) => new.depends_on.push(ids[needs].clone()),
                Some((needs, false)) => new.after_any.push(ids[needs].clone()),
                None => {}
            }
            let added = client.add_task(&new);
            let added = added.map_err(|error| format!("a task was not added: {error}"))?;
            let id = added.task.ok_or("a task without a name was added")?.id;
            self.ledger.acknowledged(&id);
            ids.push(id);
        }
        Ok(())
    }

    fn add_by_command(&mut self, plan: &Plan) {
        let mut ids: Vec<String> = Vec::new();
        for (index, agent) in plan.agents.iter().enumerate() {
            let (name, timeout) = (agent_name(index), agent.timeout_ms);
            let timeout = timeout.map(|timeout_ms| format!("{timeout_ms}ms"));
            let mut more = vec!["--agent", &name];
            if let Some(timeout) = &timeout {
                more.extend(["--timeout", timeout]);
            }
            match agent.after {
                Some((needs, true)) => more.extend(["--depends-on", &ids[needs]]),
                Some((needs, false)) => more.extend(["--after-any", &ids[needs]]),
                None => {}
            }
            let id = self.project.add(&format!("task {index}"), &more);
            self.ledger.acknowledged(&id);
            ids.push(id);
        }
    }

    /// A last daemon that ends when nothing is left to do.
    fn end_once(&mut self) -> Result<(), String> {
        if let Some(keeper) = self.keeper.take() {
            keeper.kill(self.ledger);
            self.tally.daemon_kills += 1;
        }
        self.start_daemon(&["--once"])?;
        self.leave()
    }

    /// The daemon that is there serves until everything has settled, and is then told to end.
    /// Until then it has fetched every child that died.
    fn end_drained(&mut self) -> Result<(), String> {
        let until = Instant::now() + REST;
        while !self.has_settled() {
            if Instant::now() > until {
                return Err("not everything has settled after a minute".to_owned());
            }
            wait(LOOK_MS);
        }
        let Some(keeper) = &self.keeper else {
            return Err("no daemon is left".to_owned());
        };
        // A child that has died a moment ago may still be on its way.
        let patience = Instant::now() + Duration::from_secs(2);
        let mut zombies = oracle::zombies_of(keeper.pid());
        while !zombies.is_empty() && Instant::now() < patience {
            wait(LOOK_MS);
            let still = oracle::zombies_of(keeper.pid());
            zombies.retain(|zombie| still.contains(zombie));
        }
        if !zombies.is_empty() {
            self.trouble
                .push(format!("dead children of the daemon stay: {zombies:?}"));
        }
        keeper.signal(Signal::TERM);
        self.leave()
    }

    fn has_settled(&self) -> bool {
        Scene::rows_of(self.project).is_some_and(|scene| oracle::is_settled(&scene))
    }

    /// Waits for the end of the last daemon, which must be a good one.
    fn leave(&mut self) -> Result<(), String> {
        let Some(keeper) = self.keeper.take() else {
            return Err("no daemon is left".to_owned());
        };
        match keeper.ended(REST) {
            // 1 says that the work of some task failed.
            Some(Some(0 | 1)) => Ok(()),
            Some(code) => Err(format!("the last daemon ended with {code:?}")),
            None => Err("the last daemon has not ended after a minute".to_owned()),
        }
    }
}

fn agent_name(index: usize) -> String {
    format!("agent-{index}")
}

fn configure(project: &Project, plan: &Plan, ledger: &Ledger) {
    let workspace = if plan.worktree { "worktree" } else { "shared" };
    let mut text = format!(
        "[project]\nname = \"chaos\"\ntarget = \"main\"\nmax_agents = {}\n\
         [defaults]\nworkspace = \"{workspace}\"\nreview = \"auto\"\nmax_attempts = 2\n\
         on_lost = \"{}\"\n\
         [retry]\nbase = \"100ms\"\nmax = \"100ms\"\n\
         [limits]\nstop_grace = \"{STOP_GRACE_MS}ms\"\nleak_grace = \"{LEAK_GRACE_MS}ms\"\n",
        plan.max_agents, plan.on_lost,
    );
    for (index, agent) in plan.agents.iter().enumerate() {
        let name = agent_name(index);
        let script = write_script(project, &name, &agent.script);
        text += &format!(
            "[agents.{name}]\nadapter = \"{}\"\ncommand = \"{}\"\nenv = {{ LEDGER = \"{}\" }}\n",
            agent.adapter,
            script.display(),
            ledger.dir().display(),
        );
    }
    project.configure(&text);
}

fn write_script(project: &Project, name: &str, text: &str) -> PathBuf {
    let path = project.outside(&format!("{name}.sh"));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Writes the files that agents print.
pub(super) fn write_payloads(dir: &Path) {
    let result = |error: bool, words: &str| {
        format!(
            "{{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":{error},\
             \"result\":\"{words}\",\"session_id\":\"s\"}}\n"
        )
    };
    let mut noise = Random::new(1);
    let mut bytes = |length: usize| -> Vec<u8> {
        let any = (0..length).map(|_| noise.below(256) as u8);
        any.collect()
    };
    let files: [(&str, Vec<u8>); 10] = [
        ("empty", Vec::new()),
        ("newline", b"\n".to_vec()),
        ("line", b"a line of text\n".to_vec()),
        ("raw", b"a\0b\xff\xfec\r\nhalf \xc3".to_vec()),
        ("half", b"no end of line".to_vec()),
        ("page", bytes(4_096)),
        ("block", bytes(65_537)),
        ("megabyte", bytes(1 << 20)),
        ("success", result(false, "all good").into_bytes()),
        ("error", result(true, "it went wrong").into_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}
