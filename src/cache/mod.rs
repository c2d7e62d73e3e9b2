//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

pub mod auth;
mod backoff;
pub mod clients;
mod command;
pub mod config;
mod glob;
mod memory;
pub mod observe;
mod refusal;
pub mod service;
mod service_manager;

pub mod store;

pub mod download;

pub mod upstream;

pub use command::main;
pub use glob::{Glob, GlobError};
pub use refusal::{refusal, rejection};
