//! Rust source as tidy sees it: code with comments and literals blanked out, and which lines are
//! tests.
//!
//! A small scanner instead of a parser: several rules are about comments and layout, which a
//! syntax tree does not keep, and a parser would be the largest dependency of the house.

use std::ops::Range;

/// One Rust file.
#[derive(Debug)]
pub struct Source {
    /// The text with every comment and literal replaced by spaces. Offsets and lines are kept.
    pub code: String,
    /// String literals, without their quotes.
    pub literals: Vec<Piece>,
    /// Comments, with their slashes.
    pub comments: Vec<Piece>,
    line_starts: Vec<usize>,
    literal_lines: Vec<bool>,
    test_lines: Vec<bool>,
}

/// A literal or comment and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Line of its first character, from 1.
    pub line: usize,
    /// Line of its last character.
    pub last_line: usize,
    /// What it says.
    pub text: String,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name without its path.
    pub name: String,
    /// Line of its `fn`.
    pub line: usize,
    /// Lines from its `fn` to its last brace.
    pub length: usize,
}

impl Source {
    /// Scans `text`. `all_tests` says that the whole file is test code.
    #[must_use]
    pub fn new(text: &str, all_tests: bool) -> Self {
        let scanned = Scanner::new(text).scan();
        let line_starts = line_starts(text);
        let mut source = Self {
            code: scanned.code,
            literals: Vec::new(),
            comments: Vec::new(),
            literal_lines: vec![false; line_starts.len()],
            test_lines: vec![all_tests; line_starts.len()],
            line_starts,
        };
        source.literals = source.pieces(text, &scanned.literals);
        source.comments = source.pieces(text, &scanned.comments);
        for range in scanned.literals.iter().chain(&scanned.characters) {
            source.mark_literal(range);
        }
        source.mark_tests();
        source
    }

