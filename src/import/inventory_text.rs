use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::corrections::{PullRoute, Step};
use super::declared::{Credentials, SecretSource, Tls};
use super::hosts_settings::Upstream;
use super::layers::{Layers, Routes};
use super::mirror::{Mirror, Paths, Shape};
use super::mirrors::Mirrors;
use super::readers::{NodeInfo, Role};
use crate::yaml::{Indent, emit};

/// All that an inventory is written from.
pub(super) struct Draft<'a> {
    pub(super) mirrors: &'a Mirrors,
    pub(super) upstreams: &'a BTreeMap<String, Upstream>,
    pub(super) layers: &'a Layers,
    pub(super) nodes: &'a [NodeInfo],
    pub(super) version: Option<String>,
    /// Rules for the verification of images.
    pub(super) verification: &'a [Value],
}

/// What registries have unless they say otherwise.
#[derive(Default)]
struct Defaults {
    via: Vec<String>,
    never: bool,
}

impl Draft<'_> {
    /// Writes the inventory as a person would have written it.
    pub(super) fn text(&self) -> String {
        if let Some(short) = self.short() {
            return emit(&short, Indent::default());
        }
        let defaults = self.defaults();
        let mut text = "apiVersion: talmirror/v1\nkind: Inventory\n".to_owned();
        let mut section = |comment: &str, name: &str, value: Map<String, Value>| {
            if !value.is_empty() {
                let comment = if comment.is_empty() { String::new() } else { format!("# {comment}\n") };
                text.push('\n');
                text.push_str(&comment);
                text.push_str(&emit(&json!({ name: value }), Indent::default()));
            }
        };
        section("", "talos", self.version.iter().map(|text| ("version".to_owned(), json!(text))).collect());
        let mirrors = self.mirrors.list.iter().map(|mirror| (mirror.name.clone(), written(mirror)));
        section("Where images are pulled from.", "mirrors", mirrors.collect());
        section(
            "What is pulled through them, by the names that image references use.",
            "registries",
            self.registries(&defaults),
        );
        let mut common = Map::new();
        if !defaults.via.is_empty() {
            common.insert("via".to_owned(), json!(defaults.via));
        }
        if defaults.never {
            common.insert("fallback".to_owned(), json!("never"));
        }
        section("What a registry has that says nothing else.", "defaults", common);
        section("", "groups", self.groups());
        section("", "nodes", self.nodes());
        if !self.verification.is_empty() {
            text.push_str(
                "\n# Talos' own rules: kept here for `explain` and `validate`; patches do not touch them.\n",
            );
            text.push_str(&emit(&json!({"imageVerification": self.verification}), Indent::default()));
        }
        text
    }

    /// Returns the short form, which holds one Harbor, its registries and its credentials, and nothing else.
    fn short(&self) -> Option<Value> {
        let [mirror] = self.mirrors.list.as_slice() else { return None };
        let plain =
            Shape::Harbor(Paths { template: Some("{registry}".to_owned()), by_registry: BTreeMap::new() });
        let only = |route: &PullRoute| {
            !route.never
                && self.via("", route).len() == 1
                && matches!(route.steps.as_slice(), [Step::Mirror(_)])
        };
        let simple = mirror.shape == plain
            && mirror.tls.is_none()
            && self.upstreams.is_empty()
            && self.nodes.is_empty()
            && self.layers.roles.is_empty()
            && self.version.is_none()
            && self.verification.is_empty()
            && self.layers.base.values().all(only);
        if !simple {
            return None;
        }
        let mut out = Map::new();
        out.insert("mirror".to_owned(), json!(mirror.url));
        out.insert("kind".to_owned(), json!("harbor"));
        out.insert("registries".to_owned(), json!(self.layers.base.keys().collect::<Vec<_>>()));
        if let Some(credentials) = &mirror.credentials {
            out.insert("credentials".to_owned(), credentials_of(credentials));
        }
        Some(Value::Object(out))
    }

    fn via(&self, registry: &str, route: &PullRoute) -> Vec<String> {
        let names = route.steps.iter().filter_map(|step| match step {
            Step::Upstream(_) => Some("upstream".to_owned()),
            Step::Mirror(_) if registry.is_empty() => Some(String::new()),
            Step::Mirror(listed) => Some(self.mirrors.of(registry, &listed.value)?.name.clone()),
        });
        let mut via: Vec<String> = Vec::new();
        for name in names {
            if registry.is_empty() || !via.contains(&name) {
                via.push(name);
            }
        }
        via
    }

    /// Returns what most registries have; what a single one has stands with it.
    fn defaults(&self) -> Defaults {
        let routes: Vec<(Vec<String>, bool)> = in_order(&self.layers.base)
            .map(|(registry, route)| (self.via(registry, route), route.never))
            .filter(|(via, _)| !via.is_empty() && via.as_slice() != ["upstream"])
            .collect();
        let count = |via: &Vec<String>| routes.iter().filter(|(other, _)| other == via).count();
        let most =
            routes.iter().rev().map(|(via, _)| via).max_by_key(|via| count(via)).filter(|via| count(via) > 1);
        Defaults {
            via: most.cloned().unwrap_or_default(),
            never: routes.len() > 1 && routes.iter().all(|(_, never)| *never),
        }
    }

    fn registries(&self, defaults: &Defaults) -> Map<String, Value> {
        let mut names: BTreeSet<&String> = self.layers.base.keys().chain(self.upstreams.keys()).collect();
        let wild = names.iter().find(|name| name.as_str() == "*").copied();
        names.retain(|name| *name != "*");
        let entries = names.into_iter().chain(wild).map(|name| {
            let mut out = Map::new();
            // A registry with settings alone goes the way of `*`, unless defaults would give it another.
            let route = self.layers.base.get(name);
            let wild = || self.layers.base.get("*").map(|route| ("*", route));
            let way = route.map(|route| (name.as_str(), route)).or_else(wild);
            let via = way.map(|(name, route)| self.via(name, route)).unwrap_or_default();
            let never = way.is_some_and(|(_, route)| route.never);
            if route.is_some() || !defaults.via.is_empty() || defaults.never {
                if via != defaults.via || via.is_empty() {
                    out.insert("via".to_owned(), json!(via));
                }
                if never != defaults.never {
                    out.insert("fallback".to_owned(), fallback(never));
                }
            }
            if let Some(upstream) = self.upstreams.get(name) {
                out.insert("upstream".to_owned(), upstream_of(upstream));
            }
            (name.clone(), Value::Object(out))
        });
        entries.collect()
    }

    fn groups(&self) -> Map<String, Value> {
        let groups = self.layers.roles.iter().filter_map(|(role, routes)| {
            let mut out = Map::new();
            out.insert("role".to_owned(), json!(role.as_str()));
            self.differences(&mut out, &self.layers.base, routes);
            out.contains_key("registries").then(|| (group_name(*role).to_owned(), Value::Object(out)))
        });
        groups.collect()
    }

    fn nodes(&self) -> Map<String, Value> {
        let nodes = self.nodes.iter().map(|node| {
            let mut out = Map::new();
            if let Some(address) = &node.address {
                out.insert("address".to_owned(), json!(address));
            }
            if let Some(role) = node.role {
                out.insert("role".to_owned(), json!(role.as_str()));
            }
            if let Some(routes) = self.layers.nodes.get(&node.name) {
                self.differences(&mut out, self.layers.inherited(&node.name, self.nodes), routes);
            }
            (node.name.clone(), Value::Object(out))
        });
        nodes.collect()
    }

    /// Writes the registries that have another way than they would inherit; `null` is none.
    fn differences(&self, out: &mut Map<String, Value>, inherited: &Routes, routes: &Routes) {
        let defaults = self.defaults();
        let mut changed = Map::new();
        for (registry, route) in in_order(routes) {
            let known = inherited.get(registry);
            if known.is_some_and(|known| known.same(route)) {
                continue;
            }
            let mut fields = Map::new();
            fields.insert("via".to_owned(), json!(self.via(registry, route)));
            // A registry with settings alone may have been given a fallback of its own.
            let any = route.never || defaults.never || inherited.get("*").is_some_and(|route| route.never);
            if known.map_or(any, |known| known.never != route.never) {
                fields.insert("fallback".to_owned(), fallback(route.never));
            }
            changed.insert(registry.clone(), Value::Object(fields));
        }
        let (old, own) = (inherited.get("*"), routes.get("*"));
        // What a registry with settings alone has: the way of `*`, or none.
        let way = |known: Option<&PullRoute>| {
            let via = own.map(|route| self.via("*", route)).unwrap_or_default();
            let never = own.is_some_and(|route| route.never);
            let mut fields = Map::from_iter([("via".to_owned(), json!(via))]);
            if never || defaults.never || known.or(old).is_some_and(|route| route.never) {
                fields.insert("fallback".to_owned(), fallback(never));
            }
            Value::Object(fields)
        };
        for registry in inherited.keys().filter(|registry| !routes.contains_key(*registry)) {
            // `null` would take the settings away, too.
            let kept = registry != "*" && self.upstreams.contains_key(registry);
            changed.insert(registry.clone(), if kept { way(inherited.get(registry)) } else { Value::Null });
        }
        let moved = match (old, own) {
            (None, None) => false,
            (Some(old), Some(own)) => !old.same(own),
            (None, Some(_)) | (Some(_), None) => true,
        };
        if moved && (!defaults.via.is_empty() || defaults.never) {
            let alone = |name: &&String| !inherited.contains_key(*name) && !routes.contains_key(*name);
            for registry in self.upstreams.keys().filter(alone) {
                changed.insert(registry.clone(), way(None));
            }
        }
        if !changed.is_empty() {
            out.insert("registries".to_owned(), Value::Object(changed));
        }
    }
}

