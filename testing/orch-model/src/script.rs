//! What the model says: scenarios by name.
//!
//! A scenario is written `NAME;KEY=VALUE;…@LABEL`, percent-encoded where a character would end it.
//! The label names one agent; what is counted and noted goes by it.
//!
//! | scenario | what happens |
//! | --- | --- |
//! | `ok` | a shell call that writes `out.txt` and commits it, then the final text |
//! | `text` | the final text at once |
//! | `parallel` | two shell calls in one answer, then a call that commits, then the final text |
//! | `shell;cmd=…` | that command in the agent's shell tool, then the final text |
//! | `loop` | a different shell call each time, for ever |
//! | `mcp` | a call of the tool of [`crate::mcp`], then a text with its answer |
//! | `remember` | work and a word; asked again in the same session, a text that repeats the word |
//! | `big;bytes=N` | a final text of so many bytes, 1,000,000 unless given |
//! | `unicode`, `surrogate` | a final text of odd characters; one with half an emoji |
//! | `short`, `refuse` | an answer cut off at its longest; a refusal |
//! | `e401`, `e429`, … | that HTTP status; `;retry=N` asks for a pause of N seconds |
//! | `context` | status 400: the conversation is too long |
//! | `limit;retry=N` | status 429: the account is used up for N seconds, 3600 unless given |
//! | `cut` | the connection breaks in the middle of the answer |
//! | `hang` | no answer, until the agent leaves |
//!
//! Failures also take `;times=N` (so often, then `ok`) and `;late=1` (the work is done, then it
//! fails). Whoever offers no tool is not the agent at work but one of its side errands, a title or
//! a summary, and gets a short answer that is no step of the script.

use std::collections::BTreeMap;

use crate::conversation::Conversation;
use crate::tools::{self, Call};

/// The last text of a script that went well.
pub const FINAL: &str = "All done: out.txt is written and committed. SCRIPT-END";
/// The word of `remember`.
pub const WORD: &str = "PLUM-TREE-17";
/// What `ok` runs.
pub const WORK: &str = "echo hi > out.txt && git add -A && git commit -m scripted";
/// How the text of `unicode` ends.
pub const UNICODE_END: &str = "end of the odd text. SCRIPT-END";

/// Tokens of each answer, all different so that an agent's fields can be told apart.
pub mod tokens {
    /// Read and not cached.
    pub const INPUT: u64 = 1000;
    /// Read from the cache.
    pub const CACHE_READ: u64 = 200;
    /// Written to the cache.
    pub const CACHE_WRITE: u64 = 30;
    /// Written, thoughts included.
    pub const OUTPUT: u64 = 40;
    /// Thoughts.
    pub const REASONING: u64 = 4;
}

/// Characters in one event of a stream, unless a script says otherwise.
const PIECE: usize = 24;
/// Characters in one event of a long text.
const LARGE_PIECE: usize = 8192;

/// Stands for half an emoji, which no Rust text can hold; replaced when it is sent.
pub const LONE_SURROGATE: char = '\u{e000}';

/// Why a path names no scenario.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// There is none of this name.
    #[error("no scenario is called '{0}'")]
    Unknown(String),
    /// A number is none.
    #[error("'{0}' must be a number")]
    Number(String),
    /// A percent sign without two digits behind it, or bytes that are not UTF-8.
    #[error("'{0}' is not percent-encoded text")]
    Encoding(String),
}

/// A scenario and who plays it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    scenario: Scenario,
    /// Who plays it.
    pub label: String,
    times: Option<u64>,
    late: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scenario {
    Work,
    Text,
    Parallel,
    Shell(String),
    Loop,
    Mcp,
    Remember,
    Long(usize),
    Unicode,
    Surrogate,
    Stopped(Stop),
    Broken(Reply),
}

/// What the server does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It answers.
    Answer(Answer),
    /// It refuses.
    Failure(Failure),
    /// It begins to answer, and the connection breaks.
    Cut,
    /// It says nothing until the other side leaves.
    Silence,
}

/// An answer of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub text: String,
    /// The tools it calls.
    pub calls: Vec<Call>,
    /// Why it stops.
    pub stop: Stop,
    /// Characters in one event of a stream.
    pub piece: usize,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is complete, or goes on after the tools.
    Complete,
    /// It was cut off at its longest.
    Length,
    /// The model, or a filter, refused.
    Refusal,
}

