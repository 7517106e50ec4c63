//! `events.jsonl` follows from `out.log`: exactly once, whatever happens in between.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orch_core::outcome::Verdict;
use orch_core::{RunId, Timestamp};
use orch_host::adapter::find;
use orch_host::run_dir::RunDir;
use orch_host::transcript::{Finished, PIECE_BYTES, Transcript};
use proptest::prelude::*;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_795_364_103_004);

/// A run whose output the test writes.
struct Run {
    dir: RunDir,
    adapter: &'static str,
    _home: TempDir,
}

impl Run {
    fn new(adapter: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path(), &RunId::from_entropy(7));
        dir.create().unwrap();
        Self {
            dir,
            adapter,
            _home: home,
        }
    }

    fn with(adapter: &'static str, output: &[u8]) -> Self {
        let run = Self::new(adapter);
        run.print(output);
        run
    }

    /// What the agent does: append to its output.
    fn print(&self, bytes: &[u8]) {
        let log = self.dir.out_log();
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        log.write_all(bytes).unwrap();
    }

    fn open(&self) -> Transcript {
        Transcript::open(self.dir.clone(), find(self.adapter).unwrap()).unwrap()
    }

    fn finish(&self) -> Finished {
        let length = fs::metadata(self.dir.out_log()).map_or(0, |data| data.len());
        self.open().finish(length, NOW).unwrap()
    }

    fn events(&self) -> String {
        fs::read_to_string(self.dir.events()).unwrap()
    }

    fn damaged(&self) -> Option<Vec<u8>> {
        fs::read(self.dir.path().join("events.jsonl.damaged-1")).ok()
    }
}

/// Every line must be JSON, numbered without a gap.
fn parsed(events: &str) -> Vec<serde_json::Value> {
    assert!(events.is_empty() || events.ends_with('\n'));
    let lines: Vec<serde_json::Value> = events
        .split_terminator('\n')
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], at + 1);
        let time = line["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == 24, "{time}");
    }
    lines
}

/// The same without what may differ.
fn timeless(events: &str) -> Vec<serde_json::Value> {
    let mut lines = parsed(events);
    for line in &mut lines {
        line["time"].take();
    }
    lines
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/transcripts/claude/{name}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    fs::read(path).unwrap()
}

/// What a run gives that was read in one go.
fn in_one_go(adapter: &'static str, output: &[u8]) -> (Vec<serde_json::Value>, Finished) {
    let run = Run::with(adapter, output);
    let finished = run.finish();
    let events = timeless(&run.events());
    assert_eq!(events.len() as u64, finished.events);
    (events, finished)
}

