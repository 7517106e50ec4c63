//! `cargo xtask bench`: how fast and how lean orch is, beside pueue, task-spooler, make and what
//! this machine can do at best, all in one run and in turns.
//!
//! It judges nothing: figures of one machine are no reason for a red build. For each target it
//! says what was seen and what bounds it. `docs/performance.md` describes the method.

mod build;
mod compare;
mod figures;
mod machine;
mod measure;
mod meter;
pub mod part;
mod print;
mod procfs;
mod record;
mod seed;
mod server;
pub mod stage;
mod talk;
mod targets;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;

use machine::Machine;
use measure::{GROUPS, Group};
use record::{Record, Report, Row};
use server::{Plan, Programs};
use stage::Stage;

/// What is measured, and how.
#[derive(Args)]
pub struct Options {
    /// The short version: about a minute, small numbers, one round
    #[arg(long)]
    quick: bool,
    /// Only these groups, of disk, throughput, latency, chain, listing, growth, memory, endurance
    /// and logs
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_parser = group)]
    only: Vec<&'static Group>,
    /// How often everything is measured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long to wait for others to leave the CPUs alone, before each measurement
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
    /// Install pueue, task-spooler and make where they are missing
    #[arg(long)]
    install: bool,
    /// Measure this program instead of building one
    #[arg(long, value_name = "FILE")]
    orch: Option<PathBuf>,
    /// Compare with the file of an earlier run
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Measure nothing; print this file, or compare it with that of --compare
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Set when this program is a release build that has just been made
    #[arg(long, hide = true)]
    built: bool,
}

fn group(name: &str) -> Result<&'static Group, String> {
    let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
    let found = GROUPS.iter().find(|group| group.name == name);
    found.ok_or_else(|| format!("there is no such group; there are: {}", names.join(", ")))
}

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Tasks of a drain.
    pub tasks: usize,
    /// Tasks whose latency is measured.
    pub latency: usize,
    /// Links of a chain.
    pub links: usize,
    /// Calls of each listing.
    pub calls: usize,
    /// Tasks stored while listings are measured.
    pub stored: Vec<usize>,
    /// Tasks of the full project that are done.
    pub ended: usize,
    /// Tasks of the full project that wait.
    pub waiting: usize,
    /// Tasks that are measured in the empty and in the full project.
    pub growth: usize,
    /// Tasks running while memory is measured.
    pub running: Vec<usize>,
    /// Tasks of the endurance run.
    pub endurance: usize,
    /// Agents that talk at a steady rate.
    pub talking: usize,
    /// MiB that each writing agent writes.
    pub log_mib: usize,
}

impl Sizes {
    fn new(quick: bool) -> Self {
        if quick {
            return Self {
                tasks: 200,
                latency: 8,
                links: 15,
                calls: 5,
                stored: vec![0, 5_500],
                ended: 5_000,
                waiting: 500,
                growth: 100,
                running: vec![0, 32],
                endurance: 200,
                talking: 4,
                log_mib: 4,
            };
        }
        Self {
            tasks: 2_000,
            latency: 50,
            links: 200,
            calls: 50,
            stored: vec![0, 10_000, 110_000],
            ended: 100_000,
            waiting: 10_000,
            growth: 1_000,
            running: vec![0, 64, 256, 1_000],
            endurance: 10_000,
            talking: 16,
            log_mib: 64,
        }
    }

    /// Tasks of the full project.
    pub const fn full(&self) -> usize {
        self.ended + self.waiting
    }
}

/// A benchmark under way: what every measure works with, and what has been found.
pub struct Bench<'a> {
    /// Where it happens.
    pub stage: &'a Stage,
    /// What is measured.
    pub programs: &'a Programs,
    /// How much of everything.
    pub sizes: Sizes,
    patience: Duration,
    round: u32,
    report: Report,
    seeded: RefCell<BTreeMap<usize, PathBuf>>,
}

impl Bench<'_> {
    /// Takes one measurement. If it fails, that is recorded and the others go on.
    ///
    /// # Errors
    /// The benchmark was stopped.
    pub fn measure(
        &mut self,
        row: Row,
        work: impl FnOnce(&Self) -> Result<Vec<Record>>,
    ) -> Result<()> {
        let records = work(self);
        self.stage.end_all();
        if self.stage.is_stopped() {
            bail!("stopped by a signal; what was started has been ended");
        }
        let records = records.unwrap_or_else(|error| {
            let mut record = Record::new(&row.measure, &row.setting, &row.subject);
            record.problem = Some(format!("{error:#}"));
            vec![record]
        });
        for mut record in records {
            record.round = self.round;
            println!("{}", print::progress(&record));
            self.report.records.push(record);
        }
        Ok(())
    }

    /// Gives others the chance to leave the CPUs alone.
    pub fn wait_until_quiet(&self) {
        meter::wait_until_quiet(self.patience);
    }

    /// Runs a part of this program in a folder of its own, and returns what it printed.
    ///
    /// # Errors
    /// It failed.
    pub fn part(&self, name: &str, arguments: &[(&str, String)]) -> Result<String> {
        let folder = self.stage.folder("part")?;
        let mut command = self.stage.command(&self.programs.own, &folder);
        command.args(["bench-part", name]);
        for (argument, value) in arguments {
            command.arg(format!("--{argument}={value}"));
        }
        command.arg("--folder").arg(&folder);
        self.stage.run(command)
    }

    /// The folder of a project with so many tasks stored, made when it is first asked for. The
    /// full one has tasks that wait; an empty one is new each time.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn seeded(&self, stored: usize) -> Result<PathBuf> {
        if let Some(folder) = self.seeded.borrow().get(&stored) {
            return Ok(folder.clone());
        }
        let folder = self.stage.folder("seeded")?;
        let plan = Plan::new("/bin/true", 8, true);
        server::prepare(self.stage, &self.programs.orch, &folder, &plan)?;
        if stored > 0 {
            let full = stored == self.sizes.full();
            let waiting = if full { self.sizes.waiting } else { 0 };
            let database = folder.join(".orch").join("orch.db");
            println!("seeding a project with {stored} tasks");
            seed::seed(&database, stored - waiting, waiting)?;
            self.seeded.borrow_mut().insert(stored, folder.clone());
        }
        Ok(folder)
    }
}

