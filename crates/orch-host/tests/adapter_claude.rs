//! The claude reader on recorded transcripts, and on what can become of a transcript.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use orch_core::Timestamp;
use orch_core::outcome::Verdict;
use orch_core::run::FailureCode;
use orch_host::adapter::{AgentEvent, EventType, Reader, Summary, find};
use proptest::prelude::*;

fn reader() -> Box<dyn Reader + Send> {
    (find("claude").unwrap().reader)()
}

fn read(stream: &[u8]) -> (Vec<AgentEvent>, Summary) {
    let mut reader = reader();
    let lines = stream.split(|&byte| byte == b'\n');
    let events = lines.flat_map(|line| reader.line(line)).collect();
    (events, reader.summary())
}

fn result_line(fields: &str) -> String {
    format!(r#"{{"type":"result","session_id":"s",{fields}}}"#)
}

fn verdict(stream: &str) -> Verdict {
    read(stream.as_bytes()).1.verdict
}

fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/claude");
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
    let fixtures: BTreeMap<_, _> = entries
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    assert!(fixtures.len() >= 24, "the transcripts are there");
    fixtures
}

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

/// Transcripts that are no success, whole.
static FAILURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let failures: Vec<_> = fixtures()
        .into_values()
        .filter(|stream| read(stream).1.verdict != Verdict::Success && stream.len() < 10_000)
        .collect();
    assert!(failures.len() >= 9, "{}", failures.len());
    failures
});

#[test]
fn no_prefix_of_a_transcript_is_a_success_before_its_result() {
    for (name, stream) in fixtures() {
        let lines: Vec<&[u8]> = stream.split_inclusive(|&byte| byte == b'\n').collect();
        let result = lines
            .iter()
            .position(|line| line.starts_with(b"{\"type\":\"result\""));
        for count in 0..=lines.len() {
            let prefix = lines[..count].concat();
            let expected = match result {
                Some(at) if count > at => read(&stream).1.verdict,
                _ => Verdict::NoResult,
            };
            assert_eq!(read(&prefix).1.verdict, expected, "{name} {count}");
        }
    }
}

#[test]
fn a_transcript_cut_within_its_result_has_no_result() {
    for (name, stream) in fixtures()
        .into_iter()
        .filter(|(_, stream)| stream.len() < 10_000)
    {
        let stream = stream.trim_ascii_end();
        let Some(start) = stream
            .windows(16)
            .position(|bytes| bytes == b"{\"type\":\"result\"")
        else {
            continue;
        };
        // Every few bytes, and each of the last.
        let ends = (start..stream.len()).step_by(7);
        for end in ends.chain(stream.len() - 20..stream.len()) {
            assert_eq!(
                read(&stream[..end]).1.verdict,
                Verdict::NoResult,
                "{name} {end}"
            );
        }
    }
}

