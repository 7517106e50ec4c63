//! What a driver is told: the arguments that the adapter makes and the driver reads.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::permission::Rules;
use crate::adapter::{McpServer, Permission};

/// The hidden subcommand that is a driver.
pub const ACP_COMMAND: &str = "__acp";

/// What a driver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// How requests for permission are answered.
    pub(crate) permission: Permission,
    /// The session to go on with.
    pub(crate) session: Option<String>,
    /// The model to ask for.
    pub(crate) model: Option<String>,
    /// The file of the MCP servers to pass on.
    pub(crate) mcp: Option<PathBuf>,
}

impl Settings {
    /// The arguments that [`Settings::from_arguments`] reads, after the subcommand.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--permission".to_owned(),
            self.permission.as_str().to_owned(),
        ];
        let mcp = self.mcp.as_ref().map(|path| path.to_string_lossy());
        let options = [
            ("--session", self.session.clone()),
            ("--model", self.model.clone()),
            ("--mcp", mcp.map(std::borrow::Cow::into_owned)),
        ];
        for (name, value) in options {
            arguments.extend(value.map(|value| format!("{name}={value}")));
        }
        arguments.push("--".to_owned());
        arguments.extend(self.command.iter().cloned());
        arguments
    }

    /// What such arguments say.
    ///
    /// # Errors
    /// They are not of the form the adapter makes.
    pub(super) fn from_arguments(arguments: &[OsString]) -> io::Result<Self> {
        let words: Option<Vec<&str>> = arguments.iter().map(|word| word.to_str()).collect();
        let parsed = words.and_then(|words| parse(&words));
        parsed.ok_or_else(|| {
            let text = format!("{ACP_COMMAND} is orch's own and cannot read its arguments");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })
    }

    /// The rules for requests for permission, in the present directory.
    pub(super) fn rules(&self) -> io::Result<Rules> {
        Ok(Rules::new(self.permission, &std::env::current_dir()?))
    }

    /// The MCP servers to pass on.
    pub(super) fn servers(&self) -> io::Result<Vec<McpServer>> {
        match &self.mcp {
            None => Ok(Vec::new()),
            Some(path) => read_servers(path),
        }
    }
}

fn read_servers(path: &Path) -> io::Result<Vec<McpServer>> {
    McpServer::parse(&std::fs::read_to_string(path)?).map_err(io::Error::other)
}

fn parse(words: &[&str]) -> Option<Settings> {
    let at = words.iter().position(|word| *word == "--")?;
    let (options, command) = (&words[..at], &words[at + 1..]);
    let ["--permission", permission, options @ ..] = options else {
        return None;
    };
    let mut settings = Settings {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        permission: permission.parse().ok()?,
        session: None,
        model: None,
        mcp: None,
    };
    for option in options {
        let (name, value) = option.split_once('=')?;
        match name {
            "--session" => settings.session = Some(value.to_owned()),
            "--model" => settings.model = Some(value.to_owned()),
            "--mcp" => settings.mcp = Some(value.into()),
            _ => return None,
        }
    }
    (!settings.command.is_empty()).then_some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_adapter_writes_is_what_the_driver_reads() {
        for options in [
            (None, None, None),
            (
                Some("--x=--".to_owned()),
                Some("a=b".to_owned()),
                Some("/m".into()),
            ),
        ] {
            let (session, model, mcp) = options;
            let settings = Settings {
                command: ["gemini", "--acp", "--", "--session=x"]
                    .map(str::to_owned)
                    .to_vec(),
                permission: Permission::Edits,
                session,
                model,
                mcp,
            };
            let words: Vec<OsString> = settings.to_arguments().iter().map(Into::into).collect();
            assert_eq!(Settings::from_arguments(&words).unwrap(), settings);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for words in [
            "",
            "--",
            "x",
            "--permission edits",
            "--permission all -- x",
            "--permission ask --",
            "--permission ask --unknown=1 -- x",
        ] {
            let words: Vec<OsString> = words.split_whitespace().map(Into::into).collect();
            assert!(Settings::from_arguments(&words).is_err(), "{words:?}");
        }
    }
}
