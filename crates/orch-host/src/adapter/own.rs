//! A kind of agent that the user defines in `[adapters.NAME]`: a command, how it is given the
//! prompt, and where in its output the words are.
//!
//! The definition with which a run was started is kept beside its output, so that a change of the
//! configuration does not change how a run is read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use orch_core::Timestamp;
use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use orch_core::text::excerpt;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{Line, read, text_data};
use super::provider::at_second;
use super::shell::{ShellReader, describe};
use super::{
    Adapter, AgentEvent, AgentSettings, Capabilities, Counting, EventType, Invocation, LimitSignal,
    Occasion, Reader, SettingsError, Summary, TAIL_BYTES, no_explanation, no_status_verdict,
};
use crate::supervise::StopSignal;

/// What events of such an agent say: whatever the definition is, they are texts.
pub(super) const DESCRIBE: fn(EventType, &Value) -> Option<String> = describe;
/// What all kinds of the user's own are called among the adapters.
const OWN: &str = "own";
/// Most that is read of a kept definition, bytes.
const KEPT_BYTES: u64 = 1 << 20;
/// What stands in a command for the prompt itself.
const PROMPT: &str = "{prompt}";
/// What stands in a command for the path of the prompt.
const PROMPT_FILE: &str = "{prompt_file}";
/// What stands in `resume` for the session.
const SESSION: &str = "{session}";
/// What stands in `model` for the model.
const MODEL: &str = "{model}";
/// Longest message of an error, characters.
const MESSAGE_CHARS: usize = 2_000;
/// Longest session id that is believed, bytes.
const SESSION_BYTES: usize = 256;

/// How the command is given its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptBy {
    /// On its standard input.
    #[default]
    Stdin,
    /// As a file, whose path stands for `{prompt_file}`.
    File,
    /// As an argument, which stands for `{prompt}`. Other users of the machine can read it.
    Arg,
}

impl PromptBy {
    /// Every word.
    pub const WORDS: &'static [&'static str] = &["stdin", "file", "arg"];
}

impl std::str::FromStr for PromptBy {
    type Err = orch_core::text::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stdin" => Ok(Self::Stdin),
            "file" => Ok(Self::File),
            "arg" => Ok(Self::Arg),
            _ => Err(orch_core::text::UnknownWord::new(
                "PromptBy",
                text,
                Self::WORDS,
            )),
        }
    }
}

/// How a success, or a limit, shows in JSON lines: a field has this value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Where the field is.
    pub path: String,
    /// What it is, as text.
    pub value: String,
}

impl Rule {
    /// Whether the line has the field, and if so whether it has this value.
    fn judge(&self, line: &Value) -> Option<bool> {
        at(line, &self.path).map(|found| plain(found) == self.value)
    }
}

/// A kind of agent as the user defines it. Paths are names with dots between them; a number counts
/// the elements of a list from 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How it is given the prompt.
    pub prompt: PromptBy,
    /// Whether it prints JSON, one object per line; otherwise its output is its result.
    pub is_jsonl: bool,
    /// Where something it says is.
    pub text: Option<String>,
    /// Where its final text is.
    pub result: Option<String>,
    /// Where its session is.
    pub session: Option<String>,
    /// Where the words of an error are.
    pub error: Option<String>,
    /// Where the tokens it read are counted.
    pub input_tokens: Option<String>,
    /// Where the tokens it wrote are counted.
    pub output_tokens: Option<String>,
    /// Where its cost in US dollars is.
    pub cost: Option<String>,
    /// What a success is; without it the exit status decides.
    pub success: Option<Rule>,
    /// How it says that a limit of its provider stops it.
    pub limit: Option<Rule>,
    /// Where the time is at which that limit is lifted.
    pub limit_reset: Option<String>,
    /// Arguments with which it goes on with a session.
    pub resume: Vec<String>,
    /// Arguments that name a model.
    pub model: Vec<String>,
    /// Arguments with which it says its version.
    pub version: Vec<String>,
}

static TEXT: Adapter = adapter(false, false);
static LINES: Adapter = adapter(false, false);
static LINES_RESUMED: Adapter = adapter(false, true);
static RESULT: Adapter = adapter(true, false);
static RESULT_RESUMED: Adapter = adapter(true, true);

