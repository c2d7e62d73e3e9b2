//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

mod answer;
mod evict;
mod piece_file;

pub mod store;

pub mod flight;

pub use answer::{Body, BoxFuture, Handler, Pieces};
pub use piece_file::Piece;
