//! Speaking with the agent: requests and their answers, and the agent's own requests meanwhile.
//!
//! Everything heard is written down before anything follows from it. This part must not know in
//! which order things are asked.

use std::io;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::conversation::Ending;
use super::log::Log;
use super::message::{self, Incoming, Wrong};
use super::peer::{Heard, MESSAGE_BYTES, Peer};
use super::permission::{self, Rules};
use crate::adapter::json::{Fields, Object};

/// How long an agent may take to stop its work and say so, once it was told to.
const CANCEL: Duration = Duration::from_secs(5);

/// Most answers to nothing that are written down as such.
const STRAYS: u64 = 20;

/// Characters of a message that was too long which are shown.
const BEGINNING_CHARS: usize = 200;

/// What an agent may be asked.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    /// The method.
    pub(super) method: &'static str,
    /// How long it may take; `None` if that is for others to say.
    pub(super) limit: Option<Duration>,
    /// What tells the agent to stop, if it can be told.
    pub(super) cancel: Option<&'static str>,
}

/// The conversation as far as it has come.
pub(super) struct Link {
    peer: Peer,
    state: State,
}

/// What is known besides the process.
struct State {
    log: Log,
    rules: Rules,
    asked: u64,
    answer: Option<Result<Box<RawValue>, Problem>>,
    is_cancelled: bool,
    strays: u64,
    /// What it is to be told, in the order it asked.
    replies: Vec<String>,
}

/// An answer that is no result.
enum Problem {
    Error(Box<RawValue>),
    Malformed,
}

impl Link {
    pub(super) fn new(peer: Peer, log: Log, rules: Rules) -> Self {
        Self {
            peer,
            state: State {
                log,
                rules,
                asked: 0,
                answer: None,
                is_cancelled: false,
                strays: 0,
                replies: Vec::new(),
            },
        }
    }

    pub(super) fn into_parts(self) -> (Peer, Log) {
        (self.peer, self.state.log)
    }

    pub(super) fn log(&mut self) -> &mut Log {
        &mut self.state.log
    }

    pub(super) fn rules(&mut self) -> &mut Rules {
        &mut self.state.rules
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// How it ended instead.
    pub(super) fn ask(&mut self, ask: Ask, params: &Value) -> Result<Box<RawValue>, Ending> {
        self.state.asked += 1;
        self.state.answer = None;
        let request = message::request(self.state.asked, ask.method, params);
        self.peer.tell(&request.to_string());
        let mut until = ask.limit.map(|limit| Instant::now() + limit);
        loop {
            if let Some(answer) = self.state.answer.take() {
                return answer.map_err(|problem| problem.during(ask.method));
            }
            match self.hear(until).map_err(Ending::Broken)? {
                Heard::Line(line) => self.take(&line)?,
                Heard::Stop => until = Some(self.stop(ask, params)?),
                Heard::Late if self.state.is_cancelled => return Err(Ending::Stopped(ask.method)),
                heard => return Err(ended(heard, ask)),
            }
        }
    }

    fn hear(&mut self, until: Option<Instant>) -> io::Result<Heard> {
        // Lines that came together are written together.
        if !self.peer.has_line() {
            self.state.log.flush()?;
        }
        self.peer.hear(until)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Ending> {
        self.state.take(line).map_err(Ending::Broken)?;
        for reply in std::mem::take(&mut self.state.replies) {
            if !self.peer.answer(&reply) {
                return Err(Ending::Deaf);
            }
        }
        Ok(())
    }

    /// Passes on that it should stop; by when it must have. Asked twice, nothing is waited for.
    fn stop(&mut self, ask: Ask, params: &Value) -> Result<Instant, Ending> {
        let Some(method) = ask.cancel.filter(|_| !self.state.is_cancelled) else {
            return Err(Ending::Stopped(ask.method));
        };
        self.state.is_cancelled = true;
        let told = self.state.log.own("cancel", &json!({}));
        told.map_err(Ending::Broken)?;
        let params = json!({ "sessionId": params["sessionId"] });
        self.peer
            .tell(&message::notification(method, &params).to_string());
        Ok(Instant::now() + CANCEL)
    }
}

/// What ended it other than an answer.
fn ended(heard: Heard, ask: Ask) -> Ending {
    let during = ask.method;
    match heard {
        Heard::TooLong(bytes) => Ending::TooLong {
            during,
            limit: MESSAGE_BYTES,
            beginning: orch_core::text::excerpt(
                &String::from_utf8_lossy(&bytes[..bytes.len().min(4 * BEGINNING_CHARS)]),
                BEGINNING_CHARS,
            ),
        },
        Heard::Closed => Ending::Closed(during),
        Heard::Died(exit) => Ending::Died { during, exit },
        Heard::Late | Heard::Stop | Heard::Line(_) => Ending::Silent {
            during,
            seconds: ask.limit.map_or(0, |limit| limit.as_secs()),
        },
    }
}

impl State {
    fn take(&mut self, line: &[u8]) -> io::Result<()> {
        let Self {
            log,
            rules,
            asked,
            answer,
            is_cancelled,
            strays,
            replies,
            ..
        } = self;
        log.heard(line, &mut |log, object: &Object<'_>| {
            match message::sort(&object.fields) {
                Incoming::Request { id, method, params } => {
                    let reply = match method.as_ref() {
                        "session/request_permission" if *is_cancelled => {
                            message::response(id, &permission::cancelled())
                        }
                        "session/request_permission" => {
                            let decision = rules.decide(params);
                            log.own("permission", &decision.note)?;
                            message::response(id, &decision.outcome)
                        }
                        method => message::refusal(id, method),
                    };
                    replies.push(reply);
                }
                Incoming::Answer { id, result } => {
                    let is_asked = id.is_none_or(|id| id == *asked) && answer.is_none();
                    if is_asked {
                        *answer = Some(own(result));
                    } else {
                        stray(log, strays)?;
                    }
                }
                Incoming::Odd => stray(log, strays)?,
                Incoming::Notification => {}
            }
            Ok(())
        })
    }
}

/// Writes down that a message answers nothing, the first few times.
fn stray(log: &mut Log, strays: &mut u64) -> io::Result<()> {
    *strays += 1;
    match *strays {
        ..=STRAYS => log.own("stray", &json!({ "count": *strays })),
        _ => Ok(()),
    }
}

fn own(result: Result<&RawValue, Wrong<'_>>) -> Result<Box<RawValue>, Problem> {
    match result {
        Ok(result) => Ok(result.to_owned()),
        Err(Wrong::Error(error)) => Err(Problem::Error(error.to_owned())),
        Err(Wrong::Malformed) => Err(Problem::Malformed),
    }
}

impl Problem {
    fn during(self, during: &'static str) -> Ending {
        match self {
            Self::Error(error) => Ending::Failed { during, error },
            Self::Malformed => Ending::Malformed(during),
        }
    }
}

/// The fields of a result; one that is no object has none.
pub(super) fn fields(result: &RawValue) -> Fields<'_> {
    serde_json::from_str(result.get()).unwrap_or_default()
}
