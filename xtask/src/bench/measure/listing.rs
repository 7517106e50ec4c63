//! What it costs to look, with nothing, ten thousand and a hundred thousand tasks stored: the
//! CPU time of the command and of the daemon that answers it.

use anyhow::Result;

use super::throughput::{children, cpu};
use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::{number, percentile};
use crate::bench::meter::Meter;
use crate::bench::record::{Record, Row};
use crate::bench::server::{Orch, Server};

pub const COLUMNS: &[&str] = &["p50_ms", "cpu_ms", "client_cpu_ms", "daemon_cpu_ms"];

pub const GROUP: Group = Group {
    name: "listing",
    round,
    once: false,
    tables: &[Table {
        measure: "listing",
        title: "looking, with so many tasks stored",
        columns: COLUMNS,
    }],
};

fn round(bench: &mut Bench<'_>) -> Result<()> {
    for stored in bench.sizes.stored.clone() {
        let row = Row::new("listing", &setting(stored), "orch");
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
    let orch = Orch::serve(bench.stage, &bench.programs.orch, &folder)?;
    let mut records = list(bench, &orch, "orch", &setting(stored))?;
    let version = (0..bench.sizes.calls).map(|_| orch.command(&["--version"]));
    records.push(call(
        bench,
        &orch,
        version,
        "orch --version",
        &setting(stored),
    )?);
    orch.leave();
    Ok(records)
}

/// Calls each listing of a server several times.
pub fn list(
    bench: &Bench<'_>,
    server: &dyn Server,
    subject: &str,
    setting: &str,
) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (at, (name, _)) in server.listings().iter().enumerate() {
        let commands = (0..bench.sizes.calls).map(|_| server.listings().swap_remove(at).1);
        let subject = format!("{subject} {name}");
        records.push(call(bench, server, commands, &subject, setting)?);
    }
    Ok(records)
}

fn call(
    bench: &Bench<'_>,
    server: &dyn Server,
    commands: impl Iterator<Item = std::process::Command>,
    subject: &str,
    setting: &str,
) -> Result<Record> {
    bench.wait_until_quiet();
    let before = (cpu(server.pid()), children());
    let meter = Meter::start();
    let mut times = Vec::new();
    for command in commands {
        times.push(bench.stage.time(command)?.as_secs_f64() * 1e3);
    }
    let foreign = meter.stop().foreign;
    let calls = number(times.len());
    let client = (children() - before.1) / calls * 1e3;
    let daemon = (cpu(server.pid()) - before.0) / calls * 1e3;
    let record = Record::new("listing", setting, subject)
        .among(foreign)
        .with("p50_ms", percentile(&times, 50).unwrap_or(f64::NAN))
        .with("cpu_ms", client + daemon)
        .with("client_cpu_ms", client)
        .with("daemon_cpu_ms", daemon);
    Ok(record)
}
