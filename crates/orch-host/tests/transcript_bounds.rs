//! Much output is read once, and costs little memory.
//!
//! Alone in its file, so that the memory of the process is the memory of these tests.

use std::fs::File;
use std::io::{BufWriter, Write};

use orch_core::{RunId, Timestamp};
use orch_host::adapter::find;
use orch_host::run_dir::RunDir;
use orch_host::transcript::Transcript;

const NOW: Timestamp = Timestamp(1_795_364_103_004);

/// The most memory this process ever held, bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Bytes this process has read so far; `None` where the system does not say.
fn bytes_read() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/self/io").ok()?;
    counters
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))?
        .parse()
        .ok()
}

/// Fault 25. Injected: a line of 100 MiB and hundreds of thousands of short ones, read while they
/// are written and once more by the next daemon. Held: nothing is read twice, the long line is one
/// event that says where it lies, and memory stays below 200 MiB.
#[test]
fn long_lines_and_many_lines_are_bounded() {
    let home = tempfile::tempdir().unwrap();
    let dir = RunDir::new(home.path(), &RunId::from_entropy(7));
    dir.create().unwrap();
    let mut log = BufWriter::new(File::create(dir.out_log()).unwrap());
    let mut transcript = Transcript::open(dir.clone(), find("shell").unwrap()).unwrap();

    for _ in 0..100 {
        log.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    log.write_all(b"\n").unwrap();
    log.flush().unwrap();
    assert_eq!(transcript.advance(NOW).unwrap().events, 1);

    for part in 1..=4_u64 {
        for number in 0..50_000 {
            writeln!(log, "line {number} of part {part}").unwrap();
        }
        log.flush().unwrap();
        let before = bytes_read();
        let events = transcript.advance(NOW).unwrap().events;
        assert!((10_001..10_200).contains(&events), "part {part}: {events}");
        if let (Some(before), Some(after)) = (before, bytes_read()) {
            assert!(after - before < 4 << 20, "part {part}: {}", after - before);
        }
    }

    drop(transcript);
    let transcript = Transcript::open(dir.clone(), find("shell").unwrap()).unwrap();
    let length = std::fs::metadata(dir.out_log()).unwrap().len();
    let finished = transcript.finish(length, NOW).unwrap();
    assert!(finished.events < 10_200, "{}", finished.events);
    assert!(
        finished
            .summary
            .result
            .unwrap()
            .ends_with("line 49999 of part 4")
    );
    if let Some(peak) = peak_memory() {
        assert!(peak < 200 << 20, "{} MiB", peak >> 20);
    }
}
