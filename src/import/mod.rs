//! Foreign files become an inventory as a person would have written it, with findings at their lines.
//!
//! Three steps. Readers turn every format into what it declares (mirrors, credentials, TLS settings, each with its place
//! and the nodes it is for); that is corrected where it is known what was meant, and merged by the source's own rules into
//! what every node has. What many have in common is written once, as an inventory. The inventory is then read again and
//! resolved for every node: where it does not give what the source gave, the user is told.

mod comments;
mod corrections;
mod declared;
mod fillable;
mod grouping;
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
#[cfg(test)]
mod nodes_properties;
mod pipeline;
mod place;
#[cfg(test)]
mod properties;
mod readers;
mod settings;
mod shapes;
#[cfg(test)]
mod shapes_tests;
mod source_file;
mod talenv;
mod talhelper;
mod talos;
#[cfg(test)]
mod tests;
mod toml_files;
#[cfg(test)]
mod tools_tests;
mod topf;
mod verification;

pub use kind::{SourceKind, detect};
pub use pipeline::{Imported, Nodes, Options, Source, import};
pub use shapes::related_files;
pub use talenv::{TALENV_FILES, Variable, read_variables};
