//! The cache, part by part, and whole.

mod acceptance_cold;
mod acceptance_tags;
mod conformance;
mod server;
mod store;
mod store_crash;
mod store_full;
mod upstream;
