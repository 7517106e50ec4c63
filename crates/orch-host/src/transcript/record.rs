//! One line of `events.jsonl`: how it is written and how it is recognised.

use std::io::Write;

use orch_core::Timestamp;

use crate::adapter::AgentEvent;

/// Appends the line of one event to `out`.
pub(super) fn write(out: &mut Vec<u8>, seq: u64, time: &str, event: &AgentEvent, end: u64) {
    let (kind, data) = (event.kind, event.data.get());
    writeln!(
        out,
        r#"{{"seq":{seq},"time":"{time}","type":"{kind}","data":{data},"end":{end}}}"#
    )
    .expect("writing to memory does not fail");
}

/// The time of a line of `events.jsonl`, as written and what it means, if the line is one with
/// this number.
pub(super) fn time_of(line: &[u8], seq: u64) -> Option<(&str, Timestamp)> {
    let rest = line.strip_prefix(format!(r#"{{"seq":{seq},"time":""#).as_bytes())?;
    let length = rest.iter().position(|&byte| byte == b'"')?;
    let time = std::str::from_utf8(&rest[..length]).ok()?;
    let moment = time.parse::<jiff::Timestamp>().ok()?;
    Some((time, Timestamp(moment.as_millisecond())))
}

/// Whether a line of `events.jsonl` with this number and time tells where a block of lines lies.
pub(super) fn is_block(line: &[u8], seq: u64, time: &str) -> bool {
    let begin = format!(r#"{{"seq":{seq},"time":"{time}","type":"raw","data":{{"lines":{{"#);
    line.starts_with(begin.as_bytes())
}

/// The offset in `out.log` that a line of `events.jsonl` ends with.
pub(super) fn end_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_suffix(b"}\n")?;
    let at = digits.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    if !digits[..at].ends_with(br#","end":"#) {
        return None;
    }
    std::str::from_utf8(&digits[at..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::EventType;
    use crate::time::rfc3339;

    #[test]
    fn a_line_is_recognised_by_its_number_time_and_end() {
        let event = AgentEvent {
            kind: EventType::Text,
            data: serde_json::from_str(r#"{ "a" :1}"#).unwrap(),
        };
        let mut line = Vec::new();
        write(
            &mut line,
            7,
            &rfc3339(Timestamp(1_795_364_103_004)),
            &event,
            12,
        );
        let text = String::from_utf8(line.clone()).unwrap();
        let expected = r#"{"seq":7,"time":"2026-11-22T16:15:03.004Z","type":"text","data":{ "a" :1},"end":12}"#;
        assert_eq!(text.trim_end(), expected);
        let moment = Timestamp(1_795_364_103_004);
        assert_eq!(
            time_of(&line, 7),
            Some(("2026-11-22T16:15:03.004Z", moment))
        );
        assert_eq!(time_of(&line, 8), None);
        assert_eq!(end_of(&line), Some(12));
        assert_eq!(end_of(&line[..line.len() - 1]), None);
    }
}
