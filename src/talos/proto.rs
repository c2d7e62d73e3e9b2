//! The messages of `proto/`, as generated: `tests/it/generated.rs` makes them again.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    rust_2018_idioms
)]

include!("proto/generated/mod.rs");
