use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

/// A run of bytes of a body, as a transport sends it: from a file where it can, so that they need not pass through memory.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes of a file.
    File {
        /// The file; it may be unlinked meanwhile, and grow.
        file: Arc<File>,
        /// Where they begin.
        offset: u64,
        /// How many there are; all of them are there.
        len: u64,
    },
    /// Bytes in memory.
    Bytes(Bytes),
}

impl Piece {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
