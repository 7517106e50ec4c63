//! What was measured: one record for each subject, setting and round, kept raw, and what the
//! rounds come to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::figures::{Summary, Value};
use super::machine::Machine;

/// The share of the machine that others may use before a record counts as noisy.
pub const QUIET_SHARE: f64 = 0.25;

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was measured: `drain`, `latency`, …
    pub measure: String,
    /// Under which conditions: `8 at once`.
    pub setting: String,
    /// What was measured about: `orch`, `pueue`, `limit: spawn`, …
    pub subject: String,
    /// In which round, from 1.
    pub round: u32,
    /// The share of all CPUs that processes other than ours used meanwhile, 0 to 1.
    pub foreign: f64,
    /// The results by name; a name ends with its unit.
    pub figures: BTreeMap<String, f64>,
    /// Single values behind a figure, where there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub samples: BTreeMap<String, Vec<f64>>,
    /// Why there are no results, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Record {
    /// A record without results yet.
    pub fn new(measure: &str, setting: &str, subject: &str) -> Self {
        Self {
            measure: measure.to_owned(),
            setting: setting.to_owned(),
            subject: subject.to_owned(),
            ..Self::default()
        }
    }

    /// The record with one more result.
    #[must_use]
    pub fn with(mut self, figure: &str, value: f64) -> Self {
        self.figures.insert(figure.to_owned(), value);
        self
    }

    /// The record with the CPU share of others.
    #[must_use]
    pub const fn among(mut self, foreign: f64) -> Self {
        self.foreign = foreign;
        self
    }

    /// Whether others used so much of the machine that the times mean little.
    pub fn is_noisy(&self) -> bool {
        self.foreign > QUIET_SHARE
    }

    /// What tells this row of a table from the others.
    pub fn row(&self) -> Row {
        Row::new(&self.measure, &self.setting, &self.subject)
    }
}

/// A row of the result: measure, setting and subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// What was measured.
    pub measure: String,
    /// Under which conditions.
    pub setting: String,
    /// About what.
    pub subject: String,
}

impl Row {
    /// A row.
    pub fn new(measure: &str, setting: &str, subject: &str) -> Self {
        Self {
            measure: measure.to_owned(),
            setting: setting.to_owned(),
            subject: subject.to_owned(),
        }
    }
}

/// A whole run of the benchmark, as it is kept in a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it began, seconds since 1970.
    pub started_at: u64,
    /// The commit of orch that was measured, with a `+` if files were changed since.
    pub commit: String,
    /// Whether it was the short version.
    pub quick: bool,
    /// What it ran on.
    pub machine: Machine,
    /// The versions of what orch was compared with.
    pub tools: BTreeMap<String, String>,
    /// What was left out, and why.
    pub skipped: BTreeSet<String>,
    /// Every measurement.
    pub records: Vec<Record>,
}

impl Report {
    /// The values of one figure, one for each round that has it.
    pub fn values(&self, row: &Row, figure: &str) -> BTreeMap<u32, Value> {
        let records = self.records.iter().filter(|record| record.row() == *row);
        let values = records.filter_map(|record| {
            let value = *record.figures.get(figure)?;
            let noisy = record.is_noisy();
            Some((record.round, Value { value, noisy }))
        });
        values.collect()
    }

    /// What the rounds of one figure come to.
    pub fn summary(&self, row: &Row, figure: &str) -> Option<Summary> {
        let values: Vec<Value> = self.values(row, figure).into_values().collect();
        Summary::of(&values)
    }

    /// What `above` divided by `below`, each pair from the same round, comes to.
    pub fn ratio(&self, above: (&Row, &str), below: (&Row, &str)) -> Option<Summary> {
        let below = self.values(below.0, below.1);
        let pairs = self.values(above.0, above.1);
        let ratios = pairs.into_iter().filter_map(|(round, above)| {
            let below = below.get(&round).filter(|below| below.value != 0.0)?;
            Some(Value {
                value: above.value / below.value,
                noisy: above.noisy || below.noisy,
            })
        });
        Summary::of(&ratios.collect::<Vec<_>>())
    }

    /// The rows that have results or a problem, in the order they were first measured.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for record in &self.records {
            let row = record.row();
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(subject: &str, round: u32, foreign: f64, rate: f64) -> Record {
        let mut record = Record::new("drain", "8 at once", subject).with("rate", rate);
        record.round = round;
        record.among(foreign)
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was half as fast in round 2; the ratio is not.
        let report = Report {
            records: vec![
                record("orch", 1, 0.0, 100.0),
                record("limit", 1, 0.0, 200.0),
                record("orch", 2, 0.1, 50.0),
                record("limit", 2, 0.1, 100.0),
                record("orch", 3, 0.9, 1.0),
                record("limit", 3, 0.0, 200.0),
                record("orch", 4, 0.0, 7.0),
            ],
            ..Report::default()
        };
        let orch = Row::new("drain", "8 at once", "orch");
        let limit = Row::new("drain", "8 at once", "limit");
        let ratio = report.ratio((&orch, "rate"), (&limit, "rate")).unwrap();
        assert_eq!((ratio.median, ratio.used, ratio.all), (0.5, 2, 3));
        assert_eq!(report.summary(&orch, "rate").unwrap().all, 4);
        assert_eq!(report.ratio((&orch, "rate"), (&orch, "none")), None);
        assert_eq!(report.rows(), [orch, limit]);
    }

    #[test]
    fn a_report_survives_its_file() {
        let mut report = Report::default();
        report.records.push(record("orch", 1, 0.5, 3.25));
        report.skipped.insert("pueue is not installed".into());
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
