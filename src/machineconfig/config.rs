use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::read::{Found, Reader};
use crate::finding::{Code, Problems};
use crate::registries::{Kind, Registries};
use crate::yaml::{Document, Node, ParseError, Stream, parse};

/// A machine config: a text of documents, some of which concern registries.
#[derive(Clone)]
pub struct MachineConfig {
    text: String,
    stream: Stream,
}

/// What a document of a machine config is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The v1alpha1 document: `machine`, `cluster`, no `kind`.
    Machine,
    /// A registry document; the name is empty where it is missing.
    Registry(Kind, String),
    /// Anything else, nothing included.
    Other,
}

/// Shows the size only: the text holds secrets.
impl fmt::Debug for MachineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineConfig({} documents)", self.stream.documents.len())
    }
}

impl MachineConfig {
    /// Reads a machine config, or any part of one.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { text: text.to_owned(), stream: parse(text)? })
    }

    /// Returns the text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns how many documents there are; a JSON patch applies only where it is one.
    pub fn documents(&self) -> usize {
        self.stream.documents.len()
    }

    /// Returns whether there is a v1alpha1 document.
    pub fn has_machine(&self) -> bool {
        self.with_roles().any(|(_, role)| role == Role::Machine)
    }

    /// Returns the name that the config gives its node.
    pub fn hostname(&self) -> Option<&str> {
        let named = self.stream.documents.iter().find_map(|document| {
            let root = &document.root;
            let own = root.get("kind").and_then(Node::as_str) == Some("HostnameConfig");
            if own { root.get("hostname").and_then(Node::as_str) } else { None }
        });
        let legacy = || {
            let mut machines = self.with_roles().filter(|(_, role)| *role == Role::Machine);
            machines.find_map(|(document, _)| document.root.at(&["machine", "network", "hostname"])?.as_str())
        };
        named.or_else(legacy)
    }

    /// Returns the place of `machine.registries`, if the key is there.
    pub fn legacy_span(&self) -> Option<Range<usize>> {
        let mut sections = self.with_roles().filter(|(_, role)| *role == Role::Machine);
        sections.find_map(|(document, _)| Some(document.root.at(&["machine", "registries"])?.span.clone()))
    }

    /// Returns `machine.registries` as a tree, if the key is there.
    pub fn legacy_tree(&self) -> Option<Value> {
        let mut sections = self.with_roles().filter(|(_, role)| *role == Role::Machine);
        sections.find_map(|(document, _)| Some(document.root.at(&["machine", "registries"])?.to_json()))
    }

    /// Returns the registry documents as trees, by kind and name.
    pub fn registry_trees(&self) -> BTreeMap<(Kind, String), Value> {
        let trees = self.with_roles().filter_map(|(document, role)| match role {
            Role::Registry(kind, name) => Some(((kind, name), document.root.to_json())),
            Role::Machine | Role::Other => None,
        });
        trees.collect()
    }

    /// Returns the registries that the node has: legacy ones, and documents over them, key by key.
    pub fn registries(&self, problems: &mut Problems<'_>) -> Registries {
        self.found(problems).registries()
    }

    /// Returns the registries that the node has, each with its place.
    pub fn found(&self, problems: &mut Problems<'_>) -> Found {
        let mut found = self.legacy(problems);
        found.overlay(self.registry_documents(problems));
        found
    }

    /// Returns what stands in `machine.registries`.
    pub fn legacy(&self, problems: &mut Problems<'_>) -> Found {
        let mut reader = Reader::new(problems);
        for (document, role) in self.with_roles() {
            if let (Role::Machine, Some(node)) = (role, document.root.at(&["machine", "registries"])) {
                reader.section(node, "machine.registries");
            }
        }
        refuse_deletes(reader.finish(), problems)
    }

    /// Returns what stands in `Registry*Config` documents.
    pub fn registry_documents(&self, problems: &mut Problems<'_>) -> Found {
        let mut reader = Reader::new(problems);
        for (document, role) in self.with_roles() {
            if let Role::Registry(kind, _) = role {
                reader.document(kind, &document.root);
            }
        }
        refuse_deletes(reader.finish(), problems)
    }

    pub(super) fn with_roles(&self) -> impl Iterator<Item = (&Document, Role)> {
        self.stream.documents.iter().map(|document| (document, Role::of(&document.root)))
    }
}

impl Role {
    /// Finds out what a document is about by its root.
    pub fn of(root: &Node) -> Self {
        match root.get("kind").and_then(Node::as_str) {
            Some(kind) => kind.parse().map_or(Self::Other, |kind| {
                Self::Registry(kind, root.get("name").and_then(Node::as_str).unwrap_or_default().to_owned())
            }),
            None if root.get("machine").is_some() || root.get("cluster").is_some() => Self::Machine,
            None if root.get("version").and_then(Node::as_str) == Some("v1alpha1") => Self::Machine,
            None => Self::Other,
        }
    }
}

/// Reports `$patch`, which a config itself cannot hold.
fn refuse_deletes(mut found: Found, problems: &mut Problems<'_>) -> Found {
    for (path, span) in std::mem::take(&mut found.deleted) {
        found.lossy = true;
        problems.add(Code::UnknownField, &span, path, "`$patch` belongs into a patch, not into a config");
    }
    found
}
