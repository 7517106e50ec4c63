//! The recorded transcripts: what real agents printed and how their processes ended.
//!
//! `tests/transcripts/ADAPTER/NAME.jsonl` is a standard output. Beside it may lie `NAME.exit` (an
//! exit status, a signal as a negative number, or `timeout`), `NAME.stderr`, and `NAME.usage`
//! (what the agent wrote into its usage file).

pub mod hostile;

use std::path::{Path, PathBuf};

use orch_core::outcome::{Enforced, Verdict, Witness, decide};
use orch_core::run::{Exit, FailureCode, Outcome};
use orch_host::adapter::{Adapter, AgentEvent, Summary, find};

/// One recorded run.
pub struct Recorded {
    /// The kind of agent.
    pub adapter: &'static Adapter,
    /// The name of the file.
    pub name: String,
    /// Everything it printed on stdout.
    pub stdout: Vec<u8>,
    /// What it printed on stderr, as far as that was kept.
    pub stderr: String,
    /// What `NAME.exit` says, if there is one.
    pub exit: Option<String>,
    /// What it wrote into its usage file, if it did.
    pub usage_file: Option<String>,
}

impl Recorded {
    /// What this output amounts to, and with it whatever the exit status explains.
    pub fn judged(&self) -> (Vec<AgentEvent>, Summary) {
        let (events, mut summary) = read(self.adapter, &self.stdout);
        summary.verdict = self.explained(summary.verdict);
        let file = self.adapter.usage_file.zip(self.usage_file.as_deref());
        if let Some(usage) = file.and_then(|(parse, text)| parse(text)) {
            summary.usage = usage;
        }
        (events, summary)
    }

    /// `verdict`, or what the exit status explains if the output has no result or one that does
    /// not say what its error is about.
    pub fn explained(&self, verdict: Verdict) -> Verdict {
        let code = self.exit.as_deref().and_then(|exit| exit.parse().ok());
        let Some(status) = code.filter(|code| *code >= 0) else {
            return verdict;
        };
        let explained = match &verdict {
            Verdict::NoResult => (self.adapter.explain)(status, &self.stderr)
                .map(|(code, message)| Verdict::Error { code, message }),
            Verdict::Error { code, message } if *code == FailureCode::AgentError => {
                (self.adapter.status_verdict)(status, message)
            }
            _ => None,
        };
        explained.unwrap_or(verdict)
    }

    /// How the run would be recorded with this verdict; `None` if nobody wrote down how its
    /// process ended.
    pub fn outcome(&self, verdict: &Verdict) -> Option<Outcome> {
        let exit = self.exit.as_deref()?;
        let timed_out = Enforced::Timeout { limit_ms: 840_000 };
        let witness = Witness {
            exit: kernel_word(exit),
            enforced: (exit == "timeout").then_some(timed_out),
            stop: None,
            logs: "out.log".to_owned(),
        };
        Some(decide(verdict, &witness))
    }
}

/// What the kernel said, from the text of an exit file. What ran too long was killed.
fn kernel_word(exit: &str) -> Exit {
    let killed = Exit::Signal {
        number: 9,
        core: false,
    };
    match exit.parse() {
        Ok(code @ 0..) => Exit::Code(code),
        Ok(signal) => Exit::Signal {
            number: -signal,
            core: false,
        },
        Err(_) if exit == "timeout" => killed,
        Err(error) => panic!("'{exit}' is no exit status: {error}"),
    }
}

/// Lets a new reader of this kind read all of it.
pub fn read(adapter: &Adapter, stdout: &[u8]) -> (Vec<AgentEvent>, Summary) {
    let mut reader = (adapter.reader)();
    let lines = stdout.split(|&byte| byte == b'\n');
    let events = lines.flat_map(|line| reader.line(line)).collect();
    (events, reader.summary())
}

/// Every transcript of every kind of agent, in the order of their names.
pub fn all() -> Vec<(&'static str, Vec<Recorded>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let kinds = sorted(&root);
    let kinds = kinds.iter().filter(|path| path.is_dir()).map(|directory| {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let adapter = find(name).unwrap_or_else(|| panic!("there is no adapter '{name}'"));
        (adapter.name, transcripts(adapter, directory))
    });
    kinds.collect()
}

fn transcripts(adapter: &'static Adapter, directory: &Path) -> Vec<Recorded> {
    let outputs = sorted(directory).into_iter();
    let outputs = outputs.filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
    outputs.map(|path| transcript(adapter, &path)).collect()
}

fn transcript(adapter: &'static Adapter, path: &Path) -> Recorded {
    let beside = |extension| std::fs::read_to_string(path.with_extension(extension)).ok();
    Recorded {
        adapter,
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        stdout: std::fs::read(path).unwrap(),
        stderr: beside("stderr").unwrap_or_default(),
        exit: beside("exit").map(|text| text.trim().to_owned()),
        usage_file: beside("usage"),
    }
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
