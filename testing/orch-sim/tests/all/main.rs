//! Every test of the engine and of the simulator, in one binary.

mod bench;
mod engine_attempts;
mod engine_dependencies;
mod engine_lifecycle;
mod engine_schedule;
mod engine_sessions;
mod promises;
mod simulation;