/// By name, what is for all others last.
pub(super) fn in_order(routes: &Routes) -> impl Iterator<Item = (&String, &PullRoute)> {
    let wild = routes.iter().filter(|(name, _)| name.as_str() == "*");
    routes.iter().filter(|(name, _)| name.as_str() != "*").chain(wild)
}

fn fallback(never: bool) -> Value {
    json!(if never { "never" } else { "upstream" })
}

fn group_name(role: Role) -> &'static str {
    match role {
        Role::Controlplane => "controlplanes",
        Role::Worker => "workers",
    }
}

fn written(mirror: &Mirror) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    let kind = match &mirror.shape {
        Shape::Harbor(_) => "harbor",
        Shape::Path(_) => "path",
        Shape::Plain(_) => "plain",
        Shape::Cache => "cache",
        Shape::Raw { .. } => "raw",
    };
    put("kind", json!(kind));
    put("url", json!(mirror.url));
    let (one, many) = if kind == "path" { ("path", "paths") } else { ("project", "projects") };
    match &mirror.shape {
        Shape::Harbor(paths) | Shape::Path(paths) => {
            if let Some(template) = &paths.template {
                put(one, json!(template));
            }
            if !paths.by_registry.is_empty() {
                put(many, json!(paths.by_registry));
            }
        }
        Shape::Plain(serves) => {
            put("serves", json!(serves));
        }
        Shape::Cache => {}
        Shape::Raw { override_path, serves } => {
            put("overridePath", json!(override_path));
            if !serves.is_empty() {
                put("serves", json!(serves));
            }
        }
    }
    if let Some(credentials) = &mirror.credentials {
        put("credentials", credentials_of(credentials));
    }
    if let Some(tls) = &mirror.tls {
        put("tls", tls_of(tls));
    }
    Value::Object(out)
}

