//! What agents printed, what was made of it, and the copy of the row.

use serde_json::Value;

use super::Expect;
use super::ledger::Stream;
use super::scene::{Row, Scene, is_live};

/// The events of a run are numbered from 1 without a gap, each a whole line of JSON, as many as
/// the row says.
///
/// Promise 20.
pub(super) fn events_have_no_gap(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let ended = scene.runs.iter().filter(|run| !is_live(run));
    ended
        .filter_map(|run| {
            let id = run.text("id");
            let files = scene.files.get(id)?;
            let count = match count_events(&files.events) {
                Ok(count) => count,
                Err(why) => return Some(format!("{id}: {why}")),
            };
            let said = run.number("events");
            (said != Some(count)).then(|| format!("{id}: {count} events, the row says {said:?}"))
        })
        .collect()
}

fn count_events(bytes: &[u8]) -> Result<i64, String> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return Err("the last event is not whole".to_owned());
    };
    let mut count = 0;
    for line in lines.split(|byte| *byte == b'\n') {
        count += 1;
        let event: Value = serde_json::from_slice(line)
            .map_err(|error| format!("event {count} is not JSON: {error}"))?;
        if event["seq"] != count {
            return Err(format!("event {} in place of {count}", event["seq"]));
        }
    }
    Ok(count)
}

/// The logs hold what the agent printed and nothing else, in order: all of it if it came to its
/// end, and otherwise all that it had finished printing.
///
/// Promises 12, 21.
pub(super) fn output_is_whole(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, account) in &scene.ledger.runs {
        let Some(files) = scene.files.get(id) else {
            continue;
        };
        let ended = account.end.is_some();
        for (name, log, stream) in [
            ("out.log", &files.out, &account.out),
            ("err.log", &files.err, &account.err),
        ] {
            let why = compare(log, stream, ended);
            wrong.extend(why.map(|why| format!("{id}: {name} {why}")));
        }
    }
    wrong
}

fn compare(log: &[u8], stream: &Stream, ended: bool) -> Option<String> {
    let (meant, finished) = stream.bytes();
    let least = if ended { meant.len() } else { finished };
    let same = meant.iter().zip(log).take_while(|(a, b)| a == b).count();
    if same < log.len() {
        return Some(format!("differs from what was printed at byte {same}"));
    }
    let length = log.len();
    (length < least).then(|| format!("has {length} bytes; {least} were printed"))
}

/// `run.json` says what the row says.
///
/// Promise 12.
pub(super) fn the_copy_agrees(scene: &Scene, expect: &Expect) -> Vec<String> {
    let runs = scene.runs.iter().filter(|_| expect.settled);
    runs.filter_map(|run| {
        let id = run.text("id");
        let files = scene.files.get(id).filter(|files| files.present)?;
        let Some(copy) = &files.run_json else {
            return Some(format!("{id} has no run.json"));
        };
        let differing: Vec<&str> = copied(run, copy)
            .into_iter()
            .filter(|(_, row, copy)| row != copy)
            .map(|(name, _, _)| name)
            .collect();
        (!differing.is_empty()).then(|| format!("{id}: run.json differs in {differing:?}"))
    })
    .collect()
}

/// A field of the copy with what the row and the copy say.
fn copied(run: &Row, copy: &Value) -> [(&'static str, Value, Value); 7] {
    let text = |column: &str| match run.is_null(column) {
        true => Value::Null,
        false => run.text(column).into(),
    };
    let number = |column: &str| run.number(column).map_or(Value::Null, Value::from);
    [
        ("status", text("status"), copy["status"].clone()),
        ("attempt", number("attempt"), copy["attempt"].clone()),
        ("exit_code", number("exit_code"), copy["exit_code"].clone()),
        ("signal", number("exit_signal"), copy["signal"].clone()),
        (
            "failure",
            text("failure_code"),
            copy["failure"]["code"].clone(),
        ),
        ("commit", text("commit_id"), copy["commit"].clone()),
        ("result", text("result"), copy["result"].clone()),
    ]
}
