use std::collections::BTreeMap;

use super::page::Findings;
use super::reading::{NodeInfo, Role, Scope};
use super::tidy::Way;
use crate::finding::Code;

/// The ways of all registries, as one set of nodes has them.
pub(super) type Ways = BTreeMap<String, Way>;

/// What all nodes have, and what some have instead.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) base: Ways,
    pub(super) roles: BTreeMap<Role, Ways>,
    pub(super) nodes: BTreeMap<String, Ways>,
}

impl Layers {
    /// Puts the sheets of a reading over each other as their tool would.
    pub(super) fn new(ways: Vec<(Scope, Ways)>, nodes: &[NodeInfo], findings: &mut Findings) -> Self {
        let mut layers = Self::default();
        let wholes: Vec<&Ways> =
            ways.iter().filter(|(scope, _)| matches!(scope, Scope::Whole(_))).map(|(_, ways)| ways).collect();
        let count = |ways: &Ways| wholes.iter().filter(|other| same(ways, other)).count();
        // What most nodes have is what all have; of two that as many have, the first.
        if let Some(most) = wholes.iter().rev().max_by_key(|ways| count(ways)) {
            layers.base = (*most).clone();
        }
        for (scope, ways) in &ways {
            if *scope == Scope::All {
                append(&mut layers.base, ways, findings);
            }
        }
        for (scope, ways) in &ways {
            if let Scope::Role(role) = scope {
                append(layers.roles.entry(*role).or_insert_with(|| layers.base.clone()), ways, findings);
            }
        }
        for (scope, ways) in ways {
            match scope {
                Scope::All | Scope::Role(_) => {}
                Scope::Node(name) => {
                    let inherited = layers.inherited(&name, nodes).clone();
                    append(layers.nodes.entry(name).or_insert(inherited), &ways, findings);
                }
                Scope::Whole(name) => {
                    layers.nodes.insert(name, ways);
                }
            }
        }
        layers
    }

    /// Returns what a node has without anything of its own.
    pub(super) fn inherited(&self, name: &str, nodes: &[NodeInfo]) -> &Ways {
        let role = nodes.iter().find(|node| node.name == name).and_then(|node| node.role);
        role.and_then(|role| self.roles.get(&role)).unwrap_or(&self.base)
    }

    /// Returns every set of ways, what all nodes have first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Ways> {
        std::iter::once(&self.base).chain(self.roles.values()).chain(self.nodes.values())
    }
}

fn same(one: &Ways, other: &Ways) -> bool {
    one.keys().eq(other.keys()) && one.values().zip(other.values()).all(|(one, other)| one.same(other))
}

/// Adds ways behind those that are there; two files that disagree are no patch on each other.
fn append(ways: &mut Ways, more: &Ways, findings: &mut Findings) {
    for (registry, way) in more {
        match ways.get_mut(registry) {
            None => {
                ways.insert(registry.clone(), way.clone());
            }
            Some(own) if own.at.file == way.at.file && way.replaces => *own = way.clone(),
            Some(own) if own.at.file == way.at.file => own.append(way),
            Some(own) if own.same(way) => {}
            Some(own) => {
                let message =
                    format!("{registry} is in {} too, with other endpoints; these are left out", own.at.file);
                findings.add(Code::Dropped, &way.at, message);
            }
        }
    }
}
