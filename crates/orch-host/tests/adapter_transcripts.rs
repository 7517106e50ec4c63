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
use recorded::Recorded;

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
