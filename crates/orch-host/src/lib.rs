//! Placeholder for the CLI; dropped at the merge.
#![allow(missing_docs, reason = "dropped at the merge")]
pub mod supervise {
    pub fn shim_main(_dir: &std::path::Path) -> i32 {
        0
    }
}
