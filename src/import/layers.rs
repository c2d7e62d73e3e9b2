use std::collections::BTreeMap;

use super::corrections::PullRoute;
use super::declared::Deleted;
use super::readers::{NodeInfo, Role, Scope};
use super::source_file::Findings;
use crate::finding::Code;

/// The ways of all registries, as one set of nodes has them.
pub(super) type Routes = BTreeMap<String, PullRoute>;

/// What a source says for some nodes.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) scope: Scope,
    pub(super) routes: Routes,
    /// What it deletes of what the same source has said before.
    pub(super) deleted: Deleted,
    pub(super) source: String,
}

/// What all nodes have, and what some have instead.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) base: Routes,
    pub(super) roles: BTreeMap<Role, Routes>,
    pub(super) nodes: BTreeMap<String, Routes>,
}

impl Layers {
    /// Merges what is for a node as its tool does, for every node and role, and then takes out what many have in common.
    ///
    /// The order is that of the sources: talhelper applies the patches of a role and of a node before those for all.
    pub(super) fn new(parts: &[Layer], nodes: &[NodeInfo], findings: &mut Findings) -> Self {
        let mut layers = Self::default();
        let wholes = parts.iter().filter(|part| matches!(part.scope, Scope::Whole(_)));
        let wholes: Vec<&Routes> = wholes.map(|part| &part.routes).collect();
        let count = |routes: &Routes| wholes.iter().filter(|other| same(routes, other)).count();
        // What most nodes have is what all have; of two that as many have, the first.
        if let Some(most) = wholes.iter().rev().max_by_key(|routes| count(routes)) {
            layers.base = (*most).clone();
        }
        let common = layers.base.clone();
        for part in parts.iter().filter(|part| part.scope == Scope::All) {
            append(&mut layers.base, part, Some(findings));
        }
        let merged = |role: Option<Role>, node: Option<&NodeInfo>| {
            let mut out = common.clone();
            let only_own = node.is_some_and(|node| node.overrides_group);
            for part in parts {
                let applies = match &part.scope {
                    Scope::All => true,
                    Scope::Role(of) => Some(*of) == role && !only_own,
                    Scope::Node(name) => node.is_some_and(|node| node.name == *name),
                    Scope::Whole(_) => false,
                };
                if applies {
                    append(&mut out, part, None);
                }
            }
            out
        };
        for role in [Role::Controlplane, Role::Worker] {
            if parts.iter().any(|part| part.scope == Scope::Role(role)) {
                layers.roles.insert(role, merged(Some(role), None));
            }
        }
        for node in nodes {
            layers.nodes.insert(node.name.clone(), merged(node.role, Some(node)));
        }
        for part in parts {
            if let Scope::Whole(name) = &part.scope {
                let mut own = part.routes.clone();
                for all in parts.iter().filter(|part| part.scope == Scope::All) {
                    append(&mut own, all, None);
                }
                layers.nodes.insert(name.clone(), own);
            }
        }
        for route in layers.all_mut().flat_map(BTreeMap::values_mut) {
            // Told, or made so by what was left out.
            route.never &= !route.steps.is_empty();
        }
        layers.fold(nodes);
        layers
    }

    /// Lets what every role has be what all have, and leaves out what says nothing new.
    fn fold(&mut self, nodes: &[NodeInfo]) {
        let used = |role: Role| nodes.is_empty() || nodes.iter().any(|node| node.role == Some(role));
        let both = [Role::Controlplane, Role::Worker];
        let mut of_roles = both.into_iter().filter(|role| used(*role)).map(|role| self.roles.get(&role));
        let first = of_roles.next().flatten().cloned();
        if let Some(first) = first
            && of_roles.all(|other| other.is_some_and(|other| same(other, &first)))
            && nodes.iter().all(|node| node.role.is_some())
        {
            self.base = first;
        }
        let base = self.base.clone();
        self.roles.retain(|_, routes| !same(routes, &base));
        let inherited: BTreeMap<String, Routes> =
            self.nodes.keys().map(|name| (name.clone(), self.inherited(name, nodes).clone())).collect();
        self.nodes
            .retain(|name, routes| inherited.get(name).is_none_or(|inherited| !same(routes, inherited)));
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

    /// Returns every set of ways, to change it.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Routes> {
        std::iter::once(&mut self.base).chain(self.roles.values_mut()).chain(self.nodes.values_mut())
    }
}

fn same(one: &Routes, other: &Routes) -> bool {
    one.keys().eq(other.keys()) && one.values().zip(other.values()).all(|(one, other)| one.same(other))
}

/// Adds ways behind those that are there; two sources that disagree are not patches on each other.
fn append(routes: &mut Routes, part: &Layer, mut findings: Option<&mut Findings>) {
    routes.retain(|registry, route| {
        let is_deleted = part.deleted.all || part.deleted.names.contains(registry);
        route.source != part.source || !is_deleted
    });
    for (registry, route) in &part.routes {
        match routes.get_mut(registry) {
            None => {
                routes.insert(registry.clone(), route.clone());
            }
            Some(own) if own.source == route.source => own.append(route),
            Some(own) if own.same(route) => {}
            Some(own) => {
                if let Some(findings) = &mut findings {
                    let message = format!(
                        "{registry} is in {} too, with other endpoints; these are left out",
                        own.at.file
                    );
                    findings.lose(Code::Dropped, &route.at, message);
                }
            }
        }
    }
}
