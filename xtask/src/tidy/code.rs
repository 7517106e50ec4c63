//! Words that Rust code may use only in some places.

use crate::source::Source;
use crate::tree::{Complaint, Tree};

/// Which lines a rule looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Production,
    Tests,
}

/// Words that are out of place, where, and what to do instead.
struct Ban {
    patterns: &'static [&'static str],
    applies: fn(&str) -> bool,
    lines: Lines,
    /// Whether `// tidy: REASON` on the line or above it lets it pass.
    excusable: bool,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        patterns: &[
            "std::env",
            "std::fs",
            "std::io",
            "std::net",
            "std::os",
            "std::process",
            "std::thread",
            "std::time",
        ],
        applies: in_core,
        lines: Lines::Production,
        excusable: false,
        instead: "core touches nothing: take it as an argument, or return an effect",
    },
    Ban {
        patterns: &["SystemTime", "Instant"],
        applies: in_core,
        lines: Lines::Production,
        excusable: false,
        instead: "core has no clock: take `now: Timestamp`",
    },
    Ban {
        patterns: &["HashMap", "HashSet", "RandomState"],
        applies: in_core,
        lines: Lines::Production,
        excusable: false,
        instead: "core is repeatable: use BTreeMap or BTreeSet, whose order is fixed",
    },
    Ban {
        patterns: &[
            "async fn",
            "await",
            "tokio",
            "thread_local!",
            "OnceLock",
            "LazyLock",
            "getrandom",
        ],
        applies: in_core,
        lines: Lines::Production,
        excusable: false,
        instead: "core is a set of plain functions: no waiting, no globals, no randomness of its own",
    },
    Ban {
        patterns: &["Command::new(", "posix_spawn"],
        applies: |path| !path.starts_with("crates/orch-host/") && !path.starts_with("xtask/"),
        lines: Lines::Production,
        excusable: true,
        instead: "only orch-host starts processes",
    },
    Ban {
        patterns: &["process::exit("],
        applies: |path| !path.ends_with("/main.rs"),
        lines: Lines::Production,
        excusable: true,
        instead: "return an error; only main ends the process",
    },
    Ban {
        patterns: &[".unwrap()"],
        applies: |_| true,
        lines: Lines::Production,
        excusable: false,
        instead: "return the error, or `expect` why it cannot happen",
    },
    Ban {
        patterns: &["todo!", "unimplemented!", "dbg!"],
        applies: |_| true,
        lines: Lines::Production,
        excusable: false,
        instead: "finish it",
    },
    Ban {
        patterns: &["todo!", "unimplemented!", "dbg!"],
        applies: |_| true,
        lines: Lines::Tests,
        excusable: false,
        instead: "finish it",
    },
    Ban {
        patterns: &["thread::sleep", "time::sleep", "sleep("],
        applies: |_| true,
        lines: Lines::Tests,
        excusable: true,
        instead: "wait for the event; or say after `// tidy: ` why there is none",
    },
];

fn in_core(path: &str) -> bool {
    path.starts_with("crates/orch-core/src/")
}

/// Words that are out of place.
pub fn words(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, source) in &tree.sources {
        for ban in BANS.iter().filter(|ban| (ban.applies)(path)) {
            complaints.extend(ban.check(path, source));
        }
    }
    complaints.sort();
    complaints.dedup_by(|a, b| (&a.path, a.line) == (&b.path, b.line));
    complaints
}

impl Ban {
    fn check(&self, path: &str, source: &Source) -> Vec<Complaint> {
        let mut found: Vec<(usize, &str)> = Vec::new();
        for pattern in self.patterns {
            found.extend(source.find(pattern).into_iter().map(|at| (at, *pattern)));
            if let Some(module) = pattern.strip_prefix("std::") {
                found.extend(grouped(source, module).into_iter().map(|at| (at, *pattern)));
            }
        }
        let lines = found
            .into_iter()
            .map(|(at, pattern)| (source.line_of(at), pattern));
        lines
            .filter(|(line, _)| source.is_test(*line) == (self.lines == Lines::Tests))
            .filter(|(line, _)| !(self.excusable && source.is_excused(*line)))
            .map(|(line, pattern)| {
                Complaint::at(path, line, format!("`{pattern}`: {}", self.instead))
            })
            .collect()
    }
}

