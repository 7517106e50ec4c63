//! A scripted stand-in for the model providers: real agent CLIs talk to it as they would to a
//! model, and it says what the path of their requests asks for.
//!
//! It speaks Anthropic messages, OpenAI responses, OpenAI chat completions and Gemini, on loopback,
//! with any key. An agent is pointed at `http://127.0.0.1:PORT/s/SCENARIO@LABEL` as the base of its
//! provider's API; [`script`] says which scenarios there are, and [`Server::seen`] which requests
//! arrived for a label.
//!
//! It keeps no conversation: how far a script has come is read off the conversation that each
//! request carries. So a CLI that repeats a request gets the same answer, a session can be
//! resumed, and any number of agents may play the same scenario at once. What is counted is how
//! often a label was answered, for scenarios that fail a few times and then work.
//!
//! This crate must not know orch. It is slow on purpose where that is simple: a thread for each
//! connection.

mod conversation;
mod http;
pub mod mcp;
mod protocol;
pub mod script;
mod server;
mod tools;

pub use server::{Seen, Server};
