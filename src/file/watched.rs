#![expect(clippy::disallowed_methods, reason = "looks at files")]

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
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
}
