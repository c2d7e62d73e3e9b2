#![expect(clippy::disallowed_methods, reason = "looks whose a folder is")]

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cache::store::{FsConfig, FsStore};

/// Why a question about a store has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cache) enum AskError {
    /// The folder holds no cache.
    #[error("there is no cache in `{}`", folder.display())]
    NoCache {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be read by this user.
    #[error("cannot read `{}`", folder.display())]
    Denied {
        /// The folder.
        folder: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The server that has the folder open cannot do with its bucket what it is asked for.
    #[error("the server that runs over `{}` cannot do that with its bucket", folder.display())]
    Bucket {
        /// The folder.
        folder: PathBuf,
        /// What the server says.
        source: io::Error,
    },
    /// The folder cannot be read, or the server that has it open answers with an error.
    #[error("cannot read `{}`", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the file system or the server says.
        source: io::Error,
    },
}

impl AskError {
    /// Returns what to do about it.
    pub(in crate::cache) fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoCache { .. } => Some("name its folder: --root DIR"),
            Self::Denied { .. } => Some("run it as the user that the server runs as"),
            Self::Bucket { .. } => Some("`talmirror-cache stats` says how it is"),
            Self::Io { .. } => None,
        }
    }
}

/// Opens the folder of a cache that no server has open.
pub(in crate::cache) async fn open_folder(folder: &Path) -> Result<FsStore, AskError> {
    let own = || folder.to_owned();
    let failed = |source| AskError::Io { folder: own(), source };
    let denied = |source| AskError::Denied { folder: own(), source };
    if !folder.join("index").try_exists().map_err(denied)? {
        return Err(AskError::NoCache { folder: own() });
    }
    // What another user writes there, the server could not write any more.
    let owner = std::fs::metadata(folder).map_err(failed)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(denied(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("no server has it open, and it belongs to the user with the number {owner}"),
        )));
    }
    let config = FsConfig { tended: false, ..FsConfig::new(own()) };
    FsStore::open(config).await.map_err(failed)
}