const fn adapter(has_result_event: bool, resume: bool) -> Adapter {
    Adapter {
        name: OWN,
        description: "a kind of agent of the user's own",
        program: None,
        has_result_event,
        inherits: &[],
        never_inherits: &[],
        capabilities: Capabilities {
            tested: None,
            version: &[],
            usage: Counting::Nothing,
            cost: false,
            resume,
            takes_back: false,
            limits: LimitSignal::Nothing,
            mcp: false,
            effort: false,
            max_turns: false,
            permissions: &[],
            endings: "as its definition says",
        },
        invocation,
        reader: || Box::new(OwnReader::new(Definition::default(), false)),
        explain: no_explanation,
        status_verdict: no_status_verdict,
        usage_file: None,
        describe,
    }
}

impl Definition {
    /// The adapter that starts and reads it. Its reader must be made by [`Definition::reader`].
    #[must_use]
    pub fn adapter(&self) -> &'static Adapter {
        match (self.is_jsonl, &self.success, self.resume.is_empty()) {
            (false, ..) => &TEXT,
            (true, None, true) => &LINES,
            (true, None, false) => &LINES_RESUMED,
            (true, Some(_), true) => &RESULT,
            (true, Some(_), false) => &RESULT_RESUMED,
        }
    }

    /// A reader for one run, at the beginning of the output.
    #[must_use]
    pub fn reader(&self) -> Box<dyn Reader + Send> {
        match self.is_jsonl {
            true => Box::new(OwnReader::new(self.clone(), true)),
            false => Box::new(ShellReader),
        }
    }

    /// A reader for a run of this kind whose definition, if it has one, is kept at `path`.
    #[must_use]
    pub fn reader_of(adapter: &Adapter, path: &Path) -> Box<dyn Reader + Send> {
        let kept = match adapter.name {
            OWN => Self::kept(path),
            _ => None,
        };
        match kept {
            Some(definition) => definition.reader(),
            None => (adapter.reader)(),
        }
    }

    /// The definition that is kept at `path`, if it can be read.
    #[must_use]
    pub fn kept(path: &Path) -> Option<Self> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .ok()?;
        let mut text = String::new();
        file.take(KEPT_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The text that [`Definition::kept`] reads.
    #[must_use]
    pub fn to_keep(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is wrong with it as a whole, by key.
    ///
    /// # Errors
    /// The key, and what is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let has = |mark: &str| self.command.iter().any(|word| word.contains(mark));
        self.check_limit()?;
        let paths = [
            ("text", &self.text),
            ("result", &self.result),
            ("session", &self.session),
            ("error", &self.error),
            ("input_tokens", &self.input_tokens),
            ("output_tokens", &self.output_tokens),
            ("cost", &self.cost),
        ];
        let of_lines = paths
            .iter()
            .find(|(_, path)| path.is_some())
            .map(|(key, _)| *key);
        let of_lines = of_lines.or(self.success.as_ref().map(|_| "success"));
        if self
            .command
            .first()
            .is_none_or(|program| program.trim().is_empty())
        {
            return Err(("command", "it names no program".to_owned()));
        }
        if let Some(key) = of_lines.filter(|_| !self.is_jsonl) {
            return Err((
                key,
                "it is a place in JSON lines, and `output` is not \"jsonl\"".to_owned(),
            ));
        }
        if (self.prompt == PromptBy::Arg) != has(PROMPT) {
            return Err((
                "command",
                format!("{PROMPT} belongs into it exactly if `prompt` is \"arg\""),
            ));
        }
        if (self.prompt == PromptBy::File) != has(PROMPT_FILE) {
            return Err((
                "command",
                format!("{PROMPT_FILE} belongs into it exactly if `prompt` is \"file\""),
            ));
        }
        let lacks = |words: &[String], mark: &str| {
            !words.is_empty() && !words.iter().any(|word| word.contains(mark))
        };
        if lacks(&self.resume, SESSION) || (!self.resume.is_empty() && self.session.is_none()) {
            return Err((
                "resume",
                format!("it needs {SESSION} in it, and `session` to say where that is"),
            ));
        }
        match lacks(&self.model, MODEL) {
            true => Err(("model", format!("it needs {MODEL} in it"))),
            false => Ok(()),
        }
    }

    fn check_limit(&self) -> Result<(), (&'static str, String)> {
        if self.limit.is_some() && self.success.is_none() {
            let what = "it needs `success`, or nobody could tell a run that went on after it";
            return Err(("limit", what.to_owned()));
        }
        if self.limit_reset.is_some() && self.limit.is_none() {
            return Err(("limit_reset", "it needs `limit`".to_owned()));
        }
        Ok(())
    }

    /// Puts the prompt into a command that takes it so.
    ///
    /// # Errors
    /// It is too long for an argument, or cannot be one.
    pub fn complete(
        &self,
        argv: &mut [String],
        path: &Path,
        prompt: &str,
        settings: &AgentSettings,
    ) -> Result<(), SettingsError> {
        for word in argv.iter_mut() {
            match self.prompt {
                PromptBy::Stdin => {}
                PromptBy::File => *word = word.replace(PROMPT_FILE, &path.display().to_string()),
                PromptBy::Arg if word.contains(PROMPT) => {
                    settings.check_argument("prompt", prompt)?;
                    *word = word.replace(PROMPT, prompt);
                    settings.check_argument("prompt", word)?;
                }
                PromptBy::Arg => {}
            }
        }
        settings.check_argv(argv)
    }
}

