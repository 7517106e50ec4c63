//! The driver of an agent that speaks the Agent Client Protocol: JSON-RPC, one message per line.
//!
//! Such an agent must be spoken to and cannot just be started with files. What a shim starts is
//! therefore this driver, a hidden command of orch: it starts the real agent with pipes, leads
//! one conversation (a session, one prompt), and writes what it hears to its standard output,
//! which is the run's `out.log`. The agent's standard error is passed on as it is.
//!
//! Every line of the output is one JSON object with one field, and only this process writes it:
//!
//! | field | what |
//! |---|---|
//! | `acp` | one message of the agent, as it came |
//! | `acp_text` | a line of the agent that is no message, as a JSON string |
//! | `orch_acp` | what the driver says: the session, the prompt, its answers, the end |
//!
//! The agent's words are always inside of the first two, so it cannot forge the third.
//!
//! One thread, no runtime, memory for one message at a time. This part must not know what a run
//! or a task is, and does not judge: whether an end was a success is the adapter's to say.

mod conversation;
mod link;
mod log;
mod message;
mod peer;
mod permission;
mod settings;

use std::ffi::OsString;

pub use settings::ACP_COMMAND;
pub(crate) use settings::Settings;

use conversation::Ending;
use log::Log;
use peer::{Left, Peer};

/// The whole life of a driver: the hidden subcommand calls this with the arguments after its name
/// and exits with what it returns. The prompt is on standard input.
#[must_use]
pub fn acp_main(arguments: &[OsString]) -> i32 {
    match drive(arguments) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            1
        }
    }
}

/// Tells people, in `err.log`, why nothing could be written to `out.log`.
fn complain(error: &std::io::Error) {
    use std::io::Write;
    // There is nowhere to tell that telling failed.
    let _ = writeln!(std::io::stderr(), "orch: the driver of the agent: {error}");
}

fn drive(arguments: &[OsString]) -> std::io::Result<i32> {
    let settings = Settings::from_arguments(arguments)?;
    let prompt = std::io::read_to_string(std::io::stdin())?;
    let ears = peer::Ears::open()?;
    let mut log = Log::to_stdout()?;
    let peer = match Peer::start(&settings.command, ears) {
        Ok(peer) => peer,
        Err(failure) => {
            log.end(&Ending::NotStarted(failure))?;
            return Ok(1);
        }
    };
    let mut link = link::Link::new(peer, log, settings.rules()?);
    let ending = conversation::lead(&mut link, &settings, prompt);
    let (mut peer, mut log) = link.into_parts();
    // Said at once: whatever becomes of the process, this is how the conversation ended.
    log.end(&ending)?;
    let left = peer.dismiss(&mut log)?;
    log.left(&left)?;
    Ok(exit_code(&ending, &left))
}

/// The status of the driver stands for the agent's: the same one where the agent ended by itself.
/// One that had to be ended after its answer did nothing wrong, as a server need not know that
/// nobody is left to serve.
fn exit_code(ending: &Ending, left: &Left) -> i32 {
    match (left.by_itself(), ending.is_answer()) {
        (Some(orch_core::run::Exit::Code(code)), _) if code != 0 => code,
        (Some(orch_core::run::Exit::Signal { number, .. }), _) => peer::die_of(number),
        (_, true) => 0,
        (_, false) => i32::from(!ending.is_death()),
    }
}
