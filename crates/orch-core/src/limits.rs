//! Every number that bounds something, with its unit and where it comes from.

/// Longest title of a task, bytes.
pub const TITLE_BYTES: usize = 512;
/// Longest description of a task, bytes. A prompt of 2 MB is passed whole by five of seven CLIs.
pub const DESCRIPTION_BYTES: usize = 1 << 20;
/// Longest agent name, bytes.
pub const AGENT_NAME_BYTES: usize = 64;
/// Longest label, bytes.
pub const LABEL_BYTES: usize = 64;
/// Most labels a task or agent may have.
pub const LABELS: usize = 32;
/// Longest path or pattern given with a task, bytes: what Linux allows for a path.
pub const PATH_BYTES: usize = 4_096;
/// Most paths or patterns of one kind given with a task.
pub const PATHS: usize = 256;
/// Most direct dependencies of one task.
pub const DEPENDENCIES: usize = 5_000;
/// Most attempts a task may be given.
pub const MAX_ATTEMPTS: u32 = 100;
/// Most agents at work at once.
pub const MAX_AGENTS: u32 = 1_000;
/// Shortest timeout, milliseconds.
pub const TIMEOUT_MIN_MS: u64 = 100;
/// Longest timeout: 30 days in milliseconds.
pub const TIMEOUT_MAX_MS: u64 = 30 * 24 * 3_600_000;
/// Longest reason a person may give when rejecting or cancelling, bytes.
pub const REASON_BYTES: usize = 64 * 1024;
/// Tasks whose timer has run out that one step may wake, so that a step stays short.
pub const DUE_PER_STEP: usize = 1_000;
/// Most tasks that wait for a time which are looked at when a person has given consent. Those
/// beyond go on with their timers.
pub const WAITING_PER_CONSENT: usize = 10_000;
/// Starts in a row that may fail for want of a resource before the task fails.
pub const TRANSIENT_START_FAILURES: u32 = 10;
/// Starts in a row that may fail over the worktree or the settings before the task fails: time
/// seldom mends those, a person does.
pub const UNREADY_START_FAILURES: u32 = 3;
