//! What each error of the library means for a command: its exit code, and what to do about it.

use super::error::CliError;
use super::exit;
use crate::file::WriteError;
use crate::harbor::{ApplyError, DesiredError, HarborError, RotateError};
use crate::inventory::ResolveError;
use crate::kubernetes::KubernetesError;
use crate::mirror::scan::InputError;
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

impl From<InputError> for CliError {
    fn from(error: InputError) -> Self {
        Self::from_error(exit::INVALID, error)
            .help("objects as `kubectl get … -o json` prints them, manifests, or a list of images")
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
        Self::from_error(exit, error).help_if(help)
    }
}

impl From<HarborError> for CliError {
    fn from(error: HarborError) -> Self {
        let help = error.help();
        let invalid = matches!(error, HarborError::Url { .. } | HarborError::Userinfo { .. });
        let exit = if invalid { exit::INVALID } else { exit::REMOTE };
        Self::from_error(exit, error).help_if(help)
    }
}

impl From<DesiredError> for CliError {
    fn from(error: DesiredError) -> Self {
        let help = error.help();
        let exit = if matches!(error, DesiredError::Resolve(_)) { exit::SECRET } else { exit::INVALID };
        Self::from_error(exit, error).help(help)
    }
}

impl From<ApplyError<CliError>> for CliError {
    fn from(error: ApplyError<CliError>) -> Self {
        match error {
            ApplyError::Harbor(error) => (*error).into(),
            ApplyError::CredentialStore(error) => error,
            ApplyError::NotKept(_) => Self::new(exit::REMOTE, error.to_string())
                .help("run the command again; if it is the same, look at Harbor's own log"),
        }
    }
}

impl From<RotateError<CliError>> for CliError {
    fn from(error: RotateError<CliError>) -> Self {
        let help = match &error {
            RotateError::Apply(_) => None,
            RotateError::NoRobot => Some("`talmirror harbor apply` makes one"),
            RotateError::NotARobot(_) => {
                Some("`talmirror rotate` puts a secret of your own into the inventory")
            }
            RotateError::NotOurs(_) => {
                Some("--adopt takes it over; or let `harbor.robot` name one of talmirror's own")
            }
            RotateError::NoProject(_) => Some(
                "`talmirror harbor plan` says what stands in the way, `talmirror harbor apply` makes them",
            ),
            RotateError::NotFinished(_) => {
                Some("`talmirror rollout`, then `talmirror harbor apply --prune`, which deletes it")
            }
            RotateError::Refused(_) => {
                Some("run the command again: it sets the secret that the inventory has")
            }
        };
        match error {
            RotateError::Apply(error) => error.into(),
            error => Self::new(exit::REMOTE, error.to_string()).help_if(help),
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
