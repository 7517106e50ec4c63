//! What agents say, in the daemon's own log, when it was asked for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};

use orch_api::types::AgentEvent;

use super::live::LiveRun;
use super::machine::Machine;
use crate::convert;
use crate::log::LogLine;
use crate::shared::locked;

/// Longest line of an agent that is said, characters.
const LINE_CHARS: usize = 500;

impl Machine {
    /// Says the events that were recorded since the last time. A log that cannot be read says
    /// nothing; the events themselves are safe.
    pub(super) fn say(&self, live: &LiveRun) {
        if self.shared.verbose {
            let _ = self.try_say(live);
        }
    }

    fn try_say(&self, live: &LiveRun) -> io::Result<()> {
        let mut said = locked(&live.said);
        let mut file = BufReader::new(File::open(live.dir.events())?);
        file.seek(SeekFrom::Start(*said))?;
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            *said += line.len() as u64;
            if let Ok(event) = serde_json::from_slice::<AgentEvent>(&line) {
                self.say_event(live, &event);
            }
            line.clear();
        }
        Ok(())
    }

    fn say_event(&self, live: &LiveRun, event: &AgentEvent) {
        let Ok(kind) = event.kind.parse() else { return };
        if let Some(words) = (live.adapter.describe)(kind, &event.data) {
            let words = self.shared.redactor().text(&words).into_owned();
            let words = orch_core::text::excerpt(&words, LINE_CHARS);
            let run = &live.run;
            let line = LogLine::said(convert::now(), run.id.as_str(), run.agent.as_str(), words);
            self.shared.log.say(line);
        }
    }
}
