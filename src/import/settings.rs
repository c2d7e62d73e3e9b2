use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::declared::{self, SecretSource};
use super::place::At;
use super::readers::{NodeInfo, Reading, Role, Scope};
use crate::finding::Code;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, is_docker_hub_alias};
use crate::inventory::{self, Inventory, Target, Text};
use crate::registries::Endpoint;
use crate::secret::SecretRef;

/// What a node has for a host: credentials and TLS settings, by what they are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    username: Option<SecretRef>,
    password: Option<SecretRef>,
    identity_token: Option<SecretRef>,
    ca: Option<Text>,
    cert: Option<Text>,
    key: Option<SecretRef>,
    insecure: bool,
}

impl Settings {
    fn credentials(&self) -> [&Option<SecretRef>; 3] {
        [&self.username, &self.password, &self.identity_token]
    }

    fn tls(&self) -> (&Option<Text>, &Option<Text>, &Option<SecretRef>, bool) {
        (&self.ca, &self.cert, &self.key, self.insecure)
    }
}

type Hosts = BTreeMap<String, Settings>;

/// Compares what each node has for hosts in the sources with what the inventory gives it, and tells every difference that
/// no finding has told.
pub(super) fn compare(inventory: &Inventory, reading: &mut Reading) {
    let mut told = Vec::new();
    for (name, target, wanted) in targets(inventory, reading) {
        let found = given(inventory, target);
        let hosts: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        for host in hosts {
            let none = Settings::default();
            let (wanted, found) = (wanted.get(host).unwrap_or(&none), found.get(host).unwrap_or(&none));
            let differ = [
                ("credentials", wanted.credentials() != found.credentials()),
                ("TLS settings", wanted.tls() != found.tls()),
            ];
            for (what, _) in differ.into_iter().filter(|(_, differ)| *differ) {
                told.push((host.clone(), what, name.clone(), found == &none));
            }
        }
    }
    told.sort();
    told.dedup();
    let mut by_host: BTreeMap<(String, &str, bool), Vec<String>> = BTreeMap::new();
    for (host, what, name, missing) in told {
        by_host.entry((host, what, missing)).or_default().push(name);
    }
    for ((host, what, missing), names) in by_host {
        let shared = is_shared(reading, &host);
        if is_named(reading, &host, what, shared) {
            continue;
        }
        let at = place_of(reading, &host, what);
        let who = names.join(", ");
        if shared {
            let message =
                format!("the inventory does not give {who} the {what} of `{host}` that the source gives");
            reading.findings.lose(Code::ImportFault, &at, message);
            continue;
        }
        let message = if missing {
            format!("{who}: the {what} of `{host}` are left out")
        } else {
            format!("{who}: the inventory gives other {what} of `{host}` than the source")
        };
        let problem = reading.findings.lose(Code::Dropped, &at, message);
        problem.reason =
            Some("what the nodes have for this host differs, and an import writes one set of it".to_owned());
        problem.help = Some(
            "name a second mirror with the same URL and these settings in `via` under `nodes`; those of a registry's own \
             host are its `upstream` there"
                .to_owned(),
        );
    }
}

/// Returns what each node, or role where there are no nodes, has in the sources.
fn targets<'a>(inventory: &'a Inventory, reading: &Reading) -> Vec<(String, Target<'a>, Hosts)> {
    let mut out = Vec::new();
    for node in &reading.nodes {
        if let Some((name, _)) = inventory.nodes.get_key_value(&node.name) {
            let hosts = wanted(reading, node.role.filter(|_| !node.overrides_group), Some(node));
            out.push((format!("node `{name}`"), Target::Node(name), hosts));
        }
    }
    if !out.is_empty() {
        return out;
    }
    for (name, group) in &inventory.groups {
        let role = match group.role {
            Some(inventory::Role::ControlPlane) => Role::Controlplane,
            Some(inventory::Role::Worker) => Role::Worker,
            None => continue,
        };
        out.push((
            format!("the {} nodes", role.as_str()),
            Target::Group(name),
            wanted(reading, Some(role), None),
        ));
    }
    let of_roles = reading.declared.iter().any(|(scope, _)| matches!(scope, Scope::Role(_)));
    if !of_roles {
        out.push(("all nodes".to_owned(), Target::Base, wanted(reading, None, None)));
    }
    out
}

fn wanted(reading: &Reading, role: Option<Role>, node: Option<&NodeInfo>) -> Hosts {
    let mut out = Hosts::new();
    let applies = |scope: &Scope| match scope {
        Scope::All => true,
        Scope::Role(of) => Some(*of) == role,
        Scope::Node(name) | Scope::Whole(name) => node.is_some_and(|node| node.name == *name),
    };
    for (_, declared) in reading.declared.iter().filter(|(scope, _)| applies(scope)) {
        for (key, value) in &declared.credentials {
            let declared::Credentials { username, password, identity_token } = &value.value;
            let settings = out.entry(canonical(key)).or_default();
            for (slot, source) in [
                (&mut settings.username, username),
                (&mut settings.password, password),
                (&mut settings.identity_token, identity_token),
            ] {
                if let Some(source) = source {
                    *slot = Some(reference(source));
                }
            }
        }
        for (key, value) in &declared.tls {
            let declared::Tls { ca, cert, key: private, insecure } = &value.value;
            let settings = out.entry(canonical(key)).or_default();
            for (slot, source) in [(&mut settings.ca, ca), (&mut settings.cert, cert)] {
                if let Some(source) = source {
                    *slot = Some(text(source));
                }
            }
            if let Some(private) = private {
                settings.key = Some(reference(private));
            }
            settings.insecure |= insecure;
        }
    }
    out
}

