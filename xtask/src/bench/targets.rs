//! What orch is meant to reach, what was seen, and what bounds it. Nothing here fails a build.

use super::figures::{Summary, short};
use super::measure::{limit_name, setting_number};
use super::record::{Report, Row};

/// One line of what is wanted.
struct Target {
    /// What it is about.
    name: &'static str,
    wanted: Wanted,
    /// The unit of the bound.
    unit: &'static str,
    seen: Option<Summary>,
    /// What bounds it, in words; empty if nothing is known.
    bound_by: String,
}

/// The bound.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    const fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    /// By how much a value misses it; nothing or less if it does not.
    const fn missed_by(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(bound) => bound - value,
            Self::AtMost(bound) => value - bound,
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::AtLeast(_) => ">=",
            Self::AtMost(_) => "<=",
        }
    }
}

impl Target {
    fn line(&self) -> String {
        let Self {
            name,
            wanted,
            unit,
            seen,
            bound_by,
        } = self;
        let head = format!(
            "{name}: target {} {}{unit}",
            wanted.sign(),
            short(wanted.bound())
        );
        let Some(seen) = seen else {
            return head;
        };
        let missed = wanted.missed_by(seen.median);
        let verdict = if missed > 0.0 {
            format!("short by {}{unit}", short(missed))
        } else {
            "met".to_owned()
        };
        let because = if bound_by.is_empty() {
            String::new()
        } else {
            format!("; {bound_by}")
        };
        format!("{head}, seen {}{unit}: {verdict}{because}", seen.text())
    }
}

/// A line for each target: what is wanted, what was seen, met or by how much not, and why.
pub fn judge(report: &Report) -> Vec<String> {
    let targets = [
        drains(report),
        latencies(report),
        stored(report),
        memory(report),
        talk(report),
        logs(report),
    ];
    let (seen, unseen): (Vec<&Target>, Vec<&Target>) = targets
        .iter()
        .flatten()
        .partition(|target| target.seen.is_some());
    let mut lines: Vec<String> = seen.into_iter().map(Target::line).collect();
    if report.quick {
        lines.push("the short version counts too little to judge by; run all of it".to_owned());
    }
    if !unseen.is_empty() {
        let names: Vec<&str> = unseen.iter().map(|target| target.name).collect();
        lines.push(format!("not measured: {}", names.join("; ")));
    }
    lines
}

fn drains(report: &Report) -> Vec<Target> {
    let row = |setting: &str, subject: &str| Row::new("drain", setting, subject);
    let (eight, many) = (row("8 at once", "orch"), row("64 at once", "orch"));
    let rate = "tasks_per_s";
    let over = |below: &Row| report.ratio((&eight, rate), (below, rate));
    let pueue = row("8 at once", "pueue");
    let limit = row("8 at once", limit_name("sync"));
    vec![
        Target {
            name: "drain, 8 at once, against pueue",
            wanted: Wanted::AtLeast(25.0),
            unit: " x",
            seen: over(&pueue),
            bound_by: cpu_bound(report, &eight),
        },
        Target {
            name: "drain, 8 at once, against spawning with a synced record",
            wanted: Wanted::AtLeast(0.5),
            unit: " x",
            seen: over(&limit),
            bound_by: cpu_bound(report, &eight),
        },
        Target {
            name: "drain, 64 at once, against 8",
            wanted: Wanted::AtLeast(1.0),
            unit: " x",
            seen: report.ratio((&many, rate), (&eight, rate)),
            bound_by: cpu_bound(report, &many),
        },
    ]
}

/// Whether the CPUs bound a rate: how much each task takes of them and what that allows.
fn cpu_bound(report: &Report, row: &Row) -> String {
    let figure = |figure| report.summary(row, figure).map(|summary| summary.median);
    let (Some(cost), Some(rate)) = (figure("cpu_ms_per_task"), figure("tasks_per_s")) else {
        return String::new();
    };
    let cores = report.machine.cores;
    let most = super::figures::number(cores) * 1e3 / cost;
    let daemon = figure("daemon_cpu_ms_per_task").map_or_else(String::new, |daemon| {
        format!(", {} of them in the daemon", short(daemon))
    });
    let records = report.records.iter().filter(|record| record.row() == *row);
    let foreign: Vec<f64> = records.map(|record| record.foreign).collect();
    let foreign = super::figures::median(&foreign).unwrap_or(0.0);
    let cause = if rate > 0.8 * most * (1.0 - foreign) {
        "the CPUs bound it"
    } else {
        "the CPUs were not full: it waited, for the disk or for what it had told to start"
    };
    let others = short(foreign * 100.0);
    format!(
        "{} ms of CPU per task{daemon}, so {cores} CPUs allow {} a second and it reached {} while others used \
         {others} % of them: {cause}",
        short(cost),
        short(most),
        short(rate),
    )
}

