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

mod backup;
mod bad_input;
mod cache;
#[path = "../support/cache.rs"]
mod cache_process;
mod command_line;
mod deploy;
mod examples;
#[path = "../support/bucket.rs"]
mod fake_bucket;
#[path = "../support/harbor/mod.rs"]
mod fake_harbor;
#[path = "../support/upstream.rs"]
mod fake_upstream;
mod file_commands;
mod generate;
mod generated;
mod harbor;
mod help;
mod help_servers;
mod house;
mod init;
mod layering;
mod live_output;
mod mistakes;
mod nodes;
mod picture;
mod readme;
mod reported;
mod rollout;
mod run;
mod scan;
mod screen;
mod secrets;
#[path = "../../examples/simulated-cluster/sim/mod.rs"]
mod sim;
mod simulated;
mod talos;
mod template;
mod terminal;
mod validate;
mod verify;
mod warm;
mod whole_examples;
mod why;

use sim::authority;
