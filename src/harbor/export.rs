use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::actual::{Actual, Kept, Project, Registry, Robot};
use super::desired::{Desired, MARK};
use crate::image::is_docker_hub_alias;
use crate::inventory::{Quota, Retention};
use crate::yaml::{Indent, emit};

/// An inventory of what a Harbor holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The inventory.
    pub text: String,
    /// What it does not have.
    pub lost: Vec<String>,
    /// Environment variables that secrets are taken from, which Harbor never shows.
    pub variables: Vec<String>,
}

/// One proxy project, and what it passes on.
struct Proxy<'a> {
    registry: String,
    project: &'a Project,
    behind: &'a Registry,
    retention: Option<Retention>,
    quota: Option<Quota>,
}

/// Writes an inventory of the proxy projects of a Harbor.
pub fn export(actual: &Actual, url: &str, name: &str) -> Exported {
    let mut lost = Vec::new();
    let mut variables = Vec::new();
    let proxies = proxies(actual, &mut lost);
    let retention =
        most_common(proxies.iter().filter_map(|proxy| proxy.retention.map(|kept| kept.to_string())));
    let quota = most_common(proxies.iter().filter_map(|proxy| proxy.quota.map(|quota| quota.to_string())));
    let public =
        !proxies.is_empty() && proxies.iter().all(|proxy| proxy.project.metadata("public") == Some("true"));

    let mut mirror = Map::new();
    mirror.insert("kind".to_owned(), json!("harbor"));
    mirror.insert("url".to_owned(), json!(url));
    let (template, rest) = template(&proxies);
    if template != "{registry}" {
        mirror.insert("project".to_owned(), json!(template));
    }
    if !rest.is_empty() {
        mirror.insert("projects".to_owned(), json!(rest));
    }
    match robot(actual, &proxies) {
        Some(robot) => {
            let variable = "HARBOR_ROBOT_PASSWORD".to_owned();
            let credentials = json!({ "username": robot.name, "passwordFrom": { "env": variable } });
            mirror.insert("credentials".to_owned(), credentials);
            variables.push(variable);
        }
        None => lost
            .push("no system robot pulls from every project: `talmirror harbor apply` makes one".to_owned()),
    }
    let mut settings = Map::new();
    let gc = actual.gc.as_ref().and_then(|gc| gc.cron());
    for (key, value) in [("retention", &retention), ("quota", &quota)] {
        settings.extend(value.as_ref().map(|value| (key.to_owned(), json!(value))));
    }
    settings.extend(gc.map(|cron| ("gc".to_owned(), json!(cron))));
    if public {
        settings.insert("public".to_owned(), json!(true));
    }
    if !settings.is_empty() {
        mirror.insert("harbor".to_owned(), Value::Object(settings));
    }

    let mut registries = Map::new();
    for proxy in &proxies {
        let entry = entry(proxy, actual, [retention.as_deref(), quota.as_deref()], name, &mut variables);
        registries.insert(proxy.registry.clone(), Value::Object(entry));
    }
    let mut text = String::from("apiVersion: talmirror/v1\nkind: Inventory\n");
    let mut section = |name: &str, value: Value| {
        text.push('\n');
        text.push_str(&emit(&json!({ name: value }), Indent::default()));
    };
    section("mirrors", json!({ name: mirror }));
    section("registries", Value::Object(registries));
    section("defaults", json!({ "via": [name] }));
    Exported { text, lost, variables }
}

