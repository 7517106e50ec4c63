//! Process ids that come back: after a reboot, and on a machine that has wrapped around.

use std::process::{Child, Command};

use orch_core::run::FailureCode;
use orch_host::supervise::{StopSent, stop};
use rustix::process::{Signal, kill_process};

use crate::bench::{Bench, assert_lost, pid, wait_for_end};

crate::tests![
    a_reused_process_id_is_a_stranger,
    after_a_reboot_nobody_is_taken_for_the_agent,
    after_a_reboot_a_recorded_end_still_counts,
];

/// Tries for a process id; other processes of the machine may be quicker.
const TRIES: u32 = 2_000;

/// A process of this test, ended with it however it ends.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        // It has no owner that the reaper knows, so another test's look may have fetched its status.
        let _ = self.0.wait();
    }
}

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    /// A process with this id, which is free. The kernel is told where to go on counting, which
    /// only root may do; `None` if it may not be told or others are always quicker.
    fn with_pid(wanted: i32) -> Option<Self> {
        for _ in 0..TRIES {
            let last = (wanted - 1).to_string();
            std::fs::write("/proc/sys/kernel/ns_last_pid", last).ok()?;
            let stranger = Self::new();
            if i32::try_from(stranger.0.id()) == Ok(wanted) {
                return Some(stranger);
            }
        }
        None
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

/// A run whose agent and shim are gone, the agent's id, and nothing recorded.
fn dead_run() -> (Bench, i32) {
    let bench = Bench::new();
    bench.launch(&bench.shell("echo working; exec sleep 600"));
    bench.started();
    let agent = bench.agent_pid();
    bench.kill_shim();
    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(agent);
    (bench, agent)
}

/// Fault 31. Injected: supervisor and agent are killed, and another process gets the agent's
/// process id, by making the kernel count up to it again. Held: the run is `lost(supervisor_died)`
/// and not taken for running, and a request to stop it does not reach the stranger.
///
/// Promises 3, 16.
fn a_reused_process_id_is_a_stranger() {
    let (bench, agent) = dead_run();
    // Its status must have been fetched, or its id is not free yet.
    while std::path::Path::new(&format!("/proc/{agent}")).exists() {
        std::thread::yield_now();
    }
    let Some(mut stranger) = Stranger::with_pid(agent) else {
        println!("skipped: the process id {agent} could not be had again on this machine");
        return;
    };
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
    assert!(stranger.lives());
}

/// Replaces the boot in a record, and the process by one that lives now.
fn as_of_another_boot(path: &std::path::Path, process: u32) {
    let text = std::fs::read(path).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    record["boot_id"] = "11111111-2222-3333-4444-555555555555".into();
    record["pid"] = process.into();
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    record["start_time"] = fields[19].parse::<u64>().unwrap().into();
    std::fs::write(path, record.to_string()).unwrap();
}

/// Fault 30. Injected: the records of a run that was under way name another boot, and after the
/// reboot strangers have the process ids of its supervisor and its agent, with the very same start
/// times. Held: the run is `lost(host_rebooted)`, and no stranger gets a signal.
///
/// Promises 3, 16.
fn after_a_reboot_nobody_is_taken_for_the_agent() {
    let (bench, _) = dead_run();
    let mut strangers = [Stranger::new(), Stranger::new()];
    as_of_another_boot(&bench.dir.started(), strangers[0].0.id());
    as_of_another_boot(&bench.dir.pid_record(), strangers[1].0.id());
    assert_lost(&bench.inspect(), FailureCode::HostRebooted);
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
    assert!(strangers.iter_mut().all(Stranger::lives));
}

/// Fault 30. Injected: the machine is restarted after the end of a run was recorded and before any
/// daemon read it; a stranger has the agent's process id. Held: the record counts, with its exit
/// status, and the stranger is left alone.
///
/// Promises 1, 16.
fn after_a_reboot_a_recorded_end_still_counts() {
    let bench = Bench::new();
    let record = bench.run(&bench.shell("exit 7"));
    bench.wait_for_lock();
    let mut stranger = Stranger::new();
    as_of_another_boot(&bench.dir.started(), stranger.0.id());
    as_of_another_boot(&bench.dir.pid_record(), stranger.0.id());
    assert_eq!(bench.record(), record);
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
    assert!(stranger.lives());
}
