//! Whether the work per task depends on what is stored: the same tasks in an empty project and in
//! one that has run a hundred thousand and has ten thousand waiting.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::throughput::cpu;
use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::number;
use crate::bench::meter::Meter;
use crate::bench::record::{Record, Row};
use crate::bench::server::{Orch, SOON, Server};

pub const GROUP: Group = Group {
    name: "growth",
    round,
    once: false,
    tables: &[Table {
        measure: "growth",
        title: "tasks of /bin/true, 8 at once, with so many tasks stored",
        columns: &["ms_per_task", "cpu_ms_per_task", "daemon_cpu_ms_per_task"],
    }],
};

/// Tasks that run before the measurement begins.
const RUN_UP: usize = 50;
/// How long the measured tasks may take.
const MOST: Duration = Duration::from_secs(600);
/// How often it is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn round(bench: &mut Bench<'_>) -> Result<()> {
    let full = bench.sizes.full();
    for stored in [0, full] {
        let row = Row::new("growth", &setting(stored), "orch");
        bench.measure(row, |bench| of_stored(bench, stored))?;
    }
    Ok(())
}

/// The setting of so many stored tasks.
pub fn setting(stored: usize) -> String {
    format!("{stored} stored")
}

fn of_stored(bench: &Bench<'_>, stored: usize) -> Result<Vec<Record>> {
    let folder = bench.seeded(stored)?;
    let mut orch = Orch::serve(bench.stage, &bench.programs.orch, &folder)?;
    let wanted = bench.sizes.growth;
    if stored == 0 {
        // So many that work is left at the end, as in the other project.
        orch.add(wanted + 3 * RUN_UP)?;
    }
    bench.wait_until_quiet();
    let before = orch.done()?;
    orch.release()?;
    let first = reached(bench, &orch, before + RUN_UP)?;
    let (daemon, meter, began) = (cpu(orch.pid()), Meter::start(), Instant::now());
    let last = reached(bench, &orch, first + wanted)?;
    let wall = began.elapsed().as_secs_f64();
    let reading = meter.stop_at(wall);
    let daemon = cpu(orch.pid()) - daemon;
    let tasks = number(last - first);
    let record = Record::new("growth", &setting(stored), "orch")
        .among(reading.foreign)
        .with("ms_per_task", wall / tasks * 1e3)
        .with("cpu_ms_per_task", reading.own / tasks * 1e3)
        .with("daemon_cpu_ms_per_task", daemon / tasks * 1e3);
    restore(bench, orch, stored, before)?;
    Ok(vec![record])
}

/// Leaves the project with as many waiting tasks as it had, for the next round.
fn restore(bench: &Bench<'_>, orch: Orch<'_>, stored: usize, before: usize) -> Result<()> {
    orch.hold()?;
    bench.stage.wait_for("orch is idle", SOON, LOOK_EVERY, || {
        Ok((orch.status()?.tasks.in_progress == 0).then_some(()))
    })?;
    if stored > 0 {
        orch.add(orch.done()? - before)?;
    }
    orch.leave();
    Ok(())
}

/// Waits until so many tasks are done, and says how many are by then.
fn reached(bench: &Bench<'_>, orch: &Orch<'_>, wanted: usize) -> Result<usize> {
    let what = format!("{wanted} tasks are done");
    bench.stage.wait_for(&what, MOST, LOOK_EVERY, || {
        let done = orch.done()?;
        Ok((done >= wanted).then_some(done))
    })
}
