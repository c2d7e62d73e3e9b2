use std::fmt::Write as _;

use super::exit::{self, Exit};
use super::words::count;
use crate::finding::{Problem, Severity};

/// What ends a command, and the exit code it ends with.
#[derive(Debug)]
pub(crate) struct CliError {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What failed; the causes are in the chain.
    pub(crate) error: anyhow::Error,
    /// What to do about it.
    pub(crate) help: Vec<String>,
    /// Findings that are shown before the error.
    pub(crate) problems: Vec<Problem>,
}

impl CliError {
    /// Makes an error from a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::from_error(exit, anyhow::Error::msg(message.into()))
    }

    /// Makes an error from another, whose causes are kept.
    pub(crate) fn from_error(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), help: Vec::new(), problems: Vec::new() }
    }

    /// Makes an error of a file whose findings hold an error, all of which are shown before it.
    pub(crate) fn in_file(file: &str, problems: Vec<Problem>) -> Self {
        let errors = problems.iter().filter(|problem| problem.code.severity() == Severity::Error).count();
        Self { problems, ..Self::new(exit::INVALID, format!("`{file}` holds {}", count(errors, "error"))) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds what to do about it, where that is known.
    #[must_use]
    pub(crate) fn help_if(self, help: Option<impl Into<String>>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Says what was being done, before the causes.
    #[must_use]
    pub(crate) fn context(mut self, context: impl Into<String>) -> Self {
        self.error = self.error.context(context.into());
        self
    }

    /// Says that the command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// Returns the text for people: what failed, each cause, what to do.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut chain = self.error.chain();
        if let Some(first) = chain.next() {
            let _ = write!(out, "{first}");
        }
        for cause in chain {
            let _ = write!(out, "\n  caused by: {cause}");
        }
        for help in &self.help {
            let _ = write!(out, "\nhelp: {help}");
        }
        out
    }
}
