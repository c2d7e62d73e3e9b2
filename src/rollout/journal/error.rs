use std::io;
use std::path::PathBuf;

use super::format::JournalError;
use crate::sops::SopsError;

/// Why a journal cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal is malformed.
    #[error("`{}` cannot be used", path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// There is a journal already.
    #[error("`{}` holds the journal of another rollout", .0.display())]
    Taken(PathBuf),
    /// Another rollout is under way.
    #[error("another talmirror works on this cluster: `{}` is locked", .0.display())]
    Locked(PathBuf),
    /// An original cannot be encrypted, or decrypted.
    #[error("`{}`", path.display())]
    Sops {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SopsError,
    },
    /// An original is another than the one that was saved.
    #[error("`{}` is not what was saved there", .0.display())]
    Changed(PathBuf),
}
