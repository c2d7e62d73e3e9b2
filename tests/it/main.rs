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

mod backup;
mod bad_input;
mod cache {
    mod conformance;
    mod store;
    mod store_crash;
    mod store_full;
}
mod command_line;
mod examples;
mod generate;
mod init;
mod layering;
mod nodes;
mod readme;
mod rollout;
mod run;
mod secrets;
#[path = "../../examples/simulated-cluster/sim/mod.rs"]
mod sim;
mod simulated;
mod talos;
mod terminal;
mod validate;
