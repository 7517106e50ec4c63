//! Exact instants at which a process can be made to die, for the crash matrix.
//!
//! Every write, flush, rename, spawn and commit of a run's start and end has a [`Point`] before
//! or behind it. A build with the feature `failpoints` reads from its environment which of them
//! shall do what; any other build has no trace of them: [`hit`] is empty and names are never used.
//!
//! ```text
//! ORCH_FAILPOINT=shim.exit.renamed=kill:daemon+shim@2    the second time it is reached
//! ORCH_FAILPOINT_LOG=/some/file                          gets a line "PID POINT" each time
//! ```
//!
//! Actions: `kill:daemon`, `kill:shim`, `kill:daemon+shim` (SIGKILL; a shim kills itself, a daemon
//! kills every shim of its project), `pause` (SIGSTOP to itself), `panic`. With a log the times a
//! point is reached are counted across all processes that share it, without one in each process; a
//! line "PID dies RUN" goes before every death, of a daemon with the folder of the runs as RUN.
//!
//! This module must not know what happens between the points.

#[cfg(feature = "failpoints")]
mod armed;

/// A point as documentation and the matrix know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The point.
    pub point: Point,
    /// Its name: who is there, in the middle of what, how far.
    pub name: &'static str,
    /// What has happened when it is reached.
    pub what: &'static str,
}

macro_rules! points {
    ($($variant:ident $name:literal $what:literal,)+) => {
        /// An instant at which a process can be made to die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $(#[doc = $what] $variant,)+
        }

        /// Every point there is.
        pub const ALL: &[Description] = &[
            $(Description { point: Point::$variant, name: $name, what: $what },)+
        ];
    };
}

