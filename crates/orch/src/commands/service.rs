//! `orch service`: what keeps a daemon running.
//!
//! The units are the files that are shipped; only the paths are put in.

use std::path::Path;

use crate::args::{Service, ServicePrint};
use crate::context::Context;
use crate::error::{Result, UserError};
use crate::exit::Ending;
use crate::printer::Printer;

const SYSTEMD: &str = include_str!("../../../../contrib/systemd/orch.service");
const LAUNCHD: &str = include_str!("../../../../contrib/launchd/orch.plist");

/// Runs a verb.
pub fn run(context: &Context, command: &Service) -> Result<Ending> {
    match command {
        Service::Print(args) => print(context, args),
    }
}

/// What is put into a unit.
struct Paths {
    orch: String,
    project: String,
    path: String,
}

fn print(context: &Context, args: &ServicePrint) -> Result<Ending> {
    let project = context.project()?;
    let orch = std::env::current_exe()
        .map_err(|error| UserError::io("cannot tell where this program is", &error))?;
    let paths = Paths {
        orch: plain(&orch)?,
        project: plain(&project.root)?,
        path: plain(Path::new(&std::env::var_os("PATH").unwrap_or_default()))?,
    };
    let unit = match args.launchd || (cfg!(target_os = "macos") && !args.systemd) {
        true => launchd(&paths),
        false => systemd(&paths),
    };
    tell(&context.printer, &unit)?;
    Ok(Ending::Done)
}

fn tell(printer: &Printer, unit: &str) -> Result<()> {
    if printer.is_json() {
        return printer.json(&serde_json::json!({ "unit": unit }));
    }
    printer.raw(unit.as_bytes())
}

/// A path that a line of a unit can hold.
fn plain(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        let shown = path.to_string_lossy();
        let shown = crate::untrusted::Untrusted::line(&shown).to_string();
        UserError::usage("bad_path", format!("{shown} cannot be written into a unit"))
    })
}

fn filled(unit: &str, paths: &Paths, escaped: impl Fn(&str) -> String) -> String {
    unit.replace("@PROJECT@", &escaped(&paths.project))
        .replace("@ORCH@", &escaped(&paths.orch))
        .replace("@PATH@", &escaped(&paths.path))
}

/// The unit of a user's systemd. A percent sign begins a specifier in any of its values; a dollar a
/// variable and a backslash an escape only where words are split.
fn systemd(paths: &Paths) -> String {
    let lines = SYSTEMD.lines().map(|line| {
        let words = line.starts_with("ExecStart=") || line.starts_with("Environment=");
        let exec = line.starts_with("ExecStart=");
        filled(line, paths, |text| {
            let text = text.replace('%', "%%");
            let text = match words {
                true => text.replace('\\', "\\\\").replace('"', "\\\""),
                false => text,
            };
            match exec {
                true => text.replace('$', "$$"),
                false => text,
            }
        })
    });
    lines.map(|line| line + "\n").collect()
}

/// The property list of a launch agent.
fn launchd(paths: &Paths) -> String {
    filled(LAUNCHD, paths, |text| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths {
            orch: "/opt/my orch/o\"$x\\y".to_owned(),
            project: "/home/me/50% <a&b>".to_owned(),
            path: "/bin:/usr/bin".to_owned(),
        }
    }

    /// The unit that is shipped says what the promise needs, as a file and as it is printed.
    /// systemd itself does not run where the tests do, so that it obeys was not tried.
    #[test]
    fn the_unit_leaves_agents_alone() {
        for unit in [SYSTEMD.to_owned(), systemd(&paths())] {
            let has = |wanted: &str| unit.lines().any(|line| line == wanted);
            for wanted in [
                "Type=notify",
                "KillMode=process",
                "KillSignal=SIGQUIT",
                "Delegate=yes",
                "OOMPolicy=continue",
                "TasksMax=infinity",
                "Restart=on-failure",
                "StartLimitBurst=10",
            ] {
                assert!(has(wanted), "{wanted} in {unit}");
            }
        }
        let key = "<key>AbandonProcessGroup</key>\n  <true/>";
        assert!(LAUNCHD.contains(key));
    }

    #[test]
    fn paths_are_written_as_each_reads_them() {
        let unit = systemd(&paths());
        let exec =
            "ExecStart=\"/opt/my orch/o\\\"$$x\\\\y\" --project \"/home/me/50%% <a&b>\" serve";
        assert!(unit.contains(exec), "{unit}");
        assert!(
            unit.contains("\nWorkingDirectory=/home/me/50%% <a&b>\n"),
            "{unit}"
        );
        assert!(!unit.contains('@'), "{unit}");
        let list = launchd(&paths());
        assert!(
            list.contains("<string>/home/me/50% &lt;a&amp;b&gt;</string>"),
            "{list}"
        );
        assert!(!list.contains('@'), "{list}");
        assert!(plain(Path::new("/a\nb")).is_err());
    }
}
