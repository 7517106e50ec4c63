//! Ten thousand tasks in one daemon: whether memory, descriptors or processes grow with them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::throughput::wait_until;
use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::number;
use crate::bench::meter::Meter;
use crate::bench::procfs::{self, Memory};
use crate::bench::record::{Record, Row};
use crate::bench::server::{Orch, Plan, Server};

pub const GROUP: Group = Group {
    name: "endurance",
    round,
    once: true,
    tables: &[Table {
        measure: "endurance",
        title: "what grows over many tasks: the end against the most seen in the first half",
        columns: &[
            "resident_growth_kib",
            "resident_end_kib",
            "descriptors_growth_count",
            "descriptors_end_count",
            "processes_left_count",
            "wall_s",
        ],
    }],
};

/// Tasks are added in so many batches, and after each the idle daemon is looked at.
const BATCHES: usize = 10;
/// How long the daemon is left alone after a batch.
const REST: Duration = Duration::from_secs(1);

fn round(bench: &mut Bench<'_>) -> Result<()> {
    let row = Row::new("endurance", &setting(bench.sizes.endurance), "orch");
    bench.measure(row, endurance)
}

/// The setting of so many tasks.
pub fn setting(tasks: usize) -> String {
    format!("{tasks} tasks")
}

fn endurance(bench: &Bench<'_>) -> Result<Vec<Record>> {
    let folder = bench.stage.folder("endurance")?;
    let plan = Plan::new("/bin/true", 8, false);
    let orch = Orch::start(bench.stage, &bench.programs.orch, &folder, &plan)?;
    let (mut resident, mut descriptors) = (Vec::new(), Vec::new());
    let (meter, began) = (Meter::start(), Instant::now());
    for batch in 1..=BATCHES {
        orch.add(bench.sizes.endurance / BATCHES)?;
        let wanted = bench.sizes.endurance / BATCHES * batch;
        wait_until(bench, &orch, wanted, began)?;
        bench.stage.pause(REST)?;
        let memory = Memory::read(orch.pid()).context("the daemon is gone")?;
        resident.push(number(memory.resident));
        descriptors.push(procfs::descriptors(orch.pid()).map_or(f64::NAN, number));
    }
    let reading = meter.stop();
    let left = procfs::descendants(orch.pid()).len();
    let setting = setting(bench.sizes.endurance);
    let mut record = Record::new("endurance", &setting, "orch")
        .among(reading.foreign)
        .with("wall_s", reading.wall)
        .with("processes_left_count", number(left));
    for (name, unit, values) in [
        ("resident", "kib", resident),
        ("descriptors", "count", descriptors),
    ] {
        let end = values[BATCHES - 1];
        record = record
            .with(&format!("{name}_growth_{unit}"), growth(&values))
            .with(&format!("{name}_end_{unit}"), end);
        record.samples.insert(format!("{name}_{unit}"), values);
    }
    Ok(vec![record])
}

/// How much the last value is above the largest of the first half: in that, caches and pools fill,
/// and what leaks goes on in the second.
fn growth(values: &[f64]) -> f64 {
    let (early, _) = values.split_at(values.len() / 2);
    let most = early.iter().copied().fold(f64::MIN, f64::max);
    values.last().map_or(f64::NAN, |last| last - most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_grows_and_a_pool_that_fills_does_not() {
        let leak: Vec<f64> = (1..=10).map(f64::from).collect();
        assert!((growth(&leak) - 5.0).abs() < 1e-9);
        let pool = [1.0, 5.0, 6.0, 6.0, 5.0, 6.0, 5.0, 6.0, 6.0, 6.0];
        assert!(growth(&pool).abs() < 1e-9);
    }
}
