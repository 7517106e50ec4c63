//! Steps one after the other, with their durations, and a summary that names all of them.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a step ended that did not fail.
pub enum Passed {
    /// It did its work; what there is to say about it.
    Done(String),
    /// It could not be done here, and why.
    Skipped(String),
}

/// A named piece of work.
pub struct Step<'a> {
    /// What it is called in the summary.
    pub name: &'static str,
    /// The work.
    pub work: Box<dyn FnOnce() -> Result<Passed> + 'a>,
}

impl<'a> Step<'a> {
    /// A step.
    pub fn new(name: &'static str, work: impl FnOnce() -> Result<Passed> + 'a) -> Self {
        Self {
            name,
            work: Box::new(work),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Passed(String),
    Skipped(String),
    Failed(String),
    NotRun,
}

/// A line of the summary.
struct Line {
    name: &'static str,
    took: Duration,
    standing: Standing,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, note) = match &self.standing {
            Standing::Passed(note) => ("ok", note.as_str()),
            Standing::Skipped(why) => ("skipped", why.as_str()),
            Standing::Failed(why) => ("FAILED", why.as_str()),
            Standing::NotRun => ("not run", ""),
        };
        let seconds = self.took.as_secs_f64();
        let line = format!("  {:<10} {word:<8} {seconds:>7.1} s  {note}", self.name);
        f.write_str(line.trim_end())
    }
}

/// Runs the steps until one fails, or all of them with `keep_going`, and prints a summary.
///
/// # Errors
/// A step failed.
pub fn run(steps: Vec<Step<'_>>, keep_going: bool) -> Result<()> {
    let lines = perform(steps, keep_going);
    println!("\nsummary");
    for line in &lines {
        println!("{line}");
    }
    let total: Duration = lines.iter().map(|line| line.took).sum();
    println!("  {:<10} {:<8} {:>7.1} s", "total", "", total.as_secs_f64());
    let failed: Vec<&str> = lines
        .iter()
        .filter(|line| matches!(line.standing, Standing::Failed(_)))
        .map(|line| line.name)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

fn perform(steps: Vec<Step<'_>>, keep_going: bool) -> Vec<Line> {
    let mut broken = false;
    let perform_one = |step: Step<'_>| {
        if broken && !keep_going {
            return Line {
                name: step.name,
                took: Duration::ZERO,
                standing: Standing::NotRun,
            };
        }
        println!("\n== {}", step.name);
        let start = Instant::now();
        let standing = match (step.work)() {
            Ok(Passed::Done(note)) => Standing::Passed(note),
            Ok(Passed::Skipped(why)) => Standing::Skipped(why),
            Err(error) => {
                println!("{}: {error:#}", step.name);
                broken = true;
                Standing::Failed(error.to_string())
            }
        };
        Line {
            name: step.name,
            took: start.elapsed(),
            standing,
        }
    };
    steps.into_iter().map(perform_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps<'a>() -> Vec<Step<'a>> {
        vec![
            Step::new("one", || Ok(Passed::Done("3 things".into()))),
            Step::new("two", || bail!("broken")),
            Step::new("three", || Ok(Passed::Skipped("no tool".into()))),
        ]
    }

    fn standings(keep_going: bool) -> Vec<Standing> {
        perform(steps(), keep_going)
            .into_iter()
            .map(|line| line.standing)
            .collect()
    }

    #[test]
    fn the_first_failure_ends_it_and_the_rest_is_named() {
        let expected = [
            Standing::Passed("3 things".into()),
            Standing::Failed("broken".into()),
            Standing::NotRun,
        ];
        assert_eq!(standings(false), expected);
        assert_eq!(standings(true)[2], Standing::Skipped("no tool".into()));
    }

    #[test]
    fn a_failure_is_an_error_that_names_the_step() {
        for keep_going in [false, true] {
            assert_eq!(
                run(steps(), keep_going).unwrap_err().to_string(),
                "failed: two"
            );
        }
        assert!(
            run(
                vec![Step::new("one", || Ok(Passed::Done(String::new())))],
                false
            )
            .is_ok()
        );
    }
}
