//! What a point does when the environment asks for it. Only in builds with failpoints.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::{ALL, Description, Point};
use crate::run_dir::name;
use crate::supervise::process::Identity;

/// What shall happen where: `POINT=ACTION[@TIMES]`.
const PLAN: &str = "ORCH_FAILPOINT";
/// The file in which every point that is reached leaves a line.
const LOG: &str = "ORCH_FAILPOINT_LOG";
/// The daemon of a shim, as an identity in JSON.
const DAEMON: &str = "ORCH_FAILPOINT_DAEMON";
/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

static PLACE: OnceLock<PathBuf> = OnceLock::new();
static PLANNED: OnceLock<Option<Plan>> = OnceLock::new();
static REACHED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Kill { daemon: bool, shim: bool },
    Pause,
    Panic,
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    point: Point,
    action: Action,
    times: usize,
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (point, rest) = text.split_once('=').ok_or("POINT=ACTION[@TIMES]")?;
        let (action, times) = rest.split_once('@').unwrap_or((rest, "1"));
        let kill = |daemon, shim| Action::Kill { daemon, shim };
        Ok(Self {
            point: ALL
                .iter()
                .find(|it| it.name == point)
                .ok_or_else(|| format!("there is no point '{point}'"))?
                .point,
            action: match action {
                "kill:daemon" => kill(true, false),
                "kill:shim" => kill(false, true),
                "kill:daemon+shim" => kill(true, true),
                "pause" => Action::Pause,
                "panic" => Action::Panic,
                _ => return Err(format!("there is no action '{action}'")),
            },
            times: times.parse().map_err(|_| format!("'@{times}'"))?,
        })
    }
}

pub(super) fn serve(place: &Path) {
    let _ = PLACE.set(place.to_owned());
}

pub(super) fn hand_down(command: &mut Command) {
    let this = Identity::of(getpid().as_raw_pid());
    let text = this.and_then(|this| Ok(serde_json::to_string(&this)?));
    command.env(DAEMON, text.expect("a process can read its own identity"));
}

pub(super) fn hit(point: Point) {
    let log = std::env::var_os(LOG);
    let plan = PLANNED.get_or_init(|| {
        let text = std::env::var(PLAN).ok()?;
        let plan = text.parse::<Plan>();
        Some(plan.unwrap_or_else(|error| panic!("{PLAN}={text}: {error}")))
    });
    if log.is_none() && plan.as_ref().is_none_or(|plan| plan.point != point) {
        return;
    }
    let describes = |it: &&Description| it.point == point;
    let it = ALL.iter().find(describes).expect("ALL has every point");
    let times = match log {
        Some(log) => note(Path::new(&log), it.name).expect("the log of failpoints can be written"),
        None => REACHED.fetch_add(1, Ordering::SeqCst) + 1,
    };
    if let Some(plan) = plan
        && (plan.point, plan.times) == (point, times)
    {
        act(&plan.action, it);
    }
}

/// Leaves a line; how many of this point there are now, over all processes.
fn note(log: &Path, name: &str) -> io::Result<usize> {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(log)?;
    file.lock()?;
    writeln!(file, "{} {name}", getpid().as_raw_pid())?;
    let mut text = String::new();
    File::open(log)?.read_to_string(&mut text)?;
    let is_this = |line: &&str| line.split(' ').nth(1) == Some(name);
    Ok(text.lines().filter(is_this).count())
}

fn act(action: &Action, it: &Description) {
    match action {
        Action::Panic => {
            note_own_death();
            panic!("failpoint {}", it.name)
        }
        Action::Pause => {
            note_own_death();
            let _ = kill_process(getpid(), Signal::STOP);
        }
        Action::Kill { daemon, shim } => {
            let in_shim = it.name.starts_with("shim.");
            let dies = if in_shim { *shim } else { *daemon };
            // Before the daemon is gone: who waits for its end reads the log then.
            if dies {
                note_own_death();
            }
            if in_shim && *daemon {
                kill_daemon();
            }
            if !in_shim && *shim {
                kill_shims();
            }
            if dies {
                let _ = kill_process(getpid(), Signal::KILL);
            }
        }
    }
}

/// Leaves a line about a process before something is done to it: who looks on must know of it.
fn note_death(pid: i32, place: &Path) {
    let run = place.file_name().unwrap_or_default().to_string_lossy();
    if let Some(log) = std::env::var_os(LOG)
        && let Ok(mut log) = OpenOptions::new().append(true).create(true).open(log)
    {
        let _ = writeln!(log, "{pid} dies {run}");
    }
}

fn note_own_death() {
    let place = PLACE.get().map_or(Path::new(""), PathBuf::as_path);
    note_death(getpid().as_raw_pid(), place);
}

fn kill_daemon() {
    if let Ok(text) = std::env::var(DAEMON) {
        kill(&text, Path::new("runs"));
    }
}

/// Every shim of the project that has passed its gate. Of one that has not, nobody knows.
fn kill_shims() {
    let Some(runs) = PLACE.get() else { return };
    for run in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let ended = run.path().join(name::EXIT_RECORD).exists();
        if let Ok(gate) = std::fs::read_to_string(run.path().join(name::STARTED))
            && !ended
        {
            kill(&gate, &run.path());
        }
    }
}

/// Kills the process of this identity, if it is still the one, and waits until it is dead.
fn kill(identity: &str, place: &Path) {
    let Ok(identity) = serde_json::from_str::<Identity>(identity) else {
        return;
    };
    if let Ok(Some(process)) = identity.open() {
        note_death(identity.pid, place);
        let _ = process.signal(Signal::KILL);
        process.wait_end(DEATH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_where_what_and_when() {
        let plan = |text: &str| text.parse::<Plan>();
        let expected = Plan {
            point: Point::ExitRenamed,
            action: Action::Kill {
                daemon: true,
                shim: true,
            },
            times: 2,
        };
        assert_eq!(plan("shim.exit.renamed=kill:daemon+shim@2"), Ok(expected));
        assert_eq!(plan("shim.locked=panic").map(|plan| plan.times), Ok(1));
        for bad in [
            "",
            "shim.locked",
            "shim.lock=pause",
            "shim.locked=kil",
            "shim.locked=pause@x",
        ] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_reached_is_counted_by_name() {
        let log = tempfile::tempdir().unwrap();
        let log = log.path().join("log");
        assert_eq!(note(&log, "shim.locked").unwrap(), 1);
        assert_eq!(note(&log, "shim.entered").unwrap(), 1);
        assert_eq!(note(&log, "shim.locked").unwrap(), 2);
    }
}
