//! How a node reads a config that is applied: strictly, and each version what it knows.
//!
//! Texts are those of Talos' `configloader`, `v1alpha1_validation.go` and `types/cri`.

use serde_json::Value;
use talmirror::finding::Problems;
use talmirror::machineconfig::{MachineConfig, Role};
use talmirror::registries::{Kind, Registries};
use talmirror::yaml::{self, Node};
use tonic::Status;

use super::rules::Rules;

/// A config that the node takes.
pub struct Accepted {
    pub registries: Registries,
    pub warnings: Vec<String>,
}

/// Documents of other kinds that are known.
const OTHERS: [&str; 17] = [
    "HostnameConfig",
    "ResolverConfig",
    "TimeSyncConfig",
    "KubeSpanEndpointsConfig",
    "ExtensionServiceConfig",
    "SideroLinkConfig",
    "VolumeConfig",
    "UserVolumeConfig",
    "TrustedRootsConfig",
    "WatchdogTimerConfig",
    "EventSinkConfig",
    "KmsgLogConfig",
    "NetworkDefaultActionConfig",
    "NetworkRuleConfig",
    "ImageCacheConfig",
    "ImageVerificationConfig",
    "EnvironmentConfig",
];

pub fn accept(text: &str, rules: Rules) -> Result<Accepted, Status> {
    let invalid = |message: String| Status::invalid_argument(message);
    let stream = yaml::parse(text).map_err(|error| invalid(format!("yaml: {error}")))?;
    let mut machine = None;
    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for document in &stream.documents {
        let root = &document.root;
        let line = text.get(..document.span.start).unwrap_or_default().lines().count() + 1;
        match Role::of(root) {
            Role::Machine => machine = Some(root),
            Role::Registry(kind, name) => {
                let named = format!("v1alpha1/{kind}/{name}");
                if !rules.documents() {
                    return Err(invalid(format!(
                        "error decoding document {named} (line {line}): \"{kind}\" \"v1alpha1\": not registered"
                    )));
                }
                if seen.contains(&named) {
                    return Err(invalid(format!("duplicate document {named} is not allowed (line {line})")));
                }
                unknown_of_document(kind, root).map_err(|keys| {
                    invalid(format!("error decoding document {named} (line {line}): {keys}"))
                })?;
                check_document(kind, &name, root, &mut errors);
                seen.push(named);
            }
            Role::Other if root.is_null() => {}
            Role::Other => {
                let kind = root.get("kind").and_then(Node::as_str).unwrap_or_default();
                if !OTHERS.contains(&kind) {
                    return Err(invalid(format!("\"{kind}\" \"v1alpha1\": not registered")));
                }
            }
        }
    }
    let Some(machine) = machine else {
        return Err(invalid(
            "the applied machine configuration doesn't contain v1alpha1 config, did you mean to patch the machine \
             config instead?"
                .to_owned(),
        ));
    };
    unknown_of_machine(machine, rules).map_err(invalid)?;
    check_machine(machine, rules, &mut errors);
    if !errors.is_empty() {
        let count = errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        let list: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
        return Err(invalid(format!("{count} {noun} occurred:\n{list}\n")));
    }
    let registries = registries(text);
    let files = machine.at(&["machine", "files"]).is_some();
    let warning = ".machine.files is deprecated; use dedicated configuration documents instead";
    Ok(Accepted { registries, warnings: files.then(|| warning.to_owned()).into_iter().collect() })
}

/// Returns the registries of a config that was accepted.
pub fn registries(text: &str) -> Registries {
    let config = MachineConfig::parse(text).expect("it was accepted");
    config.registries(&mut Problems::new("", text))
}

/// Returns why a config cannot be applied without a reboot, if so: up to 1.13, parts of the v1alpha1 document.
pub fn needs_reboot(active: &str, new: &str) -> bool {
    let rest = |text: &str| {
        let stream = yaml::parse(text).ok()?;
        let machine = stream.documents.iter().find(|document| Role::of(&document.root) == Role::Machine)?;
        let mut tree = machine.root.to_json();
        let drop = |tree: &mut Value, keys: &[&str]| {
            if let Value::Object(map) = tree {
                map.retain(|key, _| !keys.contains(&key.as_str()));
            }
        };
        drop(&mut tree, &["debug", "cluster"]);
        if let Some(machine) = tree.get_mut("machine") {
            drop(machine, &IMMEDIATE);
            if let Some(features) = machine.get_mut("features") {
                drop(features, &IMMEDIATE_FEATURES);
            }
        }
        Some(tree)
    };
    rest(active) != rest(new)
}

const IMMEDIATE: [&str; 18] = [
    "ca",
    "acceptedCAs",
    "time",
    "certSANs",
    "install",
    "network",
    "sysfs",
    "sysctls",
    "logging",
    "controlPlane",
    "kubelet",
    "kernel",
    "registries",
    "pods",
    "seccompProfiles",
    "nodeAnnotations",
    "nodeLabels",
    "nodeTaints",
];
const IMMEDIATE_FEATURES: [&str; 5] =
    ["kubernetesTalosAPIAccess", "kubePrism", "hostDNS", "imageCache", "nodeAddressSortAlgorithm"];