/// Where `module` is named in a group like `use std::{fs, io};`.
fn grouped(source: &Source, module: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for at in source.find("std::{") {
        let start = at + "std::{".len();
        let mut depth = 0_usize;
        let mut begins = true;
        for (index, character) in source.code[start..].char_indices() {
            let rest = &source.code[start + index..];
            let next = rest[module.len().min(rest.len())..].chars().next();
            let whole = !next.is_some_and(|next| next.is_alphanumeric() || next == '_');
            if depth == 0 && begins && rest.starts_with(module) && whole {
                found.push(start + index);
            }
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
            begins = character == ',' || (begins && character.is_whitespace());
        }
    }
    found
}

/// How SQL begins, in upper case, and a word that must follow somewhere for the text to be SQL and
/// not English.
const SQL: &[(&str, &str)] = &[
    ("SELECT ", " FROM "),
    ("INSERT ", " INTO "),
    ("REPLACE INTO ", "("),
    ("UPDATE ", " SET "),
    ("DELETE FROM ", ""),
    ("CREATE TABLE ", ""),
    ("CREATE INDEX ", ""),
    ("CREATE UNIQUE INDEX ", ""),
    ("CREATE TRIGGER ", ""),
    ("ALTER TABLE ", ""),
    ("DROP TABLE ", ""),
    ("PRAGMA ", ""),
    ("BEGIN IMMEDIATE", ""),
];

/// SQL in a crate that is not the store.
pub fn sql(tree: &Tree) -> Vec<Complaint> {
    let elsewhere = tree
        .sources
        .iter()
        .filter(|(path, _)| !path.starts_with("crates/orch-store/"));
    let mut complaints = Vec::new();
    for (path, source) in elsewhere {
        let literals = source
            .literals
            .iter()
            .filter(|literal| !source.is_test(literal.line));
        for literal in literals.filter(|literal| is_sql(&literal.text)) {
            complaints.push(Complaint::at(
                path,
                literal.line,
                "SQL belongs into orch-store",
            ));
        }
    }
    complaints
}

fn is_sql(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = format!("{} ", words.join(" ").to_uppercase());
    SQL.iter()
        .any(|(start, word)| match text.strip_prefix(start) {
            Some(rest) => !rest.trim().is_empty() && format!(" {rest}").contains(word),
            None => false,
        })
}

/// `#[allow]` without its reason. `expect` is better: it goes away when it is not needed.
pub fn allows(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (path, source) in &tree.sources {
        for at in source.code.match_indices("[allow(").map(|(at, _)| at) {
            let attribute = source.code[at..].split(']').next().unwrap_or_default();
            if !attribute.contains("reason") {
                let text = "use #[expect(lint, reason = \"…\")]";
                complaints.push(Complaint::at(path, source.line_of(at), text));
            }
        }
    }
    complaints
}