fn latencies(report: &Report) -> Vec<Target> {
    let one = "one at a time";
    let orch = Row::new("latency", one, "orch");
    let machine = Row::new("latency", one, limit_name("none"));
    let alone = |figure, what: &str| {
        let alone = report.summary(&machine, figure);
        let sync = report.summary(&Row::new("disk", one, "limit"), "p50_ms");
        let alone =
            alone.map(|alone| format!("{what} alone takes {} ms here", short(alone.median)));
        let sync = sync.map(|sync| format!("one synced record {} ms", short(sync.median)));
        [alone, sync]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    };
    let target = |name, figure, bound_by| Target {
        name,
        wanted: Wanted::AtMost(5.0),
        unit: " ms",
        seen: report.summary(&orch, figure),
        bound_by,
    };
    let start = alone("start_p50_ms", "starting a process");
    let end = alone("seen_waiting_p50_ms", "ending a process");
    vec![
        target("start, median", "start_p50_ms", start),
        target(
            "end seen by a command that waits, median",
            "seen_waiting_p50_ms",
            end.clone(),
        ),
        target("end seen by asking, median", "seen_asking_p50_ms", end),
        chain(report),
    ]
}

fn chain(report: &Report) -> Target {
    let setting = largest(report, "chain");
    let row = |subject: &str| Row::new("chain", &setting, subject);
    let figure = "ms_per_link";
    let limit = report.summary(&row(limit_name("sync")), figure);
    let bound_by = limit.map(|limit| {
        let limit = short(limit.median);
        format!("spawning with a synced record takes {limit} ms a link here")
    });
    Target {
        name: "chain, per link",
        wanted: Wanted::AtMost(5.0),
        unit: " ms",
        seen: report.summary(&row("orch"), figure),
        bound_by: bound_by.unwrap_or_default(),
    }
}

fn stored(report: &Report) -> Vec<Target> {
    let full = largest(report, "growth");
    let (empty, full) = (
        Row::new("growth", "0 stored", "orch"),
        Row::new("growth", &full, "orch"),
    );
    let growth = |name, figure| Target {
        name,
        wanted: Wanted::AtMost(1.2),
        unit: " x",
        seen: report.ratio((&full, figure), (&empty, figure)),
        bound_by: change(report, &empty, &full, figure),
    };
    let listing = Row::new(
        "listing",
        &largest(report, "listing"),
        "orch task list -n 100",
    );
    vec![
        growth("time per task, full project against empty", "ms_per_task"),
        growth(
            "CPU per task, full project against empty",
            "cpu_ms_per_task",
        ),
        growth(
            "CPU of the daemon per task, full project against empty",
            "daemon_cpu_ms_per_task",
        ),
        Target {
            name: "first page of 'task list', most tasks stored, CPU of client and daemon",
            wanted: Wanted::AtMost(50.0),
            unit: " ms",
            seen: report.summary(&listing, "cpu_ms"),
            bound_by: String::new(),
        },
    ]
}

fn change(report: &Report, from: &Row, to: &Row, figure: &str) -> String {
    let median = |row| {
        report
            .summary(row, figure)
            .map(|summary| short(summary.median))
    };
    let pair = median(from).zip(median(to));
    pair.map_or_else(String::new, |(from, to)| format!("{from} -> {to} ms"))
}

fn memory(report: &Report) -> Vec<Target> {
    let row = |setting: &str| Row::new("memory", setting, "orch");
    let most = largest(report, "memory");
    let idle = report.summary(&row("idle"), "resident_kib");
    let full = report.summary(&row(&most), "resident_kib");
    let each = idle.zip(full).map(|(idle, full)| {
        let running = super::figures::number(setting_number(&most).unwrap_or(1).max(1));
        scaled(&full, |kib| (kib - idle.median) / running / 1024.0)
    });
    let mib = |summary: Summary| scaled(&summary, |kib| kib / 1024.0);
    let tasks = largest(report, "endurance");
    let growth = |figure| report.summary(&Row::new("endurance", &tasks, "orch"), figure);
    let target = |name, bound, unit, seen| Target {
        name,
        wanted: Wanted::AtMost(bound),
        unit,
        seen,
        bound_by: String::new(),
    };
    vec![
        target("daemon, idle, resident", 40.0, " MiB", idle.map(mib)),
        target("daemon, for each running agent", 0.3, " MiB", each),
        target(
            "helper of a running agent, private",
            2.0,
            " MiB",
            report.summary(&row(&most), "helper_private_kib").map(mib),
        ),
        target(
            "growth of memory over the later tasks",
            1.0,
            " MiB",
            growth("resident_growth_kib").map(mib),
        ),
        target(
            "growth of descriptors over the later tasks",
            0.0,
            "",
            growth("descriptors_growth_count"),
        ),
    ]
}

