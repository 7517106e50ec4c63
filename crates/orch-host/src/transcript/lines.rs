//! Cuts a stream of bytes into lines, in bounded memory and in time linear in its length.

use crate::adapter::TAIL_BYTES;

/// Longest line that is read, bytes. A result of 20 MB is one line.
pub const LINE_BYTES: usize = 32 << 20;

/// One line, without its `\n`.
pub(super) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// A line of more than [`LINE_BYTES`].
    Unreadable {
        /// Its length, bytes.
        length: u64,
        /// The end of it, at most [`TAIL_BYTES`].
        tail: &'a [u8],
    },
}

/// A line and where it lies.
pub(super) struct Located<'a> {
    /// The line.
    pub line: Line<'a>,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset after it and its `\n`.
    pub end: u64,
}

/// Takes bytes in pieces of any size and gives lines.
#[derive(Default)]
pub(super) struct Splitter {
    /// Offset of the first byte of the line that is not complete yet.
    start: u64,
    /// Bytes of that line so far.
    length: u64,
    /// Those bytes, or the end of them if they are too many.
    kept: Vec<u8>,
}

impl Splitter {
    /// Offset of the next byte to be fed.
    pub fn position(&self) -> u64 {
        self.start + self.length
    }

    /// Whether the bytes fed so far end within a line.
    pub fn is_within_line(&self) -> bool {
        self.length > 0
    }

    /// Takes the next bytes and gives every line they complete.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Located<'_>)) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            if self.length == 0 {
                // The usual case needs no copy.
                let (start, end) = (self.start, self.start + at as u64 + 1);
                self.start = end;
                let line = Line::Whole(&bytes[..at]);
                each(Located { line, start, end });
            } else {
                self.hold(&bytes[..at]);
                self.give(1, each);
            }
            bytes = &bytes[at + 1..];
        }
        self.hold(bytes);
    }

    /// Gives what was fed of an incomplete line as a line, because nothing follows.
    pub fn rest(&mut self, each: &mut dyn FnMut(Located<'_>)) {
        if self.is_within_line() {
            self.give(0, each);
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.kept.extend_from_slice(bytes);
        if self.length > LINE_BYTES as u64 && self.kept.len() > 2 * TAIL_BYTES {
            self.kept.drain(..self.kept.len() - TAIL_BYTES);
            self.kept.shrink_to(2 * TAIL_BYTES);
        }
    }

    fn give(&mut self, newline: u64, each: &mut dyn FnMut(Located<'_>)) {
        let line = if self.length > LINE_BYTES as u64 {
            let tail = &self.kept[self.kept.len().saturating_sub(TAIL_BYTES)..];
            let length = self.length;
            Line::Unreadable { length, tail }
        } else {
            Line::Whole(&self.kept)
        };
        let (start, end) = (self.start, self.start + self.length + newline);
        each(Located { line, start, end });
        (self.start, self.length) = (end, 0);
        self.kept.clear();
        self.kept.shrink_to(1 << 20);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(Vec<u8>, u64, u64)> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        let mut each = |located: Located<'_>| {
            if let Line::Whole(line) = located.line {
                lines.push((line.to_vec(), located.start, located.end));
            }
        };
        for piece in pieces {
            splitter.feed(piece, &mut each);
        }
        splitter.rest(&mut each);
        lines
    }

    #[test]
    fn pieces_do_not_matter() {
        let expected = [
            (b"ab".to_vec(), 0, 3),
            (b"".to_vec(), 3, 4),
            (b"c\r".to_vec(), 4, 6),
        ];
        assert_eq!(lines(&[b"ab\n\nc\r"]), expected);
        assert_eq!(lines(&[b"a", b"b", b"\n", b"", b"\nc", b"\r"]), expected);
    }

    #[test]
    fn a_line_beyond_the_limit_is_counted_and_its_end_is_kept() {
        let mut splitter = Splitter::default();
        let piece = vec![b'x'; 1 << 20];
        let mut none = |_: Located<'_>| panic!("no line is complete");
        for _ in 0..40 {
            splitter.feed(&piece, &mut none);
            assert!(splitter.kept.capacity() <= 2 * LINE_BYTES);
        }
        assert!(splitter.kept.capacity() <= 4 * TAIL_BYTES);
        let mut seen = 0;
        splitter.feed(b"end\nnext\n", &mut |located| match located.line {
            Line::Unreadable { length, tail } => {
                assert_eq!((length, tail.len()), ((40 << 20) + 3, TAIL_BYTES));
                assert!(tail.ends_with(b"xend"));
                seen += 1;
            }
            Line::Whole(line) => {
                assert_eq!((line, located.start), (b"next".as_slice(), (40 << 20) + 4));
                seen += 1;
            }
        });
        assert_eq!(seen, 2);
    }
}
