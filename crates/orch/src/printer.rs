//! The only place that prints. What quiet, JSON, colour and the width of the terminal mean is
//! decided here, once.
//!
//! Data goes to standard output, talk to standard error. A printer must not know what a task is.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::args::{ColorChoice, Global};
use crate::error::{Result, UserError};
use crate::json;
use crate::table::Table;
use crate::untrusted::Untrusted;

/// What a piece of text means; colours follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Nothing special.
    Plain,
    /// A heading, or the name of what is shown.
    Strong,
    /// What matters less.
    Faint,
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// It is under way.
    Busy,
    /// A person should look.
    Attention,
}

impl Label {
    const fn style(self) -> Style {
        let plain = Style::new();
        match self {
            Self::Plain => plain,
            Self::Strong => plain.bold(),
            Self::Faint => plain.dimmed(),
            Self::Good => plain.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green))),
            Self::Bad => plain.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red))),
            Self::Busy => plain.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan))),
            Self::Attention => plain.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow))),
        }
    }
}

struct Stream {
    to: Box<dyn Write + Send>,
    terminal: bool,
    colour: bool,
}

impl Stream {
    fn painted(&self, label: Label, text: &str) -> String {
        if self.colour && label != Label::Plain {
            let style = label.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// What the environment says about where output goes.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Standard output is a terminal.
    pub out_is_terminal: bool,
    /// Standard error is a terminal.
    pub err_is_terminal: bool,
    /// Columns of the terminal; `None` if nobody knows.
    pub width: Option<usize>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` or `FORCE_COLOR` is set and not empty or 0.
    pub force_color: bool,
    /// `TERM` is `dumb`.
    pub dumb: bool,
    /// The locale can show more than ASCII.
    pub unicode: bool,
}

impl Surroundings {
    /// What the process finds.
    #[must_use]
    pub fn find() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let forced = |name: &str| !matches!(variable(name).as_str(), "" | "0");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .map(variable)
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_ascii_lowercase();
        Self {
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            width: width(),
            no_color: !variable("NO_COLOR").is_empty(),
            force_color: forced("CLICOLOR_FORCE") || forced("FORCE_COLOR"),
            dumb: variable("TERM") == "dumb",
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    const fn colour(&self, choice: ColorChoice, terminal: bool) -> bool {
        match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if self.no_color || self.dumb => false,
            ColorChoice::Auto => terminal || self.force_color,
        }
    }
}

/// Columns of the terminal. A terminal that says 0 does not know.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints.
pub struct Printer {
    out: Mutex<Stream>,
    err: Mutex<Stream>,
    json: bool,
    quiet: bool,
    terminal: bool,
    live: bool,
    width: Option<usize>,
    unicode: bool,
    zone: OnceLock<TimeZone>,
}

impl Printer {
    /// A printer to the standard streams.
    #[must_use]
    pub fn standard(global: &Global) -> Self {
        let streams = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self {
            zone: OnceLock::new(),
            ..Self::new(global, &Surroundings::find(), streams.0, streams.1)
        }
    }

    /// A printer to any streams; times are shown in UTC.
    #[must_use]
    pub fn new(
        global: &Global,
        found: &Surroundings,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        let stream = |to, terminal| {
            let colour = found.colour(global.color, terminal);
            Mutex::new(Stream {
                to,
                terminal,
                colour,
            })
        };
        Self {
            out: stream(out, found.out_is_terminal),
            err: stream(err, found.err_is_terminal),
            json: global.json,
            quiet: global.quiet,
            terminal: found.out_is_terminal,
            live: found.out_is_terminal && !found.dumb,
            width: found.width,
            unicode: found.unicode,
            zone: TimeZone::UTC.into(),
        }
    }

    /// Whether answers are JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only ids are wanted.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person reads the answers.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether answers are in colour.
    #[must_use]
    pub fn is_coloured(&self) -> bool {
        lock(&self.out).colour
    }

    /// Whether the screen can be drawn again in place.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.live && !self.json
    }

    /// Whether more than ASCII can be shown. Without a terminal it is always so.
    #[must_use]
    pub const fn is_unicode(&self) -> bool {
        self.unicode
    }

    /// The zone times are shown in: the system's, unless another was given. It is found when it is
    /// first needed. To find it, all zones that the system knows are listed, and that costs more
    /// than the rest of most commands, which show no time.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        self.zone.get_or_init(TimeZone::system)
    }

    /// `text` as standard output shows what it means. The text must be safe already.
    #[must_use]
    pub fn painted(&self, label: Label, text: &str) -> String {
        lock(&self.out).painted(label, text)
    }

    /// `text` as standard error shows what it means. The text must be safe already.
    #[must_use]
    pub fn painted_talk(&self, label: Label, text: &str) -> String {
        lock(&self.err).painted(label, text)
    }

    /// Prints a line of data. The text must be safe already.
    ///
    /// # Errors
    /// It could not be written.
    pub fn line(&self, text: impl Display) -> Result<()> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Prints bytes of data as they are.
    ///
    /// # Errors
    /// They could not be written.
    pub fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut out = lock(&self.out);
        let written = out.to.write_all(bytes).and_then(|()| out.to.flush());
        written.map_err(|error| UserError::output(&error))
    }

    /// Prints `value` as JSON: laid out for a person at a terminal, on one line otherwise.
    ///
    /// # Errors
    /// It could not be written.
    pub fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let laid_out = if self.terminal {
            json::pretty(value)
        } else {
            json::line(value)
        };
        self.raw(&laid_out.map_err(|error| not_json(&error))?)
    }

    /// Prints `value` as one line of a JSON stream.
    ///
    /// # Errors
    /// It could not be written.
    pub fn json_line<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.raw(&json::line(value).map_err(|error| not_json(&error))?)
    }

    /// Prints a table: for a person with headings and within the terminal, otherwise one line per
    /// row with a tab between all columns.
    ///
    /// # Errors
    /// It could not be written.
    pub fn table(&self, table: &Table) -> Result<()> {
        self.raw(self.table_text(table).as_bytes())
    }

    /// What [`Printer::table`] prints.
    #[must_use]
    pub fn table_text(&self, table: &Table) -> String {
        if self.terminal {
            let paint = |label, text: &str| self.painted(label, text);
            table.aligned(self.width, &paint)
        } else {
            table.separated()
        }
    }

    /// Draws `text` in place of what [`Printer::redraw`] drew before.
    ///
    /// # Errors
    /// It could not be written.
    pub fn redraw(&self, text: &str) -> Result<()> {
        // Home, each line with the rest of it cleared, then the rest of the screen cleared: no
        // flicker, as nothing is blank in between.
        let mut screen = String::from("\x1b[H");
        for line in text.lines() {
            screen.push_str(line);
            screen.push_str("\x1b[K\r\n");
        }
        screen.push_str("\x1b[J");
        self.raw(screen.as_bytes())
    }

    /// Says something to a person, unless quiet. The text must be safe already.
    ///
    /// # Errors
    /// Never; talk that nobody hears is no error. The type is that of every other print.
    pub fn talk(&self, text: impl Display) -> Result<()> {
        if !self.quiet {
            let mut err = lock(&self.err);
            // If standard error is gone there is nobody left to tell.
            let _ = writeln!(err.to, "{text}").and_then(|()| err.to.flush());
        }
        Ok(())
    }

    /// Says what could be done next.
    ///
    /// # Errors
    /// Never, as [`Printer::talk`].
    pub fn hint(&self, text: impl Display) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let label = self.painted_talk(Label::Faint, "hint:");
        self.talk(format!("{label} {text}"))
    }

    /// Warns, even when quiet.
    pub fn warn(&self, text: &str) {
        let mut err = lock(&self.err);
        let label = err.painted(Label::Attention, "warning:");
        let text = Untrusted::line(text).to_string();
        // If standard error is gone there is nobody left to warn.
        let _ = writeln!(err.to, "{label} {text}");
    }

    /// Says what went wrong: what, why and what to do, or one JSON object.
    pub fn error(&self, error: &UserError) {
        let mut err = lock(&self.err);
        let text = if self.json {
            json::line(&BTreeMap::from([("error", error)])).unwrap_or_default()
        } else {
            error_text(&err, error).into_bytes()
        };
        // If standard error is gone there is nobody left to tell; the exit code still says it.
        let _ = err.to.write_all(&text).and_then(|()| err.to.flush());
    }
}

fn not_json(error: &serde_json::Error) -> UserError {
    UserError::new(
        crate::error::Kind::Internal,
        "internal",
        "cannot write JSON",
    )
    .caused_by(error)
}

fn error_text(stream: &Stream, error: &UserError) -> String {
    let mut text = entry(&stream.painted(Label::Bad, "error:"), &error.message);
    for cause in &error.details.causes {
        let label = stream.painted(Label::Attention, "cause:");
        text.push_str(&entry(&format!("  {label}"), cause));
    }
    if let Some(hint) = &error.details.hint {
        let label = stream.painted(Label::Good, "hint:");
        text.push_str(&entry(&format!("  {label}"), hint));
    }
    text
}

/// A label and a text, whose further lines are set in.
fn entry(label: &str, text: &str) -> String {
    let text = Untrusted::block(text.trim_end()).to_string();
    format!("{label} {}\n", text.replace('\n', "\n         "))
}

/// A printer that panicked in another thread is still a printer.
fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("terminal", &self.terminal)
            .field("colour", &self.colour)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::sync::Arc;

    /// A stream whose text can be read afterwards.
    #[derive(Clone, Default)]
    pub struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub fn printer(global: &Global, found: &Surroundings) -> (Printer, Paper, Paper) {
        let (out, err) = (Paper::default(), Paper::default());
        let printer = Printer::new(global, found, Box::new(out.clone()), Box::new(err.clone()));
        (printer, out, err)
    }

    pub fn terminal(width: usize) -> Surroundings {
        Surroundings {
            out_is_terminal: true,
            err_is_terminal: true,
            width: Some(width),
            unicode: true,
            ..Surroundings::default()
        }
    }

    #[test]
    fn colour_is_where_it_is_wanted() {
        let colour = |found: Surroundings, color| {
            let global = Global {
                color,
                ..Global::default()
            };
            printer(&global, &found).0.painted(Label::Good, "x") != "x"
        };
        let on_terminal = |change: fn(&mut Surroundings)| {
            let mut found = terminal(80);
            change(&mut found);
            found
        };
        assert!(colour(on_terminal(|_| ()), ColorChoice::Auto));
        assert!(!colour(
            on_terminal(|f| f.no_color = true),
            ColorChoice::Auto
        ));
        assert!(!colour(on_terminal(|f| f.dumb = true), ColorChoice::Auto));
        assert!(!colour(on_terminal(|_| ()), ColorChoice::Never));
        assert!(!colour(Surroundings::default(), ColorChoice::Auto));
        assert!(colour(Surroundings::default(), ColorChoice::Always));
        assert!(colour(
            on_terminal(|f| f.no_color = true),
            ColorChoice::Always
        ));
    }

    #[test]
    fn an_error_is_what_why_and_what_to_do() {
        let (printer, out, err) = printer(&Global::default(), &Surroundings::default());
        let error = UserError::usage("bad", "the title is \u{1b}[31mempty")
            .caused_by(&io::Error::other("deep"))
            .hint("write one\nor two");
        printer.error(&error);
        assert_eq!(out.text(), "");
        assert_eq!(
            err.text(),
            "error: the title is \\x1b[31mempty\n  cause: deep\n  hint: write one\n         or two\n"
        );
    }

    #[test]
    fn an_error_for_a_program_is_one_object() {
        let global = Global {
            json: true,
            ..Global::default()
        };
        let (printer, _, err) = printer(&global, &Surroundings::default());
        printer.error(&UserError::usage("bad", "no").hint("yes"));
        assert_eq!(
            err.text(),
            "{\"error\":{\"code\":\"bad\",\"message\":\"no\",\"hint\":\"yes\"}}\n"
        );
    }

    #[test]
    fn quiet_says_nothing_but_data() {
        let global = Global {
            quiet: true,
            ..Global::default()
        };
        let (printer, out, err) = printer(&global, &Surroundings::default());
        printer.talk("talk").unwrap();
        printer.hint("hint").unwrap();
        printer.line("data").unwrap();
        assert_eq!((out.text().as_str(), err.text().as_str()), ("data\n", ""));
    }
}
