//! What commands say to people and scripts: results, the story, findings, errors with hints, exit codes.
//!
//! Both binaries speak through it, and nothing else writes to standard output or standard error.

pub(crate) mod error;
pub mod exit;
mod manual;
mod terminal;
mod usage;

pub(crate) use manual::manual;
pub(crate) use terminal::{Color, Ui, table};
pub(crate) use usage::usage;
