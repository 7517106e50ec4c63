//! What happens in a round, all of it drawn from the seed: the agents and the faults.

use std::fmt::Write;
use std::path::Path;

use super::Mode;
use super::random::Random;
use crate::oracle::PRELUDE;

/// Attempts a task may have.
const ATTEMPTS: u32 = 2;
/// Tasks that depend on nothing.
const FIRST_TASKS: usize = 3;

/// A round.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whether agents work in worktrees of their own, or in the shared directory.
    pub(super) worktree: bool,
    /// What becomes of a task in the shared directory whose run is lost.
    pub(super) on_lost: &'static str,
    /// Runs at once.
    pub(super) max_agents: usize,
    /// Whether tasks are added while no daemon runs.
    pub(super) add_before: bool,
    /// Whether the last daemon ends by itself, or serves until it is told to end.
    pub(super) once: bool,
    /// One agent for each task.
    pub(super) agents: Vec<Agent>,
    /// What is done, in this order, each after so many milliseconds.
    pub(super) faults: Vec<(u64, Fault)>,
}

/// An agent and its task.
#[derive(Debug)]
pub(super) struct Agent {
    /// The kind of agent it poses as.
    pub(super) adapter: &'static str,
    /// Its program.
    pub(super) script: String,
    /// Longest it may take, milliseconds.
    pub(super) timeout_ms: Option<u64>,
    /// The task it waits for, and whether that must succeed.
    pub(super) after: Option<(usize, bool)>,
}

/// Something done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The daemon is killed; the next starts after so many milliseconds.
    KillDaemon { down_ms: u64 },
    /// The shim of one run, or of all, is killed.
    KillShim { all: bool },
    /// Shims and daemon are killed in the same moment.
    KillBoth { down_ms: u64, daemon_first: bool },
    /// The agent's process of one run is killed.
    KillAgent,
    /// The daemon is stopped for so many milliseconds.
    StopDaemon { for_ms: u64 },
    /// A shim is stopped for so many milliseconds.
    StopShim { for_ms: u64 },
    /// An agent is stopped for so many milliseconds.
    StopAgent { for_ms: u64 },
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn of(seed: u64, mode: &Mode, payloads: &Path) -> Self {
        let mut random = Random::new(seed);
        let worktree = random.one_in(2);
        let mut draw = |after| agent(&mut random, payloads, worktree, after);
        let mut agents: Vec<Agent> = (0..FIRST_TASKS).map(|_| draw(None)).collect();
        let needs = random.below(FIRST_TASKS as u64) as usize;
        let succeeds = !random.one_in(3);
        agents.push(agent(
            &mut random,
            payloads,
            worktree,
            Some((needs, succeeds)),
        ));
        Self {
            worktree,
            on_lost: *random.pick(&["retry", "default"]),
            max_agents: 2 + random.below(2) as usize,
            add_before: random.one_in(4),
            once: random.one_in(2),
            agents,
            faults: faults(&mut random, mode),
        }
    }
}

fn faults(random: &mut Random, mode: &Mode) -> Vec<(u64, Fault)> {
    let kinds = mode.kinds();
    if kinds.is_empty() {
        return Vec::new();
    }
    let count = 1 + random.below(3);
    let mut draw = |_| {
        let delay = random.below(150);
        let down_ms = if random.one_in(3) {
            random.below(150)
        } else {
            0
        };
        let for_ms = 50 + random.below(250);
        let fault = match random.pick(&kinds) {
            Fault::KillDaemon { .. } => Fault::KillDaemon { down_ms },
            Fault::KillShim { .. } => Fault::KillShim {
                all: random.one_in(3),
            },
            Fault::KillBoth { .. } => Fault::KillBoth {
                down_ms,
                daemon_first: random.one_in(2),
            },
            Fault::KillAgent => Fault::KillAgent,
            Fault::StopDaemon { .. } => Fault::StopDaemon { for_ms },
            Fault::StopShim { .. } => Fault::StopShim { for_ms },
            Fault::StopAgent { .. } => Fault::StopAgent { for_ms },
        };
        (delay, fault)
    };
    (0..count).map(&mut draw).collect()
}

