#![expect(clippy::disallowed_methods, reason = "looks at files")]

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// What tells one state of a file from another, without reading it.
///
/// A secret or config map that Kubernetes mounts changes by a link in its folder: the file is then another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    #[cfg(unix)]
    file: (u64, u64),
    modified: Option<SystemTime>,
    len: u64,
}

impl Stamp {
    /// Returns the stamp of the file that a path leads to; [`None`] if it cannot be looked at.
    pub fn of(path: &Path) -> Option<Self> {
        Some(Self::of_metadata(&fs::metadata(path).ok()?))
    }

    /// Returns the stamp of a file that is open, so that it belongs to the bytes that are read from it.
    ///
    /// Fails as the file system does.
    pub fn of_file(file: &fs::File) -> io::Result<Self> {
        Ok(Self::of_metadata(&file.metadata()?))
    }

    fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            #[cfg(unix)]
            file: (
                std::os::unix::fs::MetadataExt::dev(metadata),
                std::os::unix::fs::MetadataExt::ino(metadata),
            ),
            modified: metadata.modified().ok(),
            len: metadata.len(),
        }
    }
}

/// A value that is read from files, and read again when one of them has changed.
#[derive(Debug)]
pub struct Watched<T> {
    files: Vec<PathBuf>,
    value: RwLock<Arc<T>>,
    stamps: Mutex<Vec<Option<Stamp>>>,
}

impl<T> Watched<T> {
    /// Reads the value for the first time.
    ///
    /// Fails as `read` does.
    pub fn new<E>(files: Vec<PathBuf>, read: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        // Looked at first: what changes while it is read is read again.
        let stamps = Mutex::new(stamps(&files));
        let value = RwLock::new(Arc::new(read()?));
        Ok(Self { files, value, stamps })
    }

    /// Returns the value as it was read last.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the value again if a file has changed; returns whether one had.
    ///
    /// Fails as `read` does; the value then stays as it was, as half of a change may be on its way.
    pub fn reload<E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<bool, E> {
        let now = stamps(&self.files);
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if *stamps == now {
            return Ok(false);
        }
        let value = Arc::new(read()?);
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        // Only what was read is not read again: a file may become readable without being written.
        *stamps = now;
        Ok(true)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_under_the_same_name_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        assert_eq!(Stamp::of(&path), None);
        fs::write(&path, "1").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of_file(&fs::File::open(&path).unwrap()).unwrap(), first);
        fs::write(&other, "2").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::of(&path), Some(first));
    }

    #[test]
    fn a_value_follows_its_file_and_stays_where_that_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let read = || fs::read_to_string(&path).unwrap().parse::<u32>();
        fs::write(&path, "1").unwrap();
        let watched = Watched::new(vec![path.clone()], read).unwrap();
        assert_eq!(watched.reload(read), Ok(false));
        fs::write(&path, "none").unwrap();
        assert!(watched.reload(read).is_err() && watched.reload(read).is_err(), "it is read again");
        assert_eq!(*watched.get(), 1);
        fs::write(&path, "22").unwrap();
        assert_eq!((watched.reload(read), *watched.get()), (Ok(true), 22));
    }
}
