use std::collections::BTreeMap;

use super::declared::{Credentials, Tls};

/// A mirror of the inventory.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) shape: Shape,
    pub(super) credentials: Option<Credentials>,
    pub(super) tls: Option<Tls>,
}

/// The kind of a mirror, and how its paths follow from the names of registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A project for each registry.
    Harbor(Paths),
    /// A path for each registry.
    Path(Paths),
    /// One URL for the registries that it serves.
    Plain(Vec<String>),
    /// One URL for all.
    Cache,
    /// A URL that is used as it stands; an empty list serves all.
    Raw { override_path: bool, serves: Vec<String> },
}

/// What stands in the place of `{registry}`, and the registries for which another word does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) template: Option<String>,
    pub(super) by_registry: BTreeMap<String, String>,
}
