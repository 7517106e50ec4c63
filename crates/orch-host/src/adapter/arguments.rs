//! What every kind of agent checks before a text of the user becomes an argument.
//!
//! This part must not know any program's options.

use std::path::Path;

use super::bypass;
use super::{ARGUMENT_BYTES, ARGUMENTS_BYTES, AgentSettings, Permission, SettingsError};

/// Longest system prompt that goes into the command line, bytes. Other users of the machine can
/// read command lines, and a list of processes should stay readable.
pub(super) const SYSTEM_PROMPT_BYTES: usize = 16 * 1024;

/// An argument that is orch's own, and what to do instead.
pub(super) type Reserved = (&'static str, &'static str);

impl AgentSettings {
    /// Checks one text that becomes an argument.
    pub(super) fn check_argument(
        &self,
        field: &'static str,
        text: &str,
    ) -> Result<(), SettingsError> {
        let agent = self.name.clone();
        if text.contains('\0') {
            return Err(SettingsError::Nul { agent, field });
        }
        if text.len() > ARGUMENT_BYTES {
            let (limit, got) = (ARGUMENT_BYTES, text.len());
            return Err(SettingsError::TooLong {
                agent,
                field,
                limit,
                got,
            });
        }
        Ok(())
    }

    /// Checks one text that becomes an argument and must say something.
    pub(super) fn check_required(
        &self,
        field: &'static str,
        text: &str,
    ) -> Result<(), SettingsError> {
        if text.trim().is_empty() {
            let agent = self.name.clone();
            return Err(SettingsError::Empty { agent, field });
        }
        self.check_argument(field, text)
    }

    /// The value of an option that must say something and must not look like an option itself.
    pub(super) fn option_value<'a>(
        &self,
        field: &'static str,
        text: &'a str,
    ) -> Result<&'a str, SettingsError> {
        self.check_required(field, text)?;
        match text.starts_with('-') {
            false => Ok(text),
            true => Err(SettingsError::LooksLikeOption {
                agent: self.name.clone(),
                field,
                value: orch_core::text::excerpt(text, 40),
            }),
        }
    }

    /// The program to start, and `usual` unless another was set.
    pub(super) fn program(&self, usual: &str) -> Result<String, SettingsError> {
        let program = self.command.as_deref().unwrap_or(usual);
        self.check_required("command", program)?;
        Ok(program.to_owned())
    }

    /// `option` and the model, if one was set.
    pub(super) fn push_model(
        &self,
        option: &str,
        argv: &mut Vec<String>,
    ) -> Result<(), SettingsError> {
        self.push_option(option, "model", self.model.as_deref(), argv)
    }

    /// `option` and `value`, which `field` says, if there is one.
    pub(super) fn push_option(
        &self,
        option: &str,
        field: &'static str,
        value: Option<&str>,
        argv: &mut Vec<String>,
    ) -> Result<(), SettingsError> {
        if let Some(value) = value {
            let value = self.option_value(field, value)?;
            argv.extend([option.to_owned(), value.to_owned()]);
        }
        Ok(())
    }

    /// Where the system prompt goes: the command line, or the head of the prompt if it is too
    /// long for one or would be taken for an option.
    pub(super) fn place_system_prompt(&self) -> (Option<&str>, Option<String>) {
        match self.system_prompt.as_deref() {
            Some(text) if text.trim().is_empty() => (None, None),
            Some(text) if text.len() > SYSTEM_PROMPT_BYTES || text.starts_with('-') => {
                (None, Some(text.to_owned()))
            }
            other => (other, None),
        }
    }

    /// The system prompt for the head of the prompt, for an agent that has no other place for it.
    pub(super) fn preamble(&self) -> Option<String> {
        let text = self.system_prompt.clone();
        text.filter(|text| !text.trim().is_empty())
    }

    /// Appends the user's own arguments, if none of them is one of orch's.
    pub(super) fn push_args(
        &self,
        reserved: &'static [Reserved],
        argv: &mut Vec<String>,
    ) -> Result<(), SettingsError> {
        self.push_each(reserved, true, argv)
    }

    /// The same for a program that knows options of several letters behind one dash.
    pub(super) fn push_whole_args(
        &self,
        reserved: &'static [Reserved],
        argv: &mut Vec<String>,
    ) -> Result<(), SettingsError> {
        self.push_each(reserved, false, argv)
    }

    fn push_each(
        &self,
        reserved: &'static [Reserved],
        is_joined: bool,
        argv: &mut Vec<String>,
    ) -> Result<(), SettingsError> {
        for argument in &self.args {
            self.check_argument("args", argument)?;
            if let Some((name, instead)) = bypass::reserved_as(reserved, argument, is_joined) {
                return Err(self.reserved(name, instead));
            }
            if !reserved.is_empty() {
                self.refuse_bypass(argument)?;
            }
            argv.push(argument.clone());
        }
        Ok(())
    }

    /// Refuses variables in `env` that would undo what orch itself says.
    pub(super) fn refuse_variables(&self, reserved: &[Reserved]) -> Result<(), SettingsError> {
        let mut reserved = reserved.iter();
        match reserved.find(|(name, _)| self.env.contains_key(*name)) {
            None => Ok(()),
            Some((name, instead)) => Err(SettingsError::ReservedVariable {
                agent: self.name.clone(),
                variable: name,
                instead,
            }),
        }
    }

    /// A path as an argument or variable.
    pub(super) fn path_text(&self, path: &Path) -> Result<String, SettingsError> {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| SettingsError::PathNotUtf8 {
            agent: self.name.clone(),
            path: path.to_string_lossy().into_owned(),
        })
    }

    /// The permission that was asked for, or the strictest that lets an agent work unattended.
    pub(super) fn permission_or_edits(&self) -> Permission {
        self.permission.unwrap_or(Permission::Edits)
    }

    /// Checks a finished command line.
    pub(super) fn check_argv(&self, argv: &[String]) -> Result<(), SettingsError> {
        let got = argv.iter().map(|argument| argument.len() + 1).sum();
        if got > ARGUMENTS_BYTES {
            return Err(SettingsError::TooLong {
                agent: self.name.clone(),
                field: "argv",
                limit: ARGUMENTS_BYTES,
                got,
            });
        }
        Ok(())
    }

    /// A setting that would silently do nothing is a mistake that should be seen. A kind of the
    /// user's own is called by the name it has in the configuration.
    pub(super) fn not_supported(
        &self,
        adapter: &'static str,
        field: &'static str,
    ) -> SettingsError {
        SettingsError::NotSupported {
            agent: self.name.clone(),
            adapter: self
                .own
                .as_ref()
                .map_or(adapter, |own| own.name.as_str())
                .to_owned(),
            field,
        }
    }
}

/// Words as arguments or variables.
pub(super) fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Variables by name and value.
pub(super) fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}
