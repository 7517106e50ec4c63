//! The failpoints as `orch_host::failpoint` lists them, read from its source: a product crate
//! that was built with them would build the product with them.

use crate::source::Source;

/// Where they are listed.
pub const LIST: &str = "crates/orch-host/src/failpoint.rs";

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The variant of `Point`.
    pub variant: String,
    /// Its name in the environment.
    pub name: String,
    /// What has happened when it is reached.
    pub what: String,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// Every point of the list: lines of a variant and two literals.
#[must_use]
pub fn listed(text: &str) -> Vec<Listed> {
    let source = Source::new(text, false);
    let of_line = |(index, code): (usize, &str)| {
        let line = index + 1;
        let mut literals = source.literals.iter().filter(|piece| piece.line == line);
        let variant = code.trim().strip_suffix(',')?.trim_end_matches(['"', ' ']);
        let is_word = !variant.is_empty() && variant.bytes().all(|byte| byte.is_ascii_alphabetic());
        let (name, what) = (literals.next()?, literals.next()?);
        is_word.then(|| Listed {
            variant: variant.to_owned(),
            name: name.text.clone(),
            what: what.text.clone(),
            line,
        })
    };
    source
        .code
        .lines()
        .enumerate()
        .filter_map(of_line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_variant_a_name_and_a_sentence() {
        let text =
            "points! {\n    Locked \"shim.locked\" \"It holds, see.\",\n}\nf(\"a\", \"b\");\n";
        let expected = Listed {
            variant: "Locked".to_owned(),
            name: "shim.locked".to_owned(),
            what: "It holds, see.".to_owned(),
            line: 2,
        };
        assert_eq!(listed(text), [expected]);
    }
}
