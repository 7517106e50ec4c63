//! What a test looks up about processes, and how it waits where the system gives no event.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use orch_field::{Project, Served, fifo};

pub use orch_field::until;

/// Lets a fault last: the time is what is injected, nothing is waited for.
pub fn let_it_last(time: Duration) {
    // tidy: the length of the fault is the fault, nothing is waited for
    std::thread::sleep(time);
}

/// The gate of a project, where agents wait to be let through or say something.
pub struct Gate(BufReader<File>);

impl Gate {
    pub fn new(project: &Project) -> Self {
        let path = project.outside("gate");
        fifo(&path);
        // Open for both, so that nobody waits for the other side and the end never comes.
        let mut both = OpenOptions::new();
        Self(BufReader::new(
            both.read(true).write(true).open(path).unwrap(),
        ))
    }

    /// Lets this many agents through.
    pub fn open(&mut self, count: usize) {
        let lines = "go\n".repeat(count);
        self.0.get_mut().write_all(lines.as_bytes()).unwrap();
    }

    /// A line that an agent said.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// A daemon whose agents find the gate as `$GATE`.
pub fn serve_at_gate(project: &Project) -> Served {
    let gate = project.outside("gate");
    project.serve_with(&["--max-agents", "50"], &[("GATE", gate)])
}

/// A process as a number in a record of a run.
fn recorded(project: &Project, run: &Value, file: &str) -> Option<i32> {
    let text = fs::read(project.run_dir(run).join(file)).ok()?;
    let record: Value = serde_json::from_slice(&text).ok()?;
    i32::try_from(record["pid"].as_i64()?).ok()
}

/// The supervisor of a run.
pub fn shim_of(project: &Project, run: &Value) -> i32 {
    until("its supervisor", || recorded(project, run, "started"))
}

/// The agent of a run.
pub fn agent_of(project: &Project, run: &Value) -> i32 {
    until("its agent", || recorded(project, run, "pid.json"))
}

/// Sends a signal to a process of this test.
pub fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X']))
}

/// Whether a signal keeps a process from doing anything.
pub fn is_stopped(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
}

/// Processor time that a process has used, in clock ticks.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
