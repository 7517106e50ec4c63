//! Arguments of the user's own that would have an agent ask nobody for anything: that is had by
//! `permission = "full"`, which can be seen and searched for, and by nothing else.
//!
//! This part knows how such options are spelled and what rules for tools look like. It must not
//! know any program's options.

use super::arguments::Reserved;
use super::{AgentSettings, Permission, SettingsError};

/// What options are called that stop a program from asking, whichever program it is.
const WORDS: &[&str] = &["dangerously", "bypass", "yolo"];
const FULL: &str = "set `permission = \"full\"`";

/// Options whose values say what a program may do without asking, and its tools that run any
/// command: one of these without a word about which commands allows everything.
pub(super) struct Allowing {
    pub(super) options: &'static [&'static str],
    pub(super) shells: &'static [&'static str],
}

/// The name of an option in one spelling: programs take `--approvalMode` for `--approval-mode`,
/// and `--y` for `-y`. Of one letter, large and small ones differ.
pub(super) fn name(argument: &str) -> Option<String> {
    let text = argument.strip_prefix('-')?.trim_start_matches('-');
    let name = text.split(['=', '.']).next().unwrap_or_default();
    Some(match name.chars().count() {
        0 | 1 => name.to_owned(),
        _ => name.to_lowercase().replace(['-', '_'], ""),
    })
}

/// The one of `reserved` that an argument is, if any. With `is_joined` the program takes `-ab` for
/// `-a -b` and `-aTEXT` for `-a TEXT`.
pub(super) fn reserved_as(
    reserved: &'static [Reserved],
    argument: &str,
    is_joined: bool,
) -> Option<Reserved> {
    let given = name(argument)?;
    let letters = match argument.starts_with("--") || !is_joined {
        true => "",
        false => given_letters(argument),
    };
    let is_given = |option: &str| match option.strip_prefix('-') {
        Some(letter) if letter.len() == 1 => given == letter || letters.contains(letter),
        _ => name(option).as_ref() == Some(&given),
    };
    reserved
        .iter()
        .copied()
        .find(|(option, _)| is_given(option))
}

/// The letters behind one dash that may each be an option.
fn given_letters(argument: &str) -> &str {
    let text = argument.strip_prefix('-').unwrap_or(argument);
    let end = text.find(|letter: char| !letter.is_ascii_alphabetic());
    &text[..end.unwrap_or(text.len())]
}

impl AgentSettings {
    /// Refuses an option whose name says that nobody is asked.
    pub(super) fn refuse_bypass(&self, argument: &str) -> Result<(), SettingsError> {
        let given = name(argument).unwrap_or_default();
        match WORDS.iter().any(|word| given.contains(word)) {
            true => Err(self.reserved(argument, FULL)),
            false => Ok(()),
        }
    }

    /// Refuses arguments that allow every command, unless that was asked for.
    pub(super) fn refuse_whole_shells(&self, allowing: &Allowing) -> Result<(), SettingsError> {
        let is_allowing = |argument: &str| {
            let mut options = allowing.options.iter();
            options.any(|option| name(option) == name(argument))
        };
        let mut allows = false;
        for argument in self.args.iter().filter(|_| !self.is_full()) {
            let mut values = argument.as_str();
            if argument.starts_with('-') {
                allows = is_allowing(argument);
                values = argument.split_once('=').map_or("", |(_, values)| values);
            }
            if allows && rules(values).any(|rule| is_whole(rule, allowing.shells)) {
                return Err(self.reserved(
                    argument,
                    "it allows every command; name commands, or set `permission = \"full\"`",
                ));
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.permission == Some(Permission::Full)
    }

    pub(super) fn reserved(&self, argument: &str, instead: &'static str) -> SettingsError {
        SettingsError::ReservedArgument {
            agent: self.name.clone(),
            argument: orch_core::text::excerpt(argument, 80),
            instead,
        }
    }
}

/// Rules for tools, `NAME` or `NAME(WHAT)`, between commas and spaces.
fn rules(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (letter == ',' || letter.is_whitespace())
    })
}

/// Whether a rule lets one of `shells` run any command.
fn is_whole(rule: &str, shells: &[&str]) -> bool {
    let (tool, what) = rule.split_once('(').unwrap_or((rule, ""));
    let is_narrow = what
        .trim_end_matches(')')
        .contains(|letter: char| !matches!(letter, '*' | ':' | ' '));
    let tool = tool.trim_matches(['"', '\'']).to_lowercase();
    let matches = |shell: &&str| match tool.split_once('*') {
        Some((begin, _)) => shell.to_lowercase().starts_with(begin),
        None => shell.to_lowercase() == tool,
    };
    !is_narrow && shells.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::settings;

    const RESERVED: &[Reserved] = &[("--approval-mode", "a"), ("-y", "b"), ("-C", "c")];

    #[test]
    fn an_option_is_known_in_every_spelling() {
        let found = |argument| reserved_as(RESERVED, argument, true).map(|(_, instead)| instead);
        for (argument, instead) in [
            ("--approval-mode", Some("a")),
            ("--approval-mode=yolo", Some("a")),
            ("--approvalMode=yolo", Some("a")),
            ("--approval_mode.x", Some("a")),
            ("-y", Some("b")),
            ("--y", Some("b")),
            ("-dy", Some("b")),
            ("-ytrue", Some("b")),
            ("-Cdir", Some("c")),
            ("-c", None),
            ("-d=y", None),
            ("-d/y", None),
            ("--approval", None),
            ("approval-mode", None),
            ("--", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(found(argument), instead, "{argument}");
        }
        assert_eq!(reserved_as(RESERVED, "-dy", false), None);
    }

    #[test]
    fn what_allows_every_command_is_told_from_what_names_some() {
        let allowing = Allowing {
            options: &["--allowedTools", "--allow-tool"],
            shells: &["Bash"],
        };
        let is_refused = |permission, arguments: &[&str]| {
            let settings = AgentSettings {
                args: arguments.iter().map(|&it| it.to_owned()).collect(),
                permission,
                ..settings()
            };
            settings.refuse_whole_shells(&allowing).is_err()
        };
        for arguments in [
            &["--allowedTools", "Bash"][..],
            &["--allowed-tools=Edit,bash"],
            &["--allow-tool", "Edit", "Bash(*)"],
            &["--allow-tool", "Bash(git add:*) Bash(:*)"],
            &["--allow-tool=*"],
            &["--allow-tool", "\"Bash\""],
            &["--allow-tool", "Ba*"],
            &["--allow-tool=Bash("],
        ] {
            assert!(is_refused(None, arguments), "{arguments:?}");
            assert!(is_refused(Some(Permission::Ask), arguments));
            assert!(!is_refused(Some(Permission::Full), arguments));
        }
        for arguments in [
            &["--allowedTools", "Bash(cargo test:*),Bash(a, b)"][..],
            &["--allowedTools", "mcp__files__*", "--add-dir", "Bash"],
            &["--disallowedTools", "Bash"],
            &["Bash"],
        ] {
            assert!(!is_refused(None, arguments), "{arguments:?}");
        }
    }

    #[test]
    fn an_option_that_says_what_it_is_needs_no_list() {
        for argument in [
            "--dangerously-x",
            "--allow-dangerously-y=1",
            "--by-pass",
            "--YOLO",
        ] {
            assert!(settings().refuse_bypass(argument).is_err(), "{argument}");
        }
        for argument in ["--add-dir", "yolo", "-y", ""] {
            assert!(settings().refuse_bypass(argument).is_ok(), "{argument}");
        }
    }
}