/// A refusal of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// What about it is special.
    pub cause: Cause,
    /// The pause that is asked for, seconds.
    pub retry_after: Option<u64>,
}

/// Why a provider refuses, beyond the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What the status says.
    Status,
    /// The conversation is too long.
    Context,
    /// The account has used up what it may.
    UsageLimit,
}

impl Answer {
    /// A text and nothing else.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            calls: Vec::new(),
            stop: Stop::Complete,
            piece: PIECE,
        }
    }

    /// Tool calls without a word.
    pub fn calls(calls: Vec<Call>) -> Self {
        Self {
            calls,
            ..Self::text("")
        }
    }
}

impl Script {
    /// The scenario that a part of a path names.
    ///
    /// # Errors
    /// It names none.
    pub fn parse(part: &str) -> Result<Self, ScriptError> {
        let (scenario, label) = part.split_once('@').unwrap_or((part, ""));
        let mut words = scenario.split(';');
        let name = decode(words.next().unwrap_or_default())?;
        let mut keys = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            keys.insert(key.to_owned(), decode(value)?);
        }
        Ok(Self {
            scenario: scenario_of(&name, &keys)?,
            label: decode(label)?,
            times: number(&keys, "times")?,
            late: keys.contains_key("late"),
        })
    }

    /// What is said to this request, which is number `count` of its label, from 1.
    pub fn reply(&self, conversation: &Conversation, count: u64) -> Reply {
        let is_over = self.times.is_some_and(|times| count > times);
        match &self.scenario {
            Scenario::Broken(_) if is_over => play(&Scenario::Work, conversation),
            Scenario::Broken(_) if self.late && conversation.step() == 0 => {
                play(&Scenario::Work, conversation)
            }
            Scenario::Broken(reply) => reply.clone(),
            scenario => play(scenario, conversation),
        }
    }
}

fn scenario_of(name: &str, keys: &BTreeMap<String, String>) -> Result<Scenario, ScriptError> {
    let broken = |status, cause, retry_after| {
        Scenario::Broken(Reply::Failure(Failure {
            status,
            cause,
            retry_after,
        }))
    };
    let retry = number(keys, "retry")?;
    Ok(match name {
        "ok" => Scenario::Work,
        "text" => Scenario::Text,
        "parallel" => Scenario::Parallel,
        "shell" => Scenario::Shell(keys.get("cmd").cloned().unwrap_or_default()),
        "loop" => Scenario::Loop,
        "mcp" => Scenario::Mcp,
        "remember" => Scenario::Remember,
        "big" => {
            let bytes = number(keys, "bytes")?.unwrap_or(1_000_000);
            Scenario::Long(usize::try_from(bytes).unwrap_or(usize::MAX))
        }
        "unicode" => Scenario::Unicode,
        "surrogate" => Scenario::Surrogate,
        "short" => Scenario::Stopped(Stop::Length),
        "refuse" => Scenario::Stopped(Stop::Refusal),
        "context" => broken(400, Cause::Context, None),
        "limit" => broken(429, Cause::UsageLimit, retry.or(Some(3600))),
        "cut" => Scenario::Broken(Reply::Cut),
        "hang" => Scenario::Broken(Reply::Silence),
        name => match name.strip_prefix('e').map(str::parse::<u16>) {
            Some(Ok(status @ 400..=599)) => broken(status, Cause::Status, retry),
            _ => return Err(ScriptError::Unknown(name.to_owned())),
        },
    })
}

fn play(scenario: &Scenario, conversation: &Conversation) -> Reply {
    let last = || Answer::text(FINAL);
    let step = conversation.step();
    let shell = |command: &str| tools::shell(&conversation.tools, command);
    let answer = match (scenario, step) {
        (Scenario::Work, 0) => run(shell(WORK)),
        (Scenario::Shell(command), 0) => run(shell(command)),
        (Scenario::Parallel, 0) => {
            let both = ["echo a > a.txt", "echo b > b.txt"];
            Answer::calls(both.iter().filter_map(|command| shell(command)).collect())
        }
        (Scenario::Parallel, 1) => run(shell("git add -A && git commit -m scripted")),
        // No two alike: some agents stop on repetition.
        (Scenario::Loop, step) => run(shell(&format!("echo turn {step} >> turns.txt"))),
        (Scenario::Mcp, _) => mcp(conversation, step),
        (Scenario::Remember, _) => remember(conversation, shell(WORK)),
        (Scenario::Long(bytes), _) => Answer {
            piece: LARGE_PIECE,
            ..Answer::text(long_text(*bytes))
        },
        (Scenario::Unicode, _) => Answer {
            piece: 7,
            ..Answer::text(odd_text())
        },
        (Scenario::Surrogate, _) => {
            Answer::text(format!("half an emoji [{LONE_SURROGATE}] SCRIPT-END"))
        }
        (Scenario::Stopped(stop), _) => Answer {
            stop: *stop,
            ..Answer::text("This is as far as it goe")
        },
        (Scenario::Broken(reply), _) => return reply.clone(),
        (Scenario::Text | Scenario::Work | Scenario::Shell(_) | Scenario::Parallel, _) => last(),
    };
    Reply::Answer(answer)
}

