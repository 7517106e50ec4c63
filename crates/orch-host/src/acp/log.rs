//! The lines of `out.log`: what the agent said, and what the driver says itself.
//!
//! Whatever is written is whole and valid JSON by construction: words of the agent are put in
//! only as one value that was read before, or as a JSON string. So none of them can end the
//! object they are in.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use orch_core::run::Exit;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::conversation::Ending;
use super::peer::Left;
use crate::adapter::json::{Line, Object, is_sound, mended, read};

/// Between two attempts to write to a disk that is full.
const RETRY: Duration = Duration::from_secs(1);

/// Writes the lines.
pub(super) struct Log {
    out: BufWriter<File>,
}

impl Log {
    pub(super) fn to_stdout() -> io::Result<Self> {
        let out = rustix::io::dup(rustix::stdio::stdout())?;
        Ok(Self {
            out: BufWriter::new(File::from(out)),
        })
    }

    /// Writes a line of the agent and gives each message that is in it.
    pub(super) fn heard(
        &mut self,
        line: &[u8],
        each: &mut dyn FnMut(&mut Self, &Object<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        let trimmed = text.trim_ascii();
        let mended = match read(trimmed) {
            Line::Blank => return Ok(()),
            Line::Other => mended(trimmed),
            line => return self.messages(line, each),
        };
        let Some(mended) = mended else {
            return self.text(trimmed);
        };
        let line = read(&mended);
        match serde_json::from_str::<&RawValue>(trimmed) {
            // It can be written as it came; whoever reads it mends it again.
            Ok(raw) if matches!(line, Line::Object(_)) => {
                self.line("acp", raw.get())?;
                let Line::Object(object) = line else {
                    return Ok(());
                };
                each(self, &object)
            }
            _ => match line {
                Line::Other | Line::Blank => self.text(trimmed),
                line => self.messages(line, each),
            },
        }
    }

    fn messages(
        &mut self,
        line: Line<'_>,
        each: &mut dyn FnMut(&mut Self, &Object<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let objects = match line {
            Line::Object(object) => vec![object],
            Line::Several(objects) => objects,
            Line::Blank | Line::Other => Vec::new(),
        };
        for object in &objects {
            self.line("acp", object.raw.get())?;
            each(self, object)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.line("acp_text", &Value::from(text).to_string())
    }

    /// Writes a line of the driver's own.
    pub(super) fn own(&mut self, what: &str, value: &Value) -> io::Result<()> {
        self.line("orch_acp", &json!({ what: value }).to_string())
    }

    /// Writes how the conversation ended.
    pub(super) fn end(&mut self, ending: &Ending) -> io::Result<()> {
        let whole = json!({ "end": ending.to_json(true) }).to_string();
        // What could not be read again is left out; the message itself stands in a line before.
        match is_sound(&format!("[{whole}]")) {
            true => self.line("orch_acp", &whole)?,
            false => self.own("end", &ending.to_json(false))?,
        }
        self.flush()
    }

    /// Writes how the agent's process left.
    pub(super) fn left(&mut self, left: &Left) -> io::Result<()> {
        let exit = left.exit.map(exit_json);
        self.own("left", &json!({ "asked": left.asked, "exit": exit }))?;
        self.flush()
    }

    fn line(&mut self, field: &str, json: &str) -> io::Result<()> {
        for part in ["{\"", field, "\":", json, "}\n"] {
            self.write(part.as_bytes())?;
        }
        Ok(())
    }

    /// Waits for room on a full disk: the agent waits too, by its pipe, and nothing is lost.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => wait_for_room(error)?,
            }
        }
        Ok(())
    }

    /// Hands everything to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Err(error) = self.out.flush() {
            wait_for_room(error)?;
        }
        Ok(())
    }
}

fn wait_for_room(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            std::thread::sleep(RETRY);
            Ok(())
        }
        _ => Err(error),
    }
}

/// How a process ended.
pub(super) fn exit_json(exit: Exit) -> Value {
    match exit {
        Exit::Code(code) => json!({ "code": code }),
        Exit::Signal { number, core } => json!({ "signal": number, "core": core }),
    }
}
