//! The encrypted file of a node's machine config: what it is called, and what has to be written into it.

mod encrypted;
mod file_name;

pub use encrypted::{Old, Recipients, Sealed, own_settings, seal};
pub use file_name::file_name;
