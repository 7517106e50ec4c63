//! The ACP reader on what a driver wrote about real agents, and on what can become of that.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fmt::Write;

use orch_core::outcome::Verdict;
use orch_core::run::FailureCode;
use orch_host::adapter::{AgentEvent, EventType, Reader, Summary, find};
use proptest::prelude::*;

fn reader() -> Box<dyn Reader + Send> {
    (find("acp").unwrap().reader)()
}

/// Reads what was written as the transcript does: what is behind the last line end is a line only
/// if it holds something.
fn read(stream: &[u8]) -> (Vec<AgentEvent>, Summary) {
    let mut reader = reader();
    let stream = stream.strip_suffix(b"\n").unwrap_or(stream);
    let lines = stream.split(|&byte| byte == b'\n');
    let events = lines.flat_map(|line| reader.line(line)).collect();
    (events, reader.summary())
}

fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/acp");
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let fixtures: BTreeMap<_, _> = entries
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    assert!(fixtures.len() >= 8, "the transcripts are there");
    fixtures
}

const SESSION: &str = r#"{"orch_acp":{"session":{"id":"s","loaded":false,"agent":"a"}}}"#;
const PROMPT: &str = r#"{"orch_acp":{"prompt":{}}}"#;

fn update(fields: &str) -> String {
    format!(
        r#"{{"acp":{{"method":"session/update","params":{{"sessionId":"s","update":{{{fields}}}}}}}}}"#
    )
}

fn chunk(text: &str) -> String {
    update(&format!(
        r#""sessionUpdate":"agent_message_chunk","content":{{"type":"text","text":"{text}"}}"#
    ))
}

fn call(fields: &str) -> String {
    update(&format!(
        r#""sessionUpdate":"tool_call","toolCallId":"t",{fields}"#
    ))
}

/// A whole stream with these lines, ended by an answer with these fields.
fn ended(lines: &[String], answer: &str) -> String {
    let mut stream = format!("{SESSION}\n{PROMPT}\n");
    for line in lines {
        stream += line;
        stream.push('\n');
    }
    let check = crc32fast::hash(stream.as_bytes());
    stream + &end(answer, check)
}

fn end(answer: &str, check: u32) -> String {
    format!(r#"{{"orch_acp":{{"end":{{"how":"answered",{answer}}},"check":{check}}}}}"#)
}

const DONE: &str = r#""stop_reason":"end_turn""#;

fn counts(events: &[AgentEvent]) -> String {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.kind).or_insert(0) += 1;
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    words.join(", ")
}

fn row(stream: &[u8]) -> String {
    let (events, summary) = read(stream);
    let usage = summary.usage;
    let shown = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let result = summary
        .result
        .map(|text| orch_core::text::excerpt(&text, 80));
    let mut row = format!("events: {}\n", counts(&events));
    writeln!(row, "verdict: {:?}", summary.verdict).unwrap();
    writeln!(row, "result: {result:?}").unwrap();
    writeln!(
        row,
        "usage: {} {} {} {} {:?}",
        shown(usage.input_tokens),
        shown(usage.output_tokens),
        shown(usage.cache_read_tokens),
        shown(usage.cache_write_tokens),
        usage.cost_usd
    )
    .unwrap();
    writeln!(row, "session: {}", summary.session_id.is_some()).unwrap();
    writeln!(row, "warnings: {:?}", summary.warnings).unwrap();
    row
}

/// The table was reviewed against the transcripts; any change shows here.
#[test]
fn recorded_transcripts_mean_what_the_table_says() {
    let mut table = String::new();
    for (name, stream) in fixtures() {
        writeln!(table, "## {name}\n{}", row(&stream)).unwrap();
    }
    insta::assert_snapshot!("recorded", table);
}

