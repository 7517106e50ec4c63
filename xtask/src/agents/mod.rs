//! `cargo xtask agents`: the real agent programs, in their real versions, against the scripted
//! model; and whether what orch recorded of each is what happened.

mod case;
mod expected;
mod install;
mod mixed;
mod play;
mod processes;
mod programs;
mod stop;
mod table;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use orch_model::Server;

use crate::chaos::{beside, built};
use case::Case;
use play::Stage;
use programs::Program;
use table::{Line, Table};

/// What is tried.
#[derive(Args)]
pub struct Options {
    /// Try this program only; can be given several times
    #[arg(long, value_name = "NAME")]
    cli: Vec<String>,
    /// Make this trial only; can be given several times
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Make only the trials that every test run makes
    #[arg(long)]
    quick: bool,
    /// Only run programs of all kinds at once on one repository
    #[arg(long)]
    mixed: bool,
    /// Make so many trials at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Keep each project below this directory
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Write docs/agents-table.md
    #[arg(long)]
    write: bool,
    /// The orch to try; the one beside this program unless given
    #[arg(long, value_name = "FILE")]
    orch: Option<PathBuf>,
}

/// How it went.
pub enum Tried {
    /// Everything was told right.
    Right(String),
    /// It could not be done here, and why.
    Skipped(String),
}

