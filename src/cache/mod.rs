//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

mod answer;
mod clients;
pub mod config;
mod evict;
mod glob;
mod service;

pub mod store;

pub mod flight;

pub mod server;

pub mod upstream;

pub use answer::{Body, BoxFuture, Handler, Piece, Pieces};
pub use glob::{Glob, GlobError};
