//! Foreign files become an inventory as a person would have written it, with findings at their lines.
//!
//! Every format is read into sheets (mirrors, credentials, TLS settings, each with its place); sheets are corrected
//! where it is known what was meant; what many endpoints have in common becomes one mirror; and what the inventory
//! does not keep is said.

mod assign;
mod factor;
mod hosts;
mod jsonpatch;
mod k3s;
mod kind;
#[cfg(test)]
mod laws;
mod layers;
mod name;
mod page;
mod reading;
mod run;
mod sheet;
mod talhelper;
mod talos;
#[cfg(test)]
mod tests;
mod tidy;
mod write;

pub use kind::{SourceKind, detect};
pub use run::{Imported, Options, Source, import};
