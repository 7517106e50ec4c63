//! What orch promises and which faults it must stand, numbered once and for ever.
//!
//! The numbers are what tests refer to. A row that nothing shows says why in `open`; a row that
//! something shows must not.

/// One promise.
pub struct Promise {
    /// Its number.
    pub number: u32,
    /// Its name, which is also the name of the test that shows it.
    pub name: &'static str,
    /// What is promised.
    pub says: &'static str,
    /// Why nothing shows it yet, where that is so.
    pub open: Option<&'static str>,
}

/// One class of faults.
pub struct Fault {
    /// Its number.
    pub number: u32,
    /// What happens.
    pub what: &'static str,
    /// Why it is not injected, where that is so.
    pub open: Option<&'static str>,
}

const fn promise(number: u32, name: &'static str, says: &'static str) -> Promise {
    Promise {
        number,
        name,
        says,
        open: None,
    }
}

const fn fault(number: u32, what: &'static str) -> Fault {
    Fault {
        number,
        what,
        open: None,
    }
}

const MANY_HOSTS: &str = "One host for now: there is no lease and no epoch yet.";

/// The promises, in order.
#[rustfmt::skip] // A table: one promise, one line.
pub const PROMISES: &[Promise] = &[
    promise(1, "no_stale_running", "A run whose process has ended is terminal within two seconds, or five after a start of the daemon. No row says `running` by itself."),
    promise(2, "exact_status", "Exit code and signal are stored as the kernel gave them."),
    promise(3, "unknown_is_a_value", "What nobody saw is `lost`, with a reason and without an exit code. No number is made up, and `lost` is neither success nor failure."),
    promise(4, "success_needs_proof", "`completed` needs the result that the agent's kind declares, or exit code 0 where it declares none."),
    promise(5, "no_failure_without_reason", "A run that ended without success has a reason from a closed list and evidence. The database refuses anything else."),
    promise(6, "delivery_trouble_changes_no_outcome", "Failing to write a copy, to tell somebody or to land a branch leaves the recorded outcome as it is."),
    promise(7, "one_transaction", "Run, task, slot, readiness of dependents and events are committed together or not at all."),
    promise(8, "terminal_is_final", "The database refuses any change of a run that has ended."),
    promise(9, "idempotent_ingest", "Reading the same exit record again changes nothing."),
    promise(10, "at_most_one_start", "An attempt starts its agent at most once. Starting again is a new attempt."),
    promise(11, "no_two_live_processes", "Two attempts of one task never live at once, and never share a worktree at once."),
    promise(12, "daemon_kill_loses_nothing", "`kill -9` of the daemon at any moment kills no agent and loses no completion, no byte of a log and no event."),
    promise(13, "shim_kill_loses_no_exit_code", "On Linux `kill -9` of a shim loses no exit code while the daemon lives, but for the one case named under \"What is not promised\". With both dead the run is `lost`, once."),
    promise(14, "cancelled_means_dead", "`cancelled` is written only when no process of the run is left; otherwise what is left is named."),
    promise(15, "leaks_do_not_delay", "A background child that holds the agent's output open delays the completion by two seconds at most."),
    promise(16, "never_signal_a_stranger", "A signal goes only to a process whose boot, number and start time match the record."),
    promise(17, "dependents_start_once", "A dependent starts once, after what it waits for is recorded as done, and never after `lost`."),
    promise(18, "slots", "Live runs never exceed the limit, also right after a start. A slot is held while and only while its run has not ended."),
    promise(19, "attempts", "Attempts never exceed the maximum, and the time of the next one survives a restart. Trouble of orch's own before the agent ran costs none."),
    promise(20, "events_are_gapless", "A run's events are numbered 1 to n without a gap, never cut and never mixed. A reader sees a prefix and can go on where it stopped."),
    promise(21, "log_bytes_are_kept", "The log holds what the agent wrote, byte for byte. A cut is said."),
    promise(22, "acknowledged_means_durable", "What was answered survives `kill -9` and a power cut."),
    promise(23, "disk_full_loses_nothing", "A full disk loses nothing that was answered and no completion. New starts wait before it is full and go on when there is room."),
    promise(24, "one_daemon_per_state_directory", "A second daemon ends within a second and names the first."),
    promise(25, "bad_state_is_never_start_empty", "A database or record that cannot be read is named and kept, never replaced by an empty one."),
    promise(26, "old_binary_refuses_newer_schema", "An older orch refuses a newer database. A migration is one transaction with a backup beside it."),
    Promise { number: 27, name: "fencing", says: "A write from a host whose lease is over changes nothing.", open: Some(MANY_HOSTS) },
    Promise { number: 28, name: "self_fence_first", says: "A host that cannot renew its lease stops before others may take over.", open: Some(MANY_HOSTS) },
    Promise { number: 29, name: "database_outage_kills_no_agent", says: "A database that is away kills no agent, and completions wait on disk.", open: Some(MANY_HOSTS) },
    Promise { number: 30, name: "failover_is_healed", says: "A failover that loses commits is healed from the exit records.", open: Some(MANY_HOSTS) },
    promise(31, "clock_jumps_change_nothing", "A jump of the wall clock, or a suspended machine, causes no timeout and no other order."),
    Promise { number: 32, name: "same_key_same_effect", says: "A request with the same idempotency key has one effect and one answer.", open: Some("Idempotency keys are refused in words, not carried out; they come with the network API.") },
    promise(33, "no_input_is_a_crash", "No input makes the daemon panic or answer 5xx, and a refusal names field, limit and what was given."),
    Promise { number: 34, name: "printed_means_committed", says: "A command says that it succeeded only after the commit, and where the answer is lost it says that it does not know.", open: None },
    promise(35, "everything_has_a_limit", "Every queue, buffer, name, row and retry has a limit that is written down."),
];

