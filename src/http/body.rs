use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

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

/// A body that comes in pieces, whose number of bytes is known before.
///
/// An error means that the connection must be broken off: nothing may be written into a body that has begun.
pub trait Pieces: Send {
    /// Waits for the next piece; [`None`] is the end.
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Piece>>>;
}

/// The body of an answer.
pub enum Body {
    /// None; also that of an answer to HEAD, whose `Content-Length` is the object's.
    Empty,
    /// One piece.
    Piece(Piece),
    /// Pieces as they come.
    Pieces {
        /// How many bytes in all.
        len: u64,
        /// Where they come from.
        pieces: Box<dyn Pieces>,
    },
}

impl Body {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Piece(piece) => piece.len(),
            Self::Pieces { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Piece(piece) => f.debug_tuple("Piece").field(piece).finish(),
            Self::Pieces { len, .. } => f.debug_struct("Pieces").field("len", len).finish_non_exhaustive(),
        }
    }
}
