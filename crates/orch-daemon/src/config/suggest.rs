//! "Did you mean": the known word that is closest to an unknown one.

/// The word of `known` nearest to `given`, if one is near enough that it was probably meant:
/// at most one slip in three letters.
#[must_use]
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing costs the product of both lengths; nobody means a word by a novel.
    if given.chars().count() > 64 {
        return None;
    }
    let allowed = (given.chars().count().max(3)) / 3;
    known
        .into_iter()
        .map(|word| (distance(&given.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for row in 1..=a.len() {
        let mut current = vec![row; b.len() + 1];
        for column in 1..=b.len() {
            let differs = usize::from(a[row - 1] != b[column - 1]);
            let mut best = (last[column - 1] + differs)
                .min(last[column] + 1)
                .min(current[column - 1] + 1);
            let swapped =
                row > 1 && column > 1 && a[row - 1] == b[column - 2] && a[row - 2] == b[column - 1];
            if swapped {
                best = best.min(before_last[column - 2] + 1);
            }
            current[column] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["max_agents", "name", "target"];
        assert_eq!(did_you_mean("max_agent", known), Some("max_agents"));
        assert_eq!(did_you_mean("Nmae", known), Some("name"));
        assert_eq!(did_you_mean("tagret", known), Some("target"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(did_you_mean("", known), None);
        assert_eq!(did_you_mean(&"name".repeat(1_000_000), known), None);
    }

    #[test]
    fn distances_are_the_number_of_slips() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("acb", "abc"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
