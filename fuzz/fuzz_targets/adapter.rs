//! The reader of one kind of agent, on any bytes.
//!
//! `ORCH_FUZZ_ADAPTER` names it, so one program serves all of them, also those that are added
//! later.

#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use orch_host::adapter::{Adapter, find};

static ADAPTER: LazyLock<&'static Adapter> = LazyLock::new(|| {
    let name = std::env::var("ORCH_FUZZ_ADAPTER").expect("ORCH_FUZZ_ADAPTER names an adapter");
    find(&name).expect("ORCH_FUZZ_ADAPTER names an adapter that there is")
});

fuzz_target!(|output: &[u8]| {
    common::check(*ADAPTER, output);
});