// The name before the first dot is the process that gets there.
points! {
    RequestCommitting "daemon.request.committing" "A request was carried out in a transaction that is not committed.",
    RequestCommitted "daemon.request.committed" "A request is committed and was not answered.",
    RequestAnswered "daemon.request.answered" "A request was answered inside the daemon.",
    StartCommitting "daemon.start.committing" "A run was planned in a transaction that is not committed.",
    StartCommitted "daemon.start.committed" "A run is committed as starting and nothing else was done for it.",
    StartTaken "daemon.start.taken" "A worker has taken the start of a run in hand.",
    DirectoryMade "daemon.start.directory" "The run directory was made.",
    WorktreeAdded "daemon.worktree.added" "Git has added the worktree, which is still empty.",
    WorktreeFilled "daemon.worktree.filled" "The worktree has its files and is still marked as being made.",
    WorktreeReady "daemon.worktree.ready" "The worktree is ready.",
    PromptWritten "daemon.start.prompt" "The prompt was written.",
    SpecWritten "daemon.spec.written" "The specification was written under a temporary name.",
    SpecRenamed "daemon.spec.renamed" "The specification has its name.",
    ShimSpawned "daemon.shim.spawned" "The shim was spawned.",
    ShimEntered "shim.entered" "The shim has begun and holds nothing.",
    ShimLocked "shim.locked" "The shim holds its lock.",
    LogsOpened "shim.logs.opened" "The logs are open.",
    ReserveWritten "shim.reserve.written" "Space for the exit record was set aside.",
    GateCreated "shim.started.created" "The launch gate exists and is empty.",
    GateWritten "shim.started.written" "The launch gate was passed.",
    AgentSpawned "shim.agent.spawned" "The agent was spawned and nobody wrote down which process it is.",
    PidWritten "shim.pid.written" "The agent's identity was written under a temporary name.",
    PidRenamed "shim.pid.renamed" "The agent's identity has its name.",
    HelloSent "shim.hello.sent" "The daemon was told that the agent runs.",
    RunningHeard "daemon.running.heard" "The daemon knows that the agent runs and has not recorded it.",
    RunningCommitting "daemon.running.committing" "A run was made running in a transaction that is not committed.",
    RunningCommitted "daemon.running.committed" "A run is committed as running.",
    OutputRead "daemon.output.read" "New output was found and not yet read.",
    EventsWritten "daemon.events.written" "Events were appended to the transcript.",
    SweepBegun "daemon.sweep.begun" "The sweep is about to look at the runs without news.",
    EndSeen "shim.end.seen" "The agent's end was seen, is not noted, and lies with the kernel.",
    EndNoted "shim.end.noted" "The agent's end is noted and still lies with the kernel.",
    LeaksEnded "shim.end.leaks" "Nothing of the agent is left.",
    LogsSynced "shim.end.logs" "The logs are durable.",
    ExitWritten "shim.exit.written" "The exit record was written under a temporary name.",
    ExitSynced "shim.exit.synced" "The exit record is durable under a temporary name.",
    ExitRenamed "shim.exit.renamed" "The exit record has its name, which is not yet durable.",
    ExitDurable "shim.exit.durable" "The exit record is durable under its name.",
    EndTold "shim.end.told" "The daemon was told that the run ended.",
    EndHeard "daemon.end.heard" "The daemon was told that a run ended and has not looked.",
    RecordRead "daemon.end.read" "The exit record was read.",
    TranscriptFinished "daemon.end.transcript" "The transcript is complete.",
    WorkWritten "daemon.save.written" "What the agent left is in a commit that no ref leads to.",
    WorkOnBranch "daemon.save.branch" "The agent's branch was moved to the commit with what it left.",
    WorkRescued "daemon.save.rescued" "A commit that belongs on no branch has a rescue ref.",
    WorkSaved "daemon.end.saved" "Everything the agent left is reachable.",
    EndCommitting "daemon.end.committing" "A run was ended in a transaction that is not committed.",
    EndCommitted "daemon.end.committed" "A run is committed as ended.",
    CopyWritten "daemon.copy.written" "The copy of a run's row was written under a temporary name.",
    CopyRenamed "daemon.copy.renamed" "The copy of a run's row has its name.",
    LandingPrepared "daemon.land.prepared" "The refs of a landing are locked and nothing was moved.",
    LandingFiles "daemon.land.files" "The checkouts of the target branch have the landed files.",
    LandingMoved "daemon.land.moved" "The target branch has the landed work.",
    LandingCleaned "daemon.land.cleaned" "The worktree and the branch of landed work are gone.",
    LandingCommitting "daemon.land.committing" "A task was made done in a transaction that is not committed.",
    LandingCommitted "daemon.land.committed" "A landed task is committed as done.",
    Adopting "daemon.adopt.begun" "A run of an earlier daemon was taken up and not looked at.",
    Adopted "daemon.adopt.looked" "It is known how a run of an earlier daemon stands.",
    DrainBegun "daemon.drain.begun" "The daemon was asked to drain.",
    LoopEnded "daemon.drain.ended" "The loop takes nothing more and its workers are still there.",
    HandsClosed "daemon.drain.closed" "Every thread of the daemon has ended and the database is open.",
}

/// Says that this process has reached `point`, and does there what the environment asks for.
#[cfg(feature = "failpoints")]
pub fn hit(point: Point) {
    armed::hit(point);
}

/// Nothing, in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_point: Point) {}

/// Tells the failpoints of a daemon where the runs are whose shims they may kill, and those of a
/// shim which run it has in hand.
#[cfg(feature = "failpoints")]
pub fn serve(place: &std::path::Path) {
    armed::serve(place);
}

/// Nothing, in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn serve(_place: &std::path::Path) {}

/// Tells the shims that `command` starts which daemon their failpoints may kill: this process.
#[cfg(feature = "failpoints")]
pub(crate) fn hand_down(command: &mut std::process::Command) {
    armed::hand_down(command);
}

/// Nothing, in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn hand_down(_command: &mut std::process::Command) {}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn every_name_is_unique_and_names_a_process() {
        let mut names: Vec<&str> = ALL.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for it in ALL {
            let process = it.name.split('.').next();
            assert!(matches!(process, Some("daemon" | "shim")), "{}", it.name);
            assert!(it.what.ends_with('.'), "{}", it.name);
        }
    }
}