/// A trial.
type Trial = (&'static Program, Case);

/// `cargo xtask agents`.
///
/// # Errors
/// Something was told wrong; it has been printed.
pub fn command(options: &Options) -> Result<()> {
    match run(options)? {
        Tried::Right(said) => println!("agents: {said}"),
        Tried::Skipped(why) => println!("agents: skipped: {why}"),
    }
    Ok(())
}

/// An MCP server over stdin and stdout.
///
/// # Errors
/// Either broke.
pub fn serve_mcp() -> Result<()> {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    orch_model::mcp::serve(input, output).context("serving over stdin and stdout")
}

/// Makes the trials that were asked for, and prints the table. A signal ends all that was started,
/// and then this program.
fn run(options: &Options) -> Result<Tried> {
    stop::at_signals()?;
    let tried = prepared(options);
    stop::leave_if_asked();
    tried
}

fn prepared(options: &Options) -> Result<Tried> {
    let programs = chosen_programs(&options.cli)?;
    let cases = chosen_cases(&options.case)?;
    let trials: Vec<Trial> = match options.quick {
        true => quick(&programs, &cases),
        false => all(&programs, &cases),
    };
    let orch = match &options.orch {
        Some(orch) => std::path::absolute(orch)?,
        None => built()?,
    };
    if let Err(reason) = install::all(&programs)? {
        return Ok(Tried::Skipped(reason.0));
    }
    let stage = Stage {
        orch,
        server: Server::start(0).context("starting the model server")?,
        tools: install::folder(),
        this: std::env::current_exe()?,
        keep: options.keep.clone(),
    };
    tried(&stage, options, &trials)
}

fn tried(stage: &Stage, options: &Options, trials: &[Trial]) -> Result<Tried> {
    let start = Instant::now();
    let mut lines = match options.mixed {
        true => Vec::new(),
        false => make(stage, trials, options.jobs),
    };
    let whole = options.cli.is_empty() && options.case.is_empty() && !options.quick;
    if options.mixed || whole {
        lines.extend(mixed::play(stage)?);
    }
    stop::check()?;
    let table = Table::new(lines);
    println!("\n{table}");
    if options.write {
        ensure!(
            whole,
            "--write writes the whole table, so it takes no --cli, --case or --quick"
        );
        table.write()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    match table.wrong() {
        0 => Ok(Tried::Right(format!(
            "{} trials told right, {seconds:.0} s",
            table.len()
        ))),
        wrong => bail!("{wrong} of {} trials were told wrong", table.len()),
    }
}

/// The trials of every test run.
///
/// # Errors
/// Something was told wrong.
pub fn sensible() -> Result<Tried> {
    run(&Options {
        cli: Vec::new(),
        case: Vec::new(),
        quick: true,
        mixed: false,
        jobs: 2,
        keep: None,
        write: false,
        // The test run has built it.
        orch: Some(beside()?),
    })
}

fn chosen_programs(names: &[String]) -> Result<Vec<&'static Program>> {
    let all = programs::ALL.iter();
    let chosen: Vec<&Program> = all
        .filter(|program| names.is_empty() || names.iter().any(|name| name == program.name))
        .collect();
    let known: Vec<&str> = programs::ALL.iter().map(|program| program.name).collect();
    for name in names {
        ensure!(
            known.contains(&name.as_str()),
            "no program is called '{name}'; there are {}",
            known.join(", ")
        );
    }
    Ok(chosen)
}

fn chosen_cases(names: &[String]) -> Result<Vec<Case>> {
    if names.is_empty() {
        return Ok(Case::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = Case::ALL.iter().find(|case| case.name() == name);
        let known: Vec<&str> = Case::ALL.iter().map(|case| case.name()).collect();
        let known = known.join(", ");
        found
            .copied()
            .with_context(|| format!("no trial is called '{name}'; there are {known}"))
    };
    names.iter().map(find).collect()
}

fn all(programs: &[&'static Program], cases: &[Case]) -> Vec<Trial> {
    let trials = programs
        .iter()
        .flat_map(|program| cases.iter().map(|case| (*program, *case)));
    trials.collect()
}

/// Each program does its work once, and each ending is met with one program at least.
fn quick(programs: &[&'static Program], cases: &[Case]) -> Vec<Trial> {
    let trials = all(programs, cases).into_iter();
    trials
        .filter(|(program, case)| match case {
            Case::Work | Case::BadKey => true,
            Case::Kill | Case::Background | Case::Cut | Case::Mcp => {
                matches!(program.name, "claude" | "codex" | "pi")
            }
            _ => false,
        })
        .collect()
}

/// Makes trials, so many at once, and says how each went as it ends.
fn make(stage: &Stage, trials: &[Trial], jobs: usize) -> Vec<Line> {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, 16) {
            scope.spawn(|| {
                while let Some((program, case)) = trials.get(next.fetch_add(1, Ordering::Relaxed))
                    && stop::check().is_ok()
                {
                    let line = one(stage, program, *case);
                    println!("agents: {line}");
                    if let Ok(mut lines) = lines.lock() {
                        lines.push(line);
                    }
                }
            });
        }
    });
    lines.into_inner().unwrap_or_default()
}

fn one(stage: &Stage, program: &Program, case: Case) -> Line {
    let expected = expected::of(program.name, case);
    let begun = Instant::now();
    match stage.play(program, case) {
        Ok(recorded) => {
            let mut wrong = expected.judge(&recorded);
            if !wrong.is_empty() {
                wrong.push(expected::details(&recorded));
            }
            Line::new(
                program.name,
                case.name(),
                recorded.outcome(),
                recorded.took,
                wrong,
            )
            .because(expected.because)
        }
        Err(error) => {
            let wrong = vec![format!("{error:#}")];
            Line::new(
                program.name,
                case.name(),
                "none".to_owned(),
                begun.elapsed(),
                wrong,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_and_a_wrong_name_is_told() {
        assert_eq!(chosen_programs(&[]).unwrap().len(), programs::ALL.len());
        assert_eq!(chosen_programs(&["pi".into()]).unwrap()[0].name, "pi");
        assert!(chosen_programs(&["pie".into()]).is_err());
        assert_eq!(chosen_cases(&["401".into()]).unwrap(), [Case::BadKey]);
        assert!(chosen_cases(&["402".into()]).is_err());
    }

    #[test]
    fn every_program_does_its_work_in_every_test_run() {
        let programs = chosen_programs(&[]).unwrap();
        let trials = quick(&programs, Case::ALL);
        for program in programs {
            let works = |trial: &&Trial| trial.0.name == program.name && trial.1 == Case::Work;
            assert_eq!(trials.iter().filter(works).count(), 1, "{}", program.name);
        }
    }
}
