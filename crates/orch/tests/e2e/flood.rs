//! Agents that write without end.

use std::fs;

use orch_field::{Project, Served};

/// Bytes that the agent writes: a thousand million and some.
const GIBIBYTE: u64 = 1 << 30;

const AGENTS: &str = "\
[agents.noisy]\nadapter = \"shell\"\ncommand = '''
yes \"$(printf '%1000s never stops')\" | head -c 1073741824
'''\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n[limits]\noutput = \"2GiB\"\n";

/// Fault 24. Injected: an agent prints 1 GiB in lines. Held: the log is as long as what was printed, the run is
/// `completed` with the end of its output as the result, commands are answered meanwhile, the
/// events stay below 32 MiB and the daemon below 200 MiB of memory.
#[test]
fn a_gibibyte_of_output_is_kept_and_costs_little() {
    let project = Project::new(AGENTS);
    let task = project.add("noise", &[]);
    let mut daemon = project.serve(&[]);
    daemon.wait_for_events("run_running", 1);
    let answered = project.json(&["status"]);
    assert_eq!(answered["service"], "serving");
    daemon.wait_for_events("task_done", 1);

    let run = project.last_run(&task);
    assert_eq!(run["status"], "completed", "{}", run["failure"]);
    let result = run["result"].as_str().unwrap();
    assert!(result.len() > 1 << 20 && result.contains("never stops\n  "));
    let length = |name: &str| {
        fs::metadata(project.run_dir(&run).join(name))
            .unwrap()
            .len()
    };
    assert_eq!(length("out.log"), GIBIBYTE);
    assert!(length("events.jsonl") < 32 << 20);
    if let Some(peak) = peak_memory(&daemon) {
        assert!(peak < 200 << 20, "{} MiB", peak >> 20);
    }
    assert_eq!(daemon.drain(), Some(0));
}

/// The most memory the daemon ever held, bytes; `None` where the system does not say.
fn peak_memory(daemon: &Served) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
