//! The COSI resources of a node that a client of registry mirrors looks at.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message as _;
use serde_json::{Map, Value, json};
use talmirror::registries::{Registries, Tls};
use talmirror::yaml::{Indent, emit};
use tonic::Status;

use super::fault::{Kind, Step};
use super::node::{Node, State, Text};
use super::proto::cosi::resource as cosi;
use super::proto::definitions::MachineConfigSpec;

fn resource(id: &str, version: u64, at: SystemTime, proto: Vec<u8>, yaml: String) -> cosi::Resource {
    let metadata = cosi::Metadata {
        id: id.to_owned(),
        version: version.to_string(),
        phase: "running".to_owned(),
        updated: Some(timestamp(at)),
        ..cosi::Metadata::default()
    };
    cosi::Resource { metadata: Some(metadata), spec: Some(cosi::Spec { proto_spec: proto, yaml_spec: yaml }) }
}

fn timestamp(at: SystemTime) -> prost_types::Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(0),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

fn yaml(id: &str, value: &Value) -> cosi::Resource {
    resource(id, 1, UNIX_EPOCH, Vec::new(), emit(value, Indent::default()))
}

fn config(id: &str, text: &Text, by_text: bool) -> cosi::Resource {
    let spec = MachineConfigSpec { yaml_marshalled: text.text.as_bytes().to_vec() };
    // Since 1.12 the YAML spec is one text.
    let yaml = if by_text { Value::from(text.text.as_str()).to_string() } else { text.text.clone() };
    let mut resource = resource(id, text.version, text.at, spec.encode_to_vec(), yaml);
    if let (true, Some(metadata)) = (by_text, &mut resource.metadata) {
        metadata.annotations.insert("talos.dev/yaml-spec".to_owned(), "1".to_owned());
    }
    resource
}

/// `Get`: refuses what the version does not know and what the role may not see.
pub fn get(node: &Node, kind: &str, id: &str, admin: bool) -> Result<cosi::Resource, Status> {
    let state = node.state();
    let rules = state.rules();
    let kind_name = kind.split('.').next().unwrap_or_default();
    let denied = || Status::permission_denied("not authorized");
    let found = match (kind_name, id) {
        ("MachineConfigs", _) if !admin => return Err(denied()),
        ("MachineConfigs", "v1alpha1") => Some(config(id, &state.active, rules.registry_configs_by_kind())),
        ("MachineConfigs", "persistent") if rules.persistent() => {
            let persistent = state.persistent.as_ref();
            persistent.map(|text| config(id, text, rules.registry_configs_by_kind()))
        }
        ("MachineConfigs", _) => None,
        ("MachineTypes", "machine-type") => {
            Some(resource(id, 1, UNIX_EPOCH, Vec::new(), format!("{}\n", state.role)))
        }
        ("MachineStatuses", "machine") => Some(yaml(id, &status(&state))),
        ("Nodenames", "nodename") => Some(yaml(
            id,
            &json!({"nodename": node.name, "hostnameVersion": "1", "skipNodeRegistration": false}),
        )),
        ("Identities", "local") => Some(yaml(id, &json!({"nodeId": state.machine}))),
        ("NodeAddresses", "current" | "current-no-k8s") => {
            let all = std::iter::once(&node.address).chain(&state.addresses);
            let bits = |address: &String| if address.contains(':') { 64 } else { 24 };
            let all: Vec<String> = all.map(|address| format!("{address}/{}", bits(address))).collect();
            Some(yaml(id, &json!({"addresses": all})))
        }
        ("RegistryConfigs", "registries") if rules.falls_back() => {
            if rules.sensitive_registries() && !admin {
                return Err(denied());
            }
            Some(yaml(id, &registry_configs(&state)))
        }
        ("TimeStatuses", "node") => {
            Some(yaml(id, &json!({"synced": state.time_synced, "epoch": 1, "syncDisabled": false})))
        }
        ("ImageCacheConfigs", "image-cache") if rules.falls_back() => state
            .image_cache
            .as_ref()
            .map(|status| yaml(id, &json!({"status": status, "copyStatus": "ready", "roots": []}))),
        ("Services", id) => {
            services(&state).into_iter().find(|(name, _)| *name == id).map(|(name, running)| {
                let mut service =
                    yaml(name, &json!({"running": running, "healthy": running, "unknown": false}));
                if let Some(metadata) = service.metadata.as_mut().filter(|_| name == "cri") {
                    metadata.created = Some(timestamp(state.cri_started));
                }
                service
            })
        }
        ("EtcFileStatuses", id) => {
            let version = json!({"specVersion": state.active.version.to_string()});
            let text = emit(&version, Indent::default());
            Some(resource(id, state.active.version, state.cri_written, Vec::new(), text))
        }
        _ => return Err(Status::permission_denied(format!("resource type \"{kind}\" is not supported"))),
    };
    found.ok_or_else(|| Status::not_found(format!("resource {kind}(config/{id}@undefined) doesn't exist")))
}

