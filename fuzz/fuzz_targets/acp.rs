//! The reader of what `orch __acp` writes, on any bytes.
//!
//! A conversation ends with a checksum of all that was written before, which no fuzzer guesses. So
//! each input is read as it is, and once more with the checksums that it would need. What then ends
//! without success must not become one by any damage that is done to it.

#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use orch_core::outcome::Verdict;
use orch_host::adapter::{Adapter, find};

static ACP: LazyLock<&'static Adapter> =
    LazyLock::new(|| find("acp").expect("there is an adapter of this name"));

/// What stands before the checksum of an end.
const CHECK: &[u8] = b"\"check\":";

fuzz_target!(|output: &[u8]| {
    read_and_check(output);
    let mended = with_checksums(output);
    // Without an end it may be a success that was damaged already.
    if read_and_check(&mended) || at_the_end(&mended).is_none() {
        return;
    }
    for damaged in damages(&mended) {
        let text = String::from_utf8_lossy(&damaged);
        let (_, summary) = common::read(*ACP, &damaged);
        let is_failure = summary.verdict != Verdict::Success;
        assert!(is_failure, "now it is a success:\n{text}");
    }
});

/// Whether it is a success. Then one of its lines ended it, with the right checksum, and none of
/// the lines before did.
fn read_and_check(output: &[u8]) -> bool {
    let summary = common::check(*ACP, output);
    let is_success = summary.verdict == Verdict::Success;
    if is_success {
        assert!(summary.session_id.is_some(), "a success has a session");
        let (before, end) = at_the_end(output).expect("a success has an end");
        let (_, without) = common::read(*ACP, before);
        assert_eq!(without.verdict, Verdict::NoResult, "it had not ended");
        let number = checksum(before).to_string();
        let end = String::from_utf8_lossy(end);
        assert!(end.contains(&number), "its checksum is {number}:\n{end}");
    }
    is_success
}

/// What was before the line that ended it, with its line end, and that line.
fn at_the_end(output: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = (ACP.reader)();
    let mut start = 0;
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        if !bare.starts_with(b"\0") {
            reader.line(bare);
        }
        if reader.terminal_seen() {
            return Some((&output[..start], bare));
        }
        start += line.len();
    }
    None
}

/// The same with the checksum in each line that it needs there.
fn with_checksums(output: &[u8]) -> Vec<u8> {
    let mut mended = Vec::with_capacity(output.len());
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        let found = line.windows(CHECK.len()).position(|at| at == CHECK);
        let Some(at) = found.map(|at| at + CHECK.len()) else {
            mended.extend(line);
            continue;
        };
        let number = checksum(&mended).to_string();
        let digits = line[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let after = &line[at + digits.count()..];
        mended.extend(&line[..at]);
        mended.extend(number.as_bytes());
        mended.extend(after);
    }
    mended
}

/// A reader takes no notice of lines that are too long to be held, so neither does this.
fn checksum(output: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    let lines = output.split_inclusive(|&byte| byte == b'\n');
    for line in lines.filter(|line| !line.starts_with(b"\0")) {
        check.update(line);
    }
    check.finalize()
}

/// Cut, with a line lost, with one doubled, and with two that changed places: where, its own bytes
/// decide.
fn damages(output: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = output.split_inclusive(|&byte| byte == b'\n').collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let chance = crc32fast::hash(output) as usize;
    let (one, other) = (chance % lines.len(), (chance >> 16) % lines.len());
    let without = [&lines[..one], &lines[one + 1..]].concat();
    let doubled = [&lines[..=one], &lines[one..]].concat();
    let mut moved = lines.clone();
    moved.swap(one, other);
    vec![
        output[..chance % output.len()].to_vec(),
        without.concat(),
        doubled.concat(),
        moved.concat(),
    ]
}
