//! From facts to verdicts. Pure.

use orch_core::text;
use orch_host::facts::{Machine, Records, Service, Space, Unit};

use super::facts::{Facts, Found, KeptFacts, RepositoryFacts};
use super::{Check, Verdict};

/// Descriptors that a daemon needs for itself, and for each agent at work.
const FILES: (u64, u64) = (128, 8);
/// Processes that a user needs beside orch, and that an agent with its tools may take.
const PROCESSES: (u64, u64) = (256, 64);

/// What to look at where a file or directory cannot be read for a reason that has no name.
const LOOK_AT_STATE: &str = "ls -ld .orch .orch/runs; they must be yours, with mode 700";

const KNOWN_ENDS: &str = "how every agent ended is known, even if its supervisor is killed";
const AGENTS_LIVE_ON: &str = "agents live on while orch itself is restarted or upgraded";
const DEAD_IS_DEAD: &str = "an agent that is stopped is stopped with everything it started";
const RECORDED_STAYS: &str = "what is recorded stays recorded";
const YOURS_ALONE: &str = "nobody else reads or changes what your agents do";
const NOTHING_LOST_WHEN_FULL: &str = "a full disk loses nothing";
const NO_WORK_LOST: &str = "no work an agent did is ever lost";
const ENOUGH_TO_START: &str = "agents are started as soon as there is a free place for them";
const NO_STRANGER: &str = "no signal ever reaches a process that is not orch's";
const GIT_RUNS_NOTHING: &str = "git runs no code of an agent's in your name";

/// Judges everything, in the order in which a person would mend it.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        state(&facts.state),
        space(&facts.space, facts.shortage.as_deref()),
        sqlite(&facts.sqlite),
    ];
    checks.extend(facts.database.as_ref().map(database));
    checks.push(subreaper(&facts.machine));
    checks.push(descendants(&facts.machine));
    checks.push(service(&facts.machine, facts.daemon));
    checks.push(boot(&facts.machine));
    checks.push(open_files(&facts.machine, facts.max_agents));
    checks.push(processes(&facts.machine, facts.max_agents));
    checks.extend(repository(&facts.repository));
    checks.push(records(&facts.records, &facts.gone));
    checks.push(kept(&facts.kept));
    if !facts.backups.is_empty() {
        let shown: Vec<String> = facts
            .backups
            .iter()
            .map(|it| it.display().to_string())
            .collect();
        let detail = format!("from before migrations: {}", shown.join(", "));
        checks.push(Check::new(
            "database backups",
            RECORDED_STAYS,
            Verdict::Ok,
            detail,
        ));
    }
    checks
}

fn state(state: &Result<std::path::PathBuf, (String, Option<String>)>) -> Check {
    let check =
        |verdict, detail: String| Check::new("state directory", YOURS_ALONE, verdict, detail);
    match state {
        Ok(path) => check(Verdict::Ok, path.display().to_string()),
        Err((detail, mend)) => {
            let mend = mend.as_deref().unwrap_or(LOOK_AT_STATE);
            check(Verdict::Problem, detail.clone()).mend(mend)
        }
    }
}

fn space(space: &Found<Space>, shortage: Option<&str>) -> Check {
    let check =
        |verdict, detail: String| Check::new("disk space", NOTHING_LOST_WHEN_FULL, verdict, detail);
    let space = match space {
        Ok(space) => space,
        Err(error) => {
            let detail = format!("cannot be told: {error}");
            return check(Verdict::Warning, detail).mend("df .");
        }
    };
    let detail = format!(
        "{} MiB of {} MiB are free",
        space.free >> 20,
        space.total >> 20
    );
    match shortage {
        Some(short) => check(Verdict::Problem, format!("nothing is started: {short}"))
            .mend("make room; 'orch rescue prune --older-than 1d' gives up what orch still keeps"),
        None => check(Verdict::Ok, detail),
    }
}

