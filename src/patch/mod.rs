//! Registries → JSON patch, strategic merge patch or documents, against nothing or against a machine config.
//!
//! Which form survives being applied twice, on which version, is the subject of every file here; each rule was run
//! against Talos' own patcher (`tests/interop`).

mod against;
mod format;
mod json_patch;
mod plain;
mod split;

pub use against::{AgainstError, Current, against};
pub use format::{Caution, Choice, Format, FormatError, Versions, Weight, choose};
pub use plain::{Patch, plain};
pub use split::{Parts, split};
