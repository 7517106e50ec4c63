//! What holds for every reader, whatever it is given.

use orch_host::adapter::{Adapter, AgentEvent, Reader, Summary};

/// Reads any bytes with this kind of agent's reader and checks what must hold of all readers.
pub fn check(adapter: &Adapter, output: &[u8]) -> Summary {
    let (events, summary) = read(adapter, output);
    for event in &events {
        let data = event.data.get();
        assert!(!data.contains('\n'), "an event is one line: {data}");
        let value = serde_json::from_str(data).expect("event data can be read");
        (adapter.describe)(event.kind, &value);
    }
    let (_, again) = read(adapter, output);
    assert_eq!(summary, again, "reading again gives the same");
    let text = String::from_utf8_lossy(output);
    for code in [0, 1, 2, 53] {
        (adapter.explain)(code, &text);
    }
    if let Some(usage) = adapter.usage_file {
        usage(&text);
    }
    summary
}

/// Everything a new reader says of it. Whether the agent has said its final word never goes back.
pub fn read(adapter: &Adapter, output: &[u8]) -> (Vec<AgentEvent>, Summary) {
    let mut reader = (adapter.reader)();
    let mut has_ended = false;
    let mut events = Vec::new();
    for line in output.split(|&byte| byte == b'\n') {
        events.extend(take(reader.as_mut(), line));
        assert!(reader.terminal_seen() || !has_ended, "an end stays an end");
        has_ended = reader.terminal_seen();
    }
    (events, reader.summary())
}

/// A line as it is, or as if it were too long to be held if it begins with a NUL.
fn take(reader: &mut dyn Reader, line: &[u8]) -> Vec<AgentEvent> {
    match line.strip_prefix(b"\0") {
        Some(tail) => {
            reader.unreadable(1 << 30, tail);
            Vec::new()
        }
        None => reader.line(line),
    }
}
