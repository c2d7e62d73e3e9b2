use toml::de::{DeArray, DeTable, DeValue};

use super::declared::{Declared, Listed, SecretSource, Tls, credentials};
use super::hosts::{find, flag, in_order, list_of_texts, wrong_type};
use super::place::{At, Located};
use super::readers::{Reading, Scope};
use super::source_file::{Findings, SourceFile};
use crate::finding::{Code, did_you_mean};
use crate::image::api_host;
use crate::registries::{Auth, Endpoint};
use crate::secret::{Secret, without_userinfo};

/// Reads the `config.toml` of containerd, which had mirrors of its own before there was `hosts.toml`.
///
/// Source: containerd `docs/cri/registry.md` and `internal/cri/config/config.go`.
pub(super) fn containerd_config(reading: &mut Reading, file: &SourceFile<'_>) {
    let Some(table) = table(reading, file) else { return };
    reading.either_hub_name = true;
    let mut declared = Declared::default();
    let plugins = find(&table, "plugins").and_then(|value| value.get_ref().as_table());
    for (_, plugin) in plugins.map(in_order).unwrap_or_default() {
        let registry = plugin.get_ref().as_table().and_then(|plugin| find(plugin, "registry"));
        let Some(registry) = registry.and_then(|value| value.get_ref().as_table()) else { continue };
        let known = ["config_path", "mirrors", "configs", "auths", "headers"];
        unknown(file, &mut reading.findings, registry, "registry", &known);
        let section =
            |name: &str| find(registry, name).and_then(|value| value.get_ref().as_table()).map(in_order);
        for (name, mirror) in section("mirrors").unwrap_or_default() {
            let at = file.at(&name.span(), format!("registry.mirrors.{}", name.get_ref()));
            let mirror = mirror.get_ref().as_table();
            if let Some(mirror) = mirror {
                unknown(file, &mut reading.findings, mirror, &at.path, &["endpoint"]);
            }
            let list = mirror.and_then(|mirror| find(mirror, "endpoint"));
            let urls = list.map(|list| list_of_texts(file, &mut reading.findings, list, &at.path));
            let urls = urls.unwrap_or_default();
            let endpoints = urls.into_iter().map(|url| {
                let path = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).split_once('/');
                let override_path = path.is_some_and(|(_, path)| !path.trim_matches('/').is_empty());
                Located { value: Endpoint::new(url, override_path), at: at.clone() }
            });
            let value = Listed { endpoints: endpoints.collect(), never: false, one_override: false };
            declared.mirrors.insert(name.get_ref().to_string(), Located { value, at });
        }
        for key in ["config_path", "headers"] {
            let Some((span, value)) = find(registry, key).map(|value| (value.span(), value.get_ref())) else {
                continue;
            };
            let at = file.at(&span, format!("registry.{key}"));
            match value.as_str() {
                Some("") => {}
                Some(paths) => {
                    // containerd takes several folders, as a `PATH` has them.
                    let folders: Vec<&str> = paths.split(':').filter(|path| !path.is_empty()).collect();
                    let (what, folders) = match folders.as_slice() {
                        [_] => ("that folder", folders.join(" ")),
                        _ => ("those folders", folders.join(" ")),
                    };
                    let message = format!("its mirrors are files in `{paths}`, which are not read");
                    reading.findings.lose(Code::Dropped, &at, message).help =
                        Some(format!("import {what} of the node: talmirror import {folders}"));
                }
                None if is_empty(value) => {}
                None => {
                    let message = "the headers of requests are left out";
                    reading.findings.lose(Code::Dropped, &at, message).reason =
                        Some("Talos has no such setting".to_owned());
                }
            }
        }
        for (name, config) in section("configs").unwrap_or_default() {
            let at = file.at(&name.span(), format!("registry.configs.{}", name.get_ref()));
            let Some(config) = config.get_ref().as_table() else { continue };
            unknown(file, &mut reading.findings, config, &at.path, &["auth", "tls"]);
            host(reading, file, &mut declared, name.get_ref(), config, &at);
        }
        // What there was before `configs`: credentials by URL.
        for (url, auth) in section("auths").unwrap_or_default() {
            let at = file.at(&url.span(), format!("registry.auths.{}", without_userinfo(url.get_ref())));
            let Some(auth) = auth.get_ref().as_table() else { continue };
            let name = Endpoint::new(url.get_ref().as_ref(), true).host().to_owned();
            if let Some(value) = credentials(auth_of(auth), &at, &mut reading.findings) {
                declared.credentials.entry(name).or_insert(Located { value, at });
            }
        }
    }
    reading.push(Scope::All, declared, file);
}

