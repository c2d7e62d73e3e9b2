//! The messages of `proto/`, as generated.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    rust_2018_idioms
)]

include!(concat!(env!("OUT_DIR"), "/client/mod.rs"));