/// `List`.
pub fn list(node: &Node, kind: &str, admin: bool) -> Result<Vec<cosi::Resource>, Status> {
    let kind_name = kind.split('.').next().unwrap_or_default();
    match kind_name {
        "Members" => {
            let nodes = node.world.nodes.lock().unwrap().clone();
            Ok(nodes.iter().map(|node| yaml(&node.name, &member(node))).collect())
        }
        "Services" => {
            let names: Vec<&str> = services(&node.state()).into_iter().map(|(name, _)| name).collect();
            names.into_iter().map(|name| get(node, kind, name, admin)).collect()
        }
        "MachineConfigs" => {
            let both = ["persistent", "v1alpha1"].map(|id| get(node, kind, id, admin));
            both.into_iter()
                .filter(|found| !matches!(found, Err(status) if status.code() == tonic::Code::NotFound))
                .collect()
        }
        _ => Err(Status::permission_denied(format!("resource type \"{kind}\" is not supported"))),
    }
}

fn member(node: &Node) -> Value {
    let state = node.state();
    let mut member = json!({
        "nodeId": node.name, "addresses": [node.address], "hostname": node.name, "machineType": state.role,
        "operatingSystem": format!("Talos ({})", state.version),
    });
    if let (true, Some(member)) = (state.role == "controlplane", member.as_object_mut()) {
        member.insert("controlPlane".to_owned(), json!({"apiServerPort": 6443}));
    }
    member
}

fn status(state: &State) -> Value {
    if state.has_fault(Step::Resource, &Kind::Unhealthy) {
        let unmet = json!([{"name": "nodeReady", "reason": "node status is not available yet"}]);
        return json!({"stage": state.stage, "status": {"ready": false, "unmetConditions": unmet}});
    }
    json!({"stage": state.stage, "status": {"ready": state.ready, "unmetConditions": []}})
}

/// Returns the node's services, and whether each runs.
pub fn services(state: &State) -> Vec<(&'static str, bool)> {
    let ready = !state.has_fault(Step::Resource, &Kind::Unhealthy);
    let mut services = vec![("apid", true), ("cri", state.cri_running), ("kubelet", ready), ("udevd", true)];
    if state.role == "controlplane" {
        services.push(("etcd", true));
    }
    services
}

/// `RegistryConfigs`, as the version shows them.
fn registry_configs(state: &State) -> Value {
    let Registries { mirrors, auth, tls } = &state.registries;
    let rules = state.rules();
    let cache = state.image_cache.as_deref() == Some("ready");
    let mut names: Vec<&str> = mirrors.keys().map(String::as_str).collect();
    if cache && !names.contains(&"*") {
        names.push("*");
    }
    let mirrors = names.into_iter().map(|name| {
        let found = mirrors.get(name).cloned().unwrap_or_default();
        let own = found.endpoints.iter().map(|endpoint| (endpoint.url.as_str(), endpoint.override_path));
        let endpoints = cache.then_some(("http://127.0.0.1:3172", false)).into_iter().chain(own);
        let mut mirror = Map::new();
        if rules.persistent() {
            let endpoints = endpoints.map(|(url, path)| json!({"endpoint": url, "overridePath": path}));
            mirror.insert("endpoints".to_owned(), endpoints.collect());
        } else {
            let (urls, paths): (Vec<&str>, Vec<bool>) = endpoints.unzip();
            mirror.insert("endpoints".to_owned(), json!(urls));
            mirror.insert("overridePath".to_owned(), json!(paths.contains(&true)));
        }
        if found.skip_fallback {
            mirror.insert("skipFallback".to_owned(), true.into());
        }
        (name.to_owned(), Value::Object(mirror))
    });
    let mirrors: Map<String, Value> = mirrors.collect();
    let secret = |value: &Option<talmirror::secret::Secret<String>>| {
        value.as_ref().map(|value| value.expose().clone())
    };
    let auth_of = |auth: &talmirror::registries::Auth| {
        let fields = [
            ("username", auth.username.clone()),
            ("password", secret(&auth.password)),
            ("auth", secret(&auth.auth)),
            ("identityToken", secret(&auth.identity_token)),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        Value::Object(fields.collect())
    };
    let auths: Map<String, Value> = auth.iter().map(|(host, auth)| (host.clone(), auth_of(auth))).collect();
    let tls: Map<String, Value> = tls.iter().map(|(host, tls)| (host.clone(), tls_of(tls))).collect();
    let parts = if rules.registry_configs_by_kind() {
        vec![("mirrors", mirrors), ("auths", auths), ("tls", tls)]
    } else {
        let mut hosts: Map<String, Value> = Map::new();
        for (part, entries) in [("auth", auths), ("tls", tls)] {
            for (host, value) in entries {
                let host = hosts.entry(host).or_insert_with(|| json!({}));
                host.as_object_mut().unwrap().insert(part.to_owned(), value);
            }
        }
        vec![("mirrors", mirrors), ("config", hosts)]
    };
    let parts = parts.into_iter().filter(|(_, map)| !map.is_empty());
    Value::Object(parts.map(|(name, map)| (name.to_owned(), Value::Object(map))).collect())
}

fn tls_of(tls: &Tls) -> Value {
    let mut out = Map::new();
    if let Some(identity) = &tls.client_identity {
        let (crt, key) = (BASE64.encode(&identity.cert), BASE64.encode(identity.key.expose()));
        out.insert("clientIdentity".to_owned(), json!({"crt": crt, "key": key}));
    }
    if let Some(ca) = &tls.ca {
        out.insert("ca".to_owned(), BASE64.encode(ca).into());
    }
    if tls.insecure_skip_verify {
        out.insert("insecureSkipVerify".to_owned(), true.into());
    }
    Value::Object(out)
}
