//! Random files of several nodes, and of k3s: what each node did before the import, it does after it.
//!
//! What a file means is computed from the model that it was written from, by the rules of Talos and k3s, and with no code of
//! the import.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::image::api_host;
use crate::inventory::{Target, parse as parse_inventory};
use crate::registries::{Endpoint, Registries, TalosVersion};
use crate::secret::Sources;

const NAMES: [&str; 5] = ["docker.io", "ghcr.io", "quay.io", "h.lan:5000", "*"];
/// Every registry whose way is compared: those that a file may name, and some that none does.
const ASKED: [&str; 6] =
    ["docker.io", "ghcr.io", "quay.io", "h.lan:5000", "private.example", "other.example"];
const HOSTS: [&str; 4] =
    ["https://harbor.lan", "https://zot.lan:8443", "http://10.0.0.1:5000", "https://a.b.lan"];
const KEYS: [&str; 7] = [
    "harbor.lan",
    "zot.lan:8443",
    "a.b.lan",
    "registry-1.docker.io",
    "ghcr.io",
    "private.example",
    "10.0.0.1:5000",
];

/// What one node is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    /// By registry: hosts in order, whether each has a path, whether the registry itself is never asked.
    mirrors: BTreeMap<String, (Vec<&'static str>, bool, bool)>,
    passwords: BTreeMap<String, String>,
    unchecked: Vec<String>,
}

/// What a node does: the URLs that a pull tries by registry, user and password by host, hosts that are not checked.
type Effect = (BTreeMap<&'static str, Vec<String>>, BTreeMap<String, (String, String)>, Vec<String>);

impl Model {
    fn endpoints(&self, name: &str) -> Vec<String> {
        let (hosts, path, _) = &self.mirrors[name];
        let project = if name == "*" { "all" } else { name };
        hosts
            .iter()
            .map(|host| if *path { format!("{host}/v2/{project}") } else { (*host).to_owned() })
            .collect()
    }

    fn talos(&self) -> Value {
        let mirrors = self.mirrors.iter().map(|(name, (_, path, never))| {
            let mut mirror = Map::from_iter([("endpoints".to_owned(), json!(self.endpoints(name)))]);
            if *path {
                mirror.insert("overridePath".to_owned(), json!(true));
            }
            if *never {
                mirror.insert("skipFallback".to_owned(), json!(true));
            }
            (name.clone(), Value::Object(mirror))
        });
        json!({"mirrors": mirrors.collect::<Map<_, _>>(), "config": self.configs("insecureSkipVerify")})
    }

    /// k3s has no mirrors without the registry itself, and adds `/v2` to what has no path.
    fn k3s(&self) -> Value {
        let mirrors =
            self.mirrors.keys().map(|name| (name.clone(), json!({"endpoint": self.endpoints(name)})));
        json!({"mirrors": mirrors.collect::<Map<_, _>>(), "configs": self.configs("insecure_skip_verify")})
    }

    fn configs(&self, insecure: &str) -> Map<String, Value> {
        let mut out = Map::new();
        for (host, password) in &self.passwords {
            out.insert(host.clone(), json!({"auth": {"username": "u", "password": password}}));
        }
        for host in &self.unchecked {
            let entry = out.entry(host.clone()).or_insert_with(|| json!({}));
            entry["tls"] = json!({insecure: true});
        }
        out
    }

    fn effect(&self) -> Effect {
        let ways = ASKED.into_iter().map(|name| {
            let entry = if self.mirrors.contains_key(name) { name } else { "*" };
            let mirror = self.mirrors.get(entry);
            let mut urls = if mirror.is_some() { self.endpoints(entry) } else { Vec::new() };
            for url in &mut urls {
                if !url.contains("/v2/") {
                    url.push_str("/v2");
                }
            }
            (name, with_fallback(name, urls, mirror.is_some_and(|(_, _, never)| *never)))
        });
        let auth =
            self.passwords.iter().map(|(host, password)| (host.clone(), ("u".to_owned(), password.clone())));
        (ways.collect(), auth.collect(), self.unchecked.clone())
    }
}

fn with_fallback(name: &str, urls: Vec<String>, never: bool) -> Vec<String> {
    let own = format!("https://{}/v2", api_host(name));
    let mut out: Vec<String> = Vec::new();
    for url in urls.into_iter().chain((!never).then_some(own)) {
        if !out.contains(&url) {
            out.push(url);
        }
    }
    out
}

fn effect(registries: &Registries) -> Effect {
    let url = |endpoint: &Endpoint| endpoint.with_override().url.clone();
    let ways = ASKED.into_iter().map(|name| {
        let mirror = registries.mirror_of(name).map(|(_, mirror)| mirror);
        let urls = mirror.iter().flat_map(|mirror| &mirror.endpoints).map(url).collect();
        (name, with_fallback(name, urls, mirror.is_some_and(|mirror| mirror.skip_fallback)))
    });
    let auth = registries.auth.iter().map(|(host, auth)| {
        let password = auth.password.as_ref().map(|password| password.expose().clone());
        (host.clone(), (auth.username.clone().unwrap_or_default(), password.unwrap_or_default()))
    });
    let tls = registries.tls.iter().filter(|(_, tls)| tls.insecure_skip_verify).map(|(host, _)| host.clone());
    (ways.collect(), auth.collect(), tls.collect())
}

fn model() -> impl Strategy<Value = Model> {
    let mirror = |name: &'static str| {
        let hosts = prop::sample::subsequence(HOSTS.to_vec(), 1..3).prop_shuffle();
        // What is behind `*` cannot be a path for each registry.
        let path = if name == "*" { prop::bool::weighted(0.0) } else { prop::bool::weighted(0.5) };
        prop::option::of((hosts, path, prop::bool::weighted(0.2)))
            .prop_map(move |found| found.map(|found| (name.to_owned(), found)))
    };
    let keys = prop::sample::subsequence(KEYS.to_vec(), 0..4);
    let checked = prop::sample::subsequence(KEYS[..6].to_vec(), 0..3);
    let mirrors: Vec<_> = NAMES.into_iter().map(mirror).collect();
    (mirrors, keys, checked, "[a-z]{1,3}").prop_map(|(mirrors, keys, tls, password)| {
        let mut unchecked: Vec<String> = tls.into_iter().map(str::to_owned).collect();
        unchecked.sort();
        Model {
            mirrors: mirrors.into_iter().flatten().collect(),
            passwords: keys.into_iter().map(|key| (key.to_owned(), format!("{password}-{key}"))).collect(),
            unchecked,
        }
    })
}

