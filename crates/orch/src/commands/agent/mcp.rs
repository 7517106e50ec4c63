//! `--mcp FILE`: checked before it is written into `orch.toml`.

use std::io::Read;
use std::path::Path;

use orch_daemon::kinds::McpServer;
use orch_daemon::project::Project;

use crate::context::Context;
use crate::error::{Result, UserError};

/// Largest file of MCP servers that is read, bytes.
const FILE_BYTES: u64 = 1 << 20;

/// What `orch.toml` says about the file that a person named: its path from the top of the
/// repository, or as a whole if it lies elsewhere. An empty name takes the setting away.
///
/// # Errors
/// It cannot be read, or names no servers.
pub fn named(context: &Context, project: &Project, given: Option<&str>) -> Result<Option<String>> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(given.map(str::to_owned));
    };
    let path = context.directory()?.join(given);
    let path = path.canonicalize().unwrap_or(path);
    let text = read(&path)?;
    McpServer::parse(&text).map_err(|error| {
        let message = format!("{} is no file of MCP servers", path.display());
        UserError::usage("bad_mcp_file", message).caused_by(&error)
    })?;
    let kept = path.strip_prefix(&project.root).unwrap_or(&path);
    match kept.to_str() {
        Some(kept) => Ok(Some(kept.to_owned())),
        None => Err(UserError::usage(
            "bad_mcp_file",
            format!("the path {} is not UTF-8", path.display()),
        )),
    }
}

fn read(path: &Path) -> Result<String> {
    let what = format!("cannot read {}", path.display());
    let failed = |error| UserError::io(&what, &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES + 1).read_to_string(&mut text);
    match read.map_err(failed)? as u64 > FILE_BYTES {
        false => Ok(text),
        true => Err(UserError::usage(
            "bad_mcp_file",
            format!("{} is larger than {FILE_BYTES} bytes", path.display()),
        )),
    }
}
