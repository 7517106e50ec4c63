//! Supervision with real shims and real processes.
//!
//! A shim is started by `<program> __shims`, or as `<program> __shim <dir>`. So that no other program has to be built for
//! the tests, this one is both: without arguments it runs the tests, as `__shim` it is a shim,
//! and as `__role` it plays a part that needs a process of its own. That is why it has no
//! standard harness; `runner` does what is needed of one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is the report and the output is for people, as in every test; without the \
              standard harness clippy does not see that this is one"
)]

mod bench;
mod ends;
mod inheritance;
mod launches;
mod orphans;
mod records;
mod runner;
mod servers;
mod stops;
mod versions;

fn main() {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let code = match arguments.first().and_then(|first| first.to_str()) {
        Some(orch_host::supervise::SHIM_COMMAND) => {
            orch_host::supervise::shim_main(arguments[1].as_ref())
        }
        #[cfg(target_os = "linux")]
        Some(orch_host::supervise::SHIMS_COMMAND) => orch_host::supervise::shims_main(),
        Some("__role") => role(&arguments[1..]),
        _ => runner::run(&arguments, &tests()),
    };
    std::process::exit(code);
}

fn role(arguments: &[std::ffi::OsString]) -> i32 {
    match arguments[0].to_str() {
        Some("descriptors") => inheritance::print_descriptors(),
        Some("subreaper") => orphans::subreaper(arguments[1].as_ref()),
        Some("launcher") => launches::launch_and_leave(arguments[1].as_ref()),
        Some("refusing") => servers::refuse(),
        Some("server") => servers::serve(),
        other => panic!("no role {other:?}"),
    }
    0
}

fn tests() -> Vec<runner::Test> {
    [
        ends::TESTS,
        inheritance::TESTS,
        launches::TESTS,
        orphans::TESTS,
        records::TESTS,
        servers::TESTS,
        stops::TESTS,
        versions::TESTS,
    ]
    .concat()
}