fn sqlite(version: &str) -> Check {
    let detail = format!("SQLite {version}, built in");
    let numbers: Vec<u32> = version
        .split('.')
        .filter_map(|it| it.parse().ok())
        .collect();
    if *numbers >= [3, 51, 3][..] {
        return Check::new("SQLite", RECORDED_STAYS, Verdict::Ok, detail);
    }
    Check::new("SQLite", RECORDED_STAYS, Verdict::Problem, detail)
        .mend("use a build of orch with SQLite 3.51.3 or newer")
}

fn database(found: &Found<()>) -> Check {
    match found {
        Ok(()) => Check::new(
            "database",
            RECORDED_STAYS,
            Verdict::Ok,
            "every page is whole",
        ),
        Err(error) => Check::new("database", RECORDED_STAYS, Verdict::Problem, error.clone()).mend(
            "stop the daemon, keep a copy of .orch, and go back to a backup of .orch/orch.db",
        ),
    }
}

fn subreaper(machine: &Machine) -> Check {
    match &machine.subreaper {
        None => {
            let detail = "this process may adopt orphans";
            Check::new("child subreaper", KNOWN_ENDS, Verdict::Ok, detail)
        }
        Some(why) => {
            let detail = format!("{why}: the end of an agent whose supervisor is killed is 'lost'");
            Check::new("child subreaper", KNOWN_ENDS, Verdict::Warning, detail)
                .mend("run orch on Linux 3.4 or newer, outside of what forbids prctl")
        }
    }
}

/// Honest about what orch does: it uses no cgroup, so whether there is one changes nothing.
fn descendants(machine: &Machine) -> Check {
    if machine.subreaper.is_none() {
        let detail = "found by their ancestry and by a mark in their environment; a cgroup is not \
                      needed and not used";
        return Check::new("processes of agents", DEAD_IS_DEAD, Verdict::Ok, detail);
    }
    let detail = "found only by a mark in their environment, which a process can remove";
    Check::new(
        "processes of agents",
        DEAD_IS_DEAD,
        Verdict::Warning,
        detail,
    )
    .mend("run orch on Linux, where orphans can be adopted")
}

fn service(machine: &Machine, daemon: Option<u32>) -> Check {
    let check = |verdict, detail: String| Check::new("service", AGENTS_LIVE_ON, verdict, detail);
    let Some(service) = &machine.service else {
        let detail = match daemon {
            Some(_) => "the daemon belongs to no systemd service",
            None => "no daemon serves this project",
        };
        return check(Verdict::Ok, detail.to_owned());
    };
    let Some(unit) = &service.unit else {
        let detail = format!("systemd does not say how it stops {}", service.name);
        return check(Verdict::Warning, detail).mend(mend_service(service));
    };
    let wrong = wrong_with(unit);
    if wrong.is_empty() {
        return check(Verdict::Ok, format!("{} leaves agents alone", service.name));
    }
    let verdict = match kills_agents(unit) {
        true => Verdict::Problem,
        false => Verdict::Warning,
    };
    let detail = format!("{}: {}", service.name, wrong.join("; "));
    check(verdict, detail).mend(mend_service(service))
}

fn mend_service(service: &Service) -> String {
    let (place, systemctl) = match service.of_user {
        true => ("~/.config/systemd/user", "systemctl --user"),
        false => ("/etc/systemd/system", "systemctl"),
    };
    format!(
        "orch service print --systemd > {place}/{0} && {systemctl} daemon-reload",
        service.name
    )
}

/// `mixed` sends the first signal to the daemon alone, but KILL to all that is left.
fn kills_agents(unit: &Unit) -> bool {
    !matches!(unit.kill_mode.as_str(), "process" | "none")
}

