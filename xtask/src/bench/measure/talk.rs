//! Agents that talk at a steady rate: what following them costs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::number;
use crate::bench::meter::Meter;
use crate::bench::procfs::{self, Memory, Process};
use crate::bench::record::{Record, Row};
use crate::bench::server::{Orch, Plan, SOON, Server};

pub const GROUP: Group = Group {
    name: "talk",
    round,
    once: false,
    tables: &[Table {
        measure: "talk",
        title: "agents that write lines of about 500 bytes at a steady rate, as text and as Claude \
                Code does: the share of one CPU that each costs, and how much is recorded",
        columns: &[
            "daemon_per_agent_percent",
            "helper_per_agent_percent",
            "agent_itself_percent",
            "lines_count",
            "events_count",
            "resident_kib",
        ],
    }],
};

/// Lines a second of each agent.
const RATE: u32 = 50;
/// How long they talk before they are looked at.
const BEFORE: Duration = Duration::from_secs(2);
/// How long they are looked at.
const HOLD: Duration = Duration::from_secs(10);

fn round(bench: &mut Bench<'_>) -> Result<()> {
    for adapter in ["shell", "claude"] {
        let row = Row::new("talk", &setting(bench.sizes.talking, adapter), "orch");
        bench.measure(row, |bench| talking(bench, adapter))?;
    }
    Ok(())
}

/// The setting of so many agents that are read in this way.
pub fn setting(agents: usize, adapter: &str) -> String {
    format!("{agents} x {RATE} lines/s, {adapter}")
}

fn talking(bench: &Bench<'_>, adapter: &'static str) -> Result<Vec<Record>> {
    let agents = bench.sizes.talking;
    let folder = bench.stage.folder("talk")?;
    let program = agent(&folder, &bench.programs.own)?;
    let plan = Plan::new(&program.display().to_string(), agents, false).read_as(adapter);
    let orch = Orch::start(bench.stage, &bench.programs.orch, &folder, &plan)?;
    orch.add(agents)?;
    let pause = Duration::from_millis(50);
    bench.stage.wait_for("all agents talk", SOON, pause, || {
        let talking = procfs::descendants(orch.pid());
        let talking = talking.iter().filter(|process| is_agent(process)).count();
        Ok((talking >= agents).then_some(()))
    })?;
    bench.stage.pause(BEFORE)?;
    bench.wait_until_quiet();
    let (before, meter) = (Seen::look(&orch, &folder)?, Meter::start());
    bench.stage.pause(HOLD)?;
    let reading = meter.stop();
    let after = Seen::look(&orch, &folder)?;
    let each = |before: f64, after: f64| (after - before) / number(agents);
    let share = |before, after| each(before, after) / reading.wall * 100.0;
    let memory = Memory::read(orch.pid()).context("the daemon is gone")?;
    let record = Record::new("talk", &setting(agents, adapter), "orch")
        .among(reading.foreign)
        .with(
            "daemon_per_agent_percent",
            share(before.daemon, after.daemon),
        )
        .with(
            "helper_per_agent_percent",
            share(before.helpers, after.helpers),
        )
        .with("agent_itself_percent", share(before.agents, after.agents))
        .with("lines_count", each(before.lines, after.lines))
        .with("events_count", each(before.events, after.events))
        .with("resident_kib", number(memory.resident));
    Ok(vec![record])
}

/// A program that talks, whatever it is asked, and that tells its version.
fn agent(folder: &Path, own: &Path) -> Result<PathBuf> {
    let path = folder.join("talker");
    let own = own.display();
    let script = format!(
        "#!/bin/sh\n\
         case \"$*\" in *--version*) echo '2.1.0 (Claude Code)'; exit;; esac\n\
         exec '{own}' bench-part talk --rate {RATE}\n"
    );
    fs::write(&path, script).context("writing an agent")?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, executable).context("making an agent executable")?;
    Ok(path)
}

/// CPU time so far, seconds, and what was written and recorded so far.
struct Seen {
    daemon: f64,
    helpers: f64,
    agents: f64,
    lines: f64,
    events: f64,
}

impl Seen {
    fn look(orch: &Orch<'_>, folder: &Path) -> Result<Self> {
        let below = procfs::descendants(orch.pid());
        let (agents, helpers): (Vec<&Process>, Vec<&Process>) =
            below.iter().partition(|process| is_agent(process));
        let seconds = |all: Vec<&Process>| all.iter().map(|one| one.own_seconds()).sum();
        let runs = folder.join(".orch").join("runs");
        Ok(Self {
            daemon: super::throughput::cpu(orch.pid()),
            helpers: seconds(helpers),
            agents: seconds(agents),
            lines: lines(&runs, "out.log")?,
            events: lines(&runs, "events.jsonl")?,
        })
    }
}

fn is_agent(process: &Process) -> bool {
    process.name == "xtask"
}

/// Lines in the files of this name in all run directories.
fn lines(runs: &Path, name: &str) -> Result<f64> {
    let mut lines = 0;
    for run in fs::read_dir(runs).context("looking for runs")? {
        let text = fs::read(run?.path().join(name)).unwrap_or_default();
        lines += text.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(number(lines))
}
