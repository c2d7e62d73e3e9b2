//! What users see of the binary, in one test program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    unreachable_pub,
    missing_docs
)]

#[path = "../support/authority.rs"]
mod authority;
mod bad_input;
mod cache;
#[path = "../support/cache.rs"]
mod cache_process;
mod command_line;
mod examples;
#[path = "../support/upstream.rs"]
mod fake_upstream;
mod generate;
mod init;
mod layering;
mod nodes;
mod readme;
mod run;
mod secrets;
mod talos;
#[path = "../support/talos_api.rs"]
mod talos_api;
mod terminal;
mod validate;
