//! Where a process can be made to die while it writes a file of a run directory.

use crate::failpoint::{self, Point};
use crate::run_dir::name;

/// How far the writing of a file is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// It is there under its own name and empty.
    Created,
    /// All of it is written, under a temporary name.
    Written,
    /// It is as durable as it will be, under a temporary name.
    Synced,
    /// It has its name.
    Renamed,
    /// It has its name and all of it, as durable as it will be.
    Complete,
}

/// Says that the writing of the file `name` has come this far.
pub(super) fn reached(name: &str, stage: Stage) {
    let point = match (name, stage) {
        (name::SPEC, Stage::Written) => Point::SpecWritten,
        (name::SPEC, Stage::Renamed) => Point::SpecRenamed,
        (name::STARTED, Stage::Created) => Point::GateCreated,
        (name::STARTED, Stage::Complete) => Point::GateWritten,
        (name::PID_RECORD, Stage::Created) => Point::PidCreated,
        (name::PID_RECORD, Stage::Complete) => Point::PidWritten,
        (name::EXIT_RECORD, Stage::Written) => Point::ExitWritten,
        (name::EXIT_RECORD, Stage::Synced) => Point::ExitSynced,
        (name::EXIT_RECORD, Stage::Renamed) => Point::ExitRenamed,
        (name::EXIT_RECORD, Stage::Complete) => Point::ExitDurable,
        _ => return,
    };
    failpoint::hit(point);
}
