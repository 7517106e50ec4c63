//! Fills the database of a project that nobody serves:
//! `cargo run --release -p orch-store --example seed -- .orch/orch.db AGENT FINISHED QUEUED`.

use std::error::Error;
use std::path::Path;

use orch_store::seed::{Amount, fill};
use orch_store::sqlite::SqliteStore;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, agent, finished, queued] = arguments.as_slice() else {
        return Err("give the database, an agent, and how many finished and queued tasks".into());
    };
    let amount = Amount {
        finished: finished.parse()?,
        queued: queued.parse()?,
        agent: agent.parse()?,
        adapter: "shell".to_owned(),
    };
    let mut store = SqliteStore::open_existing(Path::new(database))?;
    fill(&mut store, &amount)?;
    Ok(store.close()?)
}
