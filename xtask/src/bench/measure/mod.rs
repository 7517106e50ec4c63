//! What is measured. Each file is one group: what it does in a round, and the tables it fills.

mod chain;
mod disk;
mod endurance;
mod growth;
mod latency;
mod listing;
mod logs;
mod memory;
mod talk;
mod throughput;

use anyhow::Result;

use super::Bench;

pub use logs::PLAIN;
pub use throughput::limit_name;

/// A group of measures that are taken together and can be chosen by name.
pub struct Group {
    /// Its name on the command line.
    pub name: &'static str,
    /// One round of it.
    pub round: fn(&mut Bench<'_>) -> Result<()>,
    /// Whether one round is enough because it takes long and hardly varies.
    pub once: bool,
    /// Its tables.
    pub tables: &'static [Table],
}

/// How the records of one measure are printed.
pub struct Table {
    /// The measure.
    pub measure: &'static str,
    /// What it says above it.
    pub title: &'static str,
    /// The figures that are shown, in order.
    pub columns: &'static [&'static str],
}

/// Every group, in the order of a round.
pub const GROUPS: &[Group] = &[
    disk::GROUP,
    throughput::GROUP,
    latency::GROUP,
    chain::GROUP,
    listing::GROUP,
    growth::GROUP,
    memory::GROUP,
    endurance::GROUP,
    talk::GROUP,
    logs::GROUP,
];

/// The number a setting begins with.
pub fn setting_number(setting: &str) -> Option<usize> {
    setting.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_figures_carry_their_units() {
        let mut groups: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        let tables = GROUPS.iter().flat_map(|group| group.tables);
        let mut measures: Vec<&str> = tables.clone().map(|table| table.measure).collect();
        for names in [&mut groups, &mut measures] {
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
        let units = [
            "_s", "_ms", "_kib", "_mib", "_task", "_link", "_count", "_percent", "_gib",
        ];
        for figure in tables.flat_map(|table| table.columns) {
            assert!(units.iter().any(|unit| figure.ends_with(unit)), "{figure}");
        }
    }
}
