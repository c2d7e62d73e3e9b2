use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use super::interface::{Kind, Object};
use crate::image::Digest;

/// Files of blobs that were asked for lately, kept open so that the next request need not look for them.
#[derive(Debug)]
pub(super) struct OpenFiles {
    capacity: usize,
    files: HashMap<Digest, (Arc<File>, u64)>,
    clock: u64,
}

impl OpenFiles {
    /// Keeps so many.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, files: HashMap::new(), clock: 0 }
    }

    /// Returns a file, if it is open.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<Arc<File>> {
        self.clock += 1;
        let (file, used) = self.files.get_mut(digest)?;
        *used = self.clock;
        Some(Arc::clone(file))
    }

    /// Keeps a file open, in place of the one that was not used for the longest time.
    pub(super) fn put(&mut self, digest: Digest, file: Arc<File>) {
        self.clock += 1;
        if self.files.len() >= self.capacity
            && !self.files.contains_key(&digest)
            && let Some(oldest) =
                self.files.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest)
        {
            self.files.remove(&oldest);
        }
        if self.capacity > 0 {
            self.files.insert(digest, (file, self.clock));
        }
    }

    /// Closes a file, as soon as nobody reads it any more.
    pub(super) fn remove(&mut self, object: &Object) {
        if object.kind == Kind::Blob {
            self.files.remove(&object.digest);
        }
    }
}
