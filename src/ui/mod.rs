//! What commands say to people and scripts: results, the story, findings, errors with hints, questions, exit codes.
//!
//! Both binaries speak through it, and nothing else writes to standard output or standard error.

mod duration;
pub(crate) mod error;
pub mod exit;
mod from_errors;
mod help;
mod live;
mod manual;
mod output_format;
mod prompt;
mod queue;
mod signals;
mod table;
mod terminal;
mod usage;
mod words;

pub(crate) use duration::{duration, positive_duration};
pub(crate) use error::CliError;
pub(crate) use manual::manual;
pub(crate) use output_format::OutputFormat;
pub(crate) use prompt::{Asking, confirm, new_password, password};
pub(crate) use signals::{Asked, Signals};
pub(crate) use table::table;
pub(crate) use terminal::{Color, Ui, aside};
pub(crate) use usage::parse;
pub(crate) use words::count;
