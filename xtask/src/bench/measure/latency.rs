//! One task at a time on an idle daemon: how long from the submitting command to the task's own
//! first act, and how long from its end until somebody can know.
//!
//! The task opens a named pipe and reads it to its end. Opening the other end for writing returns
//! at the moment the task opens its own, and closing it makes the task end at once: both moments
//! are seen by one clock, without asking the task. So the first figure contains what a program
//! does before its first act, and the second what it does after its last, a few tenths of a
//! millisecond each; the limit shows how much.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Group, Table};
use crate::bench::Bench;
use crate::bench::figures::percentile;
use crate::bench::meter::Meter;
use crate::bench::record::{Record, Row};
use crate::bench::server::{Kind, Plan, SOON, Server, start};

pub const GROUP: Group = Group {
    name: "latency",
    round,
    once: false,
    tables: &[Table {
        measure: "latency",
        title: "one task at a time on an idle daemon",
        columns: &[
            "start_p50_ms",
            "start_p95_ms",
            "submit_p50_ms",
            "seen_waiting_p50_ms",
            "seen_waiting_p95_ms",
            "seen_asking_p50_ms",
            "seen_asking_p95_ms",
        ],
    }],
};

/// How long the command that waits for a task gets to begin its waiting.
const ATTACH: Duration = Duration::from_millis(150);

/// The setting of this measure.
pub const SETTING: &str = "one at a time";

fn round(bench: &mut Bench<'_>) -> Result<()> {
    bench.measure(Row::new("latency", SETTING, "limit: spawn and wait"), limit)?;
    for kind in bench.programs.kinds() {
        let row = Row::new("latency", SETTING, kind.name());
        bench.measure(row, |bench| daemon(bench, kind))?;
    }
    Ok(())
}

/// Milliseconds of each kind.
#[derive(Default)]
struct Times {
    start: Vec<f64>,
    submit: Vec<f64>,
    waiting: Vec<f64>,
    asking: Vec<f64>,
}