fn wrong_with(unit: &Unit) -> Vec<String> {
    let mut wrong = Vec::new();
    if kills_agents(unit) {
        let mode = match unit.kill_mode.as_str() {
            "" => "unknown",
            mode => mode,
        };
        wrong.push(format!(
            "KillMode is {mode}, so every restart kills all agents; it must be process"
        ));
    }
    if unit.oom_policy == "stop" || unit.oom_policy == "kill" {
        wrong.push(format!(
            "OOMPolicy is {}, so one agent that runs out of memory ends orch; it should be continue",
            unit.oom_policy
        ));
    }
    wrong
}

fn boot(machine: &Machine) -> Check {
    if machine.boot_id {
        let detail = "one boot can be told from another";
        return Check::new("boot id", NO_STRANGER, Verdict::Ok, detail);
    }
    let detail = "a boot cannot be told from another: processes are known by number and start only";
    Check::new("boot id", NO_STRANGER, Verdict::Warning, detail)
        .mend("mount /proc so that /proc/sys/kernel/random/boot_id can be read")
}

fn limit(name: &str, have: Option<u64>, need: u64, option: char, agents: u32) -> Check {
    let Some(have) = have else {
        return Check::new(name, ENOUGH_TO_START, Verdict::Ok, "no limit");
    };
    if have >= need {
        return Check::new(name, ENOUGH_TO_START, Verdict::Ok, format!("{have}"));
    }
    let detail = format!("{have} are few for {agents} agents at once; {need} are enough");
    Check::new(name, ENOUGH_TO_START, Verdict::Warning, detail)
        .mend(format!("ulimit -{option} {need} before orch is started"))
}

fn open_files(machine: &Machine, agents: u32) -> Check {
    let need = FILES.0 + FILES.1 * u64::from(agents);
    limit("open files", machine.open_files, need, 'n', agents)
}

fn processes(machine: &Machine, agents: u32) -> Check {
    let need = PROCESSES.0 + PROCESSES.1 * u64::from(agents);
    limit("processes", machine.processes, need, 'u', agents)
}

fn repository(found: &Found<RepositoryFacts>) -> Vec<Check> {
    let facts = match found {
        Ok(facts) => facts,
        Err(error) => {
            let check = Check::new("repository", NO_WORK_LOST, Verdict::Problem, error.clone());
            return vec![check.mend("git status")];
        }
    };
    let mut checks = vec![identity(facts), programs(facts)];
    if !facts.hooks.is_empty() {
        let hooks = facts.hooks.join(", ");
        let detail = format!("{hooks}: yours run them, git as orch calls it does not");
        checks.push(Check::new(
            "git hooks",
            GIT_RUNS_NOTHING,
            Verdict::Ok,
            detail,
        ));
    }
    if let Some(why) = &facts.no_target {
        let detail = format!("{why}: no worktree can be made and nothing can land");
        let check = Check::new("target branch", NO_WORK_LOST, Verdict::Problem, detail);
        checks.push(check.mend("orch config set project.target BRANCH, or: git branch BRANCH"));
    }
    if let Some(lock) = &facts.stale_lock {
        let lock = lock.display();
        let detail = format!("{lock} was left by a git that died; nothing can land before it goes");
        let check = Check::new("git lock", NO_WORK_LOST, Verdict::Problem, detail);
        checks.push(check.mend(format!(
            "see that no git is at work here, then: rm '{lock}'"
        )));
    }
    if facts.shallow {
        let detail = "older history is missing here; orch works with what there is";
        checks.push(
            Check::new("git history", NO_WORK_LOST, Verdict::Warning, detail)
                .mend("git fetch --unshallow"),
        );
    }
    checks
}

fn identity(facts: &RepositoryFacts) -> Check {
    if facts.identity {
        let detail = "git knows who commits";
        return Check::new("git identity", NO_WORK_LOST, Verdict::Ok, detail);
    }
    let detail = "git does not know who you are; orch commits as 'orch', agents cannot commit";
    Check::new("git identity", NO_WORK_LOST, Verdict::Warning, detail)
        .mend("git config --global user.name 'You'; git config --global user.email you@example.org")
}

