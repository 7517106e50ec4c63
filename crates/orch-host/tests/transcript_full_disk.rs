//! A write that fails half way.
//!
//! Alone in its file, because the limit holds for the whole process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use orch_core::{RunId, Timestamp};
use orch_host::adapter::find;
use orch_host::run_dir::RunDir;
use orch_host::transcript::Transcript;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const NOW: Timestamp = Timestamp(1_795_364_103_004);
/// The same number on Linux and macOS; what the kernel sends with the error.
const SIGXFSZ: i32 = 25;

#[test]
fn a_failed_write_loses_and_doubles_nothing() {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).unwrap();
    let home = tempfile::tempdir().unwrap();
    let dir = RunDir::new(home.path(), &RunId::from_entropy(7));
    dir.create().unwrap();
    std::fs::write(dir.out_log(), "one\ntwo\nthree\n").unwrap();
    let mut transcript = Transcript::open(dir.clone(), find("shell").unwrap()).unwrap();

    let before = getrlimit(Resource::Fsize);
    for limit in [10, 100, 150, 200] {
        let current = Some(limit);
        setrlimit(Resource::Fsize, Rlimit { current, ..before }).unwrap();
        assert!(
            transcript.advance(NOW).is_err(),
            "there is no room for more than {limit}"
        );
        assert_eq!(std::fs::metadata(dir.events()).unwrap().len(), limit);
    }
    setrlimit(Resource::Fsize, before).unwrap();

    assert_eq!(transcript.advance(NOW).unwrap().events, 3);
    let events = std::fs::read_to_string(dir.events()).unwrap();
    let texts: Vec<serde_json::Value> = events
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["data"]["text"].clone()
        })
        .collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(
        transcript.finish(14, NOW).unwrap().summary.warnings,
        [""; 0]
    );
}
