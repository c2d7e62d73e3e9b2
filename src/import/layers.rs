use std::collections::BTreeMap;

use super::corrections::PullRoute;
use super::readers::{NodeInfo, Role, Scope};
use super::source_file::Findings;
use crate::finding::Code;

/// The ways of all registries, as one set of nodes has them.
pub(super) type Routes = BTreeMap<String, PullRoute>;

/// What all nodes have, and what some have instead.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) base: Routes,
    pub(super) roles: BTreeMap<Role, Routes>,
    pub(super) nodes: BTreeMap<String, Routes>,
}

impl Layers {
    /// Puts the sheets of a reading over each other as their tool would.
    pub(super) fn new(routes: Vec<(Scope, Routes)>, nodes: &[NodeInfo], findings: &mut Findings) -> Self {
        let mut layers = Self::default();
        let wholes: Vec<&Routes> = routes
            .iter()
            .filter(|(scope, _)| matches!(scope, Scope::Whole(_)))
            .map(|(_, routes)| routes)
            .collect();
        let count = |routes: &Routes| wholes.iter().filter(|other| same(routes, other)).count();
        // What most nodes have is what all have; of two that as many have, the first.
        if let Some(most) = wholes.iter().rev().max_by_key(|routes| count(routes)) {
            layers.base = (*most).clone();
        }
        for (scope, routes) in &routes {
            if *scope == Scope::All {
                append(&mut layers.base, routes, findings);
            }
        }
        for (scope, routes) in &routes {
            if let Scope::Role(role) = scope {
                append(layers.roles.entry(*role).or_insert_with(|| layers.base.clone()), routes, findings);
            }
        }
        for (scope, routes) in routes {
            match scope {
                Scope::All | Scope::Role(_) => {}
                Scope::Node(name) => {
                    let inherited = layers.inherited(&name, nodes).clone();
                    append(layers.nodes.entry(name).or_insert(inherited), &routes, findings);
                }
                Scope::Whole(name) => {
                    layers.nodes.insert(name, routes);
                }
            }
        }
        layers
    }

    /// Returns what a node has without anything of its own.
    pub(super) fn inherited(&self, name: &str, nodes: &[NodeInfo]) -> &Routes {
        let role = nodes.iter().find(|node| node.name == name).and_then(|node| node.role);
        role.and_then(|role| self.roles.get(&role)).unwrap_or(&self.base)
    }

    /// Returns every set of ways, what all nodes have first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Routes> {
        std::iter::once(&self.base).chain(self.roles.values()).chain(self.nodes.values())
    }
}

fn same(one: &Routes, other: &Routes) -> bool {
    one.keys().eq(other.keys()) && one.values().zip(other.values()).all(|(one, other)| one.same(other))
}

/// Adds ways behind those that are there; two files that disagree are no patch on each other.
fn append(routes: &mut Routes, more: &Routes, findings: &mut Findings) {
    for (registry, route) in more {
        match routes.get_mut(registry) {
            None => {
                routes.insert(registry.clone(), route.clone());
            }
            Some(own) if own.at.file == route.at.file && route.replaces => *own = route.clone(),
            Some(own) if own.at.file == route.at.file => own.append(route),
            Some(own) if own.same(route) => {}
            Some(own) => {
                let message =
                    format!("{registry} is in {} too, with other endpoints; these are left out", own.at.file);
                findings.add(Code::Dropped, &route.at, message);
            }
        }
    }
}
