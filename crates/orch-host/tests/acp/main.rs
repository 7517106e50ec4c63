//! The driver of ACP agents with real processes, and an agent that plays every part.
//!
//! So that no other program has to be built, this one is all of them: without arguments it runs
//! the tests, as `__acp` it is the driver, as `__agent` the agent that the driver starts, and as
//! `__shim` the supervisor of both. That is why it has no standard harness.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is the report and the output is for people, as in every test; without the \
              standard harness clippy does not see that this is one"
)]

mod agent;
#[path = "../supervise/bench.rs"]
#[expect(dead_code, reason = "these tests take some of its steps")]
mod bench;
mod driver;
#[path = "../supervise/runner.rs"]
mod runner;
mod stops;

fn main() {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let code = match arguments.first().and_then(|first| first.to_str()) {
        Some(orch_host::acp::ACP_COMMAND) => orch_host::acp::acp_main(&arguments[1..]),
        Some(orch_host::supervise::SHIM_COMMAND) => {
            orch_host::supervise::shim_main(arguments[1].as_ref())
        }
        #[cfg(target_os = "linux")]
        Some(orch_host::supervise::SHIMS_COMMAND) => orch_host::supervise::shims_main(),
        Some("__agent") => agent::play(&arguments[1..]),
        _ => runner::run(&arguments, &[driver::TESTS, stops::TESTS].concat()),
    };
    std::process::exit(code);
}
