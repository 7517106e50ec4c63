//! Which unit of systemd a process belongs to, and how that unit ends its processes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::supervise::spawn_owned;

/// How long systemctl may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The unit that a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, like `orch.service`.
    pub name: String,
    /// Whether it belongs to a user's systemd.
    pub of_user: bool,
    /// What systemd says about it; `None` if it does not answer.
    pub unit: Option<Unit>,
}

/// What matters of a unit, in systemd's words. Empty where systemd did not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// What is killed when the service stops.
    pub kill_mode: String,
    /// Whether the service may use its cgroup as it likes.
    pub delegate: String,
    /// What happens when one process of it runs out of memory.
    pub oom_policy: String,
    /// Most processes it may have.
    pub tasks_max: String,
}

impl Service {
    /// The service that `pid` belongs to, by its cgroup; `None` in a terminal or a container.
    pub(super) fn of(proc: &Path, pid: u32, systemctl: &Path) -> Option<Self> {
        let cgroup = fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).ok()?;
        let (name, of_user) = service_in(&cgroup)?;
        let unit = ask(systemctl, &name, of_user).map(|text| Unit::parse(&text));
        Some(Self {
            name,
            of_user,
            unit,
        })
    }
}

impl Unit {
    /// What `systemctl show` printed.
    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        Self {
            kill_mode: value("KillMode"),
            delegate: value("Delegate"),
            oom_policy: value("OOMPolicy"),
            tasks_max: value("TasksMax"),
        }
    }
}

/// The unit at the end of a cgroup's path, and whether a user's systemd made it. Sessions and
/// applications that a person started are scopes, not services.
fn service_in(cgroup: &str) -> Option<(String, bool)> {
    let paths = cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers) = (fields.next()?, fields.next()?);
        let is_systemds = controllers.is_empty() || controllers == "name=systemd";
        fields.next().filter(|_| is_systemds)
    });
    paths.filter_map(service_of_path).next()
}

fn service_of_path(path: &str) -> Option<(String, bool)> {
    let name = path.rsplit('/').next()?;
    // The service of a user's systemd itself holds whatever that did not put elsewhere.
    let is_service = name.ends_with(".service") && !name.starts_with("user@");
    is_service.then(|| (name.to_owned(), path.contains("/user@")))
}

/// What systemd says about a unit. It may hang, or not be there at all.
fn ask(systemctl: &Path, name: &str, of_user: bool) -> Option<String> {
    let mut command = Command::new(systemctl);
    if of_user {
        command.arg("--user");
    }
    command
        .args([
            "show",
            "--property=KillMode,Delegate,OOMPolicy,TasksMax",
            "--",
        ])
        .arg(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = spawn_owned(&mut command).ok()?;
    let mut stdout = child.child().stdout.take()?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = std::io::Read::read_to_string(&mut stdout, &mut text);
        let _ = tell.send(read.is_ok().then_some(text));
    });
    let text = told.recv_timeout(PATIENCE).ok().flatten();
    if text.is_none() {
        let _ = child.child().kill();
    }
    let status = child.wait().ok()?;
    text.filter(|_| status.success())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_service_is_one() {
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/orch.service\n";
        assert_eq!(service_in(user), Some(("orch.service".to_owned(), true)));
        let system = "12:pids:/x.service\n1:name=systemd:/system.slice/orch-shop.service\n";
        let found = service_in(system);
        assert_eq!(found, Some(("orch-shop.service".to_owned(), false)));
        for other in [
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service\n",
            "0::/\n",
            "5:pids:/docker/ab.service\n",
            "nonsense",
            "",
        ] {
            assert_eq!(service_in(other), None, "{other}");
        }
    }

    /// Fault 7. Injected: a process in a unit whose KillMode is the default, with a systemctl that
    /// says so (systemd itself does not run where the tests do). Held: it is found out, for
    /// `orch doctor` to warn.
    #[test]
    fn systemd_is_asked_about_the_unit_of_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let proc = directory.path().join("proc");
        fs::create_dir_all(proc.join("7")).unwrap();
        fs::write(proc.join("7/cgroup"), "0::/user@1.service/orch.service\n").unwrap();
        let systemctl = directory.path().join("systemctl");
        let script = "#!/bin/sh\n[ \"$1 $2 $4 $5\" = '--user show -- orch.service' ] || exit 1\n\
                      echo KillMode=control-group\necho Delegate=no\necho TasksMax=4915\n";
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let service = Service::of(&proc, 7, &systemctl).unwrap();
        let unit = service.unit.unwrap();
        assert_eq!((&*unit.kill_mode, &*unit.delegate), ("control-group", "no"));
        assert_eq!((&*unit.oom_policy, &*unit.tasks_max), ("", "4915"));
        let silent = Service::of(&proc, 7, Path::new("/nonexistent/systemctl")).unwrap();
        assert_eq!(silent.unit, None);
        assert_eq!(Service::of(&proc, 8, &systemctl), None);
    }
}
