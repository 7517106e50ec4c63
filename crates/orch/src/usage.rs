//! Wrong command lines in orch's own words: what clap found becomes what, why and what to do.

use std::error::Error;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, ColorChoice, Global};
use crate::error::{Kind, UserError};
use crate::exit;
use crate::printer::Printer;

/// Reads a command line.
///
/// # Errors
/// It is wrong, or it only asks for help or the version.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, Ended> {
    let colour = colour_choice(&arguments);
    let json = arguments.iter().any(|argument| argument == "--json");
    let parsed = Cli::command()
        .color(colour)
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| Ended {
        error,
        arguments,
        json,
    })
}

/// A command line that is over before it began.
#[derive(Debug)]
pub struct Ended {
    error: clap::Error,
    arguments: Vec<OsString>,
    json: bool,
}

impl Ended {
    /// Says what there is to say; the exit code.
    pub fn finish(&self) -> u8 {
        let global = Global {
            json: self.json,
            ..Global::default()
        };
        let printer = Printer::standard(&global);
        match self.error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                let text = self.error.render();
                let text = if printer.is_coloured() {
                    text.ansi().to_string()
                } else {
                    text.to_string()
                };
                match printer.raw(text.as_bytes()) {
                    Ok(()) => exit::DONE,
                    Err(error) => exit::of(error.kind),
                }
            }
            _ => {
                let error = user_error(&self.error, &self.arguments);
                printer.error(&error);
                exit::of(error.kind)
            }
        }
    }
}

/// Whether help is coloured must be known before the command line is understood.
fn colour_choice(arguments: &[OsString]) -> clap::ColorChoice {
    let mut choice = ColorChoice::Auto;
    let texts: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    for (index, text) in texts.iter().enumerate() {
        let next = texts.get(index + 1).map(AsRef::as_ref);
        let given = text
            .strip_prefix("--color=")
            .or_else(|| next.filter(|_| text == "--color"));
        match given {
            Some("always") => choice = ColorChoice::Always,
            Some("never") => choice = ColorChoice::Never,
            _ => {}
        }
    }
    match choice {
        ColorChoice::Auto => clap::ColorChoice::Auto,
        ColorChoice::Always => clap::ColorChoice::Always,
        ColorChoice::Never => clap::ColorChoice::Never,
    }
}

/// What clap found, as orch says it.
fn user_error(error: &clap::Error, arguments: &[OsString]) -> UserError {
    let help = help_command(arguments);
    let code = match error.kind() {
        ErrorKind::InvalidSubcommand => "unknown_command",
        ErrorKind::UnknownArgument => "unknown_argument",
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "missing_argument",
        ErrorKind::ArgumentConflict => "conflicting_arguments",
        _ => "invalid_value",
    };
    if error.kind() == ErrorKind::InvalidUtf8 {
        return not_text(arguments);
    }
    UserError::new(Kind::Usage, code, message(error, &help))
        .hint(suggestion(error).unwrap_or_else(|| format!("'{help}' shows what is possible")))
}

/// A word that is no text; clap does not say which.
fn not_text(arguments: &[OsString]) -> UserError {
    let word = arguments.iter().find(|word| word.to_str().is_none());
    let word = word.map(|word| word.to_string_lossy()).unwrap_or_default();
    let message = format!("'{word}' is not UTF-8 text");
    UserError::usage("not_utf8", message).hint("write it in UTF-8, or read it from a file of text")
}

fn message(error: &clap::Error, help: &str) -> String {
    let argument = first(error, ContextKind::InvalidArg).map(|it| plain(&it));
    let argument = argument.unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let given = first(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("there is no command '{given}'")
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("there is no option '{argument}'")
        }
        ErrorKind::UnknownArgument => format!("'{argument}' is one word too many"),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let command = help.trim_end_matches(" --help");
            format!("'{command}' needs to know what to do")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = all(error, ContextKind::InvalidArg)
                .iter()
                .map(|it| plain(it))
                .collect();
            let are = if missing.len() == 1 { "is" } else { "are" };
            format!("{} {are} missing", missing.join(" and "))
        }
        ErrorKind::ArgumentConflict => {
            let other = first(error, ContextKind::PriorArg).map(|it| plain(&it));
            let other = other.unwrap_or_default();
            format!("{argument} and {other} cannot be given together")
        }
        _ => wrong_value(error, &argument),
    }
}

