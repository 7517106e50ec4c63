//! This run against an earlier one, figure by figure.

use super::figures::{Summary, short};
use super::print::columns;
use super::record::{Report, Row};

/// What changed, and by how much. A `*` marks figures whose ranges do not touch.
pub fn lines(before: &Report, now: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if before.machine != now.machine {
        let (before, now) = (before.machine.text(), now.machine.text());
        lines.push(format!("the machines differ: {before}; now {now}"));
    }
    if before.quick != now.quick {
        lines.push("one of the two is the short version: its figures are others".to_owned());
    }
    for row in now.rows() {
        for column in columns(&row.measure) {
            let pair = before.summary(&row, column).zip(now.summary(&row, column));
            lines.extend(pair.and_then(|(before, now)| line(&row, column, &before, &now)));
        }
    }
    lines
}

fn line(row: &Row, figure: &str, before: &Summary, now: &Summary) -> Option<String> {
    if before.median == 0.0 && now.median == 0.0 {
        return None;
    }
    let ratio = now.median / before.median;
    let better = if figure.contains("_per_s") {
        ratio > 1.0
    } else {
        ratio < 1.0
    };
    let apart = now.least > before.most || now.most < before.least;
    let (mark, word) = match (apart, better) {
        (false, _) => (' ', ""),
        (true, true) => ('*', " better"),
        (true, false) => ('*', " worse"),
    };
    let Row {
        measure,
        setting,
        subject,
    } = row;
    let (old, new) = (short(before.median), short(now.median));
    let name = figure.replace('_', " ");
    Some(format!(
        "{mark} {measure}, {setting}, {subject}: {name} {old} -> {new}, x {ratio:.2}{word}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Record;

    fn report(rates: &[f64], milliseconds: f64) -> Report {
        let mut report = Report::default();
        for (round, rate) in (1..).zip(rates) {
            let record = Record::new("drain", "8 at once", "orch")
                .with("tasks_per_s", *rate)
                .with("cpu_ms_per_task", milliseconds);
            report.records.push(Record { round, ..record });
        }
        report
    }

    #[test]
    fn ratios_are_told_and_marked_where_ranges_are_apart() {
        let before = report(&[100.0, 110.0, 120.0], 4.0);
        let now = report(&[115.0, 220.0, 240.0], 2.0);
        let expected = [
            "  drain, 8 at once, orch: tasks per s 110 -> 220, x 2.00",
            "* drain, 8 at once, orch: cpu ms per task 4.00 -> 2.00, x 0.50 better",
        ];
        assert_eq!(lines(&before, &now), expected);
        let back = lines(&report(&[300.0], 2.0), &report(&[100.0], 2.0));
        assert!(back[0].ends_with("x 0.33 worse"), "{back:?}");
    }

    #[test]
    fn other_machines_and_sizes_are_named() {
        let before = report(&[1.0], 1.0);
        let mut now = Report {
            quick: true,
            ..Report::default()
        };
        now.machine.cores = 64;
        let lines = lines(&before, &now);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("machines differ") && lines[1].contains("short version"));
    }
}
