//! Rows in columns. A column that no row fills is not shown to a person; one column may give way
//! when the terminal is narrow. For a program every column stays, so that it can count on them.

use unicode_width::UnicodeWidthStr;

use crate::printer::Label;
use crate::untrusted::Untrusted;

/// Spaces between two columns.
const GAP: usize = 2;
/// What the column that gives way keeps at least.
const LEAST: usize = 12;

/// One field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    /// What stands before the text for a person only: a sign of the state.
    sign: Option<&'static str>,
    label: Label,
}

impl Cell {
    /// A text that may be hostile.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: Untrusted::line(text).to_string(),
            sign: None,
            label: Label::Plain,
        }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::new("")
    }

    /// The same with a meaning.
    #[must_use]
    pub const fn label(mut self, label: Label) -> Self {
        self.label = label;
        self
    }

    /// The same with a sign before it, for people.
    #[must_use]
    pub const fn sign(mut self, sign: &'static str) -> Self {
        self.sign = Some(sign);
        self
    }

    fn for_people(&self) -> String {
        match self.sign {
            Some(sign) if !self.text.is_empty() => format!("{sign} {}", self.text),
            _ => self.text.clone(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

/// Rows in columns.
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<&'static str>,
    gives_way: Option<usize>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            gives_way: None,
            rows: Vec::new(),
        }
    }

    /// The same, cutting the column of this heading where the terminal is too narrow.
    #[must_use]
    pub fn giving_way(mut self, heading: &str) -> Self {
        self.gives_way = self.headings.iter().position(|it| *it == heading);
        self
    }

    /// Adds a row. It has as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// One line per row, a tab between all columns, no headings, nothing cut.
    #[must_use]
    pub fn separated(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        text
    }

    /// Aligned columns under headings, within `width` columns if that can be.
    #[must_use]
    pub fn aligned(&self, width: Option<usize>, paint: &dyn Fn(Label, &str) -> String) -> String {
        let columns: Vec<usize> = (0..self.headings.len())
            .filter(|&column| self.rows.iter().any(|row| !row[column].text.is_empty()))
            .collect();
        let widths = self.widths(&columns, width);
        let mut text = String::new();
        let headings = columns.iter().map(|&column| {
            let heading = self.headings[column].to_owned();
            (heading, Label::Faint)
        });
        push_line(&mut text, headings.collect(), &widths, paint);
        for row in &self.rows {
            let cells = columns.iter().map(|&column| {
                let cell = &row[column];
                (cell.for_people(), cell.label)
            });
            push_line(&mut text, cells.collect(), &widths, paint);
        }
        text
    }

    fn widths(&self, columns: &[usize], width: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = columns
            .iter()
            .map(|&column| {
                let cells = self.rows.iter().map(|row| row[column].for_people().width());
                cells.max().unwrap_or(0).max(self.headings[column].width())
            })
            .collect();
        let total = widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1);
        let at = columns
            .iter()
            .position(|column| Some(*column) == self.gives_way);
        if let (Some(width), Some(at)) = (width, at) {
            let over = total.saturating_sub(width);
            widths[at] = widths[at].saturating_sub(over).max(LEAST.min(widths[at]));
        }
        widths
    }
}

fn push_line(
    text: &mut String,
    cells: Vec<(String, Label)>,
    widths: &[usize],
    paint: &dyn Fn(Label, &str) -> String,
) {
    let last = cells.len().saturating_sub(1);
    for (index, ((cell, label), width)) in cells.into_iter().zip(widths).enumerate() {
        let cut = cut(&cell, *width);
        text.push_str(&paint(label, &cut));
        if index < last {
            let padding = width.saturating_sub(cut.width()) + GAP;
            text.push_str(&" ".repeat(padding));
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// The beginning of `text` that fits into `width` columns, with `…` where something was cut.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if kept.width() + 1 > width {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "STATUS", "NOTE", "TITLE"]).giving_way("TITLE");
        let row = |id: &str, title: &str| {
            let status = Cell::new("done").sign("✓");
            vec![id.into(), status, Cell::empty(), title.into()]
        };
        table.row(row("tsk_1", "a short title"));
        table.row(row("tsk_22", "日本語 is wide and\tthis goes on for long"));
        table
    }

    fn plain(_: Label, text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn a_person_sees_what_fits_and_no_empty_column() {
        insta::assert_snapshot!(table().aligned(Some(40), &plain), @r"
        ID      STATUS  TITLE
        tsk_1   ✓ done  a short title
        tsk_22  ✓ done  日本語 is wide and\tthi…
        ");
        let widest = table()
            .aligned(Some(40), &plain)
            .lines()
            .map(UnicodeWidthStr::width)
            .max();
        assert_eq!(widest, Some(40));
    }

    #[test]
    fn no_width_cuts_nothing_and_width_one_still_shows_something() {
        assert!(table().aligned(None, &plain).contains("goes on for long"));
        assert!(table().aligned(Some(1), &plain).contains("tsk_22"));
    }

    #[test]
    fn a_program_gets_every_column_whole() {
        assert_eq!(
            table().separated(),
            "tsk_1\tdone\t\ta short title\n\
             tsk_22\tdone\t\t日本語 is wide and\\tthis goes on for long\n"
        );
    }
}
