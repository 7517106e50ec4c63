//! Statistics of few values: medians, percentiles, ranges, and numbers as people read them.

/// The value in the middle; the mean of the two in the middle of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The smallest value that `percent` of all values do not exceed (nearest rank).
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// One value of one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// The value.
    pub value: f64,
    /// Whether others used much of the machine meanwhile.
    pub noisy: bool,
}

/// What several rounds came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The median of the rounds that count.
    pub median: f64,
    /// The smallest of them.
    pub least: f64,
    /// The largest of them.
    pub most: f64,
    /// How many rounds count: the quiet ones, or all of them if none was quiet.
    pub used: usize,
    /// How many rounds there were.
    pub all: usize,
    /// Whether none was quiet.
    pub noisy: bool,
}

impl Summary {
    /// Sums up the quiet values, or all of them if none is quiet; `None` without values.
    pub fn of(values: &[Value]) -> Option<Self> {
        let quiet = values.iter().filter(|value| !value.noisy);
        let quiet: Vec<f64> = quiet.map(|value| value.value).collect();
        let noisy = quiet.is_empty();
        let used = if noisy {
            values.iter().map(|value| value.value).collect()
        } else {
            quiet
        };
        let sorted = sorted(&used);
        Some(Self {
            median: median(&used)?,
            least: *sorted.first()?,
            most: *sorted.last()?,
            used: used.len(),
            all: values.len(),
            noisy,
        })
    }

    /// The median with its range, or alone if there is only one value.
    pub fn text(&self) -> String {
        let mark = if self.noisy { "~" } else { "" };
        let median = short(self.median);
        if self.used < 2 {
            return format!("{mark}{median}");
        }
        let (least, most) = (short(self.least), short(self.most));
        format!("{mark}{median} ({least}..{most})")
    }
}

/// A number with three digits that mean something, or as many as its whole part has.
pub fn short(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if size >= 100.0 || size == 0.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// A count as a number to calculate with. Counts here are far below 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and microseconds here are far below 2^52"
)]
pub fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count| count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(10.0));
        assert_eq!(percentile(&values, 95), Some(19.0));
        assert_eq!(percentile(&values, 100), Some(20.0));
        assert_eq!(percentile(&values, 0), Some(1.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn noisy_rounds_count_only_where_there_is_no_quiet_one() {
        let value = |value, noisy| Value { value, noisy };
        let mixed = [value(1.0, false), value(50.0, true), value(3.0, false)];
        let summary = Summary::of(&mixed).unwrap();
        assert_eq!((summary.median, summary.used, summary.all), (2.0, 2, 3));
        assert_eq!(summary.text(), "2.00 (1.00..3.00)");
        let loud = Summary::of(&[value(5.0, true)]).unwrap();
        assert_eq!((loud.used, loud.text().as_str()), (1, "~5.00"));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [2351.4, 76.24, 4.712, 0.6512, 0.01234, 0.0, -3.5];
        let texts = numbers.map(short);
        assert_eq!(
            texts,
            ["2351", "76.2", "4.71", "0.651", "0.0123", "0", "-3.50"]
        );
    }
}