fn invocation(
    settings: &AgentSettings,
    occasion: &Occasion<'_>,
) -> Result<Invocation, SettingsError> {
    let Some(definition) = &settings.own else {
        return Err(SettingsError::CommandMissing {
            agent: settings.name.clone(),
            adapter: "own",
        });
    };
    let mut argv = definition.command.clone();
    if let (Some(program), Some(first)) = (&settings.command, argv.first_mut()) {
        settings.check_required("command", program)?;
        first.clone_from(program);
    }
    match &settings.model {
        Some(_) if definition.model.is_empty() => {
            return Err(settings.not_supported("own", "model"));
        }
        Some(model) => {
            let model = settings.option_value("model", model)?;
            argv.extend(
                definition
                    .model
                    .iter()
                    .map(|word| word.replace(MODEL, model)),
            );
        }
        None => {}
    }
    if let Some(session) = occasion.session {
        let session = settings.option_value("session", session)?;
        argv.extend(
            definition
                .resume
                .iter()
                .map(|word| word.replace(SESSION, session)),
        );
    }
    settings.push_args(&[], &mut argv)?;
    for word in &argv {
        settings.check_argument("command", word)?;
    }
    settings.check_argv(&argv)?;
    Ok(Invocation {
        argv,
        env: Vec::new(),
        files: Vec::new(),
        prompt_on_stdin: definition.prompt == PromptBy::Stdin,
        preamble: settings.preamble(),
        stop_signal: StopSignal::Terminate,
    })
}

/// A limit that the output told of.
struct Limit {
    message: String,
    until: Option<Timestamp>,
}

/// Reads JSON lines by the paths of a definition.
struct OwnReader {
    definition: Definition,
    /// Whether the definition is the run's own; if it is gone nothing can be understood.
    is_known: bool,
    result: Option<String>,
    session: Option<String>,
    error: Option<String>,
    usage: Usage,
    /// Whether the line that decides said success.
    verdict: Option<bool>,
    /// The limit that stops it, as long as it has not gone on.
    limit: Option<Limit>,
    /// The line that told of a limit would have ended the run.
    limit_ends: bool,
    /// Endings that came after the first.
    further_endings: u64,
    not_understood: u64,
    /// Those of them that were too long to be read.
    unread: u64,
}

impl OwnReader {
    fn new(definition: Definition, is_known: bool) -> Self {
        Self {
            definition,
            is_known,
            result: None,
            session: None,
            error: None,
            usage: Usage::default(),
            verdict: None,
            limit: None,
            limit_ends: false,
            further_endings: 0,
            not_understood: 0,
            unread: 0,
        }
    }

