//! A Talos machine config as text: its registries are read, replaced in place, and compared.
//!
//! A config is one document up to Talos 1.11 and up to thirty since. Registries stand in `machine.registries` of the
//! v1alpha1 document, in `Registry*Config` documents, or in both; where both name a key, the document wins whole.
//! The author of the file also wrote comments into it, so an edit touches registries and leaves every other byte.

mod config;
mod contents;
mod diff;
mod drift;
mod error;
mod fields;
mod place;
mod read;
mod replace;
mod resource;
#[cfg(test)]
mod tests;

pub use config::{MachineConfig, Role};
pub use contents::{holds_registries_only, is_inventory};
pub use diff::{Change, ChangeKind, Detail, ShownValue, diff};
pub use drift::{Cell, Drift, Row, matrix, same_as};
pub use error::ReplaceError;
pub use fields::Fields;
pub use read::{Found, Placed, Reader, Schema};
pub use replace::{Form, Replacement, TlsIn, Unlisted};
pub use resource::{LiveConfig, is_resource, live_configs, separated};
