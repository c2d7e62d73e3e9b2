//! Findings: what is wrong with a file, where, why, and what to do; reading that collects all of them.

mod code;
mod decode;
mod excerpt;
mod one_line;
mod problem;
mod unknown;

pub use code::{Code, Severity};
pub(crate) use decode::{Decoder, Fields, join};
pub use excerpt::Excerpt;
pub(crate) use excerpt::may_name_a_secret;
pub use one_line::one_line;
pub use problem::{Problem, Problems, did_you_mean};
pub(crate) use unknown::UnknownKeys;
