//! What tests say about themselves: paragraphs of their doc comments.
//!
//! `Fault 13. Injected: … Held: …` names a class of faults, what was done and what was seen to
//! hold. `Promise 4.` or `Promises 4, 17.` names promises.

use crate::source::Source;
use crate::tree::{Complaint, Tree};

/// A fault that a test injects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// The class of faults.
    pub number: u32,
    /// What was done.
    pub injected: String,
    /// What was seen to hold.
    pub held: String,
    /// Who says so.
    pub by: Witness,
}

/// A promise that a test shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The promise.
    pub number: u32,
    /// Who shows it.
    pub by: Witness,
}

/// A function and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The file, from the root of the repository.
    pub path: String,
    /// The function's name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
}

/// Everything that is claimed in a tree.
#[derive(Debug, Default)]
pub struct Claims {
    /// By whom which fault is injected.
    pub injections: Vec<Injection>,
    /// By whom which promise is shown.
    pub shown: Vec<Shown>,
    /// The names of all tests.
    pub tests: Vec<Witness>,
    /// Paragraphs that begin like a claim and cannot be read as one.
    pub complaints: Vec<Complaint>,
}

/// Reads the claims of every test, and of every function of the torture commands.
#[must_use]
pub fn collect(tree: &Tree) -> Claims {
    let mut claims = Claims::default();
    for (path, text) in &tree.texts {
        let Some(source) = tree.sources.get(path) else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        for function in source.functions() {
            if may_claim(path, source, function.line) {
                let witness = Witness {
                    path: path.clone(),
                    name: function.name,
                    line: function.line,
                };
                claims.read(&witness, &doc_comment(&lines, function.line));
                claims.tests.push(witness);
            }
        }
    }
    claims
}

/// The product's own functions prove nothing; what tests and torture commands do does.
fn may_claim(path: &str, source: &Source, line: usize) -> bool {
    source.is_test(line) || path.starts_with("testing/") || path.starts_with("xtask/")
}

/// The text of the doc comment above a line, attributes in between left out.
fn doc_comment(lines: &[&str], line: usize) -> String {
    let above = lines.iter().take(line - 1).rev().map(|line| line.trim());
    let block = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
    let mut doc: Vec<&str> = block
        .filter_map(|line| line.strip_prefix("///"))
        .map(str::trim)
        .collect();
    doc.reverse();
    doc.join("\n")
}

impl Claims {
    fn read(&mut self, by: &Witness, doc: &str) {
        for paragraph in doc.split("\n\n") {
            let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            let read = match words.split_once(' ') {
                Some(("Fault", rest)) => self.read_injection(by, rest),
                Some(("Promise" | "Promises", rest)) => self.read_promises(by, rest),
                _ => continue,
            };
            if let Err(problem) = read {
                let complaint = Complaint::at(&by.path, by.line, problem);
                self.complaints.push(complaint);
            }
        }
    }

    fn read_injection(&mut self, by: &Witness, rest: &str) -> Result<(), String> {
        let form = "a fault is claimed as `Fault 13. Injected: … Held: …`";
        let (number, rest) = rest.split_once(". Injected: ").ok_or(form)?;
        let (injected, held) = rest.split_once(" Held: ").ok_or(form)?;
        if injected.contains(" Injected: ") {
            return Err("two faults need an empty line between them".to_owned());
        }
        self.injections.push(Injection {
            number: number.parse().map_err(|_| form)?,
            injected: injected.to_owned(),
            held: held.to_owned(),
            by: by.clone(),
        });
        Ok(())
    }

    fn read_promises(&mut self, by: &Witness, rest: &str) -> Result<(), String> {
        let form = "promises are named as `Promise 4.` or `Promises 4, 17.`";
        let numbers = rest.strip_suffix('.').ok_or(form)?;
        for number in numbers.split(", ") {
            self.shown.push(Shown {
                number: number.parse().map_err(|_| form)?,
                by: by.clone(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims_of(text: &str) -> Claims {
        collect(&Tree::of(&[("crates/a/tests/a.rs", text)]))
    }

    #[test]
    fn a_fault_and_promises_are_read_across_lines_and_attributes() {
        let claims = claims_of(
            "/// Says what it is.\n///\n/// Fault 13. Injected: few\n/// descriptors. Held: all\n\
             /// is recorded.\n///\n/// Promises 1, 13.\n#[cfg(unix)]\n#[test]\nfn few() {}\n",
        );
        let [injection] = claims.injections.as_slice() else {
            panic!("{claims:?}");
        };
        assert_eq!(
            (injection.number, injection.injected.as_str()),
            (13, "few descriptors.")
        );
        assert_eq!(injection.held, "all is recorded.");
        assert_eq!(injection.by.name, "few");
        let numbers: Vec<u32> = claims.shown.iter().map(|shown| shown.number).collect();
        assert_eq!(numbers, [1, 13]);
        assert_eq!(claims.complaints, []);
    }

    #[test]
    fn the_product_cannot_vouch_for_itself() {
        let text = "/// Promise 4.\npub fn decide() {}\n";
        let claims = collect(&Tree::of(&[("crates/a/src/a.rs", text)]));
        assert_eq!(claims.shown, []);
    }

    #[test]
    fn what_begins_like_a_claim_must_be_one() {
        for bad in [
            "Fault x. Injected: a Held: b",
            "Fault 3: all",
            "Fault 3. Injected: a. Fault 4. Injected: b. Held: c",
            "Promise 4",
            "Promises 1; 2.",
        ] {
            let claims = claims_of(&format!("/// {bad}\n#[test]\nfn a() {{}}\n"));
            assert_eq!(claims.complaints.len(), 1, "{bad}");
        }
    }
}