/// Measures what was asked for, prints it and writes it to a file.
///
/// # Errors
/// Nothing could be built or started, or orch itself failed at something.
pub fn run(options: &Options) -> Result<()> {
    let before = options.compare.as_deref().map(read).transpose()?;
    if let Some(path) = &options.show {
        return show(&read(path)?, before.as_ref());
    }
    if !options.built {
        return build::build_and_go_on(options.orch.is_none(), options.install);
    }
    let programs = build::programs(options.orch.as_deref())?;
    let folder = build::results_folder();
    let stage = Stage::open(
        &folder.join(format!("work.{}", std::process::id())),
        &build::tools_folder(),
    )?;
    let began = since_1970();
    let report = Report {
        started_at: began,
        commit: match &options.orch {
            Some(_) => "given as a program".to_owned(),
            None => build::commit(),
        },
        quick: options.quick,
        machine: Machine::find(&folder),
        tools: build::versions(&programs),
        skipped: missing(&programs),
        records: Vec::new(),
    };
    let mut bench = Bench {
        stage: &stage,
        programs: &programs,
        sizes: Sizes::new(options.quick),
        patience: Duration::from_secs(options.patience.unwrap_or(if options.quick {
            1
        } else {
            10
        })),
        round: 1,
        report,
        seeded: RefCell::default(),
    };
    let done = rounds(&mut bench, options);
    let report = bench.report;
    // What was found before it was stopped is worth keeping, too.
    let path = folder.join(format!("{began}.json"));
    write(&path, &report)?;
    println!("removing the working folder");
    drop(stage);
    done?;
    show(&report, before.as_ref())?;
    println!("\nraw records: {}", path.display());
    judge(&report)
}

fn rounds(bench: &mut Bench<'_>, options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    for round in 1..=rounds {
        bench.round = round;
        println!("round {round} of {rounds}");
        for group in GROUPS {
            let chosen =
                options.only.is_empty() || options.only.iter().any(|only| only.name == group.name);
            if chosen && (round == 1 || !group.once) {
                (group.round)(bench)?;
            }
        }
    }
    Ok(())
}

fn missing(programs: &Programs) -> BTreeSet<String> {
    let install = "'cargo xtask bench --install' installs it";
    let mut missing = BTreeSet::new();
    if programs.pueue.is_none() {
        missing.insert(format!("pueue is not installed; {install}"));
    }
    if programs.spooler.is_none() {
        missing.insert(format!("task-spooler is not installed; {install}"));
    }
    if programs.make.is_none() {
        missing.insert(format!("make is not installed; {install}"));
    }
    missing
}

fn show(report: &Report, before: Option<&Report>) -> Result<()> {
    print::report(report);
    print::lines("targets", &targets::judge(report));
    if let Some(before) = before {
        print::lines("against the earlier run", &compare::lines(before, report));
    }
    Ok(())
}

/// A slow orch is a figure; one that does not do what it is asked is an error.
fn judge(report: &Report) -> Result<()> {
    let failed = report
        .records
        .iter()
        .filter(|record| record.problem.is_some() && record.subject.starts_with("orch"));
    match failed.count() {
        0 => Ok(()),
        count => bail!("orch failed at {count} measurements; see the problems above"),
    }
}

fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
}

fn write(path: &Path, report: &Report) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_chosen_by_name() {
        assert_eq!(group("latency").map(|group| group.name), Ok("latency"));
        assert!(group("speed").is_err_and(|error| error.contains("throughput, latency")));
    }

    #[test]
    fn a_failure_of_orch_is_an_error_and_one_of_a_peer_is_not() {
        let report = |subject: &str| {
            let mut record = Record::new("drain", "8 at once", subject);
            record.problem = Some("broken".to_owned());
            Report {
                records: vec![record],
                ..Report::default()
            }
        };
        assert!(judge(&report("orch")).is_err());
        assert!(judge(&report("pueue")).is_ok());
        assert!(judge(&Report::default()).is_ok());
    }
}