#[test]
fn a_line_of_events_is_what_the_documentation_says() {
    let run = Run::with("shell", "hé\nyou\r\nlast".as_bytes());
    let finished = run.finish();
    assert_eq!(
        run.events(),
        "{\"seq\":1,\"time\":\"2026-11-22T16:15:03.004Z\",\"type\":\"text\",\"data\":{\"text\":\"hé\"},\"end\":4}\n\
         {\"seq\":2,\"time\":\"2026-11-22T16:15:03.004Z\",\"type\":\"text\",\"data\":{\"text\":\"you\"},\"end\":9}\n\
         {\"seq\":3,\"time\":\"2026-11-22T16:15:03.004Z\",\"type\":\"text\",\"data\":{\"text\":\"last\"},\"end\":13}\n"
    );
    assert_eq!(finished.events, 3);
    assert_eq!(finished.summary.result.as_deref(), Some("hé\nyou\r\nlast"));
    assert_eq!(finished.summary.warnings, [""; 0]);
    let mode = fs::metadata(run.dir.events()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn data_is_what_the_agent_printed() {
    let output = fixture("unicode");
    let run = Run::with("claude", &output);
    run.finish();
    let events = run.events();
    let output = String::from_utf8(output).unwrap();
    for line in output
        .lines()
        .filter(|line| !line.contains(r#""type":"assistant""#))
    {
        assert!(
            events.contains(&format!("\"data\":{line},\"end\":")),
            "{line}"
        );
    }
}

/// Nothing that was read long ago keeps slow lines from being told one by one by the next daemon.
#[test]
fn a_flood_is_over_for_the_next_daemon_too() {
    let run = Run::with("shell", &b"y\n".repeat(12_000));
    run.open().advance(NOW).unwrap();
    run.print(&b"y\n".repeat(200));
    let later = Timestamp(NOW.0 + 24_000);
    assert_eq!(run.open().advance(later).unwrap().events, 10_000 + 1 + 200);
    assert!(run.damaged().is_none());
}

/// What orch says of lines that have no event of their own cannot be said by an agent.
#[test]
fn an_agent_cannot_speak_as_orch_does() {
    let forged = [
        r#"{"lines":{"count":1,"length":5,"offset":0}}"#,
        r#"{ "l\u0069nes" : {"count":1,"length":5,"offset":0}}"#,
        r#"{"lines":{},"lines":{"count":1,"length":5,"offset":0}}"#,
        r#"{"oversize_line":{"length":5,"offset":0}}"#,
    ];
    let harmless = r#"{"type":"unheard","of":{"lines":{"count":1}}}"#;
    let output = forged.join("\n") + "\n" + harmless + "\n";
    for adapter in ["claude", "codex", "shell"] {
        let run = Run::with(adapter, output.as_bytes());
        run.open().advance(NOW).unwrap();
        let finished = run.finish();
        assert!(run.damaged().is_none(), "{adapter}");
        let events = parsed(&run.events());
        assert_eq!(finished.events, 5, "{adapter}");
        for (event, line) in events.iter().zip(forged) {
            let text = event["data"]["text"].as_str().or(event["data"].as_str());
            assert_eq!(text, Some(line), "{adapter}: {event}");
        }
        if adapter != "shell" {
            assert_eq!(events[4]["data"]["type"], "unheard");
        }
    }
}

#[test]
fn only_complete_lines_are_read_before_the_end() {
    let run = Run::new("shell");
    let mut transcript = run.open();
    let mut count = || transcript.advance(NOW).unwrap().events;
    assert_eq!(count(), 0, "there is no out.log yet");
    for (bytes, events) in [
        ("a", 0),
        ("\nb", 1),
        ("c\nd\n", 3),
        ("", 3),
        ("\n", 4),
        ("e", 4),
    ] {
        run.print(bytes.as_bytes());
        assert_eq!(count(), events, "{bytes:?}");
    }
    assert_eq!(transcript.finish(9, NOW).unwrap().events, 5);
    assert_eq!(parsed(&run.events())[4]["end"], 9);
}

#[test]
fn the_final_word_is_seen_as_soon_as_it_is_said() {
    let output = fixture("ok");
    let run = Run::new("claude");
    let mut transcript = run.open();
    let (most, last) = output.split_at(output.len() - 2);
    run.print(most);
    assert!(!transcript.advance(NOW).unwrap().terminal_seen);
    run.print(last);
    run.print(b"\n");
    assert!(transcript.advance(NOW).unwrap().terminal_seen);
    drop(transcript);
    assert!(run.open().advance(NOW).unwrap().terminal_seen);
}

#[test]
fn a_torn_last_line_is_completed_at_every_byte() {
    let output = b"one\ntwo\n\nthree";
    let (expected, finished) = in_one_go("shell", output);
    let run = Run::with("shell", output);
    run.finish();
    let whole = run.events();
    for length in 0..whole.len() {
        fs::write(run.dir.events(), &whole[..length]).unwrap();
        assert_eq!(run.finish(), finished, "{length}");
        assert_eq!(timeless(&run.events()), expected, "{length}");
    }
    assert_eq!(run.damaged(), None);
}

#[test]
fn the_events_of_one_line_are_recorded_together_or_completed() {
    // Its result line gives two events, usage and result.
    let output = fixture("ok");
    let (expected, finished) = in_one_go("claude", &output);
    let run = Run::with("claude", &output);
    run.finish();
    let whole = run.events();
    let first_of_two = whole.match_indices('\n').nth(expected.len() - 2).unwrap().0 + 1;
    fs::write(run.dir.events(), &whole[..first_of_two]).unwrap();
    let later = Timestamp(NOW.0 + 60_000);
    let mut transcript = run.open();
    assert_eq!(
        transcript.advance(later).unwrap().events,
        expected.len() as u64
    );
    assert_eq!(
        transcript.finish(output.len() as u64, later).unwrap(),
        finished
    );
    assert!(
        run.events().starts_with(&whole[..first_of_two]),
        "what was there keeps its time"
    );
    assert_eq!(timeless(&run.events()), expected);
}

#[test]
fn a_damaged_file_is_kept_aside_and_rebuilt() {
    let output = b"one\ntwo\nthree\n";
    let (expected, finished) = in_one_go("shell", output);
    let damage: [fn(&str) -> String; 8] = [
        |events| events.replace("\"two\"", "\"2\""),
        |events| events.replace("\"seq\":2", "\"seq\":3"),
        |events| events.replace("\"end\":8", "\"end\":7"),
        |events| events.replace("\"end\":14", "\"end\":13"),
        |events| events.replace("\"end\":8", "\"end\":800000000"),
        |events| events.replace("\"type\":\"text\"", "\"type\":\"raw\""),
        |events| events.replacen('\n', "\n\n", 1),
        |events| {
            format!(
                "{events}{{\"seq\":4,\"time\":\"2026-11-22T16:15:03.004Z\",\"type\":\"text\",\"data\":{{\"text\":\"\"}},\"end\":14}}\n"
            )
        },
    ];
    for damage in damage {
        let run = Run::with("shell", output);
        run.finish();
        let damaged = damage(&run.events());
        fs::write(run.dir.events(), &damaged).unwrap();
        let rebuilt = run.finish();
        assert_eq!(timeless(&run.events()), expected, "{damaged}");
        assert_eq!(rebuilt.summary.result, finished.summary.result);
        assert_eq!(rebuilt.summary.warnings.len(), 1, "{damaged}");
        assert_eq!(run.damaged().as_deref(), Some(damaged.as_bytes()));
    }
}

#[test]
fn output_that_was_emptied_while_it_was_read_is_said() {
    let run = Run::with("shell", b"one\ntwo\n");
    let mut transcript = run.open();
    transcript.advance(NOW).unwrap();
    fs::write(run.dir.out_log(), "new\n").unwrap();
    assert_eq!(transcript.advance(NOW).unwrap().events, 1);
    let finished = transcript.finish(4, NOW).unwrap();
    assert_eq!(finished.summary.result.as_deref(), Some("new"));
    assert_eq!(
        finished.summary.warnings.len(),
        2,
        "{:?}",
        finished.summary.warnings
    );
    assert!(
        String::from_utf8(run.damaged().unwrap())
            .unwrap()
            .contains("two")
    );
}

#[test]
fn what_is_written_after_the_end_decides_nothing() {
    let output = fixture("sigterm-group-tool");
    let forged = br#"{"type":"result","subtype":"success","is_error":false,"result":"done"}"#;
    let run = Run::with("claude", &output);
    run.print(b"\n");
    run.print(forged);
    run.print(b"\n");
    let mut transcript = run.open();
    assert!(transcript.advance(NOW).unwrap().terminal_seen);
    for transcript in [transcript, run.open()] {
        let finished = transcript.finish(output.len() as u64, NOW).unwrap();
        assert_eq!(finished.summary.verdict, Verdict::NoResult);
        assert_eq!(finished.summary.warnings.len(), 1);
        assert_eq!(parsed(&run.events()).len() as u64, finished.events);
    }
}

#[test]
fn a_last_line_that_somebody_else_went_on_with_ends_where_the_agent_ended() {
    let run = Run::with("shell", b"one\nlast");
    let mut transcript = run.open();
    run.print(b" and more");
    transcript.advance(NOW).unwrap();
    let finished = transcript.finish(8, NOW).unwrap();
    assert_eq!(finished.summary.result.as_deref(), Some("one\nlast"));
    assert_eq!(parsed(&run.events())[1]["data"]["text"], "last");
    let before = run.events();
    let mut again = run.open();
    assert_eq!(
        again.advance(NOW).unwrap().events,
        2,
        "the run was finished"
    );
    assert_eq!(again.finish(8, NOW).unwrap(), finished);
    assert_eq!(run.events(), before);
    assert_eq!(run.damaged(), None);
}

#[test]
fn output_that_is_missing_is_said_and_never_a_success() {
    let run = Run::new("claude");
    let finished = run.open().finish(100, NOW).unwrap();
    assert_eq!(finished.summary.verdict, Verdict::NoResult);
    assert_eq!(
        finished.summary.warnings,
        ["out.log is 100 bytes shorter than when the agent ended"]
    );
}

#[test]
fn what_is_not_a_regular_file_is_passed_over_and_said() {
    let link = |path: &Path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
    let fifo = |path: &Path| {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
    };
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    let kinds: [&dyn Fn(&Path); 3] = [&link, &fifo, &directory];
    for make in kinds {
        let run = Run::new("shell");
        make(&run.dir.out_log());
        let finished = run.open().finish(9, NOW).unwrap();
        let warnings = finished.summary.warnings.join("; ");
        assert!(warnings.contains("out.log"), "{warnings}");
        assert!(warnings.contains("9 bytes shorter"), "{warnings}");
        assert_eq!((finished.summary.result, finished.events), (None, 0));

        let run = Run::with("shell", b"one\n");
        make(&run.dir.events());
        let finished = run.open().finish(4, NOW).unwrap();
        assert_eq!(finished.events, 1);
        let warnings = finished.summary.warnings.join("; ");
        assert!(
            warnings.contains("events.jsonl.damaged-1 now"),
            "{warnings}"
        );
        assert!(
            run.dir
                .path()
                .join("events.jsonl.damaged-1")
                .symlink_metadata()
                .is_ok()
        );
    }
}

#[test]
fn what_is_read_in_pieces_is_what_is_read_at_once() {
    let text = "x".repeat(PIECE_BYTES as usize / 3);
    let output: String = (0..10).map(|n| format!("{n} {text}\n")).collect();
    let pieces = Run::with("shell", output.as_bytes());
    let mut transcript = pieces.open();
    let mut calls = 1;
    while transcript.advance_a_piece(NOW).unwrap().more {
        calls += 1;
    }
    assert_eq!(calls, 1 + output.len() as u64 / PIECE_BYTES);
    let whole = Run::with("shell", output.as_bytes());
    let advance = whole.open().advance(NOW).unwrap();
    assert!(!advance.more);
    assert_eq!(pieces.events(), whole.events());
    let length = output.len() as u64;
    let finished = transcript.finish(length, NOW).unwrap();
    let at_once = Run::with("shell", output.as_bytes());
    let adapter = find("shell").unwrap();
    let of_ended = Transcript::of_ended(at_once.dir.clone(), adapter, length, NOW).unwrap();
    assert_eq!(of_ended, finished);
    assert_eq!(at_once.events(), whole.events());
}

#[test]
fn lines_of_more_than_a_mebibyte_are_read_and_only_pointed_at() {
    let text = "x".repeat(20 << 20);
    let output = format!(
        "{{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"s\"}}\n\
         {{\"type\":\"result\",\"session_id\":\"s\",\"is_error\":false,\"result\":\"{text}\"}}\n"
    );
    let run = Run::with("claude", output.as_bytes());
    let mut transcript = run.open();
    assert!(transcript.advance(NOW).unwrap().terminal_seen);
    let finished = transcript.finish(output.len() as u64, NOW).unwrap();
    assert_eq!(finished.summary.verdict, Verdict::Success);
    assert_eq!(finished.summary.result, Some(text));
    let events = parsed(&run.events());
    let first = output.find('\n').unwrap() + 1;
    assert_eq!(events[1]["type"], "raw");
    assert_eq!(events[1]["data"]["oversize_line"]["offset"], first);
    assert_eq!(
        events[1]["data"]["oversize_line"]["length"],
        output.len() - first - 1
    );
    assert_eq!(run.finish(), finished, "opened again it says the same");
}

#[test]
fn hostile_bytes_give_readable_events() {
    let output = b"nul \0\ninvalid \xff\xfe\ncrlf\r\n\x1b]0;title\x07\nsep \xe2\x80\xa8 in line\nhalf \xe2\x82";
    for adapter in ["shell", "claude"] {
        let (events, finished) = in_one_go(adapter, output);
        assert_eq!(events.len(), 6, "{adapter}");
        assert_eq!(events[1]["data"]["lossy"], true);
        assert_eq!(events[5]["data"]["text"], "half \u{fffd}");
        assert_ne!(finished.summary.verdict, Verdict::Success);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the output comes in and whenever the daemon is started again, the events are those
    /// of one reading, and every state of the file on the way is a prefix of them.
    #[test]
    fn restarts_change_nothing(
        name in prop::sample::select(vec!["ok", "think", "limit", "sigterm-group-tool", "big"]),
        adapter in prop::sample::select(vec!["claude", "shell"]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..4_usize), 0..12),
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut output = fixture(name);
        output.extend(&noise);
        let (expected, finished) = in_one_go(adapter, &output);
        let run = Run::new(adapter);
        let mut ends: Vec<_> = cuts.iter().map(|(at, restart, torn)| (at.index(output.len()), *restart, *torn)).collect();
        ends.sort_unstable();
        let mut transcript = run.open();
        let mut printed = 0;
        for (end, restart, torn) in ends {
            run.print(&output[printed..end]);
            printed = end;
            let count = transcript.advance(NOW).unwrap().events as usize;
            let seen = timeless(&run.events());
            prop_assert_eq!(seen.len(), count);
            prop_assert!(expected.starts_with(&seen));
            if restart {
                drop(transcript);
                let whole = fs::read(run.dir.events()).unwrap();
                fs::write(run.dir.events(), &whole[..whole.len().saturating_sub(torn * 7)]).unwrap();
                transcript = run.open();
            }
        }
        run.print(&output[printed..]);
        prop_assert_eq!(transcript.finish(output.len() as u64, NOW).unwrap(), finished);
        prop_assert_eq!(timeless(&run.events()), expected);
        prop_assert_eq!(run.damaged(), None);
    }

    /// A damaged `events.jsonl` is repaired whatever the damage.
    #[test]
    fn any_damage_is_repaired(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..6),
    ) {
        let output = fixture("ok");
        let (expected, finished) = in_one_go("claude", &output);
        let run = Run::with("claude", &output);
        run.finish();
        let mut events = fs::read(run.dir.events()).unwrap();
        for (at, bit) in flips {
            let at = at.index(events.len());
            events[at] ^= 1 << bit;
        }
        fs::write(run.dir.events(), &events).unwrap();
        let repaired = run.finish();
        prop_assert_eq!(repaired.summary.verdict, finished.summary.verdict);
        prop_assert_eq!(timeless(&run.events()), expected);
    }
}

/// Where the blocks of a flood lie: offset, length and number of lines of each.
fn blocks(events: &[serde_json::Value]) -> Vec<(u64, u64, u64)> {
    let lines = events.iter().map(|event| &event["data"]["lines"]);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    lines
        .filter(|lines| lines.is_object())
        .map(|lines| {
            (
                number(&lines["offset"]),
                number(&lines["length"]),
                number(&lines["count"]),
            )
        })
        .collect()
}

/// Fault 24. Injected: four hundred thousand lines `y`, in pieces, with a new daemon after
/// each piece. Held:
/// the events stay a small part of the output, tell where every line lies, and are the same however
/// often they were opened.
#[test]
fn a_flood_of_lines_is_no_flood_of_events() {
    let run = Run::new("shell");
    let piece = b"y\n".repeat(100_000);
    for _ in 0..4 {
        run.print(&piece);
        let mut transcript = run.open();
        transcript.advance(NOW).unwrap();
    }
    let finished = run.finish();
    let text = run.events();
    assert!(text.len() < 2 << 20, "{} bytes of events", text.len());
    assert!(run.damaged().is_none());

    let events = parsed(&text);
    assert_eq!(events.len() as u64, finished.events);
    let blocks = blocks(&events);
    let singles = events.len() - blocks.len();
    assert_eq!(singles, 10_000);
    // Block follows block, and together they hold every line after the single ones.
    let mut at = 20_000;
    for (offset, length, count) in blocks {
        assert_eq!((offset, length), (at, count * 2));
        at += length;
    }
    assert_eq!(at, 800_000);
}

#[test]
fn what_an_agent_says_is_never_lost_in_its_flood() {
    let said = r#"{"type":"result","subtype":"success","is_error":false,"result":"all done"}"#;
    let mut output = b"noise\n".repeat(150_000);
    output.extend_from_slice(said.as_bytes());
    output.extend_from_slice(b"\nmore\nnoise");
    let run = Run::with("claude", &output);
    run.open().advance(NOW).unwrap();
    let finished = run.finish();
    assert_eq!(finished.summary.result.as_deref(), Some("all done"));

    let events = parsed(&run.events());
    let at = events
        .iter()
        .position(|event| event["type"] == "result")
        .unwrap();
    assert_eq!(events[at]["end"], 900_000 + said.len() as u64 + 1);
    let blocks = blocks(&events);
    let (before, after): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.0 < 900_000);
    let lines = |blocks: Vec<&(u64, u64, u64)>| blocks.iter().map(|block| block.2).sum::<u64>();
    assert_eq!((lines(before), lines(after)), (140_000, 2));
}

/// Where each event lies in the output of lines of one length: `(offset, length)`.
fn places(events: &[serde_json::Value], line: u64) -> Vec<(u64, u64)> {
    let place = |event: &serde_json::Value| {
        let lines = &event["data"]["lines"];
        match (lines["offset"].as_u64(), lines["length"].as_u64()) {
            (Some(offset), Some(length)) => (offset, length),
            _ => (event["end"].as_u64().unwrap() - line, line),
        }
    };
    events.iter().map(place).collect()
}

/// Who prints much at once and then as much as a person can follow is followed again, whoever reads
/// it; in all there are no more events than that.
#[test]
fn after_a_flood_lines_are_told_one_by_one_again() {
    let run = Run::with("shell", &b"y\n".repeat(10_500));
    let later = |seconds: i64| Timestamp(NOW.0 + seconds * 1000);
    run.open().advance(NOW).unwrap();
    run.print(&b"y\n".repeat(100));
    run.open().advance(NOW).unwrap();
    let mut transcript = run.open();
    for (second, lines) in [(0, 100), (5, 600), (6, 400)] {
        run.print(&b"y\n".repeat(lines));
        transcript.advance(later(second)).unwrap();
    }
    for burst in 1..=10 {
        run.print(&b"y\n".repeat(10_000));
        transcript.advance(later(burst * 60)).unwrap();
    }
    run.finish();
    assert!(run.damaged().is_none());
    let events = parsed(&run.events());
    let mut at = 0;
    for (offset, length) in places(&events, 2) {
        assert_eq!(offset, at);
        at += length;
    }
    assert_eq!(at, 2 * 111_700);
    let count = |from: u64, to: u64| {
        let within =
            |(offset, length): &(u64, u64)| (2 * from..2 * to).contains(offset) && *length == 2;
        places(&events, 2)
            .iter()
            .filter(|place| within(place))
            .count()
    };
    assert_eq!(count(0, 10_500), 10_000);
    assert_eq!(count(10_500, 10_700), 0, "at once");
    assert_eq!(
        count(10_700, 11_700),
        1_000,
        "as many as may come in five seconds, and in one more"
    );
    assert_eq!(count(0, 111_700), 100_000, "in all");
}

/// Fault 13. Injected: a run whose output is not being read just now. Held: it holds no descriptor, so
/// their number does not bound the number of live runs.
#[cfg(target_os = "linux")]
#[test]
fn a_transcript_at_rest_holds_no_descriptor() {
    let run = Run::with("shell", b"one\n");
    let mut transcript = run.open();
    let held = || {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let links = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|to| to.starts_with(run.dir.path())).count()
    };
    assert_eq!(held(), 0);
    transcript.advance(NOW).unwrap();
    assert_eq!(held(), 0);
    run.print(b"two\n");
    assert_eq!(transcript.advance(NOW).unwrap().events, 2);
    transcript.finish(8, NOW).unwrap();
    assert_eq!(timeless(&run.events()).len(), 2);
}

/// An agent can write in this directory, also while nobody reads.
#[test]
fn events_that_were_changed_between_two_looks_are_made_again() {
    let spoil: [fn(&Run); 3] = [
        |run| fs::remove_file(run.dir.events()).unwrap(),
        |run| fs::write(run.dir.events(), "").unwrap(),
        |run| fs::write(run.dir.events(), "{\"seq\":1,\"forged\":true}\n").unwrap(),
    ];
    for spoil in spoil {
        let run = Run::with("shell", b"one\n");
        let mut transcript = run.open();
        transcript.advance(NOW).unwrap();
        spoil(&run);
        run.print(b"two\n");
        // A file that is gone is an error, after which the daemon opens the transcript again.
        if transcript.advance(NOW).is_err() {
            transcript = run.open();
        }
        assert_eq!(transcript.advance(NOW).unwrap().events, 2);
        transcript.finish(8, NOW).unwrap();
        assert_eq!(timeless(&run.events()), in_one_go("shell", b"one\ntwo\n").0);
    }
}