fn agent(
    random: &mut Random,
    payloads: &Path,
    worktree: bool,
    after: Option<(usize, bool)>,
) -> Agent {
    let adapter = if random.one_in(4) { "claude" } else { "shell" };
    let stubborn = random.one_in(12);
    let mut script = format!("#!/bin/sh\n{PRELUDE}\nP='{}'\nbegin\n", payloads.display());
    script.push_str("case $ORCH_ATTEMPT in\n");
    for attempt in 1..=ATTEMPTS {
        let pattern = if attempt < ATTEMPTS { "1" } else { "*" };
        let body = match stubborn {
            true => STUBBORN.to_owned(),
            false => attempt_body(random, adapter, worktree),
        };
        let _ = writeln!(script, "{pattern})\n{body};;");
    }
    script.push_str("esac\n");
    Agent {
        adapter,
        script,
        timeout_ms: stubborn.then_some(300),
        after,
    }
}

/// Fault 19: it refuses every polite signal and never ends.
const STUBBORN: &str = "trap '' TERM INT HUP\nput $P/line\nwhile :; do sleep 600; done\n";

/// What an agent does in one attempt.
fn attempt_body(random: &mut Random, adapter: &str, worktree: bool) -> String {
    let mut body = String::new();
    for _ in 0..random.below(3) {
        pause(random, &mut body);
        // Mostly little: a megabyte in every round would be all that the round does.
        let files = ["empty", "line", "raw", "page", "block", "half"];
        let file = if random.one_in(12) {
            "megabyte"
        } else {
            random.pick(&files)
        };
        let put = if random.one_in(4) { "put_err" } else { "put" };
        let _ = writeln!(body, "{put} $P/{file}");
    }
    if worktree && random.one_in(2) {
        work(random, &mut body);
    }
    if adapter == "claude" {
        let word = random.pick(&["success", "success", "error", "nothing"]);
        if *word != "nothing" {
            let _ = writeln!(body, "said {word}\nput $P/newline\nput $P/{word}");
        }
    }
    // Nothing is printed after it: it may close the output.
    odd_habit(random, &mut body);
    pause(random, &mut body);
    body + &end(random)
}

fn pause(random: &mut Random, body: &mut String) {
    if random.one_in(2) {
        let _ = writeln!(body, "sleep 0.{:03}", random.below(100));
    }
}

/// Leaves a file in the worktree, committed or not.
fn work(random: &mut Random, body: &mut String) {
    body.push_str("work made-$ORCH_AGENT-$ORCH_ATTEMPT\n");
    if random.one_in(2) {
        body.push_str("git add . && git commit --quiet --message=work >/dev/null 2>&1\n");
    }
}

/// What makes real agents hard to see the end of.
fn odd_habit(random: &mut Random, body: &mut String) {
    let habit = match random.below(10) {
        // Fault 20: a child that holds standard output.
        0 => "sleep 600 &\n",
        // Fault 22: a child that has left the session and closed its files.
        1 => "(setsid sleep 600 </dev/null >/dev/null 2>&1 &)\n",
        // Fault 21: standard output is closed and the work goes on.
        2 => "exec >&- 2>&-\n",
        _ => "",
    };
    body.push_str(habit);
}

fn end(random: &mut Random) -> String {
    match random.below(10) {
        0..=4 => "finish 0\n".to_owned(),
        5 => "finish 1\n".to_owned(),
        6 => "finish 7\n".to_owned(),
        7 => format!("finish {}\n", random.below(256)),
        8 => "die 9\n".to_owned(),
        _ => format!("die {}\n", random.pick(&[1, 2, 15, 10])),
    }
}
