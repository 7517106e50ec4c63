//! Every recorded transcript of every kind of agent, and what orch makes of it.
//!
//! `snapshots/adapter_transcripts__ADAPTER.snap` is the table. It was reviewed row by row against
//! the transcripts; any change of meaning shows in it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod recorded;

use std::collections::BTreeMap;

use orch_core::outcome::Verdict;
use orch_core::run::{Outcome, Usage};
use orch_core::text::excerpt;
use orch_host::adapter::AgentEvent;
use recorded::hostile::{Chance, flipped, lines, rearranged};
use recorded::{Recorded, read};

#[test]
fn recorded_transcripts_mean_what_the_table_says() {
    for (kind, transcripts) in recorded::all() {
        assert!(!transcripts.is_empty(), "{kind} has transcripts");
        let rows: Vec<String> = transcripts.iter().map(row).collect();
        insta::assert_snapshot!(kind, rows.join("\n"));
    }
}

#[test]
fn every_event_can_be_read_and_put_into_words() {
    for (kind, transcripts) in recorded::all() {
        let mut described = BTreeMap::new();
        for event in transcripts.iter().flat_map(|it| it.judged().0) {
            let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
            assert!(!event.data.get().contains('\n'), "{kind}: {data}");
            let describe = transcripts[0].adapter.describe;
            if let Some(words) = describe(event.kind, &data) {
                let short = excerpt(&words, 80);
                described.entry(event.kind).or_insert(short);
            }
        }
        let lines: Vec<String> = described
            .iter()
            .map(|(event, words)| format!("{event}: {words}"))
            .collect();
        insta::assert_snapshot!(format!("{kind}-words"), lines.join("\n"));
    }
}

#[test]
fn every_reader_counts_lines_that_were_too_long_to_be_read() {
    let with_result = orch_host::adapter::all().iter();
    for adapter in with_result.filter(|adapter| adapter.has_result_event) {
        let mut reader = (adapter.reader)();
        assert_eq!(reader.summary().unread_lines, 0, "{}", adapter.name);
        reader.unreadable(40 << 20, b"}");
        assert_eq!(reader.summary().unread_lines, 1, "{}", adapter.name);
    }
}

/// Longest transcript that is mistreated, bytes. The longer ones say nothing else.
const MISTREATED_BYTES: usize = 20_000;
/// How often each transcript is mistreated in each way.
const ROUNDS: u64 = 60;

/// Transcripts that are mistreated.
fn victims() -> Vec<Recorded> {
    let all = recorded::all().into_iter().flat_map(|(_, all)| all);
    let short = |it: &Recorded| (1..MISTREATED_BYTES).contains(&it.stdout.len());
    all.filter(short).collect()
}

/// Whether this output, with the exit status it was recorded with, is called a success.
fn succeeds(recorded: &Recorded, stdout: &[u8]) -> bool {
    let verdict = recorded.explained(read(recorded.adapter, stdout).1.verdict);
    match recorded.outcome(&verdict) {
        Some(outcome) => outcome == Outcome::Completed,
        None => verdict == Verdict::Success,
    }
}

/// What is cut off, lost, doubled or out of order says no more than what was said. So a failure
/// stays one, however much of it arrives. Some programs say success although they were interrupted,
/// and in another line that they were: of those only cuts are tried.
#[test]
fn a_failure_that_is_cut_or_rearranged_never_becomes_a_success() {
    let failures: Vec<Recorded> = victims()
        .into_iter()
        .filter(|it| !succeeds(it, &it.stdout))
        .collect();
    assert!(failures.len() >= 40, "{}", failures.len());
    let mut all_ways = 0;
    for (seed, failure) in (0..).zip(&failures) {
        let mut chance = Chance::new(seed);
        let check = |bytes: &[u8], how: &str| {
            let name = (failure.adapter.name, &failure.name);
            let text = String::from_utf8_lossy(bytes);
            assert!(!succeeds(failure, bytes), "{name:?} {how}:\n{text}");
        };
        let said = lines(&failure.stdout);
        for count in 0..said.len() {
            check(&said[..count].concat(), "cut after a line");
        }
        for _ in 0..ROUNDS {
            let end = chance.below(failure.stdout.len());
            check(&failure.stdout[..end], "cut");
        }
        if said.iter().any(|line| succeeds(failure, line)) {
            continue;
        }
        all_ways += 1;
        for count in 0..said.len() {
            let (before, after) = said.split_at(count);
            check(&[before, &after[1..]].concat().concat(), "a line lost");
            check(
                &[before, &after[..1], after].concat().concat(),
                "a line doubled",
            );
        }
        for _ in 0..ROUNDS {
            check(&rearranged(&failure.stdout, &mut chance), "rearranged");
        }
    }
    assert!(all_ways * 10 >= failures.len() * 9, "{all_ways}");
}

/// A success needs its final word: what is cut off before it is none.
#[test]
fn a_success_that_is_cut_before_its_final_word_is_none() {
    let mut count = 0;
    for success in victims() {
        let is_success = read(success.adapter, &success.stdout).1.verdict == Verdict::Success;
        // Some have no word that is the final one, and are judged when there is no more.
        let Some(before) = before_the_final_word(&success).filter(|_| is_success) else {
            continue;
        };
        let mut end = 0;
        for line in lines(before) {
            end += line.len();
            let verdict = read(success.adapter, &before[..end]).1.verdict;
            assert_ne!(verdict, Verdict::Success, "{}", success.name);
        }
        count += 1;
    }
    assert!(count >= 30, "{count}");
}