/// Talos' diff of two configs: the lines that went and came, secrets and all.
pub fn diff(active: &str, new: &str) -> String {
    if active == new {
        return "No changes.".to_owned();
    }
    let (old, all): (Vec<&str>, Vec<&str>) = (active.lines().collect(), new.lines().collect());
    let went = old.iter().filter(|line| !all.contains(line)).map(|line| format!("-{line}\n"));
    let came = all.iter().filter(|line| !old.contains(line)).map(|line| format!("+{line}\n"));
    format!("--- a\n+++ b\n@@ -1,{} +1,{} @@\n{}", old.len(), all.len(), went.chain(came).collect::<String>())
}

fn unknown(path: &[&str], node: &Node, known: &[&str]) -> Result<(), String> {
    let found = node.entries().iter().find(|entry| !known.contains(&entry.key.as_str()));
    let Some(entry) = found else { return Ok(()) };
    let mut text = String::from("unknown keys found during decoding:\n");
    for (depth, key) in path.iter().copied().chain([entry.key.as_str()]).enumerate() {
        text.push_str(&format!("{}{key}:\n", "    ".repeat(depth)));
    }
    Err(text)
}

fn unknown_of_machine(root: &Node, rules: Rules) -> Result<(), String> {
    let top = ["version", "debug", "persist", "machine", "cluster"];
    unknown(&[], root, &top)?;
    let Some(registries) = root.at(&["machine", "registries"]) else { return Ok(()) };
    unknown(&["machine", "registries"], registries, &["mirrors", "config"])?;
    let mut fields = vec!["endpoints", "overridePath"];
    if rules.falls_back() {
        fields.push("skipFallback");
    }
    for entry in registries.get("mirrors").map_or(&[][..], Node::entries) {
        unknown(&["machine", "registries", "mirrors", &entry.key], &entry.value, &fields)?;
    }
    for entry in registries.get("config").map_or(&[][..], Node::entries) {
        let path = ["machine", "registries", "config", entry.key.as_str()];
        unknown(&path, &entry.value, &["tls", "auth"])?;
        for (part, fields) in [
            ("auth", &["username", "password", "auth", "identityToken"][..]),
            ("tls", &["clientIdentity", "ca", "insecureSkipVerify"]),
        ] {
            if let Some(node) = entry.value.get(part) {
                unknown(&[&path[..], &[part]].concat(), node, fields)?;
            }
        }
    }
    Ok(())
}

fn unknown_of_document(kind: Kind, root: &Node) -> Result<(), String> {
    let fields: &[&str] = match kind {
        Kind::Mirror => &["endpoints", "skipFallback"],
        Kind::Auth => &["username", "password", "auth", "identityToken"],
        Kind::Tls => &["clientIdentity", "ca", "insecureSkipVerify"],
    };
    unknown(&[], root, &[&["apiVersion", "kind", "name"], fields].concat())?;
    for endpoint in root.get("endpoints").map_or(&[][..], Node::items) {
        unknown(&["endpoints"], endpoint, &["url", "overridePath"])?;
    }
    Ok(())
}

fn check_machine(root: &Node, rules: Rules, errors: &mut Vec<String>) {
    let Some(registries) = root.at(&["machine", "registries"]) else { return };
    for part in ["mirrors", "config"] {
        for entry in registries.get(part).map_or(&[][..], Node::entries) {
            if entry.value.is_null() && rules.refuses_null() {
                let key = &entry.key;
                errors.push(format!(
                    "v1alpha1.Config: 1 error occurred:\n\t* registries.{part}[\"{key}\"] is null\n"
                ));
            }
        }
    }
}

fn check_document(kind: Kind, name: &str, root: &Node, errors: &mut Vec<String>) {
    let mut error = |text: String| errors.push(format!("{kind}/{name}: {text}"));
    let there = |key: &str| root.get(key).and_then(Node::as_str).is_some_and(|text| !text.is_empty());
    if name.is_empty() {
        error("name must be specified".to_owned());
    }
    match kind {
        Kind::Mirror => {
            for (at, endpoint) in root.get("endpoints").map_or(&[][..], Node::items).iter().enumerate() {
                match endpoint.get("url").and_then(Node::as_str).unwrap_or_default() {
                    "" => error(format!("endpoints[{at}].url must be specified")),
                    url if url.starts_with("http://") || url.starts_with("https://") => {}
                    url => {
                        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
                        error(format!("endpoints[{at}].url has unsupported scheme: \"{scheme}\""));
                    }
                }
            }
        }
        Kind::Auth => {
            let pair = there("username") || there("password");
            if there("auth") && (pair || there("identityToken")) {
                error(
                    "only one of auth, username/password or identityToken authentication can be specified"
                        .to_owned(),
                );
            } else if pair && there("identityToken") {
                error(
                    "only one of username/password or identityToken authentication can be specified"
                        .to_owned(),
                );
            }
        }
        Kind::Tls => {
            let ca = root.get("ca").and_then(Node::as_str).unwrap_or_default();
            if !ca.is_empty() && !ca.contains("-----BEGIN CERTIFICATE-----") {
                error("ca must be a valid PEM-encoded certificate".to_owned());
            }
        }
    }
}
