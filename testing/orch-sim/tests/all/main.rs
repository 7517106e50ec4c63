//! Every test of the engine and of the simulator, in one binary.

mod simulation;
