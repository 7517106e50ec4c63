//! How long this disk takes to make one record durable, and to make a file.
//!
//! A file system can be slow to make files for minutes after thousands were deleted near by. orch
//! makes ten for each run: a round in which that figure is high is slow for this reason.

use anyhow::{Context, Result};

use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::percentile;
use crate::bench::meter::Meter;
use crate::bench::record::{Record, Row};

pub const GROUP: Group = Group {
    name: "disk",
    round,
    once: false,
    tables: &[Table {
        measure: "disk",
        title: "one record of 120 bytes, appended and made durable (fdatasync); one new empty file",
        columns: &["p50_ms", "p95_ms"],
    }],
};

/// What is done, one after another, and by which part.
const DEEDS: [(&str, &str); 2] = [("durable record", "sync"), ("new file", "create")];
/// How often per round.
const TIMES: usize = 200;

fn round(bench: &mut Bench<'_>) -> Result<()> {
    for (deed, part) in DEEDS {
        bench.measure(Row::new("disk", deed, "limit"), |bench| {
            time(bench, deed, part)
        })?;
    }
    Ok(())
}

fn time(bench: &Bench<'_>, deed: &str, part: &str) -> Result<Vec<Record>> {
    bench.wait_until_quiet();
    let meter = Meter::start();
    let printed = bench.part(part, &[("count", TIMES.to_string())])?;
    let foreign = meter.stop().foreign;
    let times: Vec<f64> = serde_json::from_str(&printed).context("reading times")?;
    let record = Record::new("disk", deed, "limit").among(foreign);
    let record = record
        .with("p50_ms", percentile(&times, 50).unwrap_or(f64::NAN))
        .with("p95_ms", percentile(&times, 95).unwrap_or(f64::NAN));
    Ok(vec![record])
}