fn talk(report: &Report) -> Vec<Target> {
    let rows = report.rows().into_iter();
    let rows = rows.filter(|row| row.measure == "talk");
    rows.map(|row| {
        let median = |figure| report.summary(&row, figure).map(|seen| short(seen.median));
        let (lines, events) = (median("lines_count"), median("events_count"));
        let pair = lines.zip(events);
        let kept_up = |(lines, events)| {
            format!("each wrote {lines} lines meanwhile, of which {events} events were recorded")
        };
        Target {
            name: match row.setting.ends_with("claude") {
                true => "daemon, for each agent that talks as Claude Code, share of a CPU",
                false => "daemon, for each agent that talks plain text, share of a CPU",
            },
            wanted: Wanted::AtMost(1.0),
            unit: " %",
            seen: report.summary(&row, "daemon_per_agent_percent"),
            bound_by: pair.map(kept_up).unwrap_or_default(),
        }
    })
    .collect()
}

fn scaled(summary: &Summary, by: impl Fn(f64) -> f64) -> Summary {
    Summary {
        median: by(summary.median),
        least: by(summary.least),
        most: by(summary.most),
        ..*summary
    }
}

fn logs(report: &Report) -> Vec<Target> {
    let targets = [("line", "writing by line"), ("block", "writing by block")];
    let target = |(shape, name): (&str, &'static str)| {
        let setting = report
            .rows()
            .into_iter()
            .find(|row| row.measure == "logs" && row.setting.ends_with(shape))
            .map(|row| row.setting)
            .unwrap_or_default();
        let row = |subject: &str| Row::new("logs", &setting, subject);
        let (orch, plain) = (row("orch"), row(super::measure::PLAIN));
        let lag = report.ratio((&orch, "recorded_s"), (&orch, "writers_s"));
        let bound_by = lag.map(|lag| {
            let median = |figure| {
                report
                    .summary(&orch, figure)
                    .map_or(f64::NAN, |seen| seen.median)
            };
            let (lag, peak) = (short(lag.median), short(median("peak_kib") / 1024.0));
            let cpu = short(median("daemon_cpu_s_per_gib"));
            format!(
                "everything was recorded after {lag} x the time of the writers; the daemon took \
                 {cpu} s of CPU per GiB and {peak} MiB of memory at most"
            )
        });
        Target {
            name,
            wanted: Wanted::AtMost(1.05),
            unit: " x plain files",
            seen: report.ratio((&orch, "writers_s"), (&plain, "writers_s")),
            bound_by: bound_by.unwrap_or_default(),
        }
    };
    targets.map(target).into()
}

