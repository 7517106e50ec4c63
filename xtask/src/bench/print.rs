//! How results are printed: a line while they come, tables at the end.

use super::figures::short;
use super::measure::{GROUPS, Table};
use super::record::{Record, Report, Row};

/// One line about a record that has just been made.
pub fn progress(record: &Record) -> String {
    let Record {
        measure,
        setting,
        subject,
        foreign,
        ..
    } = record;
    let head = format!("  {measure}, {setting}, {subject}:");
    if let Some(problem) = &record.problem {
        return format!("{head} {problem}");
    }
    let shown = columns(measure).iter().filter_map(|column| {
        let value = record.figures.get(*column)?;
        Some(format!("{} {}", short(*value), words(column)))
    });
    let noisy = if record.is_noisy() { ", noisy" } else { "" };
    let share = foreign * 100.0;
    let shown: Vec<String> = shown.take(3).collect();
    format!("{head} {} [others {share:.0} %{noisy}]", shown.join(", "))
}

fn tables() -> impl Iterator<Item = &'static Table> {
    GROUPS.iter().flat_map(|group| group.tables)
}

/// The figures of a measure that are shown.
pub fn columns(measure: &str) -> &'static [&'static str] {
    let table = tables().find(|table| table.measure == measure);
    table.map_or(&[], |table| table.columns)
}

fn words(figure: &str) -> String {
    figure.replace('_', " ")
}

/// Prints a whole report.
pub fn report(report: &Report) {
    let kind = if report.quick { ", short version" } else { "" };
    println!("\norch {}{kind}", report.commit);
    println!("machine: {}", report.machine.text());
    let tools: Vec<String> = report
        .tools
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    println!("versions: {}", tools.join(", "));
    for table in tables() {
        let lines = table_lines(report, table);
        if !lines.is_empty() {
            println!("\n{}: {}", table.measure, table.title);
            lines.iter().for_each(|line| println!("  {line}"));
        }
    }
    println!(
        "\nmedian (least..most) of the quiet rounds; ~ where others used more than a quarter of \
         the\nmachine in every round; n: rounds that count of those there were"
    );
    let skipped: Vec<String> = report.skipped.iter().cloned().collect();
    lines("skipped", &skipped);
    lines("problems", &problems(report));
}

/// Prints lines below a heading, or nothing if there are none.
pub fn lines(heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    println!("\n{heading}");
    for line in lines {
        println!("  {line}");
    }
}

fn problems(report: &Report) -> Vec<String> {
    let problems = report.records.iter().filter_map(|record| {
        let problem = record.problem.as_ref()?;
        let Record {
            measure,
            setting,
            subject,
            round,
            ..
        } = record;
        Some(format!(
            "round {round}, {measure}, {setting}, {subject}: {problem}"
        ))
    });
    problems.collect()
}

fn table_lines(report: &Report, table: &Table) -> Vec<String> {
    let rows: Vec<Row> = report
        .rows()
        .into_iter()
        .filter(|row| row.measure == table.measure)
        .collect();
    let mut cells: Vec<Vec<String>> = rows
        .iter()
        .filter_map(|row| cells(report, table, row))
        .collect();
    if cells.is_empty() {
        return Vec::new();
    }
    let mut head = vec![String::new(), String::new()];
    head.extend(table.columns.iter().map(|column| words(column)));
    head.push("n".to_owned());
    cells.insert(0, head);
    aligned(&cells)
}

/// The cells of a row, or nothing if there is no figure to show.
fn cells(report: &Report, table: &Table, row: &Row) -> Option<Vec<String>> {
    let mut cells = vec![row.setting.clone(), row.subject.clone()];
    let mut count = None;
    for column in table.columns {
        let summary = report.summary(row, column);
        count = count.or(summary.map(|summary| format!("{}/{}", summary.used, summary.all)));
        cells.push(summary.map_or_else(|| "-".to_owned(), |summary| summary.text()));
    }
    cells.push(count?);
    Some(cells)
}

/// Columns of equal width; the first two to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_of(records: Vec<Record>) -> Report {
        Report {
            records,
            ..Report::default()
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_subject_and_setting() {
        let table = Table {
            measure: "drain",
            title: "",
            columns: &["tasks_per_s", "wall_s"],
        };
        let record = |subject, rate| Record::new("drain", "8", subject).with("tasks_per_s", rate);
        let lines = table_lines(
            &report_of(vec![record("orch", 150.0), record("a peer", 20.0)]),
            &table,
        );
        assert_eq!(
            lines,
            [
                "           tasks per s  wall s    n",
                "8  orch            150       -  1/1",
                "8  a peer         20.0       -  1/1",
            ]
        );
        assert!(table_lines(&Report::default(), &table).is_empty());
    }

    #[test]
    fn what_failed_is_told_and_has_no_row() {
        let mut record = Record::new("drain", "8 at once", "pueue");
        record.problem = Some("not installed".to_owned());
        record.round = 2;
        let report = report_of(vec![record.clone()]);
        assert_eq!(
            problems(&report),
            ["round 2, drain, 8 at once, pueue: not installed"]
        );
        assert!(tables().all(|table| table_lines(&report, table).is_empty()));
        assert!(progress(&record).ends_with("pueue: not installed"));
    }

    #[test]
    fn progress_names_the_first_figures_and_the_noise() {
        let record = Record::new("chain", "3 links", "make")
            .with("ms_per_link", 1.25)
            .among(0.5);
        assert_eq!(
            progress(&record),
            "  chain, 3 links, make: 1.25 ms per link [others 50 %, noisy]"
        );
    }
}