#[test]
fn every_event_can_be_read_and_put_into_words() {
    let describe = find("acp").unwrap().describe;
    let mut described: BTreeMap<EventType, Vec<String>> = BTreeMap::new();
    for stream in fixtures().values() {
        for event in read(stream).0 {
            let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
            let words = describe(event.kind, &data);
            let words = words.map(|words| orch_core::text::excerpt(&words, 80));
            let some = described.entry(event.kind).or_default();
            let is_new = |words: &String| !some.contains(words) && some.len() < 4;
            if let Some(words) = words.filter(is_new) {
                some.push(words);
            }
        }
    }
    // Which session it was is new each time it is recorded.
    described.remove(&EventType::Session);
    let lines = described
        .iter()
        .flat_map(|(kind, words)| words.iter().map(move |words| format!("{kind}: {words:?}")));
    insta::assert_snapshot!("words", lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn pieces_of_text_are_told_by_paragraphs() {
    let lines = [
        chunk("One "),
        chunk("sentence.\\n"),
        chunk("\\nThe next"),
        chunk(" one."),
        update(r#""sessionUpdate":"agent_thought_chunk","content":{"type":"text","text":"Hm."}"#),
        call(r#""title":"ls","kind":"execute","rawInput":{"command":"ls"}"#),
        chunk("Done."),
    ];
    let (events, summary) = read(ended(&lines, DONE).as_bytes());
    let told: Vec<String> = events
        .iter()
        .filter(|event| event.kind != EventType::Raw)
        .map(|event| format!("{} {}", event.kind, event.data))
        .collect();
    assert_eq!(told[1], r#"text {"text":"One sentence."}"#);
    assert_eq!(told[2], r#"text {"text":"The next one."}"#);
    assert_eq!(told[3], r#"thinking {"text":"Hm."}"#);
    assert!(told[4].starts_with("command {"), "{told:?}");
    assert_eq!(told[5], r#"text {"text":"Done."}"#);
    assert_eq!(summary.result.as_deref(), Some("Done."));
    assert_eq!(summary.verdict, Verdict::Success);
}

#[test]
fn the_final_text_is_what_was_said_after_the_last_tool() {
    let tool = || call(r#""kind":"read""#);
    let message = |id: &str, text: &str| {
        chunk(text).replace(r#""content""#, &format!(r#""messageId":"{id}","content""#))
    };
    for (lines, expected) in [
        (vec![chunk("a"), tool(), chunk("b"), chunk("c")], Some("bc")),
        (vec![chunk("a"), tool()], Some("a")),
        (
            vec![chunk("a"), tool(), tool(), chunk("b"), tool()],
            Some("b"),
        ),
        (vec![tool()], None),
        (
            vec![message("1", "a"), message("1", "b"), message("2", "c")],
            Some("ab\n\nc"),
        ),
    ] {
        let (_, summary) = read(ended(&lines, DONE).as_bytes());
        assert_eq!(summary.result.as_deref(), expected, "{lines:?}");
        assert_eq!(summary.verdict, Verdict::Success);
    }
}

#[test]
fn calls_are_told_by_what_they_do() {
    let diff = r#""content":[{"type":"diff","path":"/a","oldText":null,"newText":"x"}]"#;
    let changed = |fields: &str| {
        update(&format!(
            r#""sessionUpdate":"tool_call_update","toolCallId":"t",{fields}"#
        ))
    };
    for (line, kind) in [
        (call(r#""kind":"execute""#), EventType::Command),
        (call(r#""kind":"edit""#), EventType::FileChange),
        (call(r#""kind":"delete""#), EventType::FileChange),
        (
            call(&format!(r#""kind":"other",{diff}"#)),
            EventType::FileChange,
        ),
        (call(r#""kind":"fetch""#), EventType::ToolCall),
        (call(r#""title":"x""#), EventType::ToolCall),
        (changed(r#""status":"completed""#), EventType::ToolResult),
        (changed(r#""status":"failed""#), EventType::ToolResult),
        (changed(diff), EventType::FileChange),
        (
            changed(r#""kind":"execute","rawInput":{"command":"ls"}"#),
            EventType::Command,
        ),
        (
            changed(r#""status":"in_progress","rawInput":{}"#),
            EventType::Raw,
        ),
        (
            update(r#""sessionUpdate":"plan","entries":[]"#),
            EventType::Thinking,
        ),
        (
            update(r#""sessionUpdate":"usage_update","used":1"#),
            EventType::Usage,
        ),
        (update(r#""sessionUpdate":"something_new""#), EventType::Raw),
        (chunk("x").replace(r#""s""#, r#""other""#), EventType::Raw),
    ] {
        let mut reader = reader();
        for line in [SESSION, PROMPT] {
            reader.line(line.as_bytes());
        }
        let events = reader.line(line.as_bytes());
        assert_eq!(events.len(), 1, "{line}");
        assert_eq!(events[0].kind, kind, "{line}");
    }
}

#[test]
fn an_input_that_is_repeated_is_told_once() {
    let line = |command: &str| {
        update(&format!(
            r#""sessionUpdate":"tool_call_update","toolCallId":"t","kind":"execute","status":"in_progress","rawInput":{{"command":"{command}"}}"#
        ))
    };
    let lines = [line("a"), line("a"), line("b"), chunk("done")];
    let (events, _) = read(ended(&lines, DONE).as_bytes());
    assert_eq!(
        counts(&events),
        "text 1, command 2, session 1, result 1, raw 2"
    );
}

#[test]
fn a_success_is_one_only_in_its_place_and_with_all_that_came_before() {
    let verdict = |stream: &str| read(stream.as_bytes()).1.verdict;
    let good = ended(&[chunk("done")], DONE);
    assert_eq!(verdict(&good), Verdict::Success);
    assert_eq!(verdict(&format!("{good}\n{good}")), Verdict::Success);
    let lines: Vec<&str> = good.lines().collect();
    for missing in 0..lines.len() {
        let rest: Vec<&str> = lines
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .map(|(_, line)| *line)
            .collect();
        assert_ne!(
            verdict(&rest.join("\n")),
            Verdict::Success,
            "without {missing}"
        );
    }
    // Even where the checksum is right.
    for lines in [
        vec![PROMPT.to_owned(), chunk("done")],
        vec![SESSION.to_owned(), chunk("done")],
        vec![chunk("done"), SESSION.to_owned(), PROMPT.to_owned()],
        vec![SESSION.to_owned(), chunk("done"), PROMPT.to_owned()],
        vec![SESSION.to_owned(), PROMPT.to_owned(), chunk("  ")],
        vec![
            SESSION.to_owned(),
            PROMPT.to_owned(),
            chunk("x").replace(r#""s""#, r#""o""#),
        ],
    ] {
        let stream = lines.join("\n") + "\n";
        let whole = format!("{stream}{}", end(DONE, crc32fast::hash(stream.as_bytes())));
        assert!(matches!(verdict(&whole), Verdict::Error { .. }), "{whole}");
    }
    let forged = format!("{}\n", ended(&[chunk("no")], r#""stop_reason":"refusal""#));
    let forged = forged + &end(DONE, 0);
    assert!(matches!(
        verdict(&forged),
        Verdict::Error {
            code: FailureCode::Refused,
            ..
        }
    ));
}

#[test]
fn a_driver_that_was_killed_leaves_no_result() {
    let stream = format!(
        "{SESSION}\n{PROMPT}\n{}\n{{\"acp\":{{\"half",
        chunk("working")
    );
    let (events, summary) = read(stream.as_bytes());
    assert_eq!(summary.verdict, Verdict::NoResult);
    assert_eq!(summary.session_id.as_deref(), Some("s"));
    assert_eq!(summary.result.as_deref(), Some("working"));
    assert_eq!(events.last().unwrap().kind, EventType::Raw);
}

#[test]
fn refused_calls_are_named_and_counted() {
    let note = |title: &str| {
        format!(
            r#"{{"orch_acp":{{"permission":{{"allowed":false,"kind":"execute","title":"{title}"}}}}}}"#
        )
    };
    let mut lines = vec![
        chunk("done"),
        note("git  push\\n-f"),
        note("git push -f"),
        note(""),
    ];
    let (_, summary) = read(ended(&lines, DONE).as_bytes());
    assert_eq!(
        summary.warnings,
        ["tool calls that were refused for want of permission: execute, git push -f 2×"]
    );
    lines.extend((0..5_000).map(|n| note(&format!("call {n}"))));
    let (_, summary) = read(ended(&lines, DONE).as_bytes());
    assert!(
        summary.warnings[0].ends_with(", and 990 more"),
        "{:?}",
        summary.warnings
    );
}

/// One change of a transcript.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Drop(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        index().prop_map(Change::Cut),
        index().prop_map(Change::Drop),
        index().prop_map(Change::Repeat),
        (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn changed(stream: &[u8], change: &Change) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = stream.split_inclusive(|&byte| byte == b'\n').collect();
    let count = lines.len();
    match change {
        Change::Flip(at, bit) => {
            let mut bytes = stream.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            return bytes;
        }
        Change::Cut(at) => return stream[..at.index(stream.len())].to_vec(),
        Change::Drop(at) => drop(lines.remove(at.index(count))),
        Change::Repeat(at) => lines.insert(at.index(count), lines[at.index(count)]),
        Change::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
    }
    lines.concat()
}

proptest! {
    #[test]
    fn no_damage_turns_a_failure_into_a_success(changes in prop::collection::vec(change(), 1..4)) {
        for (name, stream) in fixtures() {
            let before = read(&stream).1.verdict;
            let damaged = changes.iter().fold(stream.clone(), |stream, change| {
                if stream.is_empty() { stream } else { changed(&stream, change) }
            });
            let after = read(&damaged).1.verdict;
            let stays = after != Verdict::Success || before == Verdict::Success;
            prop_assert!(stays, "{name}: {changes:?}");
        }
    }

    #[test]
    fn anything_at_all_can_be_read(stream in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let (events, summary) = read(&stream);
        prop_assert_ne!(summary.verdict, Verdict::Success);
        for event in events {
            prop_assert!(serde_json::from_str::<serde_json::Value>(event.data.get()).is_ok());
        }
    }
}