/// Finds the proxy projects, each registry once.
fn proxies<'a>(actual: &'a Actual, lost: &mut Vec<String>) -> Vec<Proxy<'a>> {
    let mut found: IndexMap<String, Proxy<'a>> = IndexMap::new();
    for project in &actual.projects {
        let Some(id) = project.proxied() else {
            if project.name != "library" {
                lost.push(format!("project {} is not a proxy", project.name));
            }
            continue;
        };
        let Some(behind) = actual.registries.iter().find(|registry| registry.id == id) else { continue };
        let Some(registry) = registry_of(behind) else {
            lost.push(format!("project {}: no image reference names {}", project.name, behind.url));
            continue;
        };
        if found.contains_key(&registry) {
            lost.push(format!("project {} is a second one for {registry}", project.name));
            continue;
        }
        let kept = actual.retentions.get(&project.id).map(super::actual::RetentionPolicy::kept);
        if kept == Some(Kept::Custom) {
            lost.push(format!("project {} has retention rules of its own", project.name));
        }
        let quota = actual.quotas.as_ref().and_then(|quotas| quotas.get(&project.id));
        let quota = quota.map(super::actual::QuotaState::limit).filter(|quota| *quota != Quota::Unlimited);
        let retention = match kept {
            Some(Kept::Simple(retention)) => Some(retention),
            Some(Kept::NeverRuns) | None => Some(Retention::Forever),
            Some(Kept::Custom) => None,
        };
        found.insert(registry.clone(), Proxy { registry, project, behind, retention, quota });
    }
    let mut all: Vec<Proxy<'a>> = found.into_values().collect();
    all.sort_by(|a, b| a.registry.cmp(&b.registry));
    all
}

/// Returns the registry as image references name it.
fn registry_of(behind: &Registry) -> Option<String> {
    let url: url::Url = behind.url.parse().ok()?;
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let hub = behind.kind == "docker-hub" || host == "docker.io" || is_docker_hub_alias(&host);
    Some(if hub { "docker.io".to_owned() } else { host })
}