/// A call of this tool; where the agent does not offer it, a text that says so.
fn run(call: Option<Call>) -> Answer {
    match call {
        Some(call) => Answer::calls(vec![call]),
        None => Answer::text("No such tool is offered to me. SCRIPT-END"),
    }
}

/// Some agents show a tool only after the model has searched for it.
fn mcp(conversation: &Conversation, step: usize) -> Answer {
    let ping = tools::mcp(&conversation.tools, crate::mcp::TOOL, "hello");
    let search = tools::search(&conversation.tools, crate::mcp::TOOL);
    let has_called = conversation.asked().contains(crate::mcp::ANSWER);
    match (ping, search) {
        _ if has_called || step > 2 => Answer::text(FINAL),
        (Some(ping), _) => run(Some(ping)),
        (None, search) => run(search),
    }
}

fn remember(conversation: &Conversation, work: Option<Call>) -> Answer {
    match (conversation.remembers(WORD), conversation.step()) {
        (true, _) => Answer::text(format!("I remember {WORD}. SCRIPT-END")),
        (false, 0) if work.is_some() => run(work),
        (false, _) => Answer::text(format!("The word is {WORD}. SCRIPT-END")),
    }
}

/// Text of this length, no two lines of which are alike.
fn long_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 100);
    let mut number = 0_u64;
    while text.len() < bytes {
        let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        text.push_str(&format!(
            "{number:06} {mixed:016x}{:016x}\n",
            mixed.rotate_left(29)
        ));
        number += 1;
    }
    text.truncate(bytes);
    text.push_str("\nSCRIPT-END");
    text
}

/// Characters that programs stumble over.
fn odd_text() -> String {
    let pieces = [
        "emoji \u{1f600} family \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "right to left \u{202e}\u{05e9}\u{05dc}\u{05d5}\u{05dd}\u{202c}",
        "combining e\u{0301}\u{0323}",
        "separators [\u{2028}][\u{2029}][\u{85}]",
        "nul [\0] escape [\u{1b}[31mred\u{1b}[0m] delete [\u{7f}]",
        "mark [\u{feff}] line [\r\n] tab [\t] none [\u{ffff}] last [\u{10ffff}]",
        UNICODE_END,
    ];
    pieces.join(" ")
}

/// The answer to a request without tools.
pub fn errand(conversation: &Conversation) -> Answer {
    let json = r#"{"title": "A title", "slug": "a-title", "isNewTopic": false,
        "reasoning": "none", "next_speaker": "user", "model_choice": "flash",
        "complexity_reasoning": "none", "complexity_score": 10}"#;
    Answer::text(match conversation.wants_json {
        true => json,
        false => "A title",
    })
}

fn number(keys: &BTreeMap<String, String>, key: &str) -> Result<Option<u64>, ScriptError> {
    let value = keys.get(key).map(|value| value.parse());
    let value = value.transpose();
    value.map_err(|_| ScriptError::Number(key.to_owned()))
}

