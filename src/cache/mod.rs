//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

mod answer;
mod evict;

pub mod store;

pub mod flight;

pub use answer::{Body, BoxFuture, Handler, Piece, Pieces};
