//! placeholder

pub mod config;
pub mod project;
