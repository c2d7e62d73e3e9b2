//! What ends a command: errors of the cache with their exit codes and ways out.

use crate::cache::admin::{AskError, UploadError};
use crate::cache::bucket::{BucketError, CollectionError};
use crate::cache::config::LoadError;
use crate::cache::replica::PeerError;
use crate::cache::server::{CloseError, StartError};
use crate::http::ServerError;
use crate::ui::error::CliError;
use crate::ui::exit;

impl From<LoadError> for CliError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read { .. } | LoadError::NotUtf8 { .. } => Self::from_error(exit::INVALID, error),
            LoadError::Invalid { file, problems } => Self::in_file(&file.display().to_string(), problems),
            LoadError::Overlay(error) => {
                let help = error.help.clone();
                Self::from_error(exit::USAGE, error).help(help)
            }
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store { .. } => Self::from_error(exit::WRITE, error).help(
                "name a folder that this user may write to, and that no other talmirror-cache uses: --root DIR",
            ),
            StartError::Bucket(
                error @ (BucketError::Configuration { .. } | BucketError::Layout { .. }),
            ) => Self::from_error(exit::INVALID, error),
            StartError::Bucket(error @ BucketError::Journal { .. }) => Self::from_error(exit::WRITE, error)
                .help("let this user read and write it, or remove it: what it says is then not written to the bucket"),
            StartError::Peers(error @ PeerError::Configuration(_)) => Self::from_error(exit::INVALID, error),
            StartError::Peers(PeerError::Server(error)) => StartError::Server(error).into(),
            StartError::Client(error) => Self::from_error(exit::REMOTE, error),
            StartError::Upstream(error) => Self::from_error(exit::INVALID, error),
            StartError::Users(error) => Self::from_error(exit::INVALID, error),
            StartError::Server(error @ (ServerError::Listen { .. } | ServerError::Passed(_))) => {
                Self::from_error(exit::REMOTE, error)
            }
            StartError::Server(error @ (ServerError::NoAddress | ServerError::Certificate { .. })) => {
                Self::from_error(exit::INVALID, error)
            }
        }
    }
}

impl From<CollectionError> for CliError {
    fn from(error: CollectionError) -> Self {
        match error {
            CollectionError::Configuration { .. } => Self::from_error(exit::INVALID, error),
            CollectionError::Unreachable { .. } => Self::from_error(exit::REMOTE, error).help(
                "check the endpoint, firewalls and proxies; `talmirror-cache check` says whether the bucket can be used",
            ),
            CollectionError::Empty(_) => Self::from_error(exit::INVALID, error)
                .help("name the bucket and the prefix as `serve` is given them: --bucket s3://NAME/PREFIX"),
            CollectionError::Unconditional(_) => Self::from_error(exit::REMOTE, error)
                .help("let a rule of the bucket expire what is old"),
            CollectionError::UnderWay(_) => Self::from_error(exit::REMOTE, error)
                .help("wait until it has ended; one that nobody goes on with is given up after a quarter of an hour"),
            CollectionError::GivenUp(_) => Self::from_error(exit::REMOTE, error)
                .help("run it again; nothing that is needed was removed"),
            CollectionError::Stopped(_) => Self::from_error(exit::INTERRUPTED, error)
                .help("run it again: nothing has to be waited for"),
            CollectionError::Read { .. } => Self::from_error(exit::REMOTE, error)
                .help("run it again when the bucket is well; `talmirror-cache check` says whether it can be used"),
            CollectionError::Failed { .. } | CollectionError::Remove { .. } => Self::from_error(exit::REMOTE, error).help(
                "nothing that is needed was removed: fix what it says, and run it again; `talmirror-cache check` says \
                 whether the bucket can be used",
            ),
        }
    }
}

impl From<UploadError> for CliError {
    fn from(error: UploadError) -> Self {
        let again = "run it again when it is well: what is there is not sent again";
        match error {
            UploadError::Folder(error) => error.into(),
            UploadError::Bucket(error) => StartError::Bucket(error).into(),
            UploadError::Io { .. } => Self::from_error(exit::REMOTE, error),
            UploadError::Ill { .. } | UploadError::Dropped { .. } => {
                Self::from_error(exit::REMOTE, error).help(again)
            }
        }
    }
}

impl From<CloseError> for CliError {
    fn from(error: CloseError) -> Self {
        Self::from_error(exit::WRITE, error)
    }
}

impl From<AskError> for CliError {
    fn from(error: AskError) -> Self {
        let help = error.help();
        let exit = match error {
            AskError::Bucket { .. } => exit::REMOTE,
            AskError::NoCache { .. } | AskError::Denied { .. } | AskError::Io { .. } => exit::INVALID,
        };
        Self::from_error(exit, error).help_if(help)
    }
}
