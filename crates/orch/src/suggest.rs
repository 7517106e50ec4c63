//! "Did you mean": the known word nearest to one that is not known.

/// The known word that differs in at most two letters, else the only one that begins like it.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let close = known
        .iter()
        .map(|word| (distance(given, word), *word))
        .filter(|(distance, word)| *distance <= 2 && *distance * 2 < word.chars().count())
        .min_by_key(|(distance, _)| *distance);
    let mut begins_alike = known
        .iter()
        .filter(|word| !given.is_empty() && word.starts_with(given));
    close.map(|(_, word)| word).or_else(|| {
        let only = begins_alike.next().copied();
        only.filter(|_| begins_alike.next().is_none())
    })
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, left_letter) in left.iter().enumerate() {
        let mut this = vec![row + 1; right.len() + 1];
        for (column, right_letter) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(left_letter != right_letter);
            let mut best = replaced.min(last[column + 1] + 1).min(this[column] + 1);
            let swapped = row > 0
                && column > 0
                && left[row - 1] == *right_letter
                && right[column - 1] == *left_letter;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            this[column + 1] = best;
        }
        before = std::mem::replace(&mut last, this);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        let agents = ["claude", "codex", "reviewer"];
        for (given, expected) in [
            ("claud", Some("claude")),
            ("cluade", Some("claude")),
            ("rev", Some("reviewer")),
            ("c", None),
            ("gemini", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, agents), expected, "{given}");
        }
    }

    #[test]
    fn distance_counts_letters() {
        for (left, right, expected) in [("", "abc", 3), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
