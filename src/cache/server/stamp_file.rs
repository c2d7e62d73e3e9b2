use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often files are looked at that may change.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// What tells one version of a file from another, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Kubernetes changes the link in a folder, not the file.
    path: PathBuf,
    modified: Option<SystemTime>,
    len: u64,
}

/// Returns the stamp of a file; `None` if it cannot be looked at.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let path = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&path).ok()?;
    Some(Stamp { path, modified: metadata.modified().ok(), len: metadata.len() })
}

/// Warns of what cannot be read again, once while it stays the same.
pub(super) fn once(said: &mut String, error: &dyn std::error::Error, what: &str) {
    let text = error.to_string();
    if *said != text {
        tracing::warn!(error = text, "{what}");
        *said = text;
    }
}
