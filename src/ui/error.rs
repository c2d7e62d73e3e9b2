use std::fmt::Write as _;

use super::exit::{self, Exit};
use crate::file::WriteError;
use crate::finding::Problem;
use crate::inventory::ResolveError;
use crate::kubernetes::KubernetesError;
use crate::patch::{AgainstError, FormatError};
use crate::talos::{SetupError, TalosError};
use crate::yaml::ParseError;

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

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
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

impl From<WriteError> for CliError {
    fn from(error: WriteError) -> Self {
        let help = error.help();
        Self::from_error(exit::WRITE, error).help(help)
    }
}

impl From<KubernetesError> for CliError {
    fn from(error: KubernetesError) -> Self {
        let exit = match &error {
            KubernetesError::NoKubeconfig { .. }
            | KubernetesError::Unreadable { .. }
            | KubernetesError::Invalid { .. }
            | KubernetesError::NoContext { .. }
            | KubernetesError::NoCurrentContext { .. }
            | KubernetesError::Dangling { .. }
            | KubernetesError::Server(_) => exit::INVALID,
            KubernetesError::Credentials { .. }
            | KubernetesError::PluginMissing { .. }
            | KubernetesError::PluginFailed { .. } => exit::SECRET,
            KubernetesError::Unreachable { .. }
            | KubernetesError::Unauthorized { .. }
            | KubernetesError::Forbidden { .. }
            | KubernetesError::Status { .. }
            | KubernetesError::Answer { .. } => exit::REMOTE,
        };
        let help = error.help();
        let error = Self::from_error(exit, error);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl From<ResolveError> for CliError {
    fn from(error: ResolveError) -> Self {
        let help = error.help();
        Self::from_error(exit::SECRET, error).help(help)
    }
}

impl From<FormatError> for CliError {
    fn from(error: FormatError) -> Self {
        let help = error.help();
        Self::from_error(exit::USAGE, error).help(help)
    }
}

impl From<AgainstError> for CliError {
    fn from(error: AgainstError) -> Self {
        let help = error.help();
        Self::from_error(exit::INVALID, error).help(help)
    }
}

impl From<ParseError> for CliError {
    fn from(error: ParseError) -> Self {
        let help = error.help.clone();
        let error = Self::from_error(exit::INVALID, error);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl From<TalosError> for CliError {
    fn from(error: TalosError) -> Self {
        let help = error.help();
        let error = Self::from_error(exit::REMOTE, error);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl From<SetupError> for CliError {
    fn from(error: SetupError) -> Self {
        let help = match &error {
            SetupError::Certificate { source, .. } => Some(source.help()),
            SetupError::Characters(_) => None,
        };
        let error = Self::from_error(exit::REMOTE, error);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

/// Output that cannot be written: a reader that has gone ends the command in silence.
impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::from_error(exit::CLOSED_PIPE, error)
        } else {
            Self::from_error(exit::WRITE, error).context("cannot write the output")
        }
    }
}
