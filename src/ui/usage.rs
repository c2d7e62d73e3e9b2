#![expect(clippy::disallowed_methods, reason = "looks whether variables of the environment are empty")]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Parser};

use super::error::CliError;
use super::exit::{self, Exit};
use super::help;
use super::queue::Stream;
use super::terminal::{aside, print};
use crate::secret::without_userinfo;

/// Reads a command line. Where it is wrong or asks for help, says so, and returns the exit code.
///
/// `exits` says which exit codes a command has, by its path.
pub(crate) fn parse<T: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    exits: &dyn Fn(&[&str]) -> Vec<Exit>,
) -> Result<T, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let read = |command: Command| -> Result<T, clap::Error> {
        let (mut command, arguments) = match below(&command, &arguments) {
            Some(below) => below,
            None => (command, arguments.clone()),
        };
        let found = command.try_get_matches_from_mut(arguments)?;
        T::from_arg_matches(&found).map_err(|error| error.format(&mut command))
    };
    let command = || without_empty_variables(T::command());
    // Help is prepared for those who ask for it: that of all commands takes longer than what many of them do.
    let shows_help = |error: &clap::Error| {
        matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
    };
    match read(command()) {
        Err(error) if shows_help(&error) => read(help::arrange(command(), exits)),
        read => read,
    }
    .map_err(usage)
}

/// Returns the arguments of a command below one that has arguments of its own, and what reads them: variables of the
/// environment that are the upper one's are no concern of the lower one, and a flag of the lower one may stand before its
/// name, too.
fn below(command: &Command, arguments: &[OsString]) -> Option<(Command, Vec<OsString>)> {
    let at = arguments.iter().position(|word| {
        let is_called = |upper: &Command| {
            upper.is_args_conflicts_with_subcommands_set() && upper.get_name() == word.as_os_str()
        };
        command.get_subcommands().any(is_called)
    })?;
    let upper = arguments.get(at)?.to_str()?.to_owned();
    let bare = command.clone().mut_subcommand(&upper, |upper| {
        upper.args_conflicts_with_subcommands(false).mut_args(|arg| arg.env(Resettable::Reset))
    });
    let names = |word: &OsString| {
        let lower = command.find_subcommand(&upper).into_iter().flat_map(Command::get_subcommands);
        lower.map(Command::get_name).any(|name| name == word.as_os_str())
    };
    let candidates = (at + 1..arguments.len()).filter(|to| arguments.get(*to).is_some_and(names));
    // What it is, a name or the value of a flag, is for the parser to say.
    let is_name = |to: &usize| {
        let begin = arguments.get(..=*to).unwrap_or_default();
        let found = bare.clone().try_get_matches_from(begin).ok();
        found.is_some_and(|found| {
            found.subcommand().is_some_and(|(name, found)| name == upper && found.subcommand().is_some())
        })
    };
    let to = candidates.into_iter().find(is_name)?;
    let mut arguments = arguments.to_vec();
    let name = arguments.remove(to);
    arguments.insert(at + 1, name);
    Some((bare, arguments))
}

/// Takes a variable of the environment that is set to nothing, as CI does, for one that is not set.
fn without_empty_variables(command: Command) -> Command {
    let empty: Vec<OsString> =
        std::env::vars_os().filter(|(_, value)| value.is_empty()).map(|(name, _)| name).collect();
    if empty.is_empty() { command } else { without_variables(command, &empty) }
}

fn without_variables(command: Command, empty: &[OsString]) -> Command {
    let command = command.mut_args(|arg| {
        let empty = arg.get_env().is_some_and(|name| empty.iter().any(|empty| empty == name));
        if empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(|below| without_variables(below, empty))
}

/// Says what is wrong with a command line, or the help that it asks for; returns the exit code.
///
/// clap repeats a value that it does not take, and a URL may hold a password.
fn usage(mut error: clap::Error) -> ExitCode {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        let shown = without_userinfo(value);
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    // Help and versions are results; anything else is the story.
    let (stream, exit) =
        if error.use_stderr() { (Stream::Error, exit::USAGE) } else { (Stream::Output, exit::OK) };
    let text = error.render();
    let printed = print(stream, &help::plain(&text.ansi().to_string()), &help::plain(&text.to_string()));
    match (stream, printed) {
        // A closed standard error loses nothing that is needed.
        (Stream::Error, _) | (Stream::Output, Ok(())) => ExitCode::from(exit.code),
        (Stream::Output, Err(error)) => {
            let error = CliError::from(error);
            if error.exit != exit::CLOSED_PIPE {
                aside(&format!("error: {}", error.render()));
            }
            ExitCode::from(error.exit.code)
        }
    }
}
