//! placeholder

pub mod project;
