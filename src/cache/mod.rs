//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder, perhaps a shared bucket.

mod admin;
pub mod auth;
mod backoff;
pub mod bucket;
mod command;
pub mod config;
mod glob;
mod memory;
pub mod mirror_config;
pub mod observe;
mod refusal;
mod reload;
pub mod replica;
pub mod server;
pub mod service;
mod service_manager;
mod status;

pub mod store;

pub mod download;

pub mod upstream;

pub use command::main;
pub use glob::{Glob, GlobError};
pub use refusal::{refusal, rejection};