fn programs(facts: &RepositoryFacts) -> Check {
    if facts.programs.is_empty() {
        let detail = "the repository's own configuration names no program";
        return Check::new("git configuration", GIT_RUNS_NOTHING, Verdict::Ok, detail);
    }
    let detail = format!(
        "the repository's own configuration sets {}; orch does not follow them, your own git does",
        facts.programs.join(", ")
    );
    Check::new(
        "git configuration",
        GIT_RUNS_NOTHING,
        Verdict::Warning,
        detail,
    )
    .mend("git config --local --list; what you did not set: git config --local --unset KEY")
}

fn records(found: &Found<Records>, gone: &[String]) -> Check {
    let check =
        |verdict, detail: String| Check::new("records of runs", KNOWN_ENDS, verdict, detail);
    let records = match found {
        Ok(records) => records,
        Err(error) => return check(Verdict::Problem, error.clone()).mend(LOOK_AT_STATE),
    };
    let first = |paths: &[std::path::PathBuf]| {
        let first = paths.first().map(|path| path.display().to_string());
        format!("{} ({})", paths.len(), first.unwrap_or_default())
    };
    if !records.unknown.is_empty() {
        let detail = format!("{} are of another version of orch", first(&records.unknown));
        return check(Verdict::Problem, detail)
            .mend("use the orch that wrote them, or a newer one");
    }
    if !records.corrupt.is_empty() {
        let count = first(&records.corrupt);
        let detail = format!("{count} could not be trusted and were moved aside");
        return check(Verdict::Warning, detail).mend("orch runs: those runs are 'lost'");
    }
    if !gone.is_empty() {
        let names = text::named(gone);
        let detail = match gone.len() {
            1 => format!("the directory of 1 run is gone, and what it wrote with it: {names}"),
            count => {
                format!("the directories of {count} runs are gone, and what they wrote: {names}")
            }
        };
        return check(Verdict::Warning, detail)
            .mend("put .orch/runs back from a backup; 'orch show RUN' says what is still known");
    }
    let more = if records.more { " of more" } else { "" };
    check(
        Verdict::Ok,
        format!("{}{more} looked at, all readable", records.looked_at),
    )
}

