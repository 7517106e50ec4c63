//! Everything a developer or CI does besides cargo: `cargo xtask test` and the parts of it.
//!
//! xtask knows the workspace's files and its library crates. No crate of the product knows xtask.

#![expect(
    clippy::print_stdout,
    reason = "xtask talks to the developer in the terminal"
)]

#[cfg(target_os = "linux")]
mod agents;
#[cfg(target_os = "linux")]
mod bench;
mod chaos;
mod crash_matrix;
mod fuzz;
mod lifecycle;
mod limits;
mod page;
mod points;
mod reliability;
mod sim;
mod source;
mod steps;
mod test;
mod tidy;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer or CI does besides cargo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need and run all of them; what CI runs.
    Test(test::Options),
    /// Play seeds of the simulator and check the promises of orch in each.
    Sim(sim::Options),
    /// Kill the real daemon, shims and agents at random moments and ask the oracle what was lost.
    Chaos(chaos::Options),
    /// Let daemon, shim or both die at every failpoint and check the promises after each.
    CrashMatrix(crash_matrix::Options),
    /// Feed any bytes to the readers of agents' output.
    Fuzz(fuzz::Options),
    /// Run the real agent programs against a scripted model and check what orch records of them.
    #[cfg(target_os = "linux")]
    Agents(agents::Options),
    /// An MCP server with one tool, for agents that are tried.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    AgentsMcp,
    /// Check the rules of the house that neither the compiler nor clippy checks.
    Tidy,
    /// Write the tables and diagrams of docs/lifecycle.md from the code.
    Lifecycle,
    /// Write the table of docs/limits.md from the constants in the code.
    Limits,
    /// Write the tables of docs/reliability.md from what the tests say of themselves.
    Reliability,
    /// Measure orch beside others and beside what this machine can do at best.
    #[cfg(target_os = "linux")]
    Bench(Box<bench::Options>),
    /// A program that the benchmark starts.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    BenchPart(bench::part::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Sim(options) => sim::run(&options).map(|summary| println!("sim: {summary}")),
        Command::Chaos(options) => chaos::run(&options).map(|summary| println!("chaos: {summary}")),
        Command::CrashMatrix(options) => {
            crash_matrix::run(&options).map(|summary| println!("crash-matrix: {summary}"))
        }
        Command::Fuzz(options) => fuzz::run(&options),
        #[cfg(target_os = "linux")]
        Command::Agents(options) => agents::command(&options),
        #[cfg(target_os = "linux")]
        Command::AgentsMcp => agents::serve_mcp(),
        Command::Tidy => tidy::run().map(|summary| println!("tidy: {summary}")),
        Command::Lifecycle => lifecycle::run(),
        Command::Limits => limits::run(),
        Command::Reliability => reliability::run(),
        #[cfg(target_os = "linux")]
        Command::Bench(options) => bench::run(&options),
        #[cfg(target_os = "linux")]
        Command::BenchPart(options) => bench::part::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
