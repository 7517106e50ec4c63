//! The reader of one kind of agent, on any bytes.
//!
//! `ORCH_FUZZ_ADAPTER` names it, so one program serves all of them, also those that are added
//! later.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use orch_host::adapter::{Adapter, AgentEvent, Reader, Summary, find};

static ADAPTER: LazyLock<&'static Adapter> = LazyLock::new(|| {
    let name = std::env::var("ORCH_FUZZ_ADAPTER").expect("ORCH_FUZZ_ADAPTER names an adapter");
    find(&name).expect("ORCH_FUZZ_ADAPTER names an adapter that there is")
});

fuzz_target!(|output: &[u8]| {
    let adapter = *ADAPTER;
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
});

/// Everything a new reader says of it. Whether the agent has said its final word never goes back.
fn read(adapter: &Adapter, output: &[u8]) -> (Vec<AgentEvent>, Summary) {
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
