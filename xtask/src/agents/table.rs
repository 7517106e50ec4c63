//! What was recorded of every trial, as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::tree::root;

/// Where the table is kept for readers.
const PAGE: &str = "docs/agents-table.md";

/// One trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    program: String,
    case: String,
    outcome: String,
    because: &'static str,
    took: Duration,
    wrong: Vec<String>,
}

impl Line {
    /// What was recorded, and what of it is wrong.
    pub fn new(
        program: &str,
        case: &str,
        outcome: String,
        took: Duration,
        wrong: Vec<String>,
    ) -> Self {
        Self {
            program: program.to_owned(),
            case: case.to_owned(),
            outcome,
            because: "",
            took,
            wrong,
        }
    }

    /// Why what was expected is the truth.
    pub const fn because(mut self, because: &'static str) -> Self {
        self.because = because;
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.wrong.is_empty() {
            "right"
        } else {
            "WRONG"
        };
        let (program, case) = (&self.program, &self.case);
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "{program:<9} {case:<11} {word} {seconds:>6.1} s  {}",
            self.outcome
        )?;
        for what in &self.wrong {
            write!(f, "\n          {what}")?;
        }
        Ok(())
    }
}

/// All trials.
pub struct Table {
    lines: Vec<Line>,
}

impl Table {
    /// A table of these trials, by program and in the order of its trials.
    pub fn new(mut lines: Vec<Line>) -> Self {
        let rank = |line: &Line| {
            let programs = super::programs::ALL.iter();
            let cases = super::case::Case::ALL.iter();
            let program = programs
                .map(|program| program.name)
                .position(|name| name == line.program);
            let case = cases
                .map(|case| case.name())
                .position(|name| name == line.case);
            (case.unwrap_or(usize::MAX), program.unwrap_or(usize::MAX))
        };
        lines.sort_by_key(rank);
        Self { lines }
    }

    /// How many trials there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many of them were told wrong.
    pub fn wrong(&self) -> usize {
        self.lines
            .iter()
            .filter(|line| !line.wrong.is_empty())
            .count()
    }

    /// Writes the page of the documentation.
    pub fn write(&self) -> Result<()> {
        let path = root().join(PAGE);
        std::fs::write(&path, self.page()).with_context(|| format!("writing {PAGE}"))
    }

    fn page(&self) -> String {
        let mut page = String::from(HEAD);
        page.push_str("\n| program | version |\n| --- | --- |\n");
        let versions: BTreeMap<&str, &str> = super::programs::ALL
            .iter()
            .map(|program| (program.package.name, program.package.version))
            .collect();
        for (package, version) in versions {
            page.push_str(&format!("| `{package}` | {version} |\n"));
        }
        page.push_str("\n## What orch recorded\n\n| trial | program | recorded | |\n");
        page.push_str("| --- | --- | --- | --- |\n");
        for line in &self.lines {
            let verdict = if line.wrong.is_empty() {
                line.because
            } else {
                "**wrong**"
            };
            let (program, case, outcome) = (&line.program, &line.case, &line.outcome);
            page.push_str(&format!("| {case} | {program} | {outcome} | {verdict} |\n"));
        }
        page
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

const HEAD: &str = "\
# Real agents, told right

Each line is a run of the real program, by the real orch, against a scripted model on this machine.
`cargo xtask agents --write` makes the runs and writes this page; `cargo xtask test` makes some of
them. What must be recorded, and why, stands in `xtask/src/agents/expected.rs`.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(program: &str, case: &str, wrong: &[&str]) -> Line {
        let wrong = wrong.iter().map(|text| (*text).to_owned()).collect();
        Line::new(
            program,
            case,
            "completed".into(),
            Duration::from_secs(1),
            wrong,
        )
    }

    #[test]
    fn what_is_wrong_is_counted_and_shown() {
        let table = Table::new(vec![
            line("codex", "text", &["no result"]),
            line("codex", "work", &[]),
            line("claude", "text", &[]),
        ]);
        assert_eq!((table.len(), table.wrong()), (3, 1));
        let order: Vec<&str> = table
            .lines
            .iter()
            .map(|line| line.program.as_str())
            .collect();
        assert_eq!(order, ["codex", "claude", "codex"]);
        assert!(table.to_string().contains("no result"));
        assert!(
            table
                .page()
                .contains("| text | codex | completed | **wrong** |")
        );
    }
}
