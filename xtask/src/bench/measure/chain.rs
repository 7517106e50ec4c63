//! A chain: each task may start when the one before it has ended.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use super::throughput::{cpu, limit_name, loop_of, timed, wait_until};
use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::number;
use crate::bench::meter::Meter;
use crate::bench::record::{Record, Row};
use crate::bench::server::{Kind, Plan, start};

pub const GROUP: Group = Group {
    name: "chain",
    round,
    once: false,
    tables: &[Table {
        measure: "chain",
        title: "tasks of /bin/true, each after the one before",
        columns: &["ms_per_link", "daemon_cpu_ms_per_link"],
    }],
};

fn round(bench: &mut Bench<'_>) -> Result<()> {
    let setting = setting(bench.sizes.links);
    for records in ["none", "sync"] {
        let row = Row::new("chain", &setting, limit_name(records));
        bench.measure(row, |bench| limit(bench, records))?;
    }
    if bench.programs.make.is_some() {
        bench.measure(Row::new("chain", &setting, "make"), make)?;
    }
    for kind in bench.programs.kinds() {
        let row = Row::new("chain", &setting, kind.name());
        bench.measure(row, |bench| daemon(bench, kind))?;
    }
    Ok(())
}

/// The setting of so many links.
pub fn setting(links: usize) -> String {
    format!("{links} links")
}

fn record(bench: &Bench<'_>, subject: &str, wall: f64, foreign: f64) -> Record {
    let links = bench.sizes.links;
    Record::new("chain", &setting(links), subject)
        .among(foreign)
        .with("ms_per_link", wall / number(links) * 1e3)
}

fn limit(bench: &Bench<'_>, records: &str) -> Result<Vec<Record>> {
    let (found, foreign) = loop_of(bench, bench.sizes.links, 1, records)?;
    let subject = limit_name(records);
    Ok(vec![record(bench, subject, found.wall, foreign)])
}

fn make(bench: &Bench<'_>) -> Result<Vec<Record>> {
    let make = bench.programs.make.as_deref().context("make is missing")?;
    let folder = bench.stage.folder("make")?;
    let mut text = format!(
        ".SUFFIXES:\nMAKEFLAGS += -rR\nall: t{}\nt0:\n",
        bench.sizes.links
    );
    for link in 1..=bench.sizes.links {
        text += &format!("t{link}: t{}\n\t@/bin/true\n", link - 1);
    }
    fs::write(folder.join("Makefile"), text).context("writing a makefile")?;
    let (wall, _, foreign) = timed(bench, make, &folder, 8)?;
    Ok(vec![record(bench, "make", wall, foreign)])
}

fn daemon(bench: &Bench<'_>, kind: Kind) -> Result<Vec<Record>> {
    let plan = Plan::new("/bin/true", 8, true);
    let mut server = start(kind, bench.stage, bench.programs, &plan)?;
    let mut last: Option<String> = None;
    for _ in 0..bench.sizes.links {
        let printed = bench.stage.run(server.submit(last.as_deref()))?;
        last = Some(server.id(&printed));
    }
    bench.wait_until_quiet();
    let before = cpu(server.pid());
    let meter = Meter::start();
    let began = Instant::now();
    server.release()?;
    let wall = wait_until(bench, server.as_ref(), bench.sizes.links, began)?;
    let foreign = meter.stop().foreign;
    let daemon = (cpu(server.pid()) - before) / number(bench.sizes.links) * 1e3;
    let record = record(bench, kind.name(), wall, foreign);
    Ok(vec![record.with("daemon_cpu_ms_per_link", daemon)])
}
