//! What the tests of several kinds of agents need.

use orch_core::outcome::Verdict;

use super::{Adapter, AgentSettings, Reader};

/// An agent of which nothing is said but its name.
pub(super) fn settings() -> AgentSettings {
    AgentSettings {
        name: "ada".into(),
        ..AgentSettings::default()
    }
}

/// A reader that has been given these lines.
pub(super) fn read(adapter: &Adapter, lines: &[impl AsRef<str>]) -> Box<dyn Reader + Send> {
    let mut reader = (adapter.reader)();
    for line in lines {
        reader.line(line.as_ref().as_bytes());
    }
    reader
}

/// What a verdict says, in one word.
pub(super) fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Error { code, .. }
        | Verdict::Explained { code, .. }
        | Verdict::Limited { code, .. } => code.as_str(),
        Verdict::Success => "success",
        Verdict::NoResult => "no result",
        Verdict::ByExitStatus => "by exit status",
    }
}
