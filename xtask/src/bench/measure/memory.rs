//! Memory and descriptors of an idle daemon and of one with many agents at work, and what each
//! agent's helper process has for itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::throughput::cpu;
use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::{median, number};
use crate::bench::meter::Meter;
use crate::bench::procfs::{self, Memory, Process};
use crate::bench::record::{Record, Row};
use crate::bench::server::{Kind, Plan, start};

pub const GROUP: Group = Group {
    name: "memory",
    round,
    once: true,
    tables: &[Table {
        measure: "memory",
        title: "memory of the daemon, and of what it keeps beside each running `sleep`",
        columns: &[
            "resident_kib",
            "proportional_kib",
            "helper_private_kib",
            "helper_private_max_kib",
            "descriptors_count",
            "threads_count",
            "idle_cpu_percent",
            "all_run_s",
        ],
    }],
};

/// How long a running set is left alone before it is looked at, and then while it is.
const HOLD: Duration = Duration::from_secs(3);
/// How long it may take until all run.
const START: Duration = Duration::from_secs(180);

fn round(bench: &mut Bench<'_>) -> Result<()> {
    for running in bench.sizes.running.clone() {
        for kind in bench.programs.kinds() {
            let row = Row::new("memory", &setting(running), kind.name());
            bench.measure(row, |bench| with_running(bench, kind, running))?;
        }
    }
    Ok(())
}

/// The setting of so many running tasks.
pub fn setting(running: usize) -> String {
    match running {
        0 => "idle".to_owned(),
        running => format!("{running} running"),
    }
}

fn with_running(bench: &Bench<'_>, kind: Kind, running: usize) -> Result<Vec<Record>> {
    let plan = Plan::new("/bin/sleep 3600", running.max(1), false);
    let server = start(kind, bench.stage, bench.programs, &plan)?;
    if running > server.most() {
        let most = server.most();
        anyhow::bail!("holds {most} tasks at most");
    }
    let began = Instant::now();
    for _ in 0..running {
        bench.stage.time(server.submit(None))?;
    }
    let pause = Duration::from_millis(50);
    let what = format!("{running} tasks run");
    bench.stage.wait_for(&what, START, pause, || {
        let asleep = below().iter().filter(|process| is_task(process)).count();
        Ok((asleep >= running).then_some(()))
    })?;
    let all_run = began.elapsed().as_secs_f64();
    bench.stage.pause(HOLD)?;
    let record = look(bench, kind, server.pid(), running)?;
    Ok(vec![record.with("all_run_s", all_run)])
}

fn look(bench: &Bench<'_>, kind: Kind, pid: u32, running: usize) -> Result<Record> {
    let (before, meter) = (cpu(pid), Meter::start());
    bench.stage.pause(HOLD)?;
    let idle = (cpu(pid) - before) / HOLD.as_secs_f64() * 100.0;
    let foreign = meter.stop().foreign;
    let memory = Memory::read(pid).context("the daemon is gone")?;
    let count = |value: Option<usize>| value.map_or(f64::NAN, number);
    let threads = procfs::threads(pid).map_or(f64::NAN, number);
    let mut record = Record::new("memory", &setting(running), kind.name())
        .among(foreign)
        .with("resident_kib", number(memory.resident))
        .with("proportional_kib", number(memory.proportional))
        .with("descriptors_count", count(procfs::descriptors(pid)))
        .with("threads_count", threads)
        .with("idle_cpu_percent", idle);
    let helpers = helpers(pid);
    if let (Some(middle), Some(most)) = (median(&helpers), helpers.iter().copied().reduce(f64::max))
    {
        record = record
            .with("helper_private_kib", middle)
            .with("helper_private_max_kib", most);
    }
    Ok(record)
}

/// Private memory of every process that is neither the daemon nor a task, KiB.
fn helpers(daemon: u32) -> Vec<f64> {
    let helpers = below()
        .into_iter()
        .filter(|process| process.pid != daemon && !is_task(process));
    let memory = helpers.filter_map(|process| Memory::read(process.pid));
    memory.map(|memory| number(memory.private)).collect()
}

fn below() -> Vec<Process> {
    let mut below = procfs::descendants(std::process::id());
    below.retain(|process| !process.zombie);
    below
}

fn is_task(process: &Process) -> bool {
    process.name == "sleep"
}