/// Returns the template that most projects follow, and those that do not.
fn template(proxies: &[Proxy<'_>]) -> (String, BTreeMap<String, String>) {
    let candidates = proxies.iter().flat_map(|proxy| {
        let dashed = proxy.registry.replace(['.', ':'], "-");
        let name = &proxy.project.name;
        let whole = name.contains(&proxy.registry).then(|| name.replacen(&proxy.registry, "{registry}", 1));
        let dashed = name.contains(&dashed).then(|| name.replacen(&dashed, "{registry_dashed}", 1));
        whole.into_iter().chain(dashed)
    });
    let template = most_common(candidates).unwrap_or_else(|| "{registry}".to_owned());
    let filled = |registry: &str| {
        template
            .replace("{registry}", registry)
            .replace("{registry_dashed}", &registry.replace(['.', ':'], "-"))
    };
    let rest = proxies.iter().filter(|proxy| filled(&proxy.registry) != proxy.project.name);
    let rest = rest.map(|proxy| (proxy.registry.clone(), proxy.project.name.clone()));
    (template.clone(), rest.collect())
}

/// Returns the text that comes most often; of several the first.
fn most_common(all: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: IndexMap<String, usize> = IndexMap::new();
    for text in all {
        *counts.entry(text).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(text, _)| text)
}

/// Returns the robot that pulls from every project; one of ours goes first.
fn robot<'a>(actual: &'a Actual, proxies: &[Proxy<'_>]) -> Option<&'a Robot> {
    let fits = |robot: &&Robot| {
        !robot.disable && !proxies.is_empty() && proxies.iter().all(|proxy| robot.pulls(&proxy.project.name))
    };
    let mut fitting: Vec<&Robot> = actual.robots.iter().filter(fits).collect();
    fitting.sort_by_key(|robot| !robot.description.starts_with(MARK));
    fitting.into_iter().next()
}

fn entry(
    proxy: &Proxy<'_>,
    actual: &Actual,
    [retention, quota]: [Option<&str>; 2],
    name: &str,
    variables: &mut Vec<String>,
) -> Map<String, Value> {
    let mut entry = Map::new();
    let behind = proxy.behind;
    let mut upstream = Map::new();
    if behind.url.starts_with("http://") {
        // A plain http registry is mirrored to itself unless a mirror is asked for by name.
        entry.insert("via".to_owned(), json!([name]));
        upstream.insert("url".to_owned(), json!(behind.url.trim_end_matches('/')));
    }
    if !behind.credential.access_key.is_empty() {
        let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let variable = format!("{}_PASSWORD", proxy.registry.chars().map(word).collect::<String>());
        let credentials =
            json!({ "username": behind.credential.access_key, "passwordFrom": { "env": variable } });
        upstream.insert("credentials".to_owned(), credentials);
        variables.push(variable);
    }
    let mut tls = Map::new();
    if behind.insecure {
        tls.insert("insecureSkipVerify".to_owned(), json!(true));
    }
    if !behind.ca_certificate.trim().is_empty() {
        tls.insert("ca".to_owned(), json!(format!("{}\n", behind.ca_certificate.trim())));
    }
    if !tls.is_empty() {
        upstream.insert("tls".to_owned(), Value::Object(tls));
    }
    if !upstream.is_empty() {
        entry.insert("upstream".to_owned(), Value::Object(upstream));
    }
    let mut own = Map::new();
    if !Desired::takes(&proxy.registry, behind, actual.version) {
        own.insert("adapter".to_owned(), json!(behind.kind));
    }
    let differs =
        |value: Option<String>, common: Option<&str>| value.filter(|value| Some(value.as_str()) != common);
    let retention = differs(proxy.retention.map(|kept| kept.to_string()), retention);
    own.extend(retention.map(|retention| ("retention".to_owned(), json!(retention))));
    let quota = match (proxy.quota, quota) {
        (None, Some(_)) => Some(Quota::Unlimited.to_string()),
        (own, common) => differs(own.map(|quota| quota.to_string()), common),
    };
    own.extend(quota.map(|quota| ("quota".to_owned(), json!(quota))));
    for (key, field) in [("proxy_speed_kb", "speedKbps"), ("max_upstream_conn", "maxConnections")] {
        let number = proxy.project.metadata(key).and_then(|text| text.parse::<u32>().ok());
        own.extend(number.filter(|number| *number > 0).map(|number| (field.to_owned(), json!(number))));
    }
    if !own.is_empty() {
        entry.insert("harbor".to_owned(), Value::Object(own));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actual() -> Actual {
        let registry = |id: i64, name: &str, kind: &str, url: &str| Registry {
            id,
            name: name.into(),
            kind: kind.into(),
            url: url.into(),
            ..Registry::default()
        };
        let project = |id: i64, name: &str, registry_id: Option<i64>| Project {
            id,
            name: name.into(),
            registry_id,
            ..Project::default()
        };
        Actual {
            version: "v2.15.2-".parse().unwrap(),
            system: super::super::actual::SystemInfo::default(),
            robot_prefix: Some("robot$".into()),
            registries: vec![
                registry(1, "Docker Hub", "docker-hub", "https://hub.docker.com"),
                registry(2, "Github", "github-ghcr", "https://ghcr.io"),
                registry(3, "lan", "harbor", "http://harbor.lan:8080/"),
            ],
            projects: vec![
                project(1, "library", None),
                project(2, "proxy-docker-io", Some(1)),
                project(3, "proxy-ghcr-io", Some(2)),
                project(4, "lan", Some(3)),
                project(5, "ours", None),
            ],
            robots: Vec::new(),
            retentions: BTreeMap::new(),
            quotas: None,
            gc: None,
            login: super::super::actual::Login::None,
        }
    }

    #[test]
    fn what_was_clicked_together_reads_back() {
        let exported = export(&actual(), "https://harbor.example", "harbor");
        insta::assert_snapshot!(exported.text, @r"
        apiVersion: talmirror/v1
        kind: Inventory

        mirrors:
            harbor:
                kind: harbor
                url: https://harbor.example
                project: proxy-{registry_dashed}
                projects:
                    harbor.lan:8080: lan
                harbor:
                    retention: forever

        registries:
            docker.io: {}
            ghcr.io: {}
            harbor.lan:8080:
                via:
                    - harbor
                upstream:
                    url: http://harbor.lan:8080
                harbor:
                    adapter: harbor

        defaults:
            via:
                - harbor
        ");
        let parsed = crate::inventory::parse(&exported.text, "mirrors.yaml", &|_| None);
        assert!(parsed.inventory.is_some(), "{:?}", parsed.problems);
        assert_eq!(
            exported.lost,
            [
                "project ours is not a proxy",
                "no system robot pulls from every project: `talmirror harbor apply` makes one"
            ]
        );
    }
}