    /// The line of a byte offset, from 1.
    #[must_use]
    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Whether this line belongs to a test.
    #[must_use]
    pub fn is_test(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// How many lines are not tests.
    #[must_use]
    pub fn production_lines(&self) -> usize {
        self.test_lines.iter().filter(|test| !**test).count()
    }

    /// Whether a comment on this line, or right above it, gives a reason after `tidy: `.
    #[must_use]
    pub fn is_excused(&self, line: usize) -> bool {
        self.comments
            .iter()
            .filter(|comment| comment.line == line || comment.last_line + 1 == line)
            .filter_map(|comment| comment.text.split_once("tidy: "))
            .any(|(_, reason)| reason.trim().len() >= 10)
    }

    /// Whether a literal, of text or of a character, covers part of this line.
    #[must_use]
    pub fn has_literal(&self, line: usize) -> bool {
        self.literal_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// Byte offsets at which `pattern` stands in the code and is not part of a longer word.
    #[must_use]
    pub fn find(&self, pattern: &str) -> Vec<usize> {
        let code = self.code.as_bytes();
        let starts_word = pattern.bytes().next().is_some_and(is_word);
        let ends_word = pattern.bytes().last().is_some_and(is_word);
        let matches = self.code.match_indices(pattern).map(|(at, _)| at);
        matches
            .filter(|at| !(starts_word && *at > 0 && is_word(code[at - 1])))
            .filter(|at| !(ends_word && code.get(at + pattern.len()).copied().is_some_and(is_word)))
            .collect()
    }

    /// Every function with a body, in order.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let keywords = self.find("fn");
        let functions = keywords.into_iter().filter_map(|at| self.function_at(at));
        functions.collect()
    }

    /// The modules declared as `mod name;` in test code.
    #[must_use]
    pub fn test_modules(&self) -> Vec<String> {
        let keywords = self.find("mod").into_iter();
        let tests = keywords.filter(|at| self.is_test(self.line_of(*at)));
        tests
            .filter_map(|at| {
                let rest = &self.code[at + 3..];
                let (name, _) = rest.split_once(';')?;
                let name = name.trim();
                (!name.is_empty() && name.bytes().all(is_word)).then(|| name.to_owned())
            })
            .collect()
    }

    fn function_at(&self, at: usize) -> Option<Function> {
        let after = &self.code[at + 2..];
        let name: String = after
            .trim_start()
            .chars()
            .take_while(|character| character.is_alphanumeric() || *character == '_')
            .collect();
        if name.is_empty() {
            return None;
        }
        let body = item_body(&self.code, at)?;
        let line = self.line_of(at);
        Some(Function {
            name,
            line,
            length: self.line_of(body.end - 1) - line + 1,
        })
    }

    fn pieces(&self, text: &str, ranges: &[Range<usize>]) -> Vec<Piece> {
        let piece = |range: &Range<usize>| Piece {
            line: self.line_of(range.start),
            last_line: self.line_of(range.end.max(range.start + 1) - 1),
            text: text[range.clone()].to_owned(),
        };
        ranges.iter().map(piece).collect()
    }

    fn mark_literal(&mut self, range: &Range<usize>) {
        let (first, last) = (self.line_of(range.start), self.line_of(range.end));
        self.literal_lines[first - 1..last].fill(true);
    }

    fn mark_tests(&mut self) {
        const MARKS: &[&str] = &[
            "#[cfg(test)]",
            "#[cfg(any(test",
            "#[cfg(all(test",
            "#[test]",
            "#[tokio::test",
        ];
        for mark in MARKS {
            let found: Vec<usize> = self.code.match_indices(mark).map(|(at, _)| at).collect();
            for at in found {
                let end = item_end(&self.code, at);
                for line in self.line_of(at)..=self.line_of(end.saturating_sub(1)) {
                    self.test_lines[line - 1] = true;
                }
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn line_starts(text: &str) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    if text.ends_with('\n') {
        starts.pop();
    }
    starts
}

/// Where the item that begins at `at`, attributes included, ends.
fn item_end(code: &str, at: usize) -> usize {
    let mut at = at;
    while code[at..].starts_with("#[") {
        at += bracketed(&code[at..]).unwrap_or(2);
        at += code[at..].len() - code[at..].trim_start().len();
    }
    match item_body(code, at) {
        Some(body) => body.end,
        None => code[at..].find(';').map_or(code.len(), |end| at + end + 1),
    }
}

/// The braces of the item that begins at `at`; `None` if it ends in a semicolon.
fn item_body(code: &str, at: usize) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    for (index, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => {
                let length = bracketed(&code[index..])?;
                return Some(index..index + length);
            }
            _ => {}
        }
    }
    None
}

/// Length of the bracketed text at the start of `code`, from its first bracket to the one that
/// closes it.
fn bracketed(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

struct Scanned {
    code: String,
    literals: Vec<Range<usize>>,
    comments: Vec<Range<usize>>,
    characters: Vec<Range<usize>>,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    literals: Vec<Range<usize>>,
    comments: Vec<Range<usize>>,
    /// Character literals: blanked, and of interest to nobody.
    characters: Vec<Range<usize>>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            literals: Vec::new(),
            comments: Vec::new(),
            characters: Vec::new(),
        }
    }

    fn scan(mut self) -> Scanned {
        while self.at < self.text.len() {
            self.token();
        }
        Scanned {
            code: self.blanked(),
            literals: self.literals,
            comments: self.comments,
            characters: self.characters,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn token(&mut self) {
        let rest = self.rest();
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            self.comments.push(self.at..self.at + end);
            self.at += end;
        } else if rest.starts_with("/*") {
            let end = block_comment(rest);
            self.comments.push(self.at..self.at + end);
            self.at += end;
        } else if let Some(hashes) = self.raw_string() {
            self.raw(hashes);
        } else if rest.starts_with('"') {
            let end = quoted(rest);
            self.literals.push(self.at + 1..self.at + end.max(2) - 1);
            self.at += end;
        } else if rest.starts_with('\'') {
            self.tick();
        } else {
            self.at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }

    /// Number of `#` of the raw string that begins here.
    fn raw_string(&self) -> Option<usize> {
        let after = self.rest().strip_prefix('r')?;
        let before = &self.text.as_bytes()[..self.at];
        let prefix = usize::from(matches!(before.last(), Some(b'b' | b'c')));
        if before.len() > prefix && is_word(before[before.len() - 1 - prefix]) {
            return None;
        }
        let hashes = after.len() - after.trim_start_matches('#').len();
        after[hashes..].starts_with('"').then_some(hashes)
    }

    fn raw(&mut self, hashes: usize) {
        let start = self.at + 1 + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let length = self.text[start..].find(&close);
        let end = length.map_or(self.text.len(), |length| start + length);
        self.literals.push(start..end);
        self.at = (end + close.len()).min(self.text.len());
    }

    /// A character literal or a lifetime.
    fn tick(&mut self) {
        let mut characters = self.rest().char_indices().skip(1);
        let length = match characters.next() {
            Some((_, '\\')) => {
                let _escaped = characters.next();
                characters
                    .find(|(_, character)| *character == '\'')
                    .map(|(index, _)| index + 1)
            }
            Some(_) => match characters.next() {
                Some((index, '\'')) => Some(index + 1),
                _ => None,
            },
            None => None,
        };
        if let Some(length) = length {
            self.characters.push(self.at..self.at + length);
        }
        self.at += length.unwrap_or(1);
    }

    fn blanked(&self) -> String {
        let mut code = self.text.as_bytes().to_vec();
        let blank = self.literals.iter().chain(&self.comments);
        for range in blank.chain(&self.characters) {
            for byte in &mut code[range.clone()] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        String::from_utf8_lossy(&code).into_owned()
    }
}

fn block_comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "let a = \"fn x() {\"; // todo!\n/* a /* b */ c */ let c = '{'; let r = r#\"\"}\"#;\n";
        let source = Source::new(text, false);
        assert_eq!(source.code.len(), text.len());
        assert!(
            !source.code.contains('{') && !source.code.contains('}'),
            "{}",
            source.code
        );
        assert!(!source.code.contains("todo"), "{}", source.code);
        let literals: Vec<&str> = source.literals.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(literals, ["fn x() {", "\"}"]);
        assert_eq!(source.comments[1].text, "/* a /* b */ c */");
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let source = Source::new("fn a<'a>(x: &'a str) { b('\\'', '\"', \"s\") }\n", false);
        assert!(source.code.contains("<'a>(x: &'a str)"));
        assert_eq!(source.literals.len(), 1);
    }

    #[test]
    fn functions_have_lengths() {
        let text = "trait T { fn a(&self); }\nfn b(x: [u8; 3]) {\n    c(|| {\n    });\n}\n";
        let functions = Source::new(text, false).functions();
        assert_eq!(functions.len(), 1);
        assert_eq!((functions[0].name.as_str(), functions[0].line), ("b", 2));
        assert_eq!(functions[0].length, 4);
    }

    #[test]
    fn test_modules_are_known() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(test)]\nmod more;\nfn c() {}\n";
        let source = Source::new(text, false);
        let tests: Vec<usize> = (1..=8).filter(|l| source.is_test(*l)).collect();
        assert_eq!(tests, [2, 3, 4, 5, 6, 7]);
        assert_eq!(source.test_modules(), ["more"]);
        assert_eq!(source.production_lines(), 2);
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new("HashMap MyHashMap HashMaps x.sleep(1)\n", false);
        assert_eq!(source.find("HashMap"), [0]);
        assert_eq!(source.find("sleep(").len(), 1);
    }

    #[test]
    fn an_excuse_needs_a_reason() {
        let text = "a(); // tidy: no\n// tidy: the kernel gives no event for this\nb();\nc();\n";
        let source = Source::new(text, false);
        assert_eq!(
            [1, 3, 4].map(|line| source.is_excused(line)),
            [false, true, false]
        );
    }
}
