//! The folders of journals: one for each cluster, its lock, and the list of journals that lie elsewhere.

#![expect(clippy::disallowed_methods, reason = "keeps journals on disk")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::replay::History;
use crate::file::{Lock, LockError, make_private_dir_durably, write_atomically};
use crate::rollout::variants::ConfigDigest;

/// The journal's name in its folder.
pub const NAME: &str = "journal.ndjson";
/// The file in a cluster's folder that says where its other journals are.
pub const ELSEWHERE: &str = "journals.txt";

/// Takes the lock of a cluster's folder, which is made where it is not there: one rollout at a time.
pub fn lock(folder: &Path) -> Result<Lock, StoreError> {
    make_folder(folder)?;
    Lock::take(&folder.join("lock")).map_err(|error| match error {
        LockError::Held { path, .. } => StoreError::Locked(path),
        LockError::Io { path, source } => StoreError::Write { path, source },
    })
}

/// Reads what the journal of a folder says.
pub fn read_history(folder: &Path) -> Result<History, StoreError> {
    let path = folder.join(NAME);
    let text = fs::read_to_string(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    History::parse(&text).map_err(|source| StoreError::Journal { path, source })
}

/// Returns the folder of the latest rollout among those of a cluster; names sort by time.
pub fn latest(folder: &Path) -> Option<PathBuf> {
    newest(folder).into_iter().next()
}

/// Returns the folders of all rollouts among those of a cluster, the newest first.
pub fn newest(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join(NAME).is_file()).collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    found
}

/// Writes into a cluster's folder where a journal of it lies, if it lies elsewhere; returns when that is on disk.
///
/// The caller holds the cluster's lock.
pub fn remember(cluster: &Path, folder: &Path) -> Result<(), StoreError> {
    let path = cluster.join(ELSEWHERE);
    let failed = |source| StoreError::Write { path: path.clone(), source };
    let (own, folder) =
        (std::path::absolute(cluster).map_err(failed)?, std::path::absolute(folder).map_err(failed)?);
    if folder.starts_with(&own) {
        return Ok(());
    }
    let mut all = elsewhere(cluster)?;
    if all.contains(&folder) {
        return Ok(());
    }
    all.push(folder);
    let mut text = String::new();
    for folder in &all {
        let line = folder.to_str().filter(|line| !line.contains('\n')).ok_or_else(|| {
            let why = format!("`{}` is not one line of text", folder.display());
            failed(io::Error::new(io::ErrorKind::InvalidInput, why))
        })?;
        text.push_str(line);
        text.push('\n');
    }
    make_folder(cluster)?;
    write_atomically(&path, text.as_bytes()).map(drop).map_err(failed)
}

/// Returns the folders of a cluster's journals that lie elsewhere, the one first that was written down first.
pub fn elsewhere(cluster: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let path = cluster.join(ELSEWHERE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    make_private_dir_durably(folder).map_err(|source| StoreError::Write { path: folder.to_owned(), source })
}

/// Returns a name for the file of a node's original: the node's, made safe, and the beginning of the digest.
pub fn file_name(node: &str, before: &ConfigDigest, ending: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let name: String = node.trim_start_matches('.').chars().map(safe).collect();
    format!("{name}-{}.{ending}", before.as_str().get(..8).unwrap_or_default())
}