fn before_the_final_word(recorded: &Recorded) -> Option<&[u8]> {
    let mut reader = (recorded.adapter.reader)();
    let mut end = 0;
    for line in lines(&recorded.stdout) {
        reader.line(line.trim_ascii_end());
        if reader.terminal_seen() {
            return Some(&recorded.stdout[..end]);
        }
        end += line.len();
    }
    None
}

/// Bits that flip may turn any word into another. Whatever they make of a transcript, it is read;
/// and if it is called a success, then some line of it says so by itself.
#[test]
fn flipped_bits_are_read_and_make_no_success_that_no_line_says() {
    for (seed, victim) in (0..).zip(victims()) {
        let mut chance = Chance::new(1_000 + seed);
        for _ in 0..ROUNDS {
            let bytes = flipped(&victim.stdout, &mut chance);
            let (events, summary) = read(victim.adapter, &bytes);
            for event in events {
                let data = event.data.get();
                assert!(
                    serde_json::from_str::<serde_json::Value>(data).is_ok(),
                    "{data}"
                );
                assert!(!data.contains('\n'), "{data}");
            }
            if summary.verdict == Verdict::Success {
                assert!(said_by_a_line(&victim, &bytes), "{}", victim.name);
            }
        }
    }
}

/// Whether there is a line after which, and not before, everything amounts to a success.
fn said_by_a_line(victim: &Recorded, bytes: &[u8]) -> bool {
    let mut reader = (victim.adapter.reader)();
    let (mut before, mut turned) = (reader.summary().verdict, false);
    for line in bytes.split(|&byte| byte == b'\n') {
        reader.line(line);
        let after = reader.summary().verdict;
        let line = line.trim_ascii();
        let is_object = line.starts_with(b"{") && line.ends_with(b"}");
        turned |= before != Verdict::Success && after == Verdict::Success && is_object;
        before = after;
    }
    turned
}

/// What is recorded of a run, in sentences.
fn row(recorded: &Recorded) -> String {
    let (events, summary) = recorded.judged();
    let mut sentences = vec![
        format!("{}: {}.", recorded.name, ended(recorded)),
        format!("{}.", outcome(recorded, &summary.verdict)),
        format!(
            "Result {}, session {}.",
            text(&summary.result),
            session(&summary.session_id)
        ),
        format!("{}.", used(&summary.usage)),
        format!("Events: {}.", counts(&events)),
    ];
    let warnings = summary.warnings.iter();
    sentences.extend(warnings.map(|warning| format!("Warning: {warning}.")));
    sentences.join("\n    ") + "\n"
}

fn ended(recorded: &Recorded) -> String {
    match recorded.exit.as_deref() {
        None => "how its process ended was not written down".to_owned(),
        Some("timeout") => "it did not end and was killed".to_owned(),
        Some(signal) if signal.starts_with('-') => format!("ended by signal {}", &signal[1..]),
        Some(code) => format!("ended with exit status {code}"),
    }
}

fn outcome(recorded: &Recorded, verdict: &Verdict) -> String {
    let said = match verdict {
        Verdict::ByExitStatus => "It has no word of its own".to_owned(),
        Verdict::NoResult => "It gave no result".to_owned(),
        Verdict::Explained { code, message } => {
            format!("It gave no result, and its errors say {code} ({message:?})")
        }
        Verdict::Success => "It says success".to_owned(),
        Verdict::Error { code, message } => format!("It says error ({code}, {message:?})"),
        Verdict::Limited {
            code,
            message,
            until,
        } => {
            let until = until.map_or("unknown".to_owned(), |until| until.0.to_string());
            format!("It says limit ({code}, until {until}, {message:?})")
        }
    };
    match recorded.outcome(verdict) {
        None => said,
        Some(outcome) => format!("{said}, so the run is {}", status(&outcome)),
    }
}

fn status(outcome: &Outcome) -> String {
    match outcome.failure() {
        None => outcome.status().to_string(),
        Some(failure) => format!("{} ({})", outcome.status(), failure.code),
    }
}

fn text(result: &Option<String>) -> String {
    match result {
        None => "none".to_owned(),
        Some(text) => format!("{:?} ({} bytes)", excerpt(text, 60), text.len()),
    }
}

fn session(id: &Option<String>) -> &str {
    id.as_deref().unwrap_or("unknown")
}

fn used(usage: &Usage) -> String {
    if *usage == Usage::default() {
        return "What it used is unknown".to_owned();
    }
    let shown = |count: Option<u64>| count.map_or("unknown".to_owned(), |count| count.to_string());
    let cost = usage.cost_usd;
    format!(
        "Used {} in, {} out, {} from the cache, {} to the cache, for {} USD",
        shown(usage.input_tokens),
        shown(usage.output_tokens),
        shown(usage.cache_read_tokens),
        shown(usage.cache_write_tokens),
        cost.map_or("unknown".to_owned(), |cost| cost.to_string()),
    )
}

fn counts(events: &[AgentEvent]) -> String {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.kind).or_insert(0) += 1;
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    match words.len() {
        0 => "none".to_owned(),
        _ => words.join(", "),
    }
}
