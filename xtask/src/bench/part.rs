//! The programs the benchmark starts: what this machine can do at best, and an agent that writes.
//! They are hidden subcommands, so that they run as processes of their own and their CPU time can
//! be told from that of the benchmark.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use rustix::process::{WaitOptions, wait};
use serde::{Deserialize, Serialize};

use super::procfs::Process;
use super::talk::Talk;

/// Bytes of a line that an agent writes, its end included.
pub const LINE_BYTES: usize = 200;
/// Bytes that an agent which writes in blocks hands over at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of the record of one end; as long as a line of a journal would be.
const RECORD_BYTES: usize = 120;

/// `cargo xtask bench-part`
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Start a program many times and wait for it
    Spawn(Spawn),
    /// Write lines like an agent does
    Lines(Lines),
    /// Write lines at a steady rate, as a coding agent does
    Talk(Talk),
    /// Append records and make each durable
    Sync(Sync),
    /// Make empty files
    Create(Create),
}

/// What the machine is made to do.
#[derive(Args)]
struct Spawn {
    /// How often
    #[arg(long)]
    count: usize,
    /// How many at once
    #[arg(long)]
    parallel: usize,
    /// What is written down about each
    #[arg(long)]
    records: Records,
    /// Where to
    #[arg(long)]
    folder: PathBuf,
}

/// What is written down about each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Records {
    /// Nothing; its output goes nowhere
    None,
    /// A log file of its own, and a record that is made durable before anything else happens
    Sync,
    /// A log file of its own, and a record; those that ended together are made durable together
    Group,
}

/// What such a program found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// How long it took, seconds.
    pub wall: f64,
    /// CPU time of the loop itself, seconds.
    pub own: f64,
    /// CPU time of what it started, seconds.
    pub children: f64,
}

/// How an agent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Each line by itself
    Line,
    /// 64 KiB at once
    Block,
}

impl Shape {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Block => "block",
        }
    }
}

#[derive(Args)]
struct Lines {
    /// How many lines
    #[arg(long)]
    count: usize,
    /// How they are written
    #[arg(long)]
    shape: Shape,
    /// The folder for a file that says when it began and ended
    #[arg(long)]
    ledger: PathBuf,
}

#[derive(Args)]
struct Sync {
    /// How many
    #[arg(long)]
    count: usize,
    /// Where to
    #[arg(long)]
    folder: PathBuf,
}

#[derive(Args)]
struct Create {
    /// How many
    #[arg(long)]
    count: usize,
    /// Where to
    #[arg(long)]
    folder: PathBuf,
}

/// Does one part and prints what it found as JSON.
///
/// # Errors
/// A process or a file could not be had.
pub fn run(options: &Options) -> Result<()> {
    match &options.part {
        Part::Spawn(spawn) => println!("{}", serde_json::to_string(&spawn.run()?)?),
        Part::Lines(lines) => lines.run()?,
        Part::Talk(talk) => talk.run()?,
        Part::Sync(sync) => println!("{}", serde_json::to_string(&sync.run()?)?),
        Part::Create(create) => println!("{}", serde_json::to_string(&create.run()?)?),
    }
    Ok(())
}

impl Spawn {
    /// One thread: fill up, wait for one, write down, again.
    fn run(&self) -> Result<Found> {
        ensure!(self.parallel > 0, "nothing at once is nothing at all");
        let mut journal = journal(&self.folder)?;
        let before = own();
        let began = Instant::now();
        let (mut started, mut ended) = (0, 0);
        while ended < self.count {
            while started < self.count && started - ended < self.parallel {
                self.start(started)?;
                started += 1;
            }
            ended += self.take_ends(&mut journal)?;
        }
        let wall = began.elapsed().as_secs_f64();
        let after = own();
        Ok(Found {
            wall,
            own: after.own_seconds() - before.own_seconds(),
            children: after.children_seconds() - before.children_seconds(),
        })
    }

    fn start(&self, number: usize) -> Result<()> {
        let mut command = Command::new("/bin/true");
        command.stdin(Stdio::null()).stderr(Stdio::null());
        match self.records {
            Records::None => command.stdout(Stdio::null()),
            Records::Sync | Records::Group => {
                command.stdout(File::create(self.folder.join(format!("{number}.log")))?)
            }
        };
        // Waited for below, whichever ends first; the handle itself is of no use.
        drop(command.spawn().context("starting a process")?);
        Ok(())
    }

    /// Waits for one end, takes those that are there already as well, and writes them down.
    fn take_ends(&self, journal: &mut File) -> Result<usize> {
        let mut ended = 0;
        let mut options = WaitOptions::empty();
        while wait_once(options)? {
            ended += 1;
            if self.records == Records::None {
                return Ok(ended);
            }
            journal.write_all(&[b'.'; RECORD_BYTES])?;
            if self.records == Records::Sync {
                journal.sync_data()?;
                return Ok(ended);
            }
            options = WaitOptions::NOHANG;
        }
        journal.sync_data()?;
        Ok(ended)
    }
}

