//! The cache, part by part, and whole.

mod server;
mod upstream;