/// The setting of a measure with the largest number in it.
fn largest(report: &Report, measure: &str) -> String {
    let rows = report
        .rows()
        .into_iter()
        .filter(|row| row.measure == measure);
    let largest = rows.max_by_key(|row| setting_number(&row.setting));
    largest.map(|row| row.setting).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Record;

    fn report(records: &[(&str, &str, &str, &str, f64)]) -> Report {
        let mut report = Report::default();
        report.machine.cores = 2;
        for (measure, setting, subject, figure, value) in records {
            let same = report
                .records
                .iter_mut()
                .find(|record| record.row() == Row::new(measure, setting, subject));
            match same {
                Some(record) => {
                    record.figures.insert((*figure).to_owned(), *value);
                }
                None => {
                    let record = Record::new(measure, setting, subject);
                    report.records.push(record.with(figure, *value));
                }
            }
        }
        report
    }

    fn line(lines: &[String], beginning: &str) -> String {
        let found = lines.iter().find(|line| line.starts_with(beginning));
        found.cloned().unwrap_or_else(|| panic!("{lines:?}"))
    }

    #[test]
    fn a_target_is_met_or_short_and_says_why() {
        let eight = "8 at once";
        let lines = judge(&report(&[
            ("drain", eight, "orch", "tasks_per_s", 180.0),
            ("drain", eight, "orch", "cpu_ms_per_task", 10.0),
            ("drain", eight, "orch", "daemon_cpu_ms_per_task", 2.0),
            ("drain", eight, "pueue", "tasks_per_s", 20.0),
            ("drain", eight, limit_name("sync"), "tasks_per_s", 200.0),
        ]));
        let pueue = line(&lines, "drain, 8 at once, against pueue");
        assert!(
            pueue.contains("target >= 25.0 x, seen 9.00 x: short by 16.0 x"),
            "{pueue}"
        );
        assert!(pueue.contains(
            "2 CPUs allow 200 a second and it reached 180 while others used 0 % of them: \
                                 the CPUs bound it"
        ));
        let limit = line(&lines, "drain, 8 at once, against spawning");
        assert!(limit.contains("seen 0.900 x: met"), "{limit}");
        let unseen = line(
            &lines,
            "not measured: drain, 64 at once, against 8; start, median;",
        );
        assert!(!unseen.contains("pueue"), "{unseen}");
    }

    #[test]
    fn memory_counts_from_the_idle_daemon() {
        let lines = judge(&report(&[
            ("memory", "idle", "orch", "resident_kib", 10_240.0),
            ("memory", "64 running", "orch", "resident_kib", 11_000.0),
            ("memory", "1000 running", "orch", "resident_kib", 522_240.0),
            (
                "memory",
                "1000 running",
                "orch",
                "helper_private_kib",
                1_024.0,
            ),
            (
                "endurance",
                "10000 tasks",
                "orch",
                "descriptors_growth_count",
                3.0,
            ),
        ]));
        assert!(line(&lines, "daemon, idle").contains("seen 10.0 MiB: met"));
        assert!(line(&lines, "daemon, for each").contains("seen 0.500 MiB: short by 0.200 MiB"));
        assert!(line(&lines, "helper").contains("seen 1.00 MiB: met"));
        assert!(line(&lines, "growth of descriptors").contains("seen 3.00: short by 3.00"));
        assert!(line(&lines, "not measured").contains("growth of memory"));
    }

    #[test]
    fn the_full_project_is_held_against_the_empty_one() {
        let lines = judge(&report(&[
            ("growth", "0 stored", "orch", "cpu_ms_per_task", 5.0),
            ("growth", "110000 stored", "orch", "cpu_ms_per_task", 10.0),
            (
                "listing",
                "9000 stored",
                "orch task list -n 100",
                "cpu_ms",
                60.0,
            ),
            (
                "listing",
                "110000 stored",
                "orch task list -n 100",
                "cpu_ms",
                20.0,
            ),
        ]));
        let growth = line(&lines, "CPU per task");
        assert!(
            growth.contains("seen 2.00 x: short by 0.800 x; 5.00 -> 10.0 ms"),
            "{growth}"
        );
        assert!(line(&lines, "first page").contains("seen 20.0 ms: met"));
    }

    #[test]
    fn writers_are_held_against_plain_files_and_the_lag_is_told() {
        let setting = "16 x 64 MiB by line";
        let lines = judge(&report(&[
            ("logs", setting, "orch", "writers_s", 4.4),
            ("logs", setting, "orch", "recorded_s", 8.8),
            (
                "logs",
                setting,
                super::super::measure::PLAIN,
                "writers_s",
                4.0,
            ),
        ]));
        let logs = line(&lines, "writing by line");
        assert!(
            logs.contains("seen 1.10 x plain files: short by 0.0500"),
            "{logs}"
        );
        assert!(logs.contains("after 2.00 x the time"));
    }

    #[test]
    fn talking_agents_cost_a_share_and_what_was_recorded_is_told() {
        let setting = "16 x 50 lines/s, claude";
        let lines = judge(&report(&[
            ("talk", setting, "orch", "daemon_per_agent_percent", 1.5),
            ("talk", setting, "orch", "lines_count", 500.0),
            ("talk", setting, "orch", "events_count", 498.0),
        ]));
        let talk = line(&lines, "daemon, for each agent that talks as Claude Code");
        assert!(talk.contains("seen 1.50 %: short by 0.500 %"), "{talk}");
        assert!(
            talk.contains("500 lines meanwhile, of which 498 events"),
            "{talk}"
        );
    }

    #[test]
    fn latency_names_what_the_machine_alone_takes() {
        let one = "one at a time";
        let lines = judge(&report(&[
            ("latency", one, "orch", "start_p50_ms", 4.0),
            ("latency", one, limit_name("none"), "start_p50_ms", 0.9),
            ("disk", one, "limit", "p50_ms", 0.2),
            ("chain", "200 links", "orch", "ms_per_link", 6.0),
            ("chain", "200 links", limit_name("sync"), "ms_per_link", 1.0),
        ]));
        let start = line(&lines, "start");
        assert!(
            start.contains("met; starting a process alone takes 0.900 ms"),
            "{start}"
        );
        assert!(start.contains("one synced record 0.200 ms"));
        assert!(line(&lines, "chain").contains("short by 1.00 ms; spawning"));
    }
}