/// Tells the keys that containerd does not know, or that mean nothing here.
fn unknown(file: &SourceFile<'_>, findings: &mut Findings, table: &DeTable<'_>, path: &str, known: &[&str]) {
    for (key, _) in in_order(table).into_iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
        let message = format!("`{}` is not a setting of containerd, and is left out", key.get_ref());
        findings.lose(Code::Dropped, &file.at(&key.span(), path), message).help =
            did_you_mean(key.get_ref(), known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    }
}

fn auth_of(auth: &DeTable<'_>) -> Auth {
    let text = |key: &str| {
        let text = find(auth, key).and_then(|value| value.get_ref().as_str().map(str::to_owned));
        text.filter(|text| !text.is_empty())
    };
    Auth {
        username: text("username"),
        password: text("password").map(Secret::new),
        auth: text("auth").map(Secret::new),
        identity_token: text("identitytoken").map(Secret::new),
    }
}

fn host(
    reading: &mut Reading,
    source: &SourceFile<'_>,
    declared: &mut Declared,
    name: &str,
    config: &DeTable<'_>,
    at: &At,
) {
    if let Some(auth) = find(config, "auth").and_then(|auth| auth.get_ref().as_table())
        && let Some(value) = credentials(auth_of(auth), at, &mut reading.findings)
    {
        declared.credentials.insert(name.to_owned(), Located { value, at: at.clone() });
    }
    if let Some(tls) = find(config, "tls").and_then(|tls| tls.get_ref().as_table()) {
        let file = |key: &str| {
            find(tls, key)
                .and_then(|value| value.get_ref().as_str().map(str::to_owned))
                .filter(|path| !path.is_empty())
                .map(SecretSource::File)
        };
        let value = Tls {
            ca: file("ca_file"),
            cert: file("cert_file"),
            key: file("key_file"),
            insecure: flag(source, &mut reading.findings, tls, "insecure_skip_verify"),
        };
        declared.tls.insert(name.to_owned(), Located { value, at: at.clone() });
    }
}