/// Whether a child has ended. That none is left is an answer where nobody waits.
fn wait_once(options: WaitOptions) -> Result<bool> {
    match wait(options) {
        Ok(ended) => Ok(ended.is_some()),
        Err(rustix::io::Errno::CHILD) => Ok(false),
        Err(error) => Err(error).context("waiting for a process"),
    }
}

fn journal(folder: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let journal = options.create(true).append(true);
    let journal = journal.open(folder.join("journal"));
    journal.context("making a journal")
}

fn own() -> Process {
    // A process that reads its own line exists.
    Process::read(std::process::id()).expect("this process is in /proc")
}

impl Lines {
    fn run(&self) -> Result<()> {
        let began = now();
        match self.shape {
            Shape::Line => by_line(&mut standard_output()?, self.count)?,
            Shape::Block => by_block(&mut standard_output()?, self.count)?,
        }
        let ended = now();
        let path = self.ledger.join(format!("{}.span", std::process::id()));
        fs::write(path, format!("{began} {ended}\n")).context("writing down when it was")
    }
}

/// A line as agents write them: a JSON object.
fn line() -> Vec<u8> {
    let head = r#"{"type":"text","text":""#;
    let tail = "\"}\n";
    let filler = "x".repeat(LINE_BYTES - head.len() - tail.len());
    format!("{head}{filler}{tail}").into_bytes()
}

/// Standard output as a file: the usual handle gathers what is written.
fn standard_output() -> Result<File> {
    let copy = io::stdout().as_fd().try_clone_to_owned();
    Ok(File::from(copy.context("copying standard output")?))
}

fn by_line(output: &mut impl Write, count: usize) -> Result<()> {
    let line = line();
    for _ in 0..count {
        output.write_all(&line)?;
    }
    Ok(())
}

fn by_block(output: &mut impl Write, count: usize) -> Result<()> {
    // 25 blocks hold a whole number of lines.
    let buffer = line().repeat(25 * BLOCK_BYTES / LINE_BYTES);
    let mut left = count * LINE_BYTES;
    while left > 0 {
        for block in buffer.chunks(BLOCK_BYTES) {
            let size = block.len().min(left);
            output.write_all(&block[..size])?;
            left -= size;
        }
    }
    Ok(())
}

impl Sync {
    fn run(&self) -> Result<Vec<f64>> {
        let mut journal = journal(&self.folder)?;
        let mut milliseconds = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            let began = Instant::now();
            journal.write_all(&[b'.'; RECORD_BYTES])?;
            journal.sync_data()?;
            milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(milliseconds)
    }
}

impl Create {
    fn run(&self) -> Result<Vec<f64>> {
        let mut milliseconds = Vec::with_capacity(self.count);
        for number in 0..self.count {
            let path = self.folder.join(number.to_string());
            let began = Instant::now();
            File::create_new(&path).context("making a file")?;
            milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(milliseconds)
    }
}

/// Nanoseconds since 1970.
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// From when to when agents wrote, taken together, seconds: the first beginning to the last end.
///
/// # Errors
/// A file of the ledger cannot be read, or not as many agents as said have left one.
pub fn span(ledger: &Path, agents: usize) -> Result<f64> {
    let mut spans = Vec::new();
    for entry in fs::read_dir(ledger)? {
        spans.push(fs::read_to_string(entry?.path())?);
    }
    ensure!(
        spans.len() == agents,
        "{} agents of {agents} wrote to their end",
        spans.len()
    );
    whole_span(&spans).context("a ledger holds something else")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a difference of minutes in nanoseconds is far below 2^52"
)]
fn whole_span(spans: &[String]) -> Option<f64> {
    let parse = |text: &String| -> Option<(u128, u128)> {
        let (began, ended) = text.trim().split_once(' ')?;
        Some((began.parse().ok()?, ended.parse().ok()?))
    };
    let spans: Option<Vec<(u128, u128)>> = spans.iter().map(parse).collect();
    let spans = spans?;
    let first = spans.iter().map(|span| span.0).min()?;
    let last = spans.iter().map(|span| span.1).max()?;
    Some(last.checked_sub(first)? as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what each write was.
    #[derive(Default)]
    struct Sizes(Vec<usize>, Vec<u8>);

    impl Write for Sizes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn both_shapes_write_the_same_lines() {
        let (mut lines, mut blocks) = (Sizes::default(), Sizes::default());
        by_line(&mut lines, 1_000).unwrap();
        by_block(&mut blocks, 1_000).unwrap();
        assert_eq!(lines.0, [LINE_BYTES; 1_000]);
        assert_eq!(blocks.0, [65_536, 65_536, 65_536, 200_000 - 3 * 65_536]);
        assert!(lines.1 == blocks.1);
        let text = String::from_utf8(line()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok() && text.ends_with('\n'));
    }

    #[test]
    fn a_span_reaches_from_the_first_beginning_to_the_last_end() {
        let spans =
            |texts: &[&str]| whole_span(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            spans(&["2000000000 5000000000\n", "1000000000 3000000000\n"]),
            Some(4.0)
        );
        assert_eq!(spans(&["1 x"]), None);
        assert_eq!(spans(&[]), None);
    }
}
