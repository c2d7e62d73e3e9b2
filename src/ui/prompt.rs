//! Questions on the terminal: a line, yes or no, secrets.

#![expect(clippy::disallowed_methods, reason = "asks whether there is a terminal")]

use std::io::IsTerminal;

use console::{Key, Term, measure_text_width};
use dialoguer::Password;

use super::error::CliError;
use super::exit;
use super::line::{Line, Typed};
use super::shown::shown;
use super::terminal::aside;
use crate::secret::Secret;

/// Whether questions can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// There is a terminal to ask on.
    Possible,
    /// There is none, or nothing may be asked.
    Impossible,
}

impl Asking {
    /// Looks for a terminal to ask on.
    pub(crate) fn here() -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if terminal { Self::Possible } else { Self::Impossible }
    }

    /// Returns whether questions can be asked.
    pub(crate) fn is_possible(self) -> bool {
        self == Self::Possible
    }
}

/// Asks whether to go on. Fails where the answer is no, or cannot be had; `untouched` says what then did not happen, such
/// as `no node was touched`, and `help` which flags do without the question.
pub(crate) fn confirm(asking: Asking, question: &str, untouched: &str, help: &str) -> Result<(), CliError> {
    if !asking.is_possible() {
        return Err(CliError::usage(format!("there is no terminal to ask on; {untouched}")).help(help));
    }
    match yes_or_no(question) {
        Ok(true) => Ok(()),
        Ok(false) => Err(CliError::new(exit::STOPPED, untouched)),
        Err(error) => Err(CliError::new(exit::INTERRUPTED, format!("{untouched}: {error}"))),
    }
}

/// Asks for a secret that exists, such as a passphrase.
pub(crate) fn password(prompt: &str) -> Result<Secret<String>, dialoguer::Error> {
    Password::new().with_prompt(prompt).interact().map(Secret::new)
}

/// Asks for a secret that is made up now: twice, until both are the same.
pub(crate) fn new_password(prompt: &str) -> Result<Secret<String>, dialoguer::Error> {
    let password = Password::new().with_prompt(prompt).with_confirmation("Again", "they differ");
    password.interact().map(Secret::new)
}

/// Asks for a text until `check` takes it; what it says against one is told. An empty answer is the default.
pub(crate) fn text(
    question: &str,
    default: &str,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<String, CliError> {
    loop {
        let answer = line(question, default).map_err(|error| unanswered(error.into()))?;
        let answer = answer.trim();
        match check(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(why) => aside(&format!("  {why}")),
        }
    }
}

/// So many columns are left for an answer, or the question stands on a line of its own.
const ROOM: usize = 20;

/// Asks for a line.
///
/// dialoguer's own draws an answer twice that is wider than the terminal, and takes Ctrl-U for a text.
fn line(question: &str, default: &str) -> std::io::Result<String> {
    let term = Term::stderr();
    let question = shown(question);
    let hint = if default.is_empty() { String::new() } else { format!(" [{}]", shown(default)) };
    let mut prompt = format!("{question}{hint}: ");
    let columns = || term.size_checked().map_or(80, |(_, columns)| usize::from(columns)).max(ROOM);
    let needs_lines = measure_text_width(&prompt) + ROOM > columns();
    if needs_lines {
        term.write_line(prompt.trim_end())?;
        "> ".clone_into(&mut prompt);
    }
    let mut line = Line::default();
    loop {
        let (part, before) = line.window(columns().saturating_sub(measure_text_width(&prompt)));
        term.clear_line()?;
        term.write_str(&format!("{prompt}{part}"))?;
        term.move_cursor_left(measure_text_width(&part).saturating_sub(before))?;
        match line.take(&term.read_key()?) {
            Typed::More => {}
            Typed::Done => break,
            Typed::Ended => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
    let typed = line.text();
    let answer = if typed.is_empty() { default.to_owned() } else { typed };
    term.clear_line()?;
    let start = if needs_lines { prompt } else { format!("{question}: ") };
    term.write_line(&format!("{start}{}", shown(&answer)))?;
    Ok(answer)
}

/// Asks for one of several by its number; Enter takes the first. Returns its index.
///
/// dialoguer's list hides the cursor, and Ctrl-C would leave the terminal without one.
pub(crate) fn choose(question: &str, choices: &[&str]) -> Result<usize, CliError> {
    aside(question);
    for (at, choice) in choices.iter().enumerate() {
        aside(&format!("  {}  {choice}", at + 1));
    }
    let index = |answer: &str| {
        let index = answer.parse::<usize>().ok()?.checked_sub(1)?;
        (index < choices.len()).then_some(index)
    };
    let answer = text("Number", "1", &|answer| match index(answer) {
        Some(_) => Ok(()),
        None => Err(format!("`{answer}` is not a number from 1 to {}", choices.len())),
    })?;
    Ok(index(&answer).unwrap_or_default())
}

/// Asks a question that is answered with yes or no; Enter says no.
pub(crate) fn agree(question: &str) -> Result<bool, CliError> {
    yes_or_no(question).map_err(|error| unanswered(error.into()))
}

/// Asks for one key; Enter and Escape say no.
///
/// dialoguer's own hides the cursor, as its list does.
fn yes_or_no(question: &str) -> std::io::Result<bool> {
    let term = Term::stderr();
    term.write_str(&format!("{} [y/N] ", shown(question)))?;
    let answer = loop {
        match term.read_key()? {
            Key::Char('y' | 'Y') => break true,
            Key::Char('n' | 'N') | Key::Enter | Key::Escape => break false,
            _ => {}
        }
    };
    term.write_line(if answer { "yes" } else { "no" })?;
    Ok(answer)
}

/// Makes an error of a question that was not answered, before anything was written.
pub(crate) fn unanswered(error: dialoguer::Error) -> CliError {
    let dialoguer::Error::IO(error) = error;
    match error.kind() {
        std::io::ErrorKind::Interrupted => {
            CliError::new(exit::INTERRUPTED, "interrupted; nothing was written")
        }
        std::io::ErrorKind::UnexpectedEof => CliError::usage("no answer was given; nothing was written"),
        _ => CliError::from_error(exit::USAGE, error).context("cannot ask on this terminal"),
    }
}