#[test]
fn the_first_result_of_the_own_session_counts() {
    let init = r#"{"type":"system","subtype":"init","session_id":"s"}"#;
    let good = result_line(r#""subtype":"success","is_error":false,"result":"done""#);
    let bad = result_line(r#""subtype":"success","is_error":true,"result":"oh no""#);
    let foreign = good.replace(r#""s""#, r#""other""#);

    let (events, summary) = read(format!("{init}\n{foreign}\n{bad}\n{good}\n{bad}\n").as_bytes());
    let error = Verdict::Error {
        code: FailureCode::AgentError,
        message: "oh no".into(),
    };
    assert_eq!(summary.verdict, error);
    assert_eq!(counts(&events), "session 1, result 1, raw 3");
    assert_eq!(summary.warnings.len(), 3, "{:?}", summary.warnings);

    assert_eq!(
        verdict(&format!("{init}\n{good}\n{bad}\n")),
        Verdict::Success
    );
    assert_eq!(verdict(&format!("{init}\n{foreign}\n")), Verdict::NoResult);
}

#[test]
fn a_session_that_the_program_itself_left_does_not_lose_the_result() {
    let init = |id: &str| {
        format!("{{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"{id}\"}}\n")
    };
    let good = result_line(r#""is_error":false,"result":"done""#);
    let (_, summary) = read(format!("{}{}{good}", init("first"), init("s")).as_bytes());
    assert_eq!(summary.verdict, Verdict::Success);
    assert_eq!(summary.session_id.as_deref(), Some("s"));
}

#[test]
fn lines_after_the_result_change_nothing_and_are_kept() {
    let mut reader = reader();
    reader.line(result_line(r#""is_error":false,"result":"done""#).as_bytes());
    assert!(reader.terminal_seen());
    let before = reader.summary();
    let late =
        br#"{"type":"system","subtype":"task_notification","session_id":"s","status":"stopped"}"#;
    assert_eq!(counts(&reader.line(late)), "raw 1");
    assert!(reader.terminal_seen());
    assert_eq!(reader.summary().verdict, before.verdict);
}

#[test]
fn only_a_plain_false_is_no_error() {
    for fields in [
        r#""subtype":"success""#,
        r#""subtype":"success","is_error":null"#,
        r#""subtype":"success","is_error":"false""#,
        r#""subtype":"success","is_error":0"#,
        r#""subtype":"error_during_execution","is_error":false"#,
        r#""subtype":"success","is_error":true"#,
    ] {
        let verdict = verdict(&result_line(fields));
        assert!(
            matches!(verdict, Verdict::Error { .. }),
            "{fields}: {verdict:?}"
        );
    }
    // Which of the two was meant nobody knows.
    let twice = result_line(r#""is_error":true,"is_error":false"#);
    assert_eq!(verdict(&twice), Verdict::NoResult);
}

#[test]
fn limits_are_told_from_errors() {
    let limited = |code, until: Option<i64>| Verdict::Limited {
        code,
        message: "x".into(),
        until: until.map(Timestamp),
    };
    let failed = |code| Verdict::Error {
        code,
        message: "x".into(),
    };
    let error = || failed(FailureCode::AgentError);
    let event =
        |info: &str| format!("{{\"type\":\"rate_limit_event\",\"rate_limit_info\":{{{info}}}}}\n");
    let rejected = event(r#""status":"rejected","resetsAt":1795364103"#);
    let timeless = event(r#""status":"rejected","resetsAt":"soon""#);
    let overage = event(r#""status":"rejected","isUsingOverage":true"#);
    let allowed = event(r#""status":"allowed""#);
    let word = "{\"type\":\"assistant\",\"error\":\"rate_limit\",\"message\":{}}\n";
    let end = |fields: &str| result_line(&format!(r#""is_error":true,"result":"x",{fields}"#));
    let (status_429, status_none) = (r#""api_error_status":429"#, r#""api_error_status":null"#);
    let usage = FailureCode::UsageLimit;
    let rate = FailureCode::RateLimit;
    for (stream, expected) in [
        (end(status_429), limited(rate, None)),
        (word.to_owned() + &end(status_none), limited(rate, None)),
        (
            rejected.clone() + &end(status_429),
            limited(usage, Some(1_795_364_103_000)),
        ),
        (
            rejected.clone() + &end(status_none),
            limited(usage, Some(1_795_364_103_000)),
        ),
        (timeless + &end(status_429), limited(usage, None)),
        (rejected.clone() + &allowed + &end(status_none), error()),
        (overage + &end(status_none), error()),
        (
            rejected.clone() + &end(r#""api_error_status":529"#),
            failed(FailureCode::Overloaded),
        ),
        (
            rejected.clone() + &end(r#""subtype":"error_max_turns""#),
            failed(FailureCode::TurnLimit),
        ),
        (
            rejected + &end(r#""subtype":"error_during_execution""#),
            error(),
        ),
        (
            word.to_owned() + &end(r#""api_error_status":401"#),
            failed(FailureCode::AuthFailed),
        ),
    ] {
        assert_eq!(verdict(&stream), expected, "{stream}");
    }
}

#[test]
fn numbers_that_cannot_be_are_left_out_with_a_note() {
    let fields = r#""is_error":false,"result":"done","total_cost_usd":-1,"usage":{
        "input_tokens":9223372036854775808,"output_tokens":-5,"cache_read_input_tokens":"7",
        "cache_creation_input_tokens":3}"#;
    let summary = read(result_line(&fields.replace('\n', "")).as_bytes()).1;
    assert_eq!(summary.verdict, Verdict::Success);
    let usage = summary.usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.cost_usd),
        (None, None, None)
    );
    assert_eq!(
        (usage.cache_read_tokens, usage.cache_write_tokens),
        (None, Some(3))
    );
    assert_eq!(summary.warnings.len(), 4, "{:?}", summary.warnings);

    for cost in ["NaN", "1e999", "-Infinity"] {
        let line = result_line(&format!(r#""is_error":false,"total_cost_usd":{cost}"#));
        let summary = read(line.as_bytes()).1;
        assert_eq!(
            (summary.verdict, summary.usage.cost_usd),
            (Verdict::Success, None),
            "{cost}"
        );
        assert_eq!(summary.warnings.len(), 1, "{:?}", summary.warnings);
    }
}

#[test]
fn what_is_not_one_json_object_is_raw_and_never_a_failure() {
    let good = result_line(r#""is_error":false,"result":"done""#);
    for broken in [
        "hello".as_bytes(),
        b"{\"type\":\"assistant\",\"mess",
        b"{\"a\":1}{\"b\":2}",
        b"[1,2]",
        b"17",
        b"\xff\xfe\x00",
        b"\"half \xc3",
        "{".repeat(10_000).as_bytes(),
        format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000)).as_bytes(),
        br#"{"type":"something_new","n":1}"#,
    ] {
        let mut reader = reader();
        let events = reader.line(broken);
        let kinds: Vec<EventType> = events.iter().map(|event| event.kind).collect();
        assert_eq!(
            kinds,
            [EventType::Raw],
            "{}",
            String::from_utf8_lossy(broken)
        );
        serde_json::from_str::<serde_json::Value>(events[0].data.get()).unwrap();
        reader.line(good.as_bytes());
        assert_eq!(reader.summary().verdict, Verdict::Success);
    }
    assert!(read(b"\n\r\n  \n").0.is_empty());
}

#[test]
fn a_lost_line_break_does_not_lose_the_result() {
    let two = format!(
        r#"{{"type":"system","subtype":"init","session_id":"s"}}{}"#,
        result_line(r#""is_error":false,"result":"done""#)
    );
    let (events, summary) = read(two.as_bytes());
    assert_eq!(counts(&events), "raw 1");
    assert_eq!(
        (summary.verdict, summary.result.as_deref()),
        (Verdict::Success, Some("done"))
    );
    assert_eq!(summary.warnings.len(), 1);
}

#[test]
fn half_an_emoji_does_not_lose_the_result() {
    let line = result_line(r#""is_error":false,"result":"half \ud83d and \ud83d\ude00""#);
    let (events, summary) = read(line.as_bytes());
    assert_eq!(summary.result.as_deref(), Some("half \u{fffd} and 😀"));
    assert_eq!(summary.verdict, Verdict::Success);
    assert!(
        events[0]
            .data
            .get()
            .contains(r"half \ufffd and \ud83d\ude00")
    );
    assert_eq!(summary.warnings.len(), 1);

    let bytes = line.replace(r"\ud83d and \ud83d\ude00", "X").into_bytes();
    let broken: Vec<u8> = bytes
        .iter()
        .map(|&byte| if byte == b'X' { 0xff } else { byte })
        .collect();
    assert_eq!(read(&broken).1.result.as_deref(), Some("half \u{fffd}"));
}

#[test]
fn a_result_of_20_megabytes_is_kept_in_full() {
    let text = "All work and no play. ".repeat(1 << 20);
    let line = result_line(&format!(r#""is_error":false,"result":"{text}""#));
    assert!(line.len() > 20_000_000);
    assert_eq!(read(line.as_bytes()).1.result, Some(text));
}

#[test]
fn a_message_is_short_and_the_result_is_not() {
    let text = "x".repeat(100_000);
    let line = result_line(&format!(r#""is_error":true,"result":"{text}""#));
    let summary = read(line.as_bytes()).1;
    assert!(matches!(summary.verdict, Verdict::Error { message, .. } if message.len() < 3_000));
    assert_eq!(summary.result, Some(text));
}

#[test]
fn a_million_oddities_are_a_few_warnings() {
    let bad = result_line(r#""is_error":true,"result":"x""#);
    let mut reader = reader();
    for number in 0..1_000 {
        reader.line(bad.as_bytes());
        let event = format!(
            r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"rejected","resetsAt":-{number}}}}}"#
        );
        reader.line(event.as_bytes());
        reader.line(b"?");
    }
    assert!(reader.summary().warnings.len() < 30);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever befalls the transcript of a failure, it does not become a success.
    #[test]
    fn a_failure_never_becomes_a_success(
        choice in any::<prop::sample::Index>(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..12),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let stream = choice.get(&FAILURES);
        let mut lines: Vec<&[u8]> = stream.split_inclusive(|&byte| byte == b'\n').collect();
        if !order.is_empty() && !lines.is_empty() {
            lines = order.iter().map(|index| *index.get(&lines)).collect();
        }
        let mut bytes = lines.concat();
        if !bytes.is_empty() {
            for (at, bit) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        let (events, summary) = read(&bytes);
        prop_assert_ne!(summary.verdict, Verdict::Success);
        for event in events {
            prop_assert!(serde_json::from_str::<serde_json::Value>(event.data.get()).is_ok());
            prop_assert!(!event.data.get().contains('\n'));
        }
    }

    /// Lines of anything give readable events.
    #[test]
    fn anything_can_be_read(line in prop::collection::vec(any::<u8>(), 0..200), json in r#"\{"type":"(result|assistant|user|system)","[a-z_]{1,8}":[\[\]{}",:0-9a-z\\ud8-]{0,40}\}"#) {
        for line in [line.as_slice(), json.as_bytes()] {
            for event in reader().line(line) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(event.data.get()).is_ok());
            }
        }
    }
}

#[test]
fn what_subagents_used_is_counted() {
    let used = |fields: &str| {
        let usage = r#""usage":{"input_tokens":1,"output_tokens":2}"#;
        let line = result_line(&format!(r#""is_error":false,{usage},{fields}"#));
        let usage = read(line.as_bytes()).1.usage;
        (usage.input_tokens, usage.cache_write_tokens)
    };
    let model = |input: &str| {
        format!(
            r#"{{"inputTokens":{input},"outputTokens":1,"cacheReadInputTokens":2,
            "cacheCreationInputTokens":3}}"#
        )
        .replace('\n', "")
    };
    let of = |first: &str| {
        format!(
            r#""modelUsage":{{"a":{},"b":{}}}"#,
            model(first),
            model("5")
        )
    };
    assert_eq!(used(&of("10")), (Some(15), Some(6)));
    // A count that cannot be spoils the sum; what the main conversation used is still known.
    for bad in ["-1", "\"10\"", "9223372036854775807"] {
        assert_eq!(used(&of(bad)), (Some(1), None), "{bad}");
    }
    assert_eq!(used(r#""modelUsage":{}"#), (Some(1), None));
}

#[test]
fn refused_calls_are_named_so_that_they_can_be_allowed() {
    let denials = r#""permission_denials":[
        {"tool_name":"Bash","tool_input":{"command":"cargo test\n  --all"}},
        {"tool_name":"Bash","tool_input":{"command":"cargo test --all"}},
        {"tool_name":"Write","tool_input":{"file_path":"/etc/x","content":"secret"}},
        {"tool_name":"mcp__a__b","tool_input":{}}]"#;
    let line = result_line(&format!(
        r#""is_error":false,{}"#,
        denials.replace("\n  ", " ")
    ));
    let warnings = read(line.replace('\n', " ").as_bytes()).1.warnings;
    assert_eq!(
        warnings,
        [
            "tool calls that were refused for want of permission: Bash(cargo test --all) 2×, \
             Write(/etc/x), mcp__a__b"
        ]
    );
}
