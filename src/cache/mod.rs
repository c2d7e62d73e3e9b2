//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

mod answer;

pub use answer::{Body, BoxFuture, Handler, Piece, Pieces};
