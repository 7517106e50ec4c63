//! The final word of a run whose program says one and means it: the first counts.
//!
//! This part must not know any program's fields.

use orch_core::outcome::Verdict;
use orch_core::run::Usage;

use super::Summary;
use super::lines::Notes;

/// The final word of a run.
pub(super) struct Ending {
    /// What it says.
    pub verdict: Verdict,
    /// The final text in full.
    pub result: Option<String>,
    /// What was used.
    pub usage: Usage,
}

/// The first final word, which alone counts: whoever is told that it is in may end the process,
/// so what comes later must not depend on how long that took.
#[derive(Default)]
pub(super) struct FirstEnding(Option<Ending>);

impl FirstEnding {
    /// Whether there is one.
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Takes a final word. `false`, with a note, if it is not the first.
    pub fn take(&mut self, ending: Ending, notes: &mut Notes) -> bool {
        if let Some(first) = &self.0 {
            notes.add(format!(
                "another result that says {} came after the first, which says {} and counts",
                name(&ending.verdict),
                name(&first.verdict)
            ));
            return false;
        }
        self.0 = Some(ending);
        true
    }

    /// A summary with this end, or with none.
    pub fn summary(&self, session_id: Option<String>) -> Summary {
        let first = self.0.as_ref();
        Summary {
            verdict: first.map_or(Verdict::NoResult, |ending| ending.verdict.clone()),
            result: first.and_then(|ending| ending.result.clone()),
            usage: first.map_or_else(Usage::default, |ending| ending.usage),
            session_id,
            warnings: Vec::new(),
        }
    }
}

const fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "success",
        Verdict::Limited { .. } => "limit",
        _ => "error",
    }
}