fn kept(found: &Found<KeptFacts>) -> Check {
    let check = |verdict, detail: String| Check::new("rescue", NO_WORK_LOST, verdict, detail);
    let kept = match found {
        Ok(kept) => kept,
        Err(error) => {
            let detail = format!("what is kept cannot be told, so nothing expires: {error}");
            return check(Verdict::Warning, detail)
                .mend("move away from .orch/trash what orch did not put there");
        }
    };
    let detail = format!(
        "{} removed things ({} MiB) and {} rescue refs are kept",
        kept.items,
        kept.bytes >> 20,
        kept.refs
    );
    if kept.bytes > kept.limit {
        let detail = format!("{detail}, more than the {} MiB allowed", kept.limit >> 20);
        return check(Verdict::Warning, detail).mend("orch rescue prune --older-than 1d");
    }
    if !kept.unknown.is_empty() {
        let detail = format!("{detail}; orch did not write {}", kept.unknown.join(", "));
        return check(Verdict::Warning, detail)
            .mend("orch rescue show ID, then restore or drop it");
    }
    check(Verdict::Ok, detail)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A machine on which every promise holds.
    fn fine() -> Facts {
        Facts {
            machine: Machine {
                subreaper: None,
                boot_id: true,
                open_files: Some(1_024),
                processes: None,
                service: None,
            },
            daemon: None,
            sqlite: "3.51.3".to_owned(),
            state: Ok(PathBuf::from("/p/.orch")),
            space: Ok(Space {
                free: 10 << 30,
                total: 100 << 30,
            }),
            shortage: None,
            max_agents: 4,
            repository: Ok(RepositoryFacts {
                identity: true,
                hooks: vec!["pre-commit".to_owned()],
                ..RepositoryFacts::default()
            }),
            records: Ok(Records::default()),
            gone: Vec::new(),
            backups: vec![PathBuf::from("/p/.orch/orch.db.v1.backup")],
            kept: Ok(KeptFacts {
                limit: 10 << 30,
                ..KeptFacts::default()
            }),
            database: Some(Ok(())),
        }
    }

    /// The one check that is not ok after `change`.
    fn after(change: impl FnOnce(&mut Facts)) -> Check {
        let mut facts = fine();
        change(&mut facts);
        let mut wrong: Vec<Check> = judge(&facts)
            .into_iter()
            .filter(|check| check.verdict != Verdict::Ok)
            .collect();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].mend.is_some(), "{wrong:?}");
        wrong.remove(0)
    }

    fn repository_with(change: impl FnOnce(&mut RepositoryFacts)) -> Check {
        after(|facts| change(facts.repository.as_mut().unwrap()))
    }

    fn service_with(unit: Option<Unit>, of_user: bool) -> impl FnOnce(&mut Facts) {
        move |facts| {
            facts.machine.service = Some(Service {
                name: "orch.service".to_owned(),
                of_user,
                unit,
            });
        }
    }

    fn unit(kill_mode: &str, oom_policy: &str) -> Option<Unit> {
        Some(Unit {
            kill_mode: kill_mode.to_owned(),
            oom_policy: oom_policy.to_owned(),
            ..Unit::default()
        })
    }

    #[test]
    fn a_fine_machine_has_no_warning_and_each_check_says_what_it_is_good_for() {
        for check in judge(&fine()) {
            assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
            assert!(
                !check.promise.is_empty() && !check.detail.is_empty(),
                "{check:?}"
            );
        }
    }

    /// Fault 7. Injected: facts of a daemon in units with the default KillMode, with `mixed`, with
    /// a harmful OOMPolicy, and with a systemd that does not answer. Held: doctor says that every
    /// restart kills the agents, or what else is weaker, with the command that writes a right unit;
    /// the right unit is ok.
    #[test]
    fn a_unit_that_kills_agents_is_a_problem() {
        for mode in ["control-group", "mixed", ""] {
            let check = after(service_with(unit(mode, "continue"), true));
            assert_eq!((&*check.name, check.verdict), ("service", Verdict::Problem));
            assert!(check.detail.contains("KillMode"), "{check:?}");
            let mend = check.mend.unwrap();
            assert!(mend.contains("orch service print --systemd"), "{mend}");
            assert!(mend.contains("systemctl --user daemon-reload"), "{mend}");
        }
        let check = after(service_with(unit("process", "stop"), false));
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.detail.contains("OOMPolicy"), "{check:?}");
        assert!(check.mend.unwrap().contains("/etc/systemd/system"));
        assert_eq!(after(service_with(None, true)).verdict, Verdict::Warning);
        let mut facts = fine();
        service_with(unit("process", "continue"), true)(&mut facts);
        assert!(
            judge(&facts)
                .iter()
                .all(|check| check.verdict == Verdict::Ok)
        );
    }

    #[test]
    fn without_a_subreaper_two_promises_are_weaker() {
        let mut facts = fine();
        facts.machine.subreaper = Some("not allowed".to_owned());
        let weaker: Vec<_> = judge(&facts)
            .into_iter()
            .filter(|check| check.verdict == Verdict::Warning)
            .map(|check| (check.name, check.promise))
            .collect();
        let expected = [
            ("child subreaper".to_owned(), KNOWN_ENDS),
            ("processes of agents".to_owned(), DEAD_IS_DEAD),
        ];
        assert_eq!(weaker, expected);
    }

    #[test]
    fn the_machine_is_judged() {
        let wrong = |change: fn(&mut Facts)| {
            let check = after(change);
            assert!(check.mend.is_some(), "{check:?}");
            (check.name, check.verdict)
        };
        let warning = |name: &str| (name.to_owned(), Verdict::Warning);
        let problem = |name: &str| (name.to_owned(), Verdict::Problem);
        assert_eq!(wrong(|it| it.machine.boot_id = false), warning("boot id"));
        assert_eq!(
            wrong(|it| it.machine.open_files = Some(159)),
            warning("open files")
        );
        assert_eq!(
            wrong(|it| it.machine.processes = Some(511)),
            warning("processes")
        );
        assert_eq!(
            wrong(|it| it.sqlite = "3.51.2".to_owned()),
            problem("SQLite")
        );
        assert_eq!(
            wrong(|it| it.database = Some(Err("x".to_owned()))),
            problem("database")
        );
        let state = |it: &mut Facts| it.state = Err(("open".to_owned(), Some("chmod".to_owned())));
        assert_eq!(wrong(state), problem("state directory"));
        let short = |it: &mut Facts| it.shortage = Some("1 MiB free".to_owned());
        assert_eq!(wrong(short), problem("disk space"));
        assert_eq!(
            after(|it| it.space = Err("x".to_owned())).verdict,
            Verdict::Warning
        );
    }

    #[test]
    fn limits_that_are_just_enough_are_enough() {
        let mut facts = fine();
        facts.machine.open_files = Some(160);
        facts.machine.processes = Some(512);
        assert!(
            judge(&facts)
                .iter()
                .all(|check| check.verdict == Verdict::Ok)
        );
    }

    #[test]
    fn the_repository_is_judged() {
        let check = repository_with(|it| it.identity = false);
        assert!(check.mend.unwrap().contains("user.email"));
        let check = repository_with(|it| it.programs = vec!["core.fsmonitor".to_owned()]);
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.detail.contains("core.fsmonitor"));
        let check = repository_with(|it| it.stale_lock = Some(PathBuf::from("/p/index.lock")));
        assert_eq!(check.verdict, Verdict::Problem);
        assert!(check.mend.unwrap().contains("/p/index.lock"));
        assert_eq!(repository_with(|it| it.shallow = true).name, "git history");
        let check = repository_with(|it| it.no_target = Some("'main' is gone".to_owned()));
        assert_eq!(
            (&*check.name, check.verdict),
            ("target branch", Verdict::Problem)
        );
        let check = after(|it| it.repository = Err("no repository".to_owned()));
        assert_eq!(check.verdict, Verdict::Problem);
    }

    /// What another version wrote is named, and not read as something else.
    ///
    /// Promise 25.
    #[test]
    fn records_and_what_is_kept_are_judged() {
        let records =
            |change: fn(&mut Records)| after(move |facts| change(facts.records.as_mut().unwrap()));
        let newer = records(|it| it.unknown.push("/r/exit.json".into()));
        assert_eq!(newer.verdict, Verdict::Problem);
        assert!(newer.mend.unwrap().contains("newer"));
        let corrupt = records(|it| it.corrupt.push("/r/exit.json.corrupt".into()));
        assert_eq!(corrupt.verdict, Verdict::Warning);
        let gone = after(|it| it.gone.push("run_1".to_owned()));
        assert_eq!(gone.verdict, Verdict::Warning);
        assert!(gone.detail.contains("1 run is gone") && gone.detail.contains("run_1"));
        let unreadable = after(|it| it.records = Err("x".to_owned()));
        assert_eq!(unreadable.verdict, Verdict::Problem);

        let kept =
            |change: fn(&mut KeptFacts)| after(move |facts| change(facts.kept.as_mut().unwrap()));
        let large = kept(|it| it.bytes = (10 << 30) + 1);
        assert!(large.mend.unwrap().contains("rescue prune"));
        let foreign = kept(|it| it.unknown.push("tsk_1.t1".to_owned()));
        assert!(foreign.detail.contains("tsk_1.t1"));
        assert_eq!(
            after(|it| it.kept = Err("x".to_owned())).verdict,
            Verdict::Warning
        );
    }
}
