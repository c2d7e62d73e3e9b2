//! What each error of the library means for a command: its exit code, and what to do about it.

use super::error::CliError;
use super::exit;
use crate::file::WriteError;
use crate::inventory::ResolveError;
use crate::patch::{AgainstError, FormatError};
use crate::rollout::StoreError;
use crate::sops::ConfigError;
use crate::talos::{SetupError, TalosError};
use crate::yaml::ParseError;

impl From<WriteError> for CliError {
    fn from(error: WriteError) -> Self {
        let help = error.help();
        Self::from_error(exit::WRITE, error).help(help)
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
        Self::from_error(exit::INVALID, error).help_if(help)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let help = error.help();
        Self::from_error(exit::INVALID, error).help_if(help)
    }
}

impl From<TalosError> for CliError {
    fn from(error: TalosError) -> Self {
        let help = error.help();
        Self::from_error(exit::REMOTE, error).help_if(help)
    }
}

impl From<SetupError> for CliError {
    fn from(error: SetupError) -> Self {
        let help = match &error {
            SetupError::Certificate { source, .. } => Some(source.help()),
            SetupError::Characters(_) => None,
        };
        Self::from_error(exit::REMOTE, error).help_if(help)
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

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let (exit, help) = match &error {
            StoreError::Write { .. } => (exit::WRITE, "is there room, and may you write there?"),
            StoreError::Read { .. } | StoreError::Journal { .. } => {
                (exit::INVALID, "name the folder of a rollout's journal with --journal")
            }
            StoreError::Taken(_) => (exit::USAGE, "resume it with --resume, or name another folder"),
            StoreError::Locked(_) => (exit::STOPPED, "wait until it is done"),
            StoreError::Sops { .. } => (
                exit::SECRET,
                "the originals are encrypted for those who may read the inventory: is your key at hand?",
            ),
            StoreError::Changed(_) => {
                (exit::INVALID, "put the original of this file back, or restore the node by hand")
            }
        };
        Self::from_error(exit, error).help(help)
    }
}
