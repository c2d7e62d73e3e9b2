use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use super::piece_file::Piece;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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

/// What answers requests, whatever transport they came by.
///
/// `Content-Length` is among the headers of every answer; transports add `Date` and `Connection` only.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request without a body.
    fn handle(
        &self,
        request: http::Request<()>,
        peer: SocketAddr,
    ) -> impl Future<Output = http::Response<Body>> + Send;
}