/// Reads the `registries.conf` of podman and CRI-O (`containers-registries.conf(5)`, version 2).
pub(super) fn podman(reading: &mut Reading, file: &SourceFile<'_>) {
    let Some(table) = table(reading, file) else { return };
    let mut declared = Declared::default();
    let registries = tables(file, &mut reading.findings, &table, "registry");
    for item in registries.into_iter().flat_map(|list| list.iter()) {
        let Some(registry) = item.get_ref().as_table() else { continue };
        let text = |table: &DeTable<'_>, key: &str| {
            find(table, key).and_then(|value| value.get_ref().as_str().map(str::to_owned))
        };
        let at = file.at(&item.span(), "registry");
        let location = text(registry, "location");
        let Some(name) = text(registry, "prefix").or_else(|| location.clone()) else { continue };
        if name.contains('/') || name.contains('*') {
            let message = format!("the entry for `{name}`, a part of a registry, is left out");
            reading.findings.lose(Code::Dropped, &at, message).reason =
                Some("Talos' mirrors are for whole registries".to_owned());
            continue;
        }
        if flag(file, &mut reading.findings, registry, "blocked") {
            let message = format!("`{name}` is blocked there; the inventory has no such thing");
            reading.findings.lose(Code::Dropped, &at, message);
            continue;
        }
        let mut endpoints = Vec::new();
        let mut add = |location: &str, insecure: bool, at: &At, declared: &mut Declared| {
            let (host, path) = location.split_once('/').unwrap_or((location, ""));
            let url =
                if path.is_empty() { format!("https://{host}") } else { format!("https://{host}/v2/{path}") };
            let value = Endpoint::new(url, !path.is_empty());
            if insecure {
                let tls = Tls { insecure: true, ..Tls::default() };
                declared.tls.insert(host.to_owned(), Located { value: tls, at: at.clone() });
            }
            endpoints.push(Located { value, at: at.clone() });
        };
        let mirrors = tables(file, &mut reading.findings, registry, "mirror");
        for mirror in mirrors.into_iter().flat_map(|list| list.iter()) {
            let Some(table) = mirror.get_ref().as_table() else { continue };
            let at = file.at(&mirror.span(), "registry.mirror");
            let only = text(table, "pull-from-mirror").filter(|only| only != "all");
            let only = only.or_else(|| {
                flag(file, &mut reading.findings, registry, "mirror-by-digest-only")
                    .then(|| "digest-only".to_owned())
            });
            if let Some(only) = only {
                let message =
                    format!("a mirror of `{name}` is for some pulls ({only}), and is one for all here");
                reading.findings.lose(Code::Dropped, &at, message).reason =
                    Some("Talos asks a mirror for tags and digests".to_owned());
            }
            if let Some(location) = text(table, "location") {
                add(&location, flag(file, &mut reading.findings, table, "insecure"), &at, &mut declared);
            }
        }
        if let Some(location) = location.filter(|location| *location != name && *location != api_host(&name))
        {
            // The location takes the place of the registry itself.
            add(&location, flag(file, &mut reading.findings, registry, "insecure"), &at, &mut declared);
            let value = Listed { endpoints, never: true, one_override: false };
            declared.mirrors.insert(name, Located { value, at });
            continue;
        }
        if flag(file, &mut reading.findings, registry, "insecure") {
            let tls = Tls { insecure: true, ..Tls::default() };
            declared.tls.insert(api_host(&name).to_owned(), Located { value: tls, at: at.clone() });
        }
        if !endpoints.is_empty() {
            let value = Listed { endpoints, never: false, one_override: false };
            declared.mirrors.insert(name, Located { value, at });
        }
    }
    version_1(reading, file, &table, &mut declared);
    reading.push(Scope::All, declared, file);
}

/// Returns the tables of a list, written `[[name]]`; what is there and is none is told.
fn tables<'t, 'i>(
    file: &SourceFile<'_>,
    findings: &mut Findings,
    table: &'t DeTable<'i>,
    name: &str,
) -> Option<&'t DeArray<'i>> {
    let value = find(table, name)?;
    let list = value.get_ref().as_array();
    if list.is_none() {
        wrong_type(file, findings, value, name, &format!("a list of tables, `[[{name}]]`,"));
    }
    list
}

/// Reads what version 1 of `registries.conf` has: lists of registries, and no mirrors.
fn version_1(reading: &mut Reading, file: &SourceFile<'_>, table: &DeTable<'_>, declared: &mut Declared) {
    let Some(lists) = find(table, "registries").and_then(|lists| lists.get_ref().as_table()) else { return };
    for list in ["insecure", "block"] {
        let names = find(lists, list).and_then(|list| find(list.get_ref().as_table()?, "registries"));
        let names = names.and_then(|names| names.get_ref().as_array());
        for item in names.into_iter().flat_map(|names| names.iter()) {
            let Some(name) = item.get_ref().as_str() else { continue };
            let at = file.at(&item.span(), format!("registries.{list}"));
            if list == "insecure" {
                let tls = Tls { insecure: true, ..Tls::default() };
                declared.tls.insert(api_host(name).to_owned(), Located { value: tls, at });
            } else {
                let message = format!("`{name}` is blocked there; the inventory has no such thing");
                reading.findings.lose(Code::Dropped, &at, message);
            }
        }
    }
}

/// Returns whether a value says nothing: a table or a list without anything in it.
fn is_empty(value: &DeValue<'_>) -> bool {
    value.as_table().is_some_and(toml::map::Map::is_empty)
        || value.as_array().is_some_and(|list| list.is_empty())
}

fn table<'t>(reading: &mut Reading, file: &SourceFile<'t>) -> Option<DeTable<'t>> {
    match DeTable::parse(file.text) {
        Ok(table) => Some(table.into_inner()),
        Err(error) => {
            let at = file.at(&error.span().unwrap_or(0..0), "");
            let message = error.message().lines().next().unwrap_or("this is not valid TOML").to_owned();
            reading.findings.lose(Code::Syntax, &at, message);
            None
        }
    }
}
