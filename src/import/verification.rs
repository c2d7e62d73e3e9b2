use std::collections::{BTreeMap, BTreeSet};

use super::corrections::{PullRoute, Step};
use super::layers::{Layers, Routes};
use super::readers::{NodeInfo, Role};
use crate::image::api_host;
use crate::inventory::{self, Inventory, Target};
use crate::registries::{Endpoint, Mirror, TalosVersion};

/// What an inventory has to give one target.
type Effective = BTreeMap<String, (Vec<Endpoint>, bool)>;

/// Reads an inventory back, resolves it for every target, and returns the places where it differs from the sources.
pub(super) fn differences(inventory: &Inventory, layers: &Layers, nodes: &[NodeInfo]) -> Vec<String> {
    let mut out = Vec::new();
    let mut compare = |what: &str, target: Target<'_>, wanted: &Routes| {
        let wild = wanted.get("*").is_some_and(|route| !route.steps.is_empty());
        let wanted = expected(wanted);
        let routes = inventory.routes(target);
        let found = effective(&inventory.mirrors_of(&routes, &TalosVersion::minor(1, 13)));
        let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        for name in names {
            let itself = (vec![upstream(name)], false);
            let of = |side: &Effective| match side.get(name) {
                Some(value) => Some(value.clone()),
                // Beside no `*`, a registry without a mirror goes to itself.
                None if !wild => Some(itself.clone()),
                None => side.get("*").cloned(),
            };
            if of(&wanted) != of(&found) {
                out.push(format!("`{name}` of {what}"));
            }
        }
    };
    compare("all nodes", Target::Base, &layers.base);
    for (role, routes) in &layers.roles {
        if let Some(group) = inventory.groups.iter().find(|(_, group)| matches_role(*role, group.role)) {
            compare(&format!("the {} nodes", role.as_str()), Target::Group(group.0), routes);
        }
    }
    for node in nodes {
        let routes = layers.nodes.get(&node.name).unwrap_or_else(|| layers.inherited(&node.name, nodes));
        if inventory.nodes.contains_key(&node.name) {
            compare(&format!("node `{}`", node.name), Target::Node(&node.name), routes);
        }
    }
    out
}

fn matches_role(role: Role, other: Option<inventory::Role>) -> bool {
    match role {
        Role::Controlplane => other == Some(inventory::Role::ControlPlane),
        Role::Worker => other == Some(inventory::Role::Worker),
    }
}

fn upstream(registry: &str) -> Endpoint {
    Endpoint::new(format!("https://{}", api_host(registry)), false).with_override()
}

fn expected(routes: &Routes) -> Effective {
    let endpoint = |registry: &str, step: &Step| match step {
        Step::Mirror(listed) => listed.value.clone(),
        Step::Upstream(Some(url)) => Endpoint::new(url.clone(), false),
        Step::Upstream(None) => upstream(registry),
    };
    let of = |(registry, route): (&String, &PullRoute)| {
        let endpoints: Vec<Endpoint> = route.steps.iter().map(|step| endpoint(registry, step)).collect();
        let mirror = Mirror { endpoints, skip_fallback: route.never };
        (!mirror.endpoints.is_empty()).then(|| (registry.clone(), normal(registry, &mirror)))
    };
    routes.iter().filter_map(of).collect()
}

fn effective(mirrors: &BTreeMap<String, Mirror>) -> Effective {
    mirrors.iter().map(|(registry, mirror)| (registry.clone(), normal(registry, mirror))).collect()
}

/// Writes a mirror in one way: each endpoint once, the upstream left out where Talos appends it.
fn normal(registry: &str, mirror: &Mirror) -> (Vec<Endpoint>, bool) {
    let own = upstream(registry);
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for endpoint in mirror.endpoints.iter().map(Endpoint::with_override) {
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    if !mirror.skip_fallback && endpoints.len() > 1 && endpoints.last() == Some(&own) {
        endpoints.pop();
    }
    (endpoints, mirror.skip_fallback)
}
