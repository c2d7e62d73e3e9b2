//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

mod answer;
mod backoff;
pub mod clients;
mod command;
pub mod config;
mod glob;
mod memory;
mod piece_file;
pub mod service;

pub mod store;

pub mod download;

pub mod server;

pub mod upstream;

pub use answer::{Body, BoxFuture, Handler, Pieces};
pub use command::main;
pub use glob::{Glob, GlobError};
pub use piece_file::Piece;