fn decode(text: &str) -> Result<String, ScriptError> {
    let bad = || ScriptError::Encoding(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => {
                let digits = after.get(..2).ok_or_else(bad)?;
                let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
                (
                    u8::from_str_radix(digits, 16).map_err(|_| bad())?,
                    &after[2..],
                )
            }
            byte => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// `text` so that it can stand in a path and mean itself.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Tool, Turn};
    use serde_json::json;

    fn conversation(turns: &[Turn], tools: &[&str]) -> Conversation {
        let schema = json!({"properties": {"command": {"type": "string"}, "text": {}}});
        let tools = tools
            .iter()
            .map(|name| Tool::function(&json!(name), &schema));
        Conversation {
            turns: turns.to_vec(),
            tools: tools.collect(),
            ..Conversation::default()
        }
    }

    fn said(script: &str, turns: &[Turn], count: u64) -> Answer {
        let script = Script::parse(script).unwrap();
        match script.reply(&conversation(turns, &["bash", "x__ping"]), count) {
            Reply::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn called() -> Turn {
        Turn::Called(String::new())
    }

    #[test]
    fn a_path_names_scenario_keys_and_label() {
        let script = Script::parse("shell;cmd=echo%20%22a%3Bb%22@job%2F7").unwrap();
        assert_eq!(script.scenario, Scenario::Shell("echo \"a;b\"".into()));
        assert_eq!(script.label, "job/7");
        let command = "printf '%s' \"ü\" > a;b@c/d";
        let path = format!("shell;cmd={}@x", encode(command));
        assert_eq!(
            Script::parse(&path).unwrap().scenario,
            Scenario::Shell(command.into())
        );
    }

    #[test]
    fn a_path_without_a_meaning_is_refused() {
        for (path, error) in [
            ("nonsense", ScriptError::Unknown("nonsense".into())),
            ("e200", ScriptError::Unknown("e200".into())),
            ("big;bytes=x", ScriptError::Number("bytes".into())),
            ("text@%zz", ScriptError::Encoding("%zz".into())),
            ("text@%c3", ScriptError::Encoding("%c3".into())),
        ] {
            assert_eq!(Script::parse(path), Err(error));
        }
    }

    #[test]
    fn work_is_a_call_and_then_a_text() {
        let first = said("ok", &[], 1);
        assert_eq!(first.calls[0].name, "bash");
        assert_eq!(first.calls[0].arguments["command"], WORK);
        assert_eq!(said("ok", &[called()], 2), Answer::text(FINAL));
    }

    #[test]
    fn two_calls_come_in_one_answer() {
        assert_eq!(said("parallel", &[], 1).calls.len(), 2);
        assert_eq!(said("parallel", &[called()], 2).calls.len(), 1);
        let turns = [called(), called()];
        assert_eq!(said("parallel", &turns, 3), Answer::text(FINAL));
    }

    #[test]
    fn a_loop_never_ends_and_never_repeats_itself() {
        let turns = vec![called(); 70];
        assert_ne!(said("loop", &turns, 71), said("loop", &turns[1..], 70));
        assert_eq!(said("loop", &turns, 71).calls.len(), 1);
    }

    #[test]
    fn a_session_that_goes_on_is_recognised() {
        assert!(
            said("remember", &[called()], 2)
                .text
                .contains("The word is")
        );
        let word = Turn::Said(format!("The word is {WORD}"));
        let turns = [called(), word, Turn::Asked("again".into())];
        assert!(said("remember", &turns, 1).text.contains("I remember"));
    }

    #[test]
    fn a_failure_can_pass_or_come_late() {
        let times = Script::parse("e529;times=2").unwrap();
        let nothing = conversation(&[], &["bash"]);
        assert!(
            matches!(times.reply(&nothing, 2), Reply::Failure(failure) if failure.status == 529)
        );
        assert!(matches!(times.reply(&nothing, 3), Reply::Answer(_)));
        let late = Script::parse("cut;late=1").unwrap();
        assert!(matches!(late.reply(&nothing, 1), Reply::Answer(_)));
        let worked = conversation(&[called()], &["bash"]);
        assert_eq!(late.reply(&worked, 2), Reply::Cut);
    }

    #[test]
    fn a_tool_that_is_not_offered_is_not_called() {
        let script = Script::parse("ok").unwrap();
        let Reply::Answer(answer) = script.reply(&conversation(&[], &["read"]), 1) else {
            panic!("no answer");
        };
        assert!(answer.calls.is_empty() && answer.text.contains("No such tool"));
    }

    #[test]
    fn the_tool_of_the_other_server_is_called_once() {
        assert_eq!(said("mcp", &[], 1).calls[0].name, "x__ping");
        let answered = Turn::Asked(format!("{} hello", crate::mcp::ANSWER));
        assert_eq!(said("mcp", &[called(), answered], 2), Answer::text(FINAL));
    }

    #[test]
    fn long_text_is_as_long_as_asked_and_repeats_no_line() {
        let text = long_text(100_000);
        let (body, end) = text.split_at(100_000);
        assert_eq!(end, "\nSCRIPT-END");
        let lines: std::collections::BTreeSet<&str> = body.lines().collect();
        assert_eq!(lines.len(), body.lines().count());
    }
}
