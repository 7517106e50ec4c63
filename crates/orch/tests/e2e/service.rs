//! A daemon under a service manager: what it says to it, and what the manager's way of stopping it
//! does to the agents. systemd does not run where the tests do; its signals are sent by hand.

use std::fs;
use std::os::unix::net::UnixDatagram;

use orch_field::{Project, Served, fifo, text};
use rustix::process::{Pid, Signal};
use serde_json::Value;

const AGENTS: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
echo \"start $ORCH_RUN_ID\" >> \"$LEDGER\"
read nothing < \"$GATE\"
echo \"end $ORCH_RUN_ID\" >> \"$LEDGER\"
'''\nmax_parallel = 3\nenv = { GATE = \"$GATE\", LEDGER = \"$LEDGER\" }\n\
[defaults]\nreview = \"auto\"\nmax_attempts = 1\n";

struct Field {
    project: Project,
}

impl Field {
    fn new() -> Self {
        let project = Project::new(AGENTS);
        fifo(&project.outside("gate"));
        fs::write(project.outside("ledger"), "").unwrap();
        Self { project }
    }

    fn serve(&self) -> Served {
        let environment = [
            ("GATE", self.project.outside("gate")),
            ("LEDGER", self.project.outside("ledger")),
        ];
        self.project.serve_with(&[], &environment)
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.project.outside("ledger")).unwrap()
    }

    /// Lets every agent go on, and waits until they have.
    fn open_gate(&self, count: usize) {
        let gate = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.project.outside("gate"))
            .unwrap();
        std::io::Write::write_all(&mut &gate, "go\n".repeat(count).as_bytes()).unwrap();
        orch_field::until_said("end ", count, || self.ledger());
    }

    /// Starts two agents and waits until both are at work.
    fn two_at_work(&self) -> (Served, Vec<String>) {
        let tasks = ["one", "two"]
            .map(|title| self.project.add(title, &[]))
            .to_vec();
        let mut daemon = self.serve();
        daemon.wait_for_events("run_running", 2);
        orch_field::until_said("start ", 2, || self.ledger());
        (daemon, tasks)
    }
}

/// What systemd would find in the service's cgroup: the daemon and all that descends from it.
#[cfg(target_os = "linux")]
fn all_of(daemon: u32) -> Vec<Pid> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let after_name = stat.rsplit_once(") ")?.1;
        after_name.split(' ').nth(1)?.parse().ok()
    };
    let pids = fs::read_dir("/proc").unwrap();
    let pids: Vec<u32> = pids
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let mut found = vec![daemon];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(pids.iter().filter(|pid| parent_of(**pid) == Some(parent)));
        at += 1;
    }
    let raw = found.into_iter().filter_map(|pid| i32::try_from(pid).ok());
    raw.filter_map(Pid::from_raw).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told_when_it_serves_and_when_it_ends() {
    let project = Project::new(AGENTS);
    let path = project.outside("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let environment = [
        ("NOTIFY_SOCKET", path),
        ("GATE", "".into()),
        ("LEDGER", "".into()),
    ];
    let daemon = project.serve_with(&[], &environment);
    let heard = || {
        let mut bytes = [0; 200];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(heard(), format!("READY=1\nMAINPID={}", daemon.pid()));
    assert_eq!(daemon.drain(), Some(0));
    assert_eq!(heard(), "STOPPING=1");
}

/// Fault 7. Injected: what `systemctl restart` does with the unit that orch ships (KillMode=process:
/// KillSignal to the main process and to nobody else) while two agents work, then a new daemon.
/// Held: the daemon leaves at once and well, the agents live on, the new daemon finds them, each
/// ran once and both tasks are done. Promise 12 holds over restarts.
#[test]
fn a_restart_with_the_shipped_unit_leaves_agents_alone() {
    let field = Field::new();
    let (daemon, tasks) = field.two_at_work();
    daemon.signal(Signal::QUIT);
    assert_eq!(daemon.ended(), Some(0));
    assert_eq!(
        field.project.json(&["status"])["runs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let mut next = field.serve();
    field.open_gate(2);
    next.wait_for_events("task_done", 2);
    assert_eq!(next.drain(), Some(0));
    for task in &tasks {
        let run = field.project.last_run(task);
        assert_eq!(
            (&run["status"], &run["exit_code"]),
            (&"completed".into(), &0.into())
        );
    }
    assert_eq!(field.ledger().matches("start ").count(), 2);
}

/// What must be true of a run that a service manager killed.
fn ended_with_a_reason(run: &Value, codes: &[&str]) {
    let failure = &run["failure"];
    assert!(codes.contains(&text(failure, "code")), "{run}");
    assert!(!text(failure, "message").is_empty() && !text(failure, "evidence").is_empty());
    // Nobody knows when something ended that nobody saw end: only that it was noticed then.
    assert_eq!(
        run["finished_at"].is_null(),
        run["status"] == "lost",
        "{run}"
    );
    assert!(
        run["noticed_at"].is_string() && run["exit_code"].is_null(),
        "{run}"
    );
}

/// Fault 7. Injected: what systemd does with its default KillMode (control-group): TERM to every
/// process of the service at once, daemon, supervisors and agents. Held: nothing is called a
/// success; each run ends with a code, a sentence and evidence, and the
/// next daemon starts with a true picture. That this unit is wrong is what `orch doctor` says.
#[cfg(target_os = "linux")]
#[test]
fn a_restart_with_the_default_kill_mode_ends_runs_with_reasons() {
    let field = Field::new();
    let (daemon, tasks) = field.two_at_work();
    for pid in all_of(daemon.pid()) {
        // One that ended in between is what was wanted.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    daemon.ended();
    let mut next = field.serve();
    let all_ended = |project: &Project| {
        let status = project.json(&["status"]);
        status["runs"].as_array().unwrap().is_empty()
    };
    while !all_ended(&field.project) {
        next.wait_for_events("run_ended", 1);
    }
    for task in &tasks {
        let run = field.project.last_run(task);
        ended_with_a_reason(&run, &["signaled", "interrupted", "supervisor_died"]);
        assert_eq!(run["attempt"], 1, "{run}");
    }
    assert_eq!(field.ledger().matches("end ").count(), 0);
    drop(next);
}

/// Fault 6. Injected: KILL to every process of a session at once: daemon, supervisors and agents.
/// Held: whoever looks next finds each run `lost`, with evidence and without an invented exit code; no
/// run stays `running`, none is started a second time by itself beyond its attempts.
///
/// Promises 3, 5.
#[cfg(target_os = "linux")]
#[test]
fn a_session_that_is_killed_as_a_whole_leaves_lost_runs_with_evidence() {
    let field = Field::new();
    let (daemon, tasks) = field.two_at_work();
    for pid in all_of(daemon.pid()) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    drop(daemon);
    for task in &tasks {
        let shown = field.project.task(task);
        assert_eq!(shown["status"], "failed", "{shown}");
        let run = field.project.last_run(task);
        assert_eq!(run["status"], "lost", "{run}");
        ended_with_a_reason(&run, &["supervisor_died"]);
    }
    assert_eq!(field.ledger().matches("start ").count(), 2);
}

#[test]
fn the_unit_of_this_project_names_it() {
    let project = Project::new(AGENTS);
    let root = project.root().canonicalize().unwrap();
    let unit = project.ok(&["service", "print", "--systemd"]);
    assert!(unit.contains("\nKillMode=process\n"), "{unit}");
    let place = format!("\nWorkingDirectory={}\n", root.display());
    assert!(unit.contains(&place), "{unit}");
    let list = project.json(&["service", "print", "--launchd"]);
    assert!(text(&list, "unit").contains("<key>AbandonProcessGroup</key>"));
    project.fails(2, &["service", "print", "--systemd", "--launchd"]);
}