fn given(inventory: &Inventory, target: Target<'_>) -> Hosts {
    let routes = inventory.routes(target);
    let mut out = Hosts::new();
    for host in inventory.host_settings(&routes) {
        let settings = out.entry(host.host).or_default();
        match host.credentials {
            None => {}
            Some(inventory::Credentials::Pair { username, password }) => {
                (settings.username, settings.password) = (Some(username.clone()), Some(password.clone()));
            }
            Some(inventory::Credentials::Raw(raw)) => settings.password = Some(raw.clone()),
            Some(inventory::Credentials::IdentityToken(token)) => {
                settings.identity_token = Some(token.clone());
            }
        }
        if let Some(tls) = host.tls {
            settings.ca.clone_from(&tls.ca);
            if let Some((cert, key)) = &tls.client_identity {
                (settings.cert, settings.key) = (Some(cert.clone()), Some(key.clone()));
            }
            settings.insecure = tls.insecure_skip_verify;
        }
    }
    out
}

/// Returns the host that Talos looks a key up by.
fn canonical(key: &str) -> String {
    let bare = Endpoint::new(key, true).host().to_owned();
    if bare == DOCKER_HUB || is_docker_hub_alias(&bare) { DOCKER_HUB_API.to_owned() } else { bare }
}

fn reference(source: &SecretSource) -> SecretRef {
    match source {
        SecretSource::Inline(secret) => SecretRef::Inline(secret.clone()),
        SecretSource::Env(name) => SecretRef::Env(name.clone()),
        SecretSource::File(path) => SecretRef::File(PathBuf::from(path)),
        SecretSource::Command(argv) => SecretRef::Command(argv.clone()),
    }
}

fn text(source: &SecretSource) -> Text {
    match source {
        SecretSource::Inline(secret) => Text::Inline(secret.expose().clone()),
        SecretSource::Env(name) => Text::Inline(format!("${{{name}}}")),
        SecretSource::File(path) => Text::File(PathBuf::from(path)),
        SecretSource::Command(argv) => Text::Inline(argv.last().cloned().unwrap_or_default()),
    }
}

/// Tells whether a finding says that what is for a host was changed or left out: its credentials, or its TLS settings.
fn is_named(reading: &Reading, host: &str, what: &str, shared: bool) -> bool {
    let names = |text: &str| {
        let is = |word: &str| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '*' && c != ']' && c != '[');
            canonical(word) == host
        };
        text.split(|c: char| c.is_whitespace() || matches!(c, '`' | ',' | ';')).any(is)
            || text.split('`').skip(1).step_by(2).any(|name| canonical(name) == host)
            || text.split_once(".config.").is_some_and(|(_, rest)| {
                let key = rest.split_once(".auth").or_else(|| rest.split_once(".tls"));
                canonical(key.map_or(rest, |(key, _)| key)) == host
            })
            || text
                .split_once('/')
                .is_some_and(|(kind, name)| kind.starts_with("Registry") && canonical(name) == host)
    };
    reading.findings.list.iter().any(|problem| {
        let is_about = match problem.code {
            Code::Dropped | Code::Reference => true,
            Code::EmptyTls | Code::TlsOnHttp => what != "credentials",
            Code::AuthForms | Code::CannotDecrypt => what == "credentials",
            // That they are under another key says nothing of nodes that have none.
            Code::UnusedKey => shared,
            Code::AliasCredentials => what == "credentials" && shared,
            _ => false,
        };
        is_about && (names(&problem.message) || names(&problem.path))
    })
}

/// Tells whether all nodes that have settings for a host have the same, so that an inventory can say it.
fn is_shared(reading: &Reading, host: &str) -> bool {
    let mut all = reading.declared.iter().filter(|(_, declared)| {
        declared.credentials.keys().chain(declared.tls.keys()).any(|key| canonical(key) == host)
    });
    all.all(|(scope, _)| *scope == Scope::All)
}

fn place_of(reading: &Reading, host: &str, what: &str) -> At {
    let found = reading.declared.iter().find_map(|(_, declared)| {
        let mut credentials = declared.credentials.iter().filter(|_| what == "credentials");
        let mut tls = declared.tls.iter().filter(|_| what != "credentials");
        let credentials = credentials.find(|(key, _)| canonical(key) == host).map(|(_, value)| &value.at);
        credentials.or_else(|| tls.find(|(key, _)| canonical(key) == host).map(|(_, value)| &value.at))
    });
    found.cloned().unwrap_or_else(|| At::top(""))
}
