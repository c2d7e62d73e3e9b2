//! Foreign files become an inventory as a person would have written it, with findings at their lines.
//!
//! Every format is read into sheets (mirrors, credentials, TLS settings, each with its place); sheets are corrected
//! where it is known what was meant; what many endpoints have in common becomes one mirror; and what the inventory
//! does not keep is said.

mod corrections;
mod declared;
mod hosts;
mod hosts_settings;
mod inventory_text;
mod jsonpatch;
mod k3s;
mod kind;
mod layers;
mod mirror;
mod mirrors;
mod name;
mod pipeline;
mod place;
#[cfg(test)]
mod properties;
mod readers;
mod source_file;
mod talhelper;
mod talos;
#[cfg(test)]
mod tests;

pub use kind::{SourceKind, detect};
pub use pipeline::{Imported, Options, Source, import};
