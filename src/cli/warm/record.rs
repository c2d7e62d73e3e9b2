#![expect(clippy::disallowed_methods, reason = "keeps what was fetched for the next run")]

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::jobs::Job;
use crate::cli::input::state_folder;
use crate::file::{AppendLog, make_private_dir};
use crate::image::Algorithm;
use crate::mirror::warm::Completed;
use crate::oci::digest_of;

/// What was fetched longer ago may be gone from the mirror again.
const STALE: Duration = Duration::from_hours(12);

/// What was fetched, in a file that a run which was stopped leaves to the next one over the same images.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    known: HashSet<String>,
    /// [`None`] where it cannot be written: nothing is kept then.
    log: Mutex<Option<AppendLog<File>>>,
}

impl Record {
    /// Reads what a run that was stopped has left; fails where the file cannot be written.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(parent) = path.parent() {
            make_private_dir(parent)?;
            remove_stale(parent);
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // A last line without its end was being written when the run was stopped.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let now = seconds();
        let known = whole.lines().filter_map(|line| {
            let (at, key) = line.split_once(' ')?;
            let age = now.checked_sub(at.parse().ok()?)?;
            (age < STALE.as_secs()).then(|| key.to_owned())
        });
        let known = known.collect();
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let log = AppendLog::new(file, "\n", !text.is_empty() && !text.ends_with('\n'));
        Ok(Self { path: path.to_owned(), known, log: Mutex::new(Some(log)) })
    }

    /// Keeps nothing.
    pub(super) fn nowhere() -> Self {
        Self { path: PathBuf::new(), known: HashSet::new(), log: Mutex::new(None) }
    }

    /// Removes the file: all is done.
    pub(super) fn remove(&self) {
        // What is left goes stale by itself.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Completed for Arc<Record> {
    fn has(&self, key: &str) -> bool {
        self.known.contains(key)
    }

    fn add(&self, key: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // On a full disk nothing more is kept.
        if log.as_mut().is_some_and(|log| log.append(&format!("{} {key}\n", seconds())).is_err()) {
            *log = None;
        }
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Removes the records that nothing was added to for so long that no line of them counts.
fn remove_stale(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age >= STALE) {
            // What stays is read as stale.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Returns where a run over these images keeps what it has fetched; [`None`]: there is no home directory.
pub(super) fn path(jobs: &[Job], mode: &str) -> Option<PathBuf> {
    let line = |job: &Job| {
        let host = job.mirror.as_ref().map_or("-", |(hop, _)| hop.host.as_str());
        format!("{} {host}\n", job.image)
    };
    let names: String = std::iter::once(format!("{mode}\n")).chain(jobs.iter().map(line)).collect();
    let digest = digest_of(Algorithm::Sha256, names.as_bytes()).hex();
    let name = digest.get(..16).unwrap_or_default();
    Some(state_folder()?.join("warm").join(format!("{name}.txt")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_known_to_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("record.txt");
        let open = || Arc::new(Record::open(&path).unwrap());
        let first = open();
        assert!(!first.has("h sha256:1"));
        first.add("h sha256:1");
        drop(first);
        // A run that was killed in the middle of a line.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("1790000000 h sha256:2\n{text}{} h sha2", seconds())).unwrap();
        let other = path.with_file_name("other.txt");
        let old = SystemTime::now() - STALE;
        File::create(&other).unwrap().set_modified(old).unwrap();
        let second = open();
        assert!(second.has("h sha256:1") && !second.has("h sha2"));
        assert!(!second.has("h sha256:2"), "it was fetched too long ago");
        assert!(!other.exists(), "the record of other images");
        second.add("h sha256:3");
        assert!(open().has("h sha256:3"));
        second.remove();
        assert!(!open().has("h sha256:1"));
    }
}
