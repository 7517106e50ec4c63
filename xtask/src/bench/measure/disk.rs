//! How long this disk takes to make one record durable.

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
        title: "one record of 120 bytes, appended and made durable (fdatasync)",
        columns: &["p50_ms", "p95_ms"],
    }],
};

/// Records per round.
const RECORDS: usize = 200;

fn round(bench: &mut Bench<'_>) -> Result<()> {
    bench.measure(Row::new("disk", "one at a time", "limit"), |bench| {
        bench.wait_until_quiet();
        let meter = Meter::start();
        let printed = bench.part("sync", &[("count", RECORDS.to_string())])?;
        let foreign = meter.stop().foreign;
        let times: Vec<f64> = serde_json::from_str(&printed).context("reading times")?;
        let record = Record::new("disk", "one at a time", "limit").among(foreign);
        let record = record
            .with("p50_ms", percentile(&times, 50).unwrap_or(f64::NAN))
            .with("p95_ms", percentile(&times, 95).unwrap_or(f64::NAN));
        Ok(vec![record])
    })
}