impl Times {
    fn record(self, subject: &str, foreign: f64) -> Record {
        let mut record = Record::new("latency", SETTING, subject).among(foreign);
        let kinds = [
            ("start", self.start),
            ("submit", self.submit),
            ("seen_waiting", self.waiting),
            ("seen_asking", self.asking),
        ];
        for (name, times) in kinds {
            for percent in [50, 95] {
                if let Some(value) = percentile(&times, percent) {
                    record = record.with(&format!("{name}_p{percent}_ms"), value);
                }
            }
            record.samples.insert(format!("{name}_ms"), times);
        }
        record
    }
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

/// The same with nothing between: a process is started and waited for.
fn limit(bench: &Bench<'_>) -> Result<Vec<Record>> {
    let folder = bench.stage.folder("pipes")?;
    let pipe = Pipe::make(&folder)?;
    let mut times = Times::default();
    bench.wait_until_quiet();
    let meter = Meter::start();
    for _ in 0..bench.sizes.latency {
        let other_end = pipe.await_reader();
        let mut command = bench.stage.command(Path::new("/bin/cat"), &folder);
        command.arg(&pipe.path).stdout(Stdio::null());
        let began = Instant::now();
        let running = bench.stage.spawn_as_is(command)?;
        times.submit.push(milliseconds(began, Instant::now()));
        let (opened, end) = opened(&other_end)?;
        times.start.push(milliseconds(began, opened));
        let closed = Instant::now();
        drop(end);
        running.finish()?;
        times.waiting.push(milliseconds(closed, Instant::now()));
    }
    let foreign = meter.stop().foreign;
    Ok(vec![times.record("limit: spawn and wait", foreign)])
}

fn daemon(bench: &Bench<'_>, kind: Kind) -> Result<Vec<Record>> {
    let folder = bench.stage.folder("pipes")?;
    let pipe = Pipe::make(&folder)?;
    let work = format!("/bin/cat {}", pipe.path.display());
    let server = start(
        kind,
        bench.stage,
        bench.programs,
        &Plan::new(&work, 4, false),
    )?;
    let mut times = Times::default();
    let mut foreign = Vec::new();
    for number in 0..bench.sizes.latency {
        if number % 10 == 0 {
            bench.wait_until_quiet();
        }
        let meter = Meter::start();
        one(bench, server.as_ref(), &pipe, number, &mut times)?;
        foreign.push(meter.stop().foreign);
        // Spread over the ticks of whoever works in ticks.
        bench.stage.pause(spread(number, 37))?;
    }
    let foreign = percentile(&foreign, 50).unwrap_or(1.0);
    Ok(vec![times.record(kind.name(), foreign)])
}

/// Between 20 and 320 ms, differing from one task to the next.
const fn spread(number: usize, step: usize) -> Duration {
    Duration::from_millis(20 + (number * step % 300) as u64)
}

fn one(
    bench: &Bench<'_>,
    server: &dyn Server,
    pipe: &Pipe,
    number: usize,
    times: &mut Times,
) -> Result<()> {
    let other_end = pipe.await_reader();
    let began = Instant::now();
    let printed = bench.stage.run(server.submit(None))?;
    times.submit.push(milliseconds(began, Instant::now()));
    let id = server.id(&printed);
    let (opened, end) = opened(&other_end)?;
    times.start.push(milliseconds(began, opened));
    if number.is_multiple_of(2) {
        bench.stage.pause(spread(number, 67))?;
        let closed = Instant::now();
        drop(end);
        times.asking.push(asked(bench, server, &id, closed)?);
        return Ok(());
    }
    let mut command = server.wait(&id);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let waiting = bench.stage.spawn_as_is(command)?;
    bench.stage.pause(ATTACH + spread(number, 67))?;
    let closed = Instant::now();
    drop(end);
    waiting.finish()?;
    times.waiting.push(milliseconds(closed, Instant::now()));
    // The next one shall find an idle daemon, not one that is still at this.
    asked(bench, server, &id, closed).map(drop)
}

/// Asks until the end of a task is shown: milliseconds from `closed` to that.
fn asked(bench: &Bench<'_>, server: &dyn Server, id: &str, closed: Instant) -> Result<f64> {
    loop {
        let printed = bench.stage.run(server.show(id))?;
        let now = Instant::now();
        if server.shows_end(id, &printed) {
            return Ok(milliseconds(closed, now));
        }
        ensure!(closed.elapsed() < SOON, "the end of a task was never shown");
    }
}

/// A named pipe.
struct Pipe {
    path: PathBuf,
}

/// The moment the other end was opened, and this end.
type Opened = Receiver<std::io::Result<(Instant, File)>>;

impl Pipe {
    fn make(folder: &Path) -> Result<Self> {
        let path = folder.join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).context("making a pipe")?;
        Ok(Self { path })
    }

    /// Begins to open this end, which lasts until somebody opens the other one.
    fn await_reader(&self) -> Opened {
        let (sender, receiver) = channel();
        let path = self.path.clone();
        std::thread::spawn(move || {
            let end = OpenOptions::new().write(true).open(path);
            let now = Instant::now();
            // Nobody listens any more when the benchmark has given up on the task.
            let _ = sender.send(end.map(|end| (now, end)));
        });
        receiver
    }
}

fn opened(other_end: &Opened) -> Result<(Instant, File)> {
    let opened = other_end.recv_timeout(SOON);
    let opened = opened.context("the task did not begin in time")?;
    opened.context("opening a pipe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_of_opening_is_that_of_the_other_end() {
        let folder = std::env::temp_dir().join(format!("orch-bench-pipe-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pipe = Pipe::make(&folder).unwrap();
        let waiting = pipe.await_reader();
        let before = Instant::now();
        let reader = File::open(&pipe.path).unwrap();
        let (opened, end) = opened(&waiting).unwrap();
        assert!(opened >= before);
        drop((reader, end));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_record_has_percentiles_of_what_was_measured_and_nothing_else() {
        let times = Times {
            start: vec![3.0, 1.0, 2.0],
            ..Times::default()
        };
        let record = times.record("orch", 0.5);
        assert_eq!(record.figures.len(), 2);
        assert!((record.figures["start_p50_ms"] - 2.0).abs() < 1e-9);
        assert_eq!(record.samples["start_ms"].len(), 3);
    }

    #[test]
    fn tasks_meet_a_tick_at_every_phase() {
        let phases: std::collections::BTreeSet<u128> = (0..50)
            .map(|number| spread(number, 67).as_millis() / 30)
            .collect();
        assert!(phases.len() >= 10, "{phases:?}");
    }
}
