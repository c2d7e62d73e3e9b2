//! talmirror-cache: a pull-through cache for many upstream registries, one port, one folder.

mod admin;
pub mod auth;
mod command;
pub mod config;
mod evict;
mod glob;
pub mod mirror_config;
pub mod observe;
mod refusal;
mod reload;
pub mod server;
pub mod service;
mod service_manager;

pub mod store;

pub mod flight;

pub mod upstream;

pub use command::main;
pub use glob::{Glob, GlobError};
pub use refusal::{refusal, rejection};
