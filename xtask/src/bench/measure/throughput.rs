//! Many tasks that do nothing: how fast they are submitted, one process each, and how fast they
//! run once they may. Between the daemons, what this machine can do at best.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Group, Table, listing};
use crate::bench::Bench;
use crate::bench::figures::{number, percentile};
use crate::bench::meter::Meter;
use crate::bench::part::Found;
use crate::bench::procfs::Process;
use crate::bench::record::{Record, Row};
use crate::bench::server::{Kind, Plan, Server, start};

pub const GROUP: Group = Group {
    name: "throughput",
    round,
    once: false,
    tables: &[
        Table {
            measure: "drain",
            title: "tasks of /bin/true, all submitted before the first may start",
            columns: &[
                "tasks_per_s",
                "cpu_ms_per_task",
                "daemon_cpu_ms_per_task",
                "wall_s",
            ],
        },
        Table {
            measure: "submit",
            title: "submitting them, one process after another",
            columns: &[
                "submits_per_s",
                "p50_ms",
                "p95_ms",
                "client_cpu_ms",
                "daemon_cpu_ms",
            ],
        },
        Table {
            measure: "listing afterwards",
            title: "listing, when they have run",
            columns: listing::COLUMNS,
        },
    ],
};

/// The longest a drain may take. Of the daemons measured so far the slowest took two minutes.
const DRAIN: Duration = Duration::from_secs(900);

fn round(bench: &mut Bench<'_>) -> Result<()> {
    for parallel in [8, 64] {
        for records in ["none", "sync", "group"] {
            let row = Row::new("drain", &at_once(parallel), limit_name(records));
            bench.measure(row, |bench| limit(bench, parallel, records))?;
        }
        if bench.programs.make.is_some() {
            let row = Row::new("drain", &at_once(parallel), "make");
            bench.measure(row, |bench| make(bench, parallel))?;
        }
        for kind in bench.programs.kinds() {
            let row = Row::new("drain", &at_once(parallel), kind.name());
            bench.measure(row, |bench| drain(bench, kind, parallel))?;
        }
    }
    Ok(())
}

/// The setting of so many at once.
pub fn at_once(parallel: usize) -> String {
    format!("{parallel} at once")
}

/// What a loop of this machine is called.
pub fn limit_name(records: &str) -> &'static str {
    match records {
        "sync" => "limit: + log + synced record",
        "group" => "limit: + log + records synced in groups",
        _ => "limit: spawn and wait",
    }
}

fn limit(bench: &Bench<'_>, parallel: usize, records: &str) -> Result<Vec<Record>> {
    let count = bench.sizes.tasks;
    let found = loop_of(bench, count, parallel, records)?;
    let record = Record::new("drain", &at_once(parallel), limit_name(records));
    Ok(vec![figures(record, found.1, count, &found.0)])
}

/// Has the machine start and wait for `count` processes; what it found, and the share of others.
pub fn loop_of(
    bench: &Bench<'_>,
    count: usize,
    parallel: usize,
    records: &str,
) -> Result<(Found, f64)> {
    bench.wait_until_quiet();
    let meter = Meter::start();
    let arguments = [
        ("count", count.to_string()),
        ("parallel", parallel.to_string()),
        ("records", records.to_owned()),
    ];
    let printed = bench.part("spawn", &arguments)?;
    let foreign = meter.stop().foreign;
    let found = serde_json::from_str(&printed).context("reading what a part found")?;
    Ok((found, foreign))
}

fn figures(record: Record, foreign: f64, count: usize, found: &Found) -> Record {
    let count = number(count);
    record
        .among(foreign)
        .with("tasks_per_s", count / found.wall)
        .with(
            "cpu_ms_per_task",
            (found.own + found.children) / count * 1e3,
        )
        .with("daemon_cpu_ms_per_task", found.own / count * 1e3)
        .with("wall_s", found.wall)
}

fn make(bench: &Bench<'_>, parallel: usize) -> Result<Vec<Record>> {
    let make = bench.programs.make.as_deref().context("make is missing")?;
    let folder = bench.stage.folder("make")?;
    let count = bench.sizes.tasks;
    let targets: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    let text = format!(
        ".SUFFIXES:\nMAKEFLAGS += -rR\nall: {}\nt%:\n\t@/bin/true\n",
        targets.join(" ")
    );
    fs::write(folder.join("Makefile"), text).context("writing a makefile")?;
    let (wall, own, foreign) = timed(bench, make, &folder, parallel)?;
    let record = Record::new("drain", &at_once(parallel), "make").among(foreign);
    let record = record
        .with("tasks_per_s", number(count) / wall)
        .with("cpu_ms_per_task", own / number(count) * 1e3)
        .with("wall_s", wall);
    Ok(vec![record])
}