    /// Takes in an object; what it said, as events.
    fn object(&mut self, value: &Value) -> Vec<AgentEvent> {
        let definition = &self.definition;
        let mut events = Vec::new();
        let mut tell = |kind, text: &str| events.push(event(kind, text));
        if let Some(id) = string(value, &definition.session)
            && id.len() <= SESSION_BYTES
            // The program would take it for an option when it is to go on with it.
            && !id.starts_with('-')
            && self.session.is_none()
        {
            tell(EventType::Session, &id);
            self.session = Some(id);
        }
        if let Some(said) = string(value, &definition.text) {
            tell(EventType::Text, &said);
        }
        let error = string(value, &definition.error);
        if let Some(said) = &error {
            tell(EventType::Error, said);
        }
        let rule = definition.success.as_ref();
        if self.verdict.is_some() {
            // The first word decides, whatever is said after it, and however soon it is stopped.
            let is_ending = rule.and_then(|rule| rule.judge(value)).is_some();
            self.further_endings += u64::from(is_ending);
            return events;
        }
        if let Some(said) = error {
            self.error = Some(excerpt(&said, MESSAGE_CHARS));
        }
        if let Some(said) = string(value, &definition.result) {
            tell(EventType::Result, &said);
            self.result = Some(said);
        }
        let count = |path: &Option<String>| at(value, path.as_deref()?)?.as_u64();
        let usage = &mut self.usage;
        usage.input_tokens = count(&definition.input_tokens).or(usage.input_tokens);
        usage.output_tokens = count(&definition.output_tokens).or(usage.output_tokens);
        let cost = definition
            .cost
            .as_deref()
            .and_then(|path| at(value, path)?.as_f64());
        let cost = cost.filter(|cost| cost.is_finite() && *cost >= 0.0);
        usage.cost_usd = cost.or(usage.cost_usd);
        let verdict = rule.and_then(|rule| rule.judge(value));
        match self.heed_limit(value) {
            // Its program may try again by itself, as long as it is let.
            Some(limit) => {
                events.push(limit);
                self.limit_ends = verdict.is_some();
            }
            None => self.verdict = verdict,
        }
        events
    }

    /// Notes a limit. It is over once the agent says something again.
    fn heed_limit(&mut self, line: &Value) -> Option<AgentEvent> {
        let definition = &self.definition;
        let rule = definition.limit.as_ref()?;
        if rule.judge(line) == Some(true) {
            let said = string(line, &definition.error);
            let said = said.map(|said| excerpt(&said, MESSAGE_CHARS));
            let message =
                said.unwrap_or_else(|| format!("{} of its output is '{}'", rule.path, rule.value));
            let event = event(EventType::Limit, &message);
            let reset = definition.limit_reset.as_deref();
            let until = reset.and_then(|path| moment(at(line, path)?));
            self.limit = Some(Limit { message, until });
            return Some(event);
        }
        let decides = definition.success.as_ref().and_then(|it| it.judge(line));
        let goes_on = decides.is_none() && string(line, &definition.text).is_some();
        // Where the limit was the end, last words are no more than that.
        if goes_on && !self.limit_ends {
            self.limit = None;
        }
        None
    }
}

impl Reader for OwnReader {
    fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let text = String::from_utf8_lossy(line);
        let value = match read(&text) {
            Line::Blank => return Vec::new(),
            Line::Object(object) => serde_json::from_str::<Value>(object.raw.get()).ok(),
            _ => None,
        };
        let Some(value) = value else {
            self.not_understood += 1;
            let data = text_data(line);
            return vec![AgentEvent {
                kind: EventType::Raw,
                data,
            }];
        };
        let events = self.object(&value);
        match events.is_empty() {
            true => vec![AgentEvent {
                kind: EventType::Raw,
                data: super::json::raw(&value),
            }],
            false => events,
        }
    }

    fn unreadable(&mut self, _length: u64, _tail: &[u8]) {
        self.not_understood += 1;
        self.unread += 1;
    }

    fn terminal_seen(&self) -> bool {
        self.verdict.is_some() || self.limit_ends
    }

    fn summary(&self) -> Summary {
        let mut warnings = Vec::new();
        if self.not_understood > 0 {
            let count = self.not_understood;
            warnings.push(format!(
                "lines of its output that were no JSON objects: {count}"
            ));
        }
        if self.further_endings > 0 {
            let count = self.further_endings;
            warnings.push(format!(
                "it told of its end again, which counts for nothing: {count} times"
            ));
        }
        if !self.is_known {
            warnings
                .push("the definition of its adapter is gone, so nothing was understood".into());
        }
        Summary {
            verdict: self.said(),
            result: self.result.clone(),
            usage: self.usage,
            session_id: self.session.clone(),
            warnings,
            unread_lines: self.unread,
        }
    }
}

