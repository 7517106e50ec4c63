//! Agents that write as fast as they can: how much longer that takes under a daemon than into
//! plain files, and whether every byte is there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::throughput::{cpu, wait_until};
use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::number;
use crate::bench::meter::Meter;
use crate::bench::part::{LINE_BYTES, Shape, span};
use crate::bench::procfs::peak_kib;
use crate::bench::record::{Record, Row};
use crate::bench::server::{Kind, Plan, start};

pub const GROUP: Group = Group {
    name: "logs",
    round,
    once: false,
    tables: &[Table {
        measure: "logs",
        title: "agents writing JSON lines of 200 bytes, from the first's beginning to the last's end",
        columns: &[
            "writers_s",
            "written_mib_per_s",
            "recorded_s",
            "daemon_cpu_s_per_gib",
            "peak_kib",
        ],
    }],
};

/// How many agents write at once.
const AGENTS: usize = 16;
/// What plain files are called.
pub const PLAIN: &str = "limit: plain files";

fn round(bench: &mut Bench<'_>) -> Result<()> {
    for shape in [Shape::Line, Shape::Block] {
        let setting = setting(bench.sizes.log_mib, shape.name());
        let row = Row::new("logs", &setting, PLAIN);
        bench.measure(row, |bench| plain(bench, shape))?;
        for kind in bench.programs.kinds() {
            let row = Row::new("logs", &setting, kind.name());
            bench.measure(row, |bench| daemon(bench, kind, shape))?;
        }
    }
    Ok(())
}

/// The setting of a shape.
pub fn setting(mib: usize, shape: &str) -> String {
    format!("{AGENTS} x {mib} MiB by {shape}")
}

const fn lines(bench: &Bench<'_>) -> usize {
    bench.sizes.log_mib * 1024 * 1024 / LINE_BYTES
}

/// The arguments of one writing agent.
fn agent(bench: &Bench<'_>, shape: Shape, ledger: &Path) -> String {
    let (lines, shape, ledger) = (lines(bench), shape.name(), ledger.display());
    format!("bench-part lines --count {lines} --shape {shape} --ledger {ledger}")
}

/// Lets what was written before reach the disk, so that it does not slow down what follows.
fn settle(bench: &Bench<'_>, folder: &Path) -> Result<()> {
    rustix::fs::syncfs(File::open(folder)?).context("flushing the disk")?;
    bench.wait_until_quiet();
    Ok(())
}

fn record(bench: &Bench<'_>, shape: Shape, subject: &str, seconds: f64) -> Record {
    let setting = setting(bench.sizes.log_mib, shape.name());
    let mib = number(bench.sizes.log_mib * AGENTS);
    Record::new("logs", &setting, subject)
        .with("writers_s", seconds)
        .with("written_mib_per_s", mib / seconds)
}

fn plain(bench: &Bench<'_>, shape: Shape) -> Result<Vec<Record>> {
    let folder = bench.stage.folder("plain")?;
    let ledger = bench.stage.folder("ledger")?;
    settle(bench, &folder)?;
    let meter = Meter::start();
    let mut writers = Vec::new();
    for number in 0..AGENTS {
        let mut command: Command = bench.stage.command(&bench.programs.own, &folder);
        command.args(agent(bench, shape, &ledger).split(' '));
        let log = folder.join(format!("{number}.log"));
        writers.push(bench.stage.spawn(command, &log)?);
    }
    for writer in writers {
        writer.finish()?;
    }
    let foreign = meter.stop().foreign;
    check_bytes(bench, &folder)?;
    fs::remove_dir_all(&folder).context("removing logs")?;
    let seconds = span(&ledger, AGENTS)?;
    Ok(vec![record(bench, shape, PLAIN, seconds).among(foreign)])
}

fn daemon(bench: &Bench<'_>, kind: Kind, shape: Shape) -> Result<Vec<Record>> {
    let ledger = bench.stage.folder("ledger")?;
    let own = bench.programs.own.display();
    let work = format!("{own} {}", agent(bench, shape, &ledger));
    let plan = Plan::new(&work, AGENTS, true);
    let mut server = start(kind, bench.stage, bench.programs, &plan)?;
    for _ in 0..AGENTS {
        bench.stage.run(server.submit(None))?;
    }
    let folder = server.folder().to_owned();
    settle(bench, &folder)?;
    let before = cpu(server.pid());
    let (meter, began) = (Meter::start(), Instant::now());
    server.release()?;
    let recorded = wait_until(bench, server.as_ref(), AGENTS, began)?;
    let foreign = meter.stop().foreign;
    let gib = number(bench.sizes.log_mib * AGENTS) / 1024.0;
    let daemon = (cpu(server.pid()) - before) / gib;
    let peak = peak_kib(server.pid()).map_or(f64::NAN, number);
    drop(server);
    check_bytes(bench, &folder)?;
    fs::remove_dir_all(&folder).context("removing logs")?;
    let seconds = span(&ledger, AGENTS)?;
    let record = record(bench, shape, kind.name(), seconds)
        .among(foreign)
        .with("recorded_s", recorded)
        .with("daemon_cpu_s_per_gib", daemon)
        .with("peak_kib", peak);
    Ok(vec![record])
}

/// Whether there are as many files as agents that hold exactly what an agent wrote.
fn check_bytes(bench: &Bench<'_>, folder: &Path) -> Result<()> {
    let wanted = (lines(bench) * LINE_BYTES) as u64;
    let mut whole = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.len() == wanted {
                whole += 1;
            }
        }
    }
    ensure!(whole == AGENTS, "{whole} of {AGENTS} logs are whole");
    Ok(())
}
