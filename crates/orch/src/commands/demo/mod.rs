//! `orch demo`
use crate::args::Demo;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
pub fn run(_context: &Context, _args: &Demo) -> Result<Ending> {
    Ok(Ending::Done)
}