fn wrong_value(error: &clap::Error, argument: &str) -> String {
    let given = first(error, ContextKind::InvalidValue).unwrap_or_default();
    let possible = all(error, ContextKind::ValidValue).join(", ");
    let reason = error.source().map(|error| in_words(&error.to_string()));
    match reason {
        Some(reason) => format!("{argument} cannot be '{given}': {reason}"),
        None if given.is_empty() => format!("{argument} needs a value"),
        None if possible.is_empty() => first_line(error),
        None => format!("{argument} cannot be '{given}': it is one of {possible}"),
    }
}

/// What clap's ranges say, in words.
fn in_words(reason: &str) -> String {
    let range = reason
        .split_once(" is not in ")
        .and_then(|(_, range)| range.split_once("..="));
    match range {
        Some((least, most)) => format!("it must be from {least} to {most}"),
        None => reason.to_owned(),
    }
}

/// What was probably meant.
fn suggestion(error: &clap::Error) -> Option<String> {
    let meant = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    if let Some(meant) = meant.into_iter().find_map(|kind| first(error, kind)) {
        return Some(format!("did you mean '{meant}'?"));
    }
    let unknown = first(error, ContextKind::InvalidArg)?;
    let looks_like_option = unknown.starts_with('-');
    (error.kind() == ErrorKind::UnknownArgument && looks_like_option)
        .then(|| "if it is a text and not an option, write '--' before it".to_owned())
}

fn first(error: &clap::Error, kind: ContextKind) -> Option<String> {
    all(error, kind).into_iter().next()
}

fn all(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// `--timeout` of `--timeout <TIME>`, `TASK` of `[TASK]...`.
fn plain(argument: &str) -> String {
    let name = argument.split(' ').next().unwrap_or_default();
    let name = name.split('=').next().unwrap_or_default();
    name.trim_end_matches("...")
        .trim_matches(['<', '>', '[', ']'])
        .to_owned()
}

/// What clap says itself, for what has no words of ours.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// The help of the command that was typed.
fn help_command(arguments: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut words = vec!["orch".to_owned()];
    for argument in arguments.iter().skip(1) {
        let found = argument
            .to_str()
            .and_then(|name| command.find_subcommand(name));
        if let Some(found) = found.cloned() {
            words.push(found.get_name().to_owned());
            command = found;
        }
    }
    format!("{} --help", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let ended = parse(words).expect_err(line);
        let error = user_error(&ended.error, &ended.arguments);
        let hint = error.details.hint.unwrap_or_default();
        format!("{}\n  {}\n  {hint}", error.code, error.message)
    }

    #[test]
    fn a_word_that_is_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let mut words: Vec<OsString> = ["orch", "task", "add"].map(OsString::from).to_vec();
        words.push(OsString::from_vec(b"a\xff".to_vec()));
        let ended = parse(words).expect_err("no text");
        let error = user_error(&ended.error, &ended.arguments);
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("not_utf8", "'a\u{fffd}' is not UTF-8 text")
        );
        assert!(error.details.hint.is_some());
    }

    #[test]
    fn wrong_command_lines_are_explained_in_one_voice() {
        let lines = [
            "orch tsak",
            "orch task",
            "orch task add",
            "orch task add x --jsno",
            "orch task add x -p 9",
            "orch task add x --timeout 5parsecs",
            "orch task add x --timeout -1",
            "orch task add x --timeout 0s",
            "orch task add --upload-pack=x",
            "orch task add x y",
            "orch task add x --timeout",
            "orch task add x -d a --file b",
            "orch task list --status runing",
            "orch task show ../../etc/passwd",
            "orch task cancel run_7m3k",
            "orch run",
            "orch run tsk_1 --all",
            "orch run --all --max-agents 0",
            "orch task assign tsk_1",
            "orch agent add x --adapter shell --env =FOO",
            "orch completions tcsh",
        ];
        let shown: Vec<String> = lines
            .iter()
            .map(|line| format!("$ {line}\n{}\n", refused(line)))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