fn upstream_of(upstream: &Upstream) -> Value {
    let mut out = Map::new();
    if let Some(url) = &upstream.url {
        out.insert("url".to_owned(), json!(url));
    }
    if let Some(credentials) = &upstream.credentials {
        out.insert("credentials".to_owned(), credentials_of(credentials));
    }
    if let Some(tls) = &upstream.tls {
        out.insert("tls".to_owned(), tls_of(tls));
    }
    Value::Object(out)
}

fn credentials_of(credentials: &Credentials) -> Value {
    let mut out = Map::new();
    secret(&mut out, "username", credentials.username.as_ref());
    secret(&mut out, "password", credentials.password.as_ref());
    secret(&mut out, "identityToken", credentials.identity_token.as_ref());
    Value::Object(out)
}

fn tls_of(tls: &Tls) -> Value {
    let mut out = Map::new();
    pem(&mut out, "ca", tls.ca.as_ref());
    let mut identity = Map::new();
    pem(&mut identity, "cert", tls.cert.as_ref());
    secret(&mut identity, "key", tls.key.as_ref());
    if !identity.is_empty() {
        out.insert("clientIdentity".to_owned(), Value::Object(identity));
    }
    if tls.insecure {
        out.insert("insecureSkipVerify".to_owned(), json!(true));
    }
    Value::Object(out)
}

/// Writes a secret: in its place, or as a reference beside it, which no SOPS rule for secrets selects.
fn secret(out: &mut Map<String, Value>, field: &str, given: Option<&SecretSource>) {
    let reference = match given {
        None => return,
        Some(SecretSource::Inline(value)) => {
            out.insert(field.to_owned(), json!(value.expose()));
            return;
        }
        Some(SecretSource::Env(name)) => json!({ "env": name }),
        Some(SecretSource::File(path)) => json!({ "file": path }),
        Some(SecretSource::Command(argv)) => json!({ "command": argv }),
    };
    out.insert(format!("{field}From"), reference);
}

fn pem(out: &mut Map<String, Value>, field: &str, given: Option<&SecretSource>) {
    match given {
        None => {}
        Some(SecretSource::Inline(value)) => {
            out.insert(field.to_owned(), json!(value.expose()));
        }
        Some(SecretSource::File(path)) => {
            out.insert(format!("{field}File"), json!(path));
        }
        Some(SecretSource::Env(name)) => {
            out.insert(field.to_owned(), json!(format!("${{{name}}}")));
        }
        Some(SecretSource::Command(argv)) => {
            out.insert(field.to_owned(), json!(argv.last()));
        }
    }
}
