//! The user's file.
mod code;
mod problem;

pub use code::{Code, Severity};
pub use problem::{Problem, Problems, did_you_mean};