/// Resolves an inventory for one node, or for all.
fn resolved(inventory: &str, node: Option<&str>) -> Effect {
    let parsed = parse_inventory(inventory, "i", &|_| None);
    let inventory = parsed.inventory.unwrap_or_else(|| panic!("{:?}\n{inventory}", parsed.problems));
    let target = match node {
        Some(node) if inventory.nodes.contains_key(node) => Target::Node(node),
        Some(_) | None => Target::Base,
    };
    let registries = inventory.registries(target, &TalosVersion::minor(1, 13), &mut Sources::default());
    effect(&registries.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_node_does_what_it_did(models in prop::collection::vec(model(), 1..3), of in prop::collection::vec(0usize..2, 1..4)) {
        let models: Vec<&Model> = of.iter().map(|at| &models[at % models.len()]).collect();
        let sources: Vec<Source> = models.iter().enumerate().map(|(at, model)| {
            let config = json!({"machine": {
                "type": "worker", "network": {"hostname": format!("n{at}")}, "registries": model.talos(),
            }});
            Source::new(format!("n{at}.yaml"), config.to_string())
        }).collect();
        let imported = import(&sources, &Options::default());
        let alike = models.iter().all(|model| *model == models[0]);
        prop_assert!(!imported.lost || !alike, "{:?}", imported.problems);
        let lost_settings = models.iter().any(|model| (&model.passwords, &model.unchecked) != (&models[0].passwords, &models[0].unchecked));
        let used = |model: &Model| model.mirrors.values().flat_map(|(hosts, ..)| hosts.clone()).collect::<Vec<_>>();
        let other_hosts = models.iter().any(|model| used(model) != used(models[0]));
        prop_assert!(!imported.lost || lost_settings || other_hosts, "{:?}", imported.problems);
        prop_assert!(imported.problems.iter().all(|problem| problem.code.as_str() != "E135"), "{:?}", imported.problems);
        for (at, model) in models.iter().enumerate().filter(|_| !imported.lost) {
            match &imported.inventory {
                None => prop_assert_eq!(model.effect(), Model::default().effect()),
                Some(inventory) => prop_assert_eq!(resolved(inventory, Some(&format!("n{at}"))), model.effect(), "{}", inventory),
            }
        }
    }

    #[test]
    fn k3s_nodes_do_what_they_did(model in model()) {
        let mut model = model;
        for mirror in model.mirrors.values_mut() {
            (mirror.1, mirror.2) = (false, false);
        }
        let source = Source::new("registries.yaml", model.k3s().to_string());
        let imported = import(&[source], &Options::default());
        prop_assert!(!imported.lost, "{:?}", imported.problems);
        match &imported.inventory {
            None => prop_assert_eq!(model.effect(), Model::default().effect()),
            Some(inventory) => prop_assert_eq!(resolved(inventory, None), model.effect(), "{}", inventory),
        }
    }
}
