//! What commands say to people and scripts: results, the story, findings, errors with hints, questions, exit codes.
//!
//! Both binaries speak through it, and nothing else writes to standard output or standard error.

mod duration;
pub(crate) mod error;
mod excerpt;
pub mod exit;
mod from_errors;
mod help;
mod line;
mod live;
mod manual;
mod output_format;
mod paint;
mod prompt;
mod queue;
mod shell;
mod shown;
mod signals;
mod table;
mod terminal;
mod usage;
mod verbosity;
mod words;

pub(crate) use duration::{duration, duration_text, positive_duration};
pub(crate) use error::CliError;
pub(crate) use manual::{Manual, write_manual};
pub(crate) use output_format::OutputFormat;
pub(crate) use prompt::{Asking, agree, choose, confirm, new_password, password, text, unanswered};
pub(crate) use shell::quoted;
pub(crate) use signals::{EndRequest, Signals};
pub(crate) use table::{Cells, Table, table};
pub(crate) use terminal::{Color, Ui, aside, log_requests};
pub(crate) use usage::parse;
pub(crate) use verbosity::Verbosity;
pub(crate) use words::count;

/// The commit that a release is built from.
pub(crate) const COMMIT: &str = env!("TALMIRROR_COMMIT");
