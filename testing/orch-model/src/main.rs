//! `orch-model serve [PORT]`: the scripted model server, for playing with by hand.
//! `orch-model mcp`: an MCP server with one tool, over stdin and stdout.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to the developer in the terminal"
)]

use std::process::ExitCode;

use orch_model::{Server, mcp};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["mcp"] => mcp::serve(std::io::stdin().lock(), std::io::stdout().lock()),
        ["serve"] => serve(0),
        ["serve", port] => match port.parse() {
            Ok(port) => serve(port),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: orch-model serve [PORT] | mcp");
    ExitCode::from(2)
}

fn serve(port: u16) -> std::io::Result<()> {
    let server = Server::start(port)?;
    println!("{}", server.base("SCENARIO", "LABEL"));
    server.wait()
}