const LATER_POSTGRES: &str =
    "Needs PostgreSQL and more than one host, which orch does not have yet.";
const LATER_NETWORK: &str = "Needs the network API, which orch does not have yet.";

/// The classes of faults, in order.
#[rustfmt::skip] // A table: one fault, one line.
pub const FAULTS: &[Fault] = &[
    fault(1, "SIGKILL of the daemon at random moments"),
    fault(2, "SIGKILL of the daemon at each failpoint"),
    fault(3, "SIGKILL of a shim, at random and at each failpoint"),
    fault(4, "SIGKILL of daemon and shim together"),
    fault(5, "SIGKILL of an agent"),
    fault(6, "SIGKILL of everything of a user at once"),
    fault(7, "SIGTERM, SIGINT, SIGHUP to the daemon; restart by a service manager"),
    fault(8, "Disk full for logs"),
    fault(9, "Disk full for the database at each commit"),
    fault(10, "File size limit (`RLIMIT_FSIZE`)"),
    fault(11, "fsync fails, once or for ever"),
    fault(12, "Short writes, interrupted calls, read errors"),
    fault(13, "No descriptors left (EMFILE, ENFILE)"),
    fault(14, "No processes left (EAGAIN from fork)"),
    fault(15, "The agent's command cannot be executed"),
    fault(16, "Out of memory: agent, shim or daemon is killed"),
    fault(17, "SIGSTOP of an agent"),
    fault(18, "SIGSTOP of shim or daemon"),
    fault(19, "The agent ignores TERM, INT and HUP"),
    fault(20, "A grandchild holds stdout"),
    fault(21, "The agent closes stdout and runs on"),
    fault(22, "Double fork, new session, closed descriptors"),
    fault(23, "Fork bomb"),
    fault(24, "1 GB of output"),
    fault(25, "A line of 100 MB, ten million short lines"),
    fault(26, "NUL, invalid UTF-8, CRLF, half a character at the end"),
    fault(27, "Terminal escapes in every text field"),
    fault(28, "Wall clock jumps"),
    fault(29, "The machine is suspended for hours"),
    fault(30, "Reboot: another boot id, process numbers used again"),
    fault(31, "Process numbers are used again"),
    fault(32, "Two daemons at once, a hundred racing"),
    Fault { number: 33, what: "Two commands with the same idempotency key", open: Some("Idempotency keys are refused in words, not carried out.") },
    fault(34, "Database deleted, forbidden, damaged, without its WAL, or on a read-only file system"),
    fault(35, "Exit record torn, empty, of another run, forged, a link, a FIFO, 1 GB"),
    fault(36, "Run directory or worktree removed while running, repository moved"),
    fault(37, "Another process holds the database lock"),
    Fault { number: 38, what: "PostgreSQL restarts, is killed, fails over", open: Some(LATER_POSTGRES) },
    Fault { number: 39, what: "Network between host and database is cut", open: Some(LATER_POSTGRES) },
    fault(40, "A commit is done and its answer lost"),
    Fault { number: 41, what: "A host sleeps past its lease", open: Some(LATER_POSTGRES) },
    fault(42, "Slow disk: seconds for each fsync"),
    Fault { number: 43, what: "A subscriber that never reads, a thousand subscribers", open: Some(LATER_NETWORK) },
    Fault { number: 44, what: "A webhook that hangs, fails or redirects", open: Some(LATER_NETWORK) },
    fault(45, "Upgrade with runs of the older version alive"),
    fault(46, "git: lock left behind, failing hooks, disk full, submodule, missing filter"),
    fault(47, "10,000 queued tasks, chains of 5,000, fan-out of 2,000, 100 ends in one tick"),
    fault(48, "A panic in each thread of the daemon"),
];
