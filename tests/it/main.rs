//! What users see of the binary, in one test program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    unreachable_pub,
    missing_docs
)]

#[path = "../support/authority.rs"]
mod authority;
mod backup;
mod bad_input;
mod command_line;
mod examples;
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