impl OwnReader {
    fn said(&self) -> Verdict {
        match (&self.definition.success, self.verdict) {
            (None, _) if self.is_known => Verdict::ByExitStatus,
            (None, _) => Verdict::NoResult,
            (Some(_), Some(true)) => Verdict::Success,
            (Some(_), _) if self.limit.is_some() => self.limited(),
            (Some(_), None) => Verdict::NoResult,
            (Some(rule), Some(false)) => Verdict::Error {
                code: FailureCode::AgentError,
                message: self.error.clone().unwrap_or_else(|| {
                    format!("{} of its output is not '{}'", rule.path, rule.value)
                }),
            },
        }
    }
}

impl OwnReader {
    fn limited(&self) -> Verdict {
        self.limit
            .as_ref()
            .map_or(Verdict::NoResult, |limit| Verdict::Limited {
                code: FailureCode::RateLimit,
                message: limit.message.clone(),
                until: limit.until,
            })
    }
}

/// A time as programs write it: seconds since 1970, or a date with a time and a zone.
fn moment(value: &Value) -> Option<Timestamp> {
    let text = plain(value);
    let seconds = text.parse::<i64>().ok();
    let date = || text.parse::<jiff::Timestamp>().ok();
    at_second(seconds.or_else(|| Some(date()?.as_second()))?)
}

fn event(kind: EventType, text: &str) -> AgentEvent {
    AgentEvent {
        kind,
        data: text_data(text.as_bytes()),
    }
}

/// What is at a path, if there is something.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path.split('.').try_fold(value, |value, name| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    });
    found.filter(|found| !found.is_null())
}

