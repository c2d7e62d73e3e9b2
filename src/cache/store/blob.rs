use std::fs::File;
use std::sync::Arc;

use crate::http::{Body, Piece};
use crate::oci::Span;

/// An open file that several read.
pub type SharedFile = Arc<File>;

/// A stored blob, opened: it can be read to its end even if it is evicted meanwhile.
#[derive(Clone, Debug)]
pub struct Blob {
    file: SharedFile,
    len: u64,
}

impl Blob {
    /// Takes a file that holds exactly `len` bytes.
    pub const fn new(file: SharedFile, len: u64) -> Self {
        Self { file, len }
    }

    /// Returns how many bytes there are.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the file.
    pub const fn file(&self) -> &SharedFile {
        &self.file
    }

    /// Returns a part, or all of it, as the body of an answer.
    pub fn body(&self, span: Option<Span>) -> Body {
        let (offset, len) = span.map_or((0, self.len), |span| (span.first(), span.size()));
        if len == 0 {
            return Body::Empty;
        }
        Body::Piece(Piece::File { file: Arc::clone(&self.file), offset, len })
    }
}
