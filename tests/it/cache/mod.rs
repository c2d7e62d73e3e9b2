//! The cache, part by part.

mod server;