/// Runs make in `folder`: wall time, CPU time of all it did, and the share of others.
pub fn timed(
    bench: &Bench<'_>,
    make: &Path,
    folder: &Path,
    parallel: usize,
) -> Result<(f64, f64, f64)> {
    bench.wait_until_quiet();
    let mut command = bench.stage.command(make, folder);
    command.args(["--silent", &format!("--jobs={parallel}")]);
    let meter = Meter::start();
    let wall = bench.stage.time(command)?.as_secs_f64();
    let reading = meter.stop_at(wall);
    Ok((wall, reading.own, reading.foreign))
}

fn drain(bench: &Bench<'_>, kind: Kind, parallel: usize) -> Result<Vec<Record>> {
    let setting = at_once(parallel);
    let plan = Plan::new("/bin/true", parallel, true);
    let mut server = start(kind, bench.stage, bench.programs, &plan)?;
    let count = bench.sizes.tasks.min(server.most());
    let submit = submit(bench, server.as_ref(), count)?;
    bench.wait_until_quiet();
    let before = cpu(server.pid());
    let meter = Meter::start();
    let began = Instant::now();
    server.release()?;
    let wall = wait_until(bench, server.as_ref(), count, began)?;
    let reading = meter.stop_at(wall);
    let daemon = cpu(server.pid()) - before;
    let tasks = number(count);
    let drain = Record::new("drain", &setting, kind.name())
        .among(reading.foreign)
        .with("tasks_per_s", tasks / wall)
        .with("cpu_ms_per_task", reading.own / tasks * 1e3)
        .with("daemon_cpu_ms_per_task", daemon / tasks * 1e3)
        .with("wall_s", wall);
    let mut records = vec![drain, named(submit, "submit", &setting, kind)];
    let stored = format!("{count} stored");
    for record in listing::list(bench, server.as_ref(), kind.name(), &stored)? {
        let measure = "listing afterwards".to_owned();
        records.push(Record { measure, ..record });
    }
    Ok(records)
}

fn named(record: Record, measure: &str, setting: &str, kind: Kind) -> Record {
    let row = Record::new(measure, setting, kind.name());
    Record {
        figures: record.figures,
        foreign: record.foreign,
        samples: record.samples,
        ..row
    }
}

/// Waits until `count` tasks have ended and says how long after `began` that was seen, seconds.
pub fn wait_until(
    bench: &Bench<'_>,
    server: &dyn Server,
    count: usize,
    began: Instant,
) -> Result<f64> {
    let what = format!("{count} tasks have ended");
    bench.stage.wait_for(&what, DRAIN, server.look_every(), || {
        let ended = server.finished()? >= count;
        Ok(ended.then(|| began.elapsed().as_secs_f64()))
    })
}

/// Submits `count` tasks, a process each.
fn submit(bench: &Bench<'_>, server: &dyn Server, count: usize) -> Result<Record> {
    bench.wait_until_quiet();
    let before = (cpu(server.pid()), children());
    let meter = Meter::start();
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let took = bench.stage.time(server.submit(None))?;
        times.push(took.as_secs_f64() * 1e3);
    }
    let reading = meter.stop();
    let tasks = number(count);
    let client = (children() - before.1) / tasks * 1e3;
    let daemon = (cpu(server.pid()) - before.0) / tasks * 1e3;
    let record = Record::default()
        .among(reading.foreign)
        .with("submits_per_s", tasks / reading.wall)
        .with("p50_ms", percentile(&times, 50).unwrap_or(f64::NAN))
        .with("p95_ms", percentile(&times, 95).unwrap_or(f64::NAN))
        .with("client_cpu_ms", client)
        .with("daemon_cpu_ms", daemon);
    Ok(record)
}

/// CPU time of the threads of a process, seconds; 0 if it is gone.
pub fn cpu(pid: u32) -> f64 {
    Process::read(pid).map_or(0.0, |process| process.own_seconds())
}

/// CPU time of the commands this process has waited for, seconds.
pub fn children() -> f64 {
    Process::read(std::process::id()).map_or(0.0, |process| process.children_seconds())
}