/// Files that do not say at their top what they are, in at least three words. Tests may.
pub fn module_docs(tree: &Tree) -> Vec<Complaint> {
    let sources = tree.sources.iter();
    let production = sources.filter(|(_, source)| source.production_lines() > 0);
    production
        .filter(|(path, _)| {
            let lines = tree
                .texts
                .get(*path)
                .into_iter()
                .flat_map(|text| text.lines());
            let docs = lines.filter_map(|line| line.strip_prefix("//!"));
            docs.flat_map(str::split_whitespace).count() < 3
        })
        .map(|(path, _)| {
            let text = "begin with `//!`: what this is, and what it must not know";
            Complaint::at(path, 1, text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [usize; 0] = [];
    const CORE: &str = "crates/orch-core/src/lib.rs";
    const HOST: &str = "crates/orch-host/src/lib.rs";
    const DAEMON: &str = "crates/orch-daemon/src/lib.rs";

    fn lines(rule: fn(&Tree) -> Vec<Complaint>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)]))
            .into_iter()
            .map(|complaint| complaint.line)
            .collect()
    }

    #[test]
    fn core_touches_nothing() {
        for text in [
            "use std::fs;\n",
            "use std::{\n collections::BTreeMap, fs};\n",
            "fn a() { std::process::abort() }\n",
            "use std::net::TcpStream;\n",
            "let t = SystemTime::now();\n",
            "let t = Instant::now();\n",
            "std::thread::spawn(f);\n",
            "use std::collections::HashMap;\n",
            "use std::collections::{BTreeMap, HashSet};\n",
            "async fn a() {}\n",
            "getrandom::u64()\n",
        ] {
            assert_eq!(lines(words, CORE, text).len(), 1, "{text}");
            assert_eq!(lines(words, HOST, text), NOTHING, "{text}");
        }
        assert_eq!(
            lines(words, CORE, "use std::{collections::BTreeMap, fmt};\n"),
            NOTHING
        );
        assert_eq!(
            lines(words, CORE, "// std::fs\nlet a = \"HashMap\";\n"),
            NOTHING
        );
    }

    #[test]
    fn only_the_host_starts_processes() {
        let text = "fn a() {\n    Command::new(x).spawn()\n}\n";
        assert_eq!(lines(words, DAEMON, text), [2]);
        assert_eq!(lines(words, HOST, text), NOTHING);
        let test = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert_eq!(lines(words, DAEMON, &test), NOTHING);
        let excused =
            "// tidy: the user's own editor, in the user's own terminal\nCommand::new(x);\n";
        assert_eq!(lines(words, DAEMON, excused), NOTHING);
    }

    #[test]
    fn unfinished_and_careless_code_is_found() {
        for text in [
            "a.unwrap();\n",
            "todo!()\n",
            "unimplemented!()\n",
            "dbg!(a)\n",
            "process::exit(1)\n",
        ] {
            assert_eq!(lines(words, DAEMON, text), [1], "{text}");
        }
        assert_eq!(
            lines(words, DAEMON, "#[test]\nfn a() { b.unwrap(); }\n"),
            NOTHING
        );
        assert_eq!(lines(words, DAEMON, "#[test]\nfn a() { todo!() }\n"), [2]);
    }

    #[test]
    fn tests_do_not_sleep() {
        let text = "#[test]\nfn a() {\n    thread::sleep(b);\n}\nfn b() { thread::sleep(c) }\n";
        assert_eq!(lines(words, DAEMON, text), [3]);
        let excused = "#[test]\nfn a() {\n    sleep(b); // tidy: silence is what is tested\n}\n";
        assert_eq!(lines(words, DAEMON, excused), NOTHING);
    }

    #[test]
    fn sql_stays_in_the_store() {
        for statement in [
            "select id from runs",
            "INSERT OR IGNORE INTO runs VALUES (1)",
            "UPDATE runs\\n SET status = 1",
            "PRAGMA journal_mode",
        ] {
            let text = format!("let a = \"{statement}\";\n");
            assert_eq!(lines(sql, DAEMON, &text), [1], "{statement}");
            assert_eq!(lines(sql, "crates/orch-store/src/lib.rs", &text), NOTHING);
        }
        for english in [
            "Update the tasks",
            "select a task",
            "insert coin",
            "delete from here?",
        ] {
            let text = format!("let a = \"{english}\";\n");
            let expected = usize::from(english.starts_with("delete from"));
            assert_eq!(lines(sql, DAEMON, &text).len(), expected, "{english}");
        }
    }

    #[test]
    fn allow_needs_a_reason() {
        assert_eq!(lines(allows, HOST, "#[allow(dead_code)]\nfn a() {}\n"), [1]);
        assert_eq!(lines(allows, HOST, "\n#![allow(dead_code)]\n"), [2]);
        let reasoned =
            "#[allow(\n    dead_code,\n    reason = \"one target only\"\n)]\nfn a() {}\n";
        assert_eq!(lines(allows, HOST, reasoned), NOTHING);
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(lines(module_docs, HOST, "fn a() {}\n"), [1]);
        assert_eq!(
            lines(module_docs, HOST, "//! placeholder\nfn a() {}\n"),
            [1]
        );
        assert_eq!(
            lines(module_docs, HOST, "//! What it\n//! is.\nfn a() {}\n"),
            NOTHING
        );
        assert_eq!(
            lines(module_docs, "crates/orch/src/tests.rs", "fn a() {}\n"),
            NOTHING
        );
    }
}
