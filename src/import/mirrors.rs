use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::mirror::{Mirror, Paths, Shape};
use super::name;
use crate::registries::Endpoint;

/// All mirrors, and which of them an endpoint became.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    pub(super) list: Vec<Mirror>,
    of: BTreeMap<(String, Endpoint), usize>,
}

impl Mirrors {
    /// Returns the mirror that an endpoint of a registry became.
    pub(super) fn of(&self, registry: &str, endpoint: &Endpoint) -> Option<&Mirror> {
        self.list.get(*self.of.get(&(registry.to_owned(), endpoint.clone()))?)
    }

    /// Returns the first mirror on a host.
    pub(super) fn on(&mut self, host: &str) -> Option<&mut Mirror> {
        self.list.iter_mut().find(|mirror| Endpoint::new(&mirror.url, true).host() == host)
    }

    fn add(&mut self, url: &str, shape: Shape, uses: &[&Use]) {
        for one in uses {
            self.of.insert((*one).clone(), self.list.len());
        }
        self.list.push(Mirror {
            name: String::new(),
            url: url.to_owned(),
            shape,
            credentials: None,
            tls: None,
        });
    }
}

/// A registry and one of its endpoints.
type Use = (String, Endpoint);

/// Finds the mirrors behind endpoints: what many endpoints have in common is written once.
pub(super) fn factor(uses: &[Use]) -> Mirrors {
    let mut hosts: IndexMap<String, Vec<&Use>> = IndexMap::new();
    for one in uses {
        let (scheme, host) = (if one.1.is_plain_http() { "http" } else { "https" }, one.1.host());
        let group = hosts.entry(format!("{scheme}://{host}")).or_default();
        if !group.contains(&one) {
            group.push(one);
        }
    }
    let mut mirrors = Mirrors::default();
    for (base, uses) in &hosts {
        on_host(&mut mirrors, base, uses);
    }
    name::give(&mut mirrors.list);
    mirrors
}

fn on_host(mirrors: &mut Mirrors, base: &str, uses: &[&Use]) {
    // By their meaning: two ways to write a path are one.
    let mut family: IndexMap<&str, Vec<&Use>> = IndexMap::new();
    let mut odd: IndexMap<&Endpoint, Vec<&Use>> = IndexMap::new();
    for one in uses {
        let (registry, endpoint) = one;
        let known = family.get(registry.as_str()).and_then(|uses| uses.first());
        let other = known.is_some_and(|known| known.1.prefix() != endpoint.prefix());
        let wild = registry == "*" && endpoint.prefix() != "/v2";
        let broken = endpoint.flaw().is_some();
        if other || wild || broken {
            odd.entry(endpoint).or_default().push(one);
        } else {
            family.entry(registry).or_default().push(one);
        }
    }
    let (bare_urls, with_path): (Vec<_>, Vec<_>) =
        family.into_iter().partition(|(_, uses)| uses.iter().all(|(_, endpoint)| endpoint.prefix() == "/v2"));
    if !with_path.is_empty() {
        let paths: Vec<(&str, String)> = with_path
            .iter()
            .filter_map(|(registry, uses)| Some((*registry, uses.first()?.1.prefix())))
            .collect();
        let projects: Option<Vec<(&str, String)>> = paths
            .iter()
            .map(|(registry, path)| {
                Some((*registry, path.strip_prefix("/v2/").filter(|p| is_project(p))?.to_owned()))
            })
            .collect();
        let shape = match projects {
            // A project is the proxy of one registry.
            Some(projects) if !is_no_harbor(base) && each_its_own(&projects) => {
                Shape::Harbor(common(&projects))
            }
            Some(_) | None => Shape::Path(common(&paths)),
        };
        mirrors.add(
            base,
            shape,
            &with_path.iter().flat_map(|(_, uses)| uses.iter().copied()).collect::<Vec<_>>(),
        );
    }
    if !bare_urls.is_empty() {
        let registries: Vec<&str> = bare_urls.iter().map(|(registry, _)| *registry).collect();
        let many = registries.contains(&"*") || registries.len() > 1;
        let shape = if many && !base.ends_with("://mirror.gcr.io") {
            Shape::Cache
        } else {
            Shape::Plain(sorted(&registries))
        };
        mirrors.add(
            base,
            shape,
            &bare_urls.iter().flat_map(|(_, uses)| uses.iter().copied()).collect::<Vec<_>>(),
        );
    }
    for (endpoint, uses) in odd {
        let registries: Vec<&str> = uses.iter().map(|(registry, _)| registry.as_str()).collect();
        let serves = if registries.contains(&"*") { Vec::new() } else { sorted(&registries) };
        mirrors.add(&endpoint.url, Shape::Raw { override_path: endpoint.override_path, serves }, &uses);
    }
}

fn each_its_own(projects: &[(&str, String)]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    projects.iter().all(|(_, project)| seen.insert(project))
}

fn sorted(registries: &[&str]) -> Vec<String> {
    let mut registries: Vec<String> = registries.iter().map(|name| (*name).to_owned()).collect();
    registries.sort_unstable();
    registries.dedup();
    registries
}

/// Finds the template that most words follow; the others are listed.
fn common(words: &[(&str, String)]) -> Paths {
    let templates = words.iter().filter_map(|(registry, word)| {
        let at = word.find(registry)?;
        let (head, tail) = (word.get(..at)?, word.get(at + registry.len()..)?);
        Some(format!("{head}{{registry}}{tail}"))
    });
    let mut counts: IndexMap<String, usize> = IndexMap::new();
    for template in templates {
        *counts.entry(template).or_default() += 1;
    }
    let best = counts.iter().max_by_key(|(template, count)| (**count, usize::MAX - template.len()));
    // One word alone is a template only if it is the plainest one.
    let template = best
        .filter(|(template, count)| {
            **count > 1 || matches!(template.as_str(), "{registry}" | "/v2/{registry}")
        })
        .map(|(template, _)| template.clone());
    let follows = |registry: &str, word: &str| {
        template.as_ref().is_some_and(|template| template.replace("{registry}", registry) == word)
    };
    let others = words.iter().filter(|(registry, word)| !follows(registry, word));
    let by_registry = others.map(|(registry, word)| ((*registry).to_owned(), word.clone())).collect();
    Paths { template, by_registry }
}

/// Harbor's rule for the names of projects (`src/pkg/project`): `^[a-z0-9]+(?:[._-][a-z0-9]+)*$`.
fn is_project(name: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 255 && name.split(['.', '_', '-']).all(word)
}

fn is_no_harbor(base: &str) -> bool {
    let words = ["zot", "nexus", "artifactory", "jfrog", "pkg.dev", "amazonaws", "spegel", "gitlab", "quay"];
    // What answers on the node itself is Spegel or the like.
    let local = ["://127.", "://localhost", "://[::1]"];
    words.iter().chain(&local).any(|word| base.contains(word))
}
