//! What an agent has from the shim, and what it has not.

use std::path::PathBuf;

use orch_core::run::Exit;
use orch_host::supervise::{Launcher, MARKER};

use crate::bench::{Bench, program, status_of};

crate::tests![
    the_environment_is_exactly_what_was_given,
    no_descriptor_is_inherited,
    signals_are_as_if_nobody_had_touched_them,
    the_agent_leads_a_group_and_has_no_terminal,
    the_files_of_the_run_are_private_and_the_agents_are_not,
];

/// A program that does `setup` in a shell and then becomes the shim: stands for a daemon that was
/// started by somebody careless.
pub fn careless(bench: &Bench, setup: &str) -> PathBuf {
    let path = bench.path("careless");
    // Written by another process, see `a_command_that_cannot_be_executed`.
    let script = format!(
        "#!/bin/bash\n{setup}\nexec {} \"$@\"\n",
        program().display()
    );
    let made = status_of(
        std::process::Command::new("sh")
            .args(["-c", "printf '%s' \"$1\" > \"$0\"; chmod +x \"$0\""])
            .arg(&path)
            .arg(script),
    );
    assert!(made.success());
    path
}

fn the_environment_is_exactly_what_was_given() {
    let bench = Bench::new();
    let mut spec = bench.command(&["/usr/bin/env", "-0"]);
    spec.env = vec![
        ("ONE".into(), "a b\n\"c\"".into()),
        ("TWO".into(), "".into()),
    ];
    let careless = careless(&bench, "export SECRET=1 ORCH_RUN_ID=other PATH=/nowhere");
    Launcher::new(careless).launch(&bench.dir, &spec).unwrap();
    bench.ended();
    assert_eq!(bench.record().exit, Exit::Code(0));
    let out = String::from_utf8(bench.out()).unwrap();
    let mut found: Vec<&str> = out.split_terminator('\0').collect();
    found.sort_unstable();
    let marker = format!("{MARKER}={}", bench.run);
    assert_eq!(found, ["ONE=a b\n\"c\"", marker.as_str(), "TWO="]);
}

fn no_descriptor_is_inherited() {
    let bench = Bench::new();
    let program = program();
    let spec = bench.command(&[program.to_str().unwrap(), "__role", "descriptors"]);
    let careless = careless(&bench, "exec 7</dev/null 9>>/dev/null 77</etc/passwd");
    Launcher::new(careless).launch(&bench.dir, &spec).unwrap();
    bench.ended();
    assert_eq!(bench.out_lines(), ["0", "1", "2"]);
}

/// Prints what this process has open.
pub fn print_descriptors() {
    let mut open: Vec<u32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let listing = format!("/proc/{}/fd", std::process::id());
            // Without the descriptor that the listing itself needs.
            let own = std::fs::read_link(&path).is_ok_and(|target| target.as_os_str() == &*listing);
            (!own).then(|| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        })
        .collect();
    open.sort_unstable();
    for descriptor in open {
        println!("{descriptor}");
    }
}

fn signals_are_as_if_nobody_had_touched_them() {
    let bench = Bench::new();
    let spec = bench.command(&["cat", "/proc/self/status"]);
    let setup = "trap '' INT HUP QUIT TERM USR1 USR2 PIPE XFSZ CHLD TSTP TTIN TTOU RTMIN+3";
    Launcher::new(careless(&bench, setup))
        .launch(&bench.dir, &spec)
        .unwrap();
    bench.ended();
    // The C library keeps 32 and 33 to itself; nobody can send them to mean anything.
    let mask = |name: &str| {
        let lines = bench.out_lines();
        let line = lines.iter().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap() & !(3 << 31)
    };
    assert_eq!((mask("SigBlk:"), mask("SigIgn:")), (0, 0));
}

fn the_agent_leads_a_group_and_has_no_terminal() {
    let bench = Bench::new();
    bench.run(&bench.shell("echo $$; cat /proc/$$/stat; : < /dev/tty && echo terminal"));
    let lines = bench.out_lines();
    let fields: Vec<&str> = lines[1].rsplit_once(") ").unwrap().1.split(' ').collect();
    let (group, session, terminal) = (fields[2], fields[3], fields[4]);
    assert_eq!((group, terminal), (lines[0].as_str(), "0"));
    assert_eq!(session, bench.shim_pid().to_string());
    assert_eq!(lines.len(), 2);
}

fn the_files_of_the_run_are_private_and_the_agents_are_not() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let careless = careless(&bench, "umask 022");
    Launcher::new(careless)
        .launch(&bench.dir, &bench.shell("touch made"))
        .unwrap();
    bench.ended();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.path("made")), 0o644);
    assert_eq!(mode(bench.dir.path()), 0o700);
    for entry in std::fs::read_dir(bench.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
