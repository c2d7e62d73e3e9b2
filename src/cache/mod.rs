//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

pub mod auth;
pub mod clients;
mod command;
pub mod config;
mod evict;
mod glob;
pub mod observe;
mod refusal;
pub mod service;
mod service_manager;

pub mod store;

pub mod flight;

pub mod upstream;

pub use command::main;
pub use glob::{Glob, GlobError};
pub use refusal::{refusal, rejection};