/// The text at a path, no longer than a result may be.
fn string(value: &Value, path: &Option<String>) -> Option<String> {
    let text = at(value, path.as_deref()?)?.as_str()?;
    let mut end = text.len().min(TAIL_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (end > 0).then(|| text[..end].to_owned())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        let path = |path: &str| Some(path.to_owned());
        Definition {
            name: "mine".into(),
            command: ["mine", "--json"].map(str::to_owned).to_vec(),
            is_jsonl: true,
            text: path("message.parts.0.text"),
            result: path("final"),
            session: path("session.id"),
            error: path("problem"),
            input_tokens: path("usage.in"),
            output_tokens: path("usage.out"),
            cost: path("usage.usd"),
            success: Some(Rule {
                path: "status".into(),
                value: "ok".into(),
            }),
            resume: ["--resume", "{session}"].map(str::to_owned).to_vec(),
            model: ["--model={model}"].map(str::to_owned).to_vec(),
            ..Definition::default()
        }
    }

    const TRANSCRIPT: &[&str] = &[
        r#"{"session":{"id":"s-1"}}"#,
        r#"{"message":{"parts":[{"text":"working"}]},"usage":{"in":1}}"#,
        "not JSON",
        r#"{"other":true}"#,
        r#"{"status":"ok","final":"done","usage":{"in":5,"out":7,"usd":0.5}}"#,
        r#"{"status":"bad","problem":"too late"}"#,
    ];

    fn told(definition: &Definition, lines: &[&str]) -> (Vec<EventType>, Summary) {
        let mut reader = definition.reader();
        let events = lines.iter().flat_map(|line| reader.line(line.as_bytes()));
        (events.map(|event| event.kind).collect(), reader.summary())
    }

    #[test]
    fn lines_are_read_by_their_paths() {
        let (events, summary) = told(&definition(), TRANSCRIPT);
        let all = [
            EventType::Session,
            EventType::Text,
            EventType::Raw,
            EventType::Raw,
            EventType::Result,
            EventType::Error,
        ];
        assert_eq!(events, all);
        assert_eq!(summary.verdict, Verdict::Success, "the first word decides");
        assert_eq!(summary.result.as_deref(), Some("done"));
        assert_eq!(summary.session_id.as_deref(), Some("s-1"));
        let usage = summary.usage;
        assert_eq!(
            (usage.input_tokens, usage.output_tokens, usage.cost_usd),
            (Some(5), Some(7), Some(0.5))
        );
        assert_eq!(summary.warnings.len(), 2);
    }

    #[test]
    fn what_does_not_say_success_is_none() {
        let verdict = |lines: &[&str]| told(&definition(), lines).1.verdict;
        assert_eq!(verdict(&[]), Verdict::NoResult);
        assert_eq!(verdict(&[r#"{"status":null}"#]), Verdict::NoResult);
        assert_eq!(verdict(&[r#"{"final":"done"}"#]), Verdict::NoResult);
        let message = |lines: &[&str]| match verdict(lines) {
            Verdict::Error { message, .. } => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            message(&[r#"{"problem":"no key"}"#, r#"{"status":"bad"}"#]),
            "no key"
        );
        assert!(message(&[r#"{"status":1}"#]).contains("not 'ok'"));
        // Cutting lines never makes a success of anything else.
        let bad = r#"{"status":"bad","final":"ok"}"#;
        for end in 0..bad.len() {
            assert_ne!(verdict(&[&bad[..end]]), Verdict::Success, "{end}");
        }
        let by_status = Definition {
            success: None,
            ..definition()
        };
        assert_eq!(
            told(&by_status, TRANSCRIPT).1.verdict,
            Verdict::ByExitStatus
        );
    }

    #[test]
    fn a_limit_counts_unless_it_goes_on() {
        let limited = Definition {
            limit: Some(Rule {
                path: "code".into(),
                value: "429".into(),
            }),
            limit_reset: Some("until".into()),
            ..definition()
        };
        let verdict = |lines: &[&str]| told(&limited, lines).1.verdict;
        let until = |lines: &[&str]| match verdict(lines) {
            Verdict::Limited { until, .. } => until.map(|at| at.0),
            other => panic!("{lines:?}: {other:?}"),
        };
        let limit = r#"{"code":429,"until":1790000000,"problem":"slow down"}"#;
        let (failed, done) = (r#"{"status":"bad","final":"no"}"#, r#"{"status":"ok"}"#);
        assert_eq!(until(&[limit]), Some(1_790_000_000_000));
        assert_eq!(until(&[limit, failed]), Some(1_790_000_000_000));
        let at_once = r#"{"status":"bad","code":"429","until":"2026-09-21T14:13:20Z"}"#;
        assert_eq!(until(&[at_once]), Some(1_790_000_000_000));
        for reset in ["null", "\"soon\"", "-5", "{}", "9e99", "1.5"] {
            let odd = format!(r#"{{"code":429,"until":{reset}}}"#);
            assert_eq!(until(&[&odd]), None, "{reset}");
        }
        assert_eq!(verdict(&[limit, done]), Verdict::Success);
        let goes_on = r#"{"message":{"parts":[{"text":"on I go"}]}}"#;
        assert_eq!(verdict(&[limit, goes_on]), Verdict::NoResult);
        assert!(matches!(
            verdict(&[limit, goes_on, failed]),
            Verdict::Error { .. }
        ));
        // The program got through after all, by the very field that told of the limit.
        assert_eq!(verdict(&[at_once, done]), Verdict::Success);
        let last_words = r#"{"message":{"parts":[{"text":"I give up"}]}}"#;
        assert_eq!(until(&[at_once, last_words]), Some(1_790_000_000_000));
        assert_eq!(
            until(&[at_once, last_words, failed]),
            Some(1_790_000_000_000)
        );
        // What is said after the end changes nothing.
        assert!(matches!(verdict(&[failed, limit]), Verdict::Error { .. }));
        assert_eq!(verdict(&[done, limit]), Verdict::Success);
        let (events, summary) = told(&limited, &[limit]);
        assert_eq!(events, [EventType::Error, EventType::Limit]);
        assert!(matches!(
            summary.verdict,
            Verdict::Limited { message, .. } if message == "slow down"
        ));
    }

    /// How soon the program is stopped after its end must not decide what is recorded.
    #[test]
    fn what_comes_after_the_end_is_not_recorded() {
        let line = |status: &str, last: &str, tokens: u32| {
            format!(r#"{{"status":"{status}","final":"{last}","usage":{{"in":{tokens}}}}}"#)
        };
        let (first, second) = (line("ok", "A", 1), line("bad", "B", 999));
        let after = r#"{"final":"C","usage":{"in":5},"problem":"late"}"#;
        let alone = told(&definition(), &[&first]).1;
        let summary = told(&definition(), &[&first, &second, after]).1;
        assert_eq!(summary.verdict, Verdict::Success);
        assert_eq!(summary.result.as_deref(), Some("A"));
        assert_eq!(summary.usage, alone.usage);
        assert_eq!(summary.warnings.len(), 1, "{:?}", summary.warnings);
        let failed = told(&definition(), &[&second, &first]).1;
        assert!(matches!(failed.verdict, Verdict::Error { .. }));
        assert_eq!(failed.result.as_deref(), Some("B"));
    }

    #[test]
    fn the_command_is_made_of_what_there_is() {
        let settings = AgentSettings {
            name: "a".into(),
            model: Some("big".into()),
            args: vec!["--more".into()],
            own: Some(definition()),
            ..AgentSettings::default()
        };
        let occasion = Occasion {
            session: Some("s-1"),
            ..Occasion::example()
        };
        let adapter = definition().adapter();
        assert!(adapter.has_result_event && adapter.capabilities.resume);
        let started = adapter.start(&settings, &occasion).unwrap();
        assert_eq!(
            started.argv,
            ["mine", "--json", "--model=big", "--resume", "s-1", "--more"]
        );
        assert!(started.prompt_on_stdin);
    }

    #[test]
    fn a_setting_it_does_not_have_is_refused_in_its_own_name() {
        let settings = AgentSettings {
            name: "a".into(),
            model: Some("big".into()),
            own: Some(Definition {
                model: Vec::new(),
                ..definition()
            }),
            ..AgentSettings::default()
        };
        let adapter = definition().adapter();
        let refused = adapter.start(&settings, &Occasion::example()).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("adapter 'mine' has no setting `model`"),
            "{said}"
        );
    }

    #[test]
    fn a_session_that_would_be_taken_for_an_option_is_not_believed() {
        let line = r#"{"session":{"id":"--allow-everything"}}"#;
        assert_eq!(told(&definition(), &[line]).1.session_id, None);
        let settings = AgentSettings {
            own: Some(definition()),
            ..AgentSettings::default()
        };
        let occasion = Occasion {
            session: Some("--allow-everything"),
            ..Occasion::example()
        };
        let started = definition().adapter().start(&settings, &occasion);
        assert!(matches!(
            started,
            Err(SettingsError::LooksLikeOption {
                field: "session",
                ..
            })
        ));
    }

    #[test]
    fn a_prompt_that_is_an_argument_or_a_file_takes_its_place() {
        let by = |prompt, word: &str| {
            let definition = Definition {
                prompt,
                command: vec!["mine".into(), word.into()],
                ..definition()
            };
            let mut argv = definition.command.clone();
            let settings = AgentSettings::default();
            let done =
                definition.complete(&mut argv, Path::new("/p"), "-x {prompt_file}", &settings);
            done.map(|()| argv[1].clone())
        };
        assert_eq!(by(PromptBy::Arg, "{prompt}").unwrap(), "-x {prompt_file}");
        assert_eq!(by(PromptBy::File, "--in={prompt_file}").unwrap(), "--in=/p");
        let long = "x".repeat(200_000);
        let definition = Definition {
            prompt: PromptBy::Arg,
            ..definition()
        };
        let mut argv = vec!["mine".to_owned(), "{prompt}".to_owned()];
        let settings = AgentSettings::default();
        assert!(
            definition
                .complete(&mut argv, Path::new("/p"), &long, &settings)
                .is_err()
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_key() {
        let wrong = |change: &dyn Fn(&mut Definition)| {
            let mut definition = definition();
            change(&mut definition);
            definition.check().unwrap_err().0
        };
        assert_eq!(definition().check(), Ok(()));
        assert_eq!(wrong(&|it| it.command.clear()), "command");
        assert_eq!(wrong(&|it| it.is_jsonl = false), "text");
        assert_eq!(wrong(&|it| it.prompt = PromptBy::File), "command");
        assert_eq!(wrong(&|it| it.command.push("{prompt}".into())), "command");
        assert_eq!(wrong(&|it| it.resume = vec!["--last".into()]), "resume");
        assert_eq!(wrong(&|it| it.session = None), "resume");
        assert_eq!(wrong(&|it| it.model = vec!["--model".into()]), "model");
        assert_eq!(
            wrong(&|it| it.limit_reset = Some("at".into())),
            "limit_reset"
        );
        let rule = || Rule {
            path: "code".into(),
            value: "429".into(),
        };
        assert_eq!(
            wrong(&|it| (it.limit, it.success) = (Some(rule()), None)),
            "limit"
        );
    }

    #[test]
    fn a_definition_comes_back_from_its_file() {
        let text = serde_json::to_string(&definition()).unwrap();
        assert_eq!(
            serde_json::from_str::<Definition>(&text).unwrap(),
            definition()
        );
    }
}
