//! `/api/v2.0`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::objects::{Gc, NEXT, Project, Quota, Registry, State};
use super::pages::{matching, page};
use super::wire::{Request, Response};
use super::{pulls, robots};

pub const ADMIN_PASSWORD: &str = "s3cr3t-Harbor12345";

/// The versions that were listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2_15_2,
    V2_12_4,
    V2_9_5,
}

impl Version {
    pub const ALL: [Self; 3] = [Self::V2_15_2, Self::V2_12_4, Self::V2_9_5];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_15_2 => "2.15.2",
            Self::V2_12_4 => "2.12.4",
            Self::V2_9_5 => "2.9.5",
        }
    }

    /// The conversation that was had with it.
    pub fn conversation(self) -> Vec<Value> {
        let text = match self {
            Self::V2_15_2 => include_str!("../../vectors/harbor/conversation-2.15.2.json"),
            Self::V2_12_4 => include_str!("../../vectors/harbor/conversation-2.12.4.json"),
            Self::V2_9_5 => include_str!("../../vectors/harbor/conversation-2.9.5.json"),
        };
        serde_json::from_str(text).unwrap()
    }

    /// An answer that is the same whatever Harbor holds.
    pub fn recorded(self, name: &str) -> Value {
        let exchanges = self.conversation();
        let exchange = exchanges.iter().find(|exchange| exchange["name"] == name).unwrap();
        exchange["response"]["body"].clone()
    }

    fn keys(self) -> Vec<&'static str> {
        let mut keys = vec![
            "public",
            "enable_content_trust",
            "prevent_vul",
            "severity",
            "auto_scan",
            "reuse_sys_cve_allowlist",
            "retention_id",
        ];
        if self != Self::V2_9_5 {
            keys.extend(["proxy_speed_kb", "auto_sbom_generation"]);
        }
        if self == Self::V2_15_2 {
            keys.extend(["proxy_cache_local_on_not_found", "max_upstream_conn"]);
        }
        keys
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Admin,
    Robot(i64),
    /// With credentials that are not taken.
    Unknown,
    Anonymous,
}

/// Whether Harbor takes a name for a project or a robot.
pub fn is_name(name: &str) -> bool {
    name.split(['.', '_', '-']).all(|part| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

fn unauthorized() -> Response {
    Response::error(401, "UNAUTHORIZED", "unauthorized")
}

fn unknown() -> Response {
    Response::error(500, "UNKNOWN", "internal server error").with("X-Request-Id", "5f0c-11")
}

pub fn handle(state: &mut State, request: &Request) -> Response {
    let caller = robots::caller(state, request);
    let (path, _) = request.split();
    let changes = !matches!(request.method.as_str(), "GET" | "HEAD");
    if changes && request.header("cookie").is_some() {
        let words = if state.version == Version::V2_9_5 {
            "CSRF token invalid"
        } else {
            "CSRF token not found in request"
        };
        return Response::error(403, "FORBIDDEN", words).with("X-Harbor-Csrf-Token", "abc");
    }
    let Some(rest) = path.strip_prefix("/api/v2.0/") else {
        return pulls::handle(state, request, caller);
    };
    let parts: Vec<&str> = rest.split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["ping"]) => return ping(state, request),
        ("GET", ["health"]) => return Response::json(200, &state.health),
        ("GET", ["systeminfo"]) => return system_info(state, caller),
        _ => {}
    }
    if matches!(caller, Caller::Anonymous | Caller::Unknown) {
        return unauthorized();
    }
    if let Caller::Robot(id) = caller
        && let Some(refused) = forbidden(state, id, request, &parts)
    {
        return refused;
    }
    if changes && state.read_only {
        return Response::error(
            403,
            "DENIED",
            "The system is in read only mode. Any modification is prohibited.",
        );
    }
    dispatch(state, request, &parts, caller)
}

fn dispatch(state: &mut State, request: &Request, parts: &[&str], caller: Caller) -> Response {
    let (path, query) = request.split();
    let body = request.json();
    let version = state.version;
    match (request.method.as_str(), parts) {
        ("GET", ["configurations"]) => {
            let mut all = version.recorded("configurations");
            all["robot_name_prefix"]["value"] = json!(state.robot_prefix);
            all["read_only"]["value"] = json!(state.read_only);
            Response::json(200, &all)
        }
        ("GET", ["permissions"]) if version == Version::V2_9_5 => {
            Response::error(404, "NOT_FOUND", &format!("path {path} was not found"))
        }
        ("GET", ["permissions"]) => Response::json(200, &version.recorded("permissions")),
        ("GET", ["replication", "adapters"]) => Response::json(200, &version.recorded("adapters")),
        ("GET", ["replication", "adapterinfos"]) => Response::json(200, &version.recorded("adapterinfos")),
        ("GET", ["retentions", "metadatas"]) => Response::json(200, &version.recorded("retention metadatas")),
        (_, ["registries", rest @ ..]) => registries(state, request, rest),
        ("HEAD", ["projects"]) => {
            let there = query.get("project_name").is_some_and(|name| state.project(name).is_some());
            if there {
                Response::empty(200)
            } else {
                Response { body: String::new(), ..Response::error(404, "NOT_FOUND", "") }
            }
        }
        ("GET", ["projects"]) => {
            let detail = query.get("with_detail").is_none_or(|detail| detail != "false");
            let mut all: Vec<(&i64, &Project)> = state.projects.iter().collect();
            all.sort_by(|a, b| a.1.name.cmp(&b.1.name));
            let all = all.into_iter().map(|(id, project)| {
                let mut value = State::project_json(*id, project, detail);
                if !detail {
                    value.as_object_mut().unwrap().remove("owner_name");
                }
                value
            });
            page(&path, &query, &matching(&query, all.collect()))
        }
        ("POST", ["projects"]) => create_project(state, &body),
        (_, ["projects", name, rest @ ..]) => project(state, request, name, rest),
        ("POST", ["retentions"]) => {
            let id = state.next_id("retention");
            let mut policy = body;
            policy["id"] = json!(id);
            let project = policy["scope"]["ref"].as_i64().unwrap_or(0);
            let Some(project) = state.projects.get_mut(&project) else { return unknown() };
            project.metadata.insert("retention_id".to_owned(), id.to_string());
            state.retentions.insert(id, policy);
            Response::empty(201).with("Location", format!("/api/v2.0/retentions/{id}"))
        }
        ("GET" | "PUT", ["retentions", id]) => {
            let id = id.parse().unwrap_or(0);
            let Some(policy) = state.retentions.get_mut(&id) else {
                return Response::error(404, "NOT_FOUND", &format!("no such Retention policy with id {id}"));
            };
            if request.method == "GET" {
                return Response::json(200, policy);
            }
            *policy = body;
            policy["trigger"]["settings"]["next_scheduled_time"] = json!(NEXT);
            Response::empty(200)
        }
        ("GET", ["quotas"]) => {
            let of = query.get("reference_id").and_then(|id| id.parse::<i64>().ok());
            let all = state.quotas.iter().rev().filter(|(_, quota)| of.is_none_or(|of| quota.project == of));
            let all: Vec<Value> = all.map(|(id, quota)| state.quota_json(*id, quota)).collect();
            page(&path, &query, &all)
        }
        ("GET" | "PUT", ["quotas", id]) => {
            let id = id.parse().unwrap_or(0);
            let Some(quota) = state.quotas.get_mut(&id) else {
                return Response::error(404, "NOT_FOUND", &format!("quota {id} not found"));
            };
            if request.method == "PUT" {
                let hard = body["hard"]["storage"].as_i64().unwrap_or(0);
                if hard == 0 || hard < -1 {
                    let message = format!("invalid non-positive value for quota limit, value={hard}");
                    return Response::error(400, "BAD_REQUEST", &message);
                }
                (quota.hard, quota.touched) = (hard, true);
                return Response::empty(200);
            }
            let quota = quota.clone();
            Response::json(200, &state.quota_json(id, &quota))
        }
        ("GET", ["system", "gc"]) => {
            let runs = state.gc_runs.clone();
            page(&path, &query, &runs)
        }
        (_, ["system", "gc", "schedule"]) => gc_schedule(state, request, &body),
        (_, ["robots", rest @ ..]) => robots::handle(state, request, rest, caller),
        _ => Response::error(404, "NOT_FOUND", &format!("path {path} was not found")),
    }
}

fn ping(state: &State, request: &Request) -> Response {
    let wants_json = request.header("accept").is_some_and(|accept| accept.contains("application/json"));
    if state.version == Version::V2_9_5 && wants_json {
        let message =
            "validation failure list:\nunsupported media type requested, only [text/plain] are available";
        return Response::error(422, "UNPROCESSABLE_ENTITY", message)
            .with("WWW-Authenticate", "Basic realm=\"API\"");
    }
    Response { body: "Pong".to_owned(), ..Response::json(200, &Value::Null) }
}

fn system_info(state: &State, caller: Caller) -> Response {
    let mut info = json!({
        "auth_mode": state.auth_mode, "banner_message": "", "primary_auth_mode": false, "self_registration": false,
    });
    let map = info.as_object_mut().unwrap();
    if state.version != Version::V2_9_5 {
        map.insert("oidc_provider_name".to_owned(), json!(""));
    }
    let known = matches!(caller, Caller::Admin | Caller::Robot(_));
    if known || state.version != Version::V2_15_2 {
        map.insert("harbor_version".to_owned(), json!(format!("v{}-", state.version.as_str())));
    }
    if known {
        let more = json!({
            "current_time": NEXT, "external_url": format!("http://{}", state.address), "has_ca_root": false,
            "notification_enable": true, "project_creation_restriction": "everyone", "read_only": state.read_only,
            "registry_storage_provider_name": "filesystem", "registry_url": state.address.to_string(),
        });
        map.extend(more.as_object().unwrap().clone());
    }
    Response::json(200, &info)
}

/// What a robot is refused: all that it has no right of level system for.
fn forbidden(state: &State, id: i64, request: &Request, parts: &[&str]) -> Option<Response> {
    let robot = &state.robots[&id];
    let action = match (request.method.as_str(), parts.len()) {
        ("POST", _) => "create",
        ("PUT" | "PATCH", _) => "update",
        ("DELETE", _) => "delete",
        (_, 1) => "list",
        _ => "read",
    };
    let resource = match parts.first() {
        Some(&"registries") => "registry",
        Some(&"projects") => "project",
        Some(&"robots") => "robot",
        Some(&"quotas") => "quota",
        Some(&"retentions") => "tag-retention",
        Some(&"system") => "garbage-collection",
        _ => "configuration",
    };
    let name = format!("{}{}", state.robot_prefix, robot.name);
    let message = if resource == "project" { "forbidden" } else { &name };
    (!robot.may(resource, action)).then(|| Response::error(403, "FORBIDDEN", message))
}

fn is_reachable(state: &State, url: &str) -> bool {
    !state.dead.contains(url.trim_end_matches('/'))
}

fn registries(state: &mut State, request: &Request, rest: &[&str]) -> Response {
    let (path, query) = request.split();
    let body = request.json();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let unhealthy = || Response::error(400, "BAD_REQUEST", "the registry is unhealthy");
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let all = state.registries.iter().map(|(id, registry)| state.registry_json(*id, registry));
            let all = matching(&query, all.collect());
            page(&path, &query, &all)
        }
        ("POST", []) => {
            let (name, url, kind) = (text("name"), text("url"), text("type"));
            let scheme = url.split("://").next().unwrap_or_default().to_owned();
            if scheme != "http" && scheme != "https" {
                return Response::error(400, "BAD_REQUEST", &format!("invalid HTTP scheme: {scheme}"));
            }
            let adapters = state.version.recorded("adapters");
            if !adapters.as_array().unwrap().contains(&json!(kind)) && kind != "quay" {
                return unknown();
            }
            if !is_reachable(state, &url) {
                return unhealthy();
            }
            let id = state.next_id("registry");
            if state.registry(&name).is_some() {
                return Response::error(409, "CONFLICT", &format!("registry {name} already exists"));
            }
            let credential = body["credential"]["access_key"].as_str().map(|user| {
                (user.to_owned(), body["credential"]["access_secret"].as_str().unwrap_or_default().to_owned())
            });
            let ca = if state.version == Version::V2_15_2 { text("ca_certificate") } else { String::new() };
            let insecure = body["insecure"].as_bool().unwrap_or(false);
            let description = text("description");
            state.registries.insert(id, Registry { name, kind, url, insecure, description, ca, credential });
            Response::empty(201).with("Location", format!("/api/v2.0/registries/{id}"))
        }
        ("POST", ["ping"]) => {
            let url = match body["id"].as_i64() {
                Some(id) => {
                    state.registries.get(&id).map(|registry| registry.url.clone()).unwrap_or_default()
                }
                None => text("url"),
            };
            if is_reachable(state, &url) { Response::empty(200) } else { unhealthy() }
        }
        (method, [id, more @ ..]) => {
            let number = id.parse::<i64>().unwrap_or(0);
            let Some(mut registry) = state.registries.get(&number).cloned() else {
                return Response::error(404, "NOT_FOUND", &format!("registry {id} not found"));
            };
            match (method, more) {
                ("GET", []) => Response::json(200, &state.registry_json(number, &registry)),
                ("GET", ["info"]) => Response::json(200, &state.version.recorded("registry info")),
                ("PUT", []) => {
                    let given = |key: &str| body[key].as_str().map(str::to_owned);
                    registry.description = given("description").unwrap_or(registry.description);
                    registry.url = given("url").unwrap_or(registry.url);
                    registry.insecure = body["insecure"].as_bool().unwrap_or(registry.insecure);
                    if state.version == Version::V2_15_2 {
                        registry.ca = given("ca_certificate").unwrap_or(registry.ca);
                    }
                    let (old_user, old_secret) = registry.credential.clone().unwrap_or_default();
                    let user = given("access_key").unwrap_or(old_user);
                    let secret = given("access_secret").unwrap_or(old_secret);
                    registry.credential = (!user.is_empty()).then_some((user, secret));
                    if !is_reachable(state, &registry.url) {
                        return unhealthy();
                    }
                    state.registries.insert(number, registry);
                    Response::empty(200)
                }
                ("DELETE", []) => {
                    if state.projects.values().any(|project| project.registry == Some(number)) {
                        let message = format!(
                            "the registry {number} is referenced by proxy cache project, cannot delete it"
                        );
                        return Response::error(412, "PRECONDITION", &message);
                    }
                    state.registries.remove(&number);
                    Response::empty(200)
                }
                _ => Response::error(405, "METHOD_NOT_ALLOWED", "method not allowed"),
            }
        }
        _ => Response::error(405, "METHOD_NOT_ALLOWED", "method not allowed"),
    }
}

/// Keeps the settings that this version knows, and drops the others without a word.
fn kept(state: &State, metadata: &Value) -> BTreeMap<String, String> {
    let known = state.version.keys();
    let all = metadata.as_object().into_iter().flatten();
    all.filter(|(key, _)| known.contains(&key.as_str()) && !state.drops.contains(*key))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn create_project(state: &mut State, body: &Value) -> Response {
    let name = body["project_name"].as_str().unwrap_or_default().to_owned();
    if !is_name(&name) {
        let message = "project name is not in lower case or contains illegal characters";
        return Response::error(400, "BAD_REQUEST", message);
    }
    let registry = body["registry_id"].as_i64();
    if let Some(id) = registry {
        let Some(behind) = state.registries.get(&id) else { return unknown() };
        if behind.kind == "quay" && state.version == Version::V2_15_2 {
            return Response::error(400, "BAD_REQUEST", "bad request: unsupported registry type quay");
        }
        if !state.jobservice {
            return unknown();
        }
    }
    let id = state.next_id("project");
    if state.project(&name).is_some() {
        return Response::error(409, "CONFLICT", &format!("The project named {name} already exists"));
    }
    let mut metadata = kept(state, &body["metadata"]);
    metadata.entry("public".to_owned()).or_insert_with(|| "false".to_owned());
    if registry.is_some() {
        metadata.insert("retention_id".to_owned(), state.default_retention(id).to_string());
    }
    state.projects.insert(id, Project { name, registry, metadata, repositories: BTreeMap::new() });
    let quota = state.next_id("quota");
    let hard = body["storage_limit"].as_i64().unwrap_or(-1);
    state.quotas.insert(quota, Quota { project: id, hard, touched: false });
    Response::empty(201).with("Location", format!("/api/v2.0/projects/{id}"))
}

fn project(state: &mut State, request: &Request, name: &str, rest: &[&str]) -> Response {
    let by_name =
        request.header("x-is-resource-name") == Some("true") || !name.bytes().all(|b| b.is_ascii_digit());
    let found = if by_name {
        state.project(name).map(|(id, _)| id)
    } else {
        name.parse().ok().filter(|id| state.projects.contains_key(id))
    };
    let Some(id) = found else {
        return Response::error(404, "NOT_FOUND", &format!("project {name} not found"));
    };
    let (path, query) = request.split();
    let project = state.projects[&id].clone();
    let body = request.json();
    let full = "the project contains repositories, can not be deleted";
    match (request.method.as_str(), rest) {
        ("GET", []) => Response::json(200, &State::project_json(id, &project, true)),
        ("PUT", []) => {
            let changed = kept(state, &body["metadata"]);
            state.projects.get_mut(&id).unwrap().metadata.extend(changed);
            Response::empty(200)
        }
        ("DELETE", []) if project.repositories.is_empty() => {
            state.projects.remove(&id);
            state.quotas.retain(|_, quota| quota.project != id);
            Response::empty(200)
        }
        ("DELETE", []) => Response::error(412, "PRECONDITION", &format!("precondition failed: {full}")),
        ("GET", ["_deletable"]) => {
            let answer = if project.repositories.is_empty() {
                json!({"deletable": true})
            } else {
                json!({"message": full})
            };
            Response::json(200, &answer)
        }
        ("GET", ["metadatas", ""]) => Response::json(200, &json!(project.metadata)),
        ("PUT", ["metadatas", key]) => {
            if !state.version.keys().contains(key) {
                return Response::error(400, "BAD_REQUEST", &format!("invalid key: {key}"));
            }
            let changed = kept(state, &body);
            state.projects.get_mut(&id).unwrap().metadata.extend(changed);
            Response::empty(200)
        }
        ("GET", ["repositories", repository, "artifacts", rest @ ..]) => {
            let repository = repository.replace("%252F", "/");
            let artifacts = project.repositories.get(&repository).cloned().unwrap_or_default();
            match rest {
                [] => page(&path, &query, &artifacts),
                [reference, ..] => {
                    let is = |artifact: &&Value| {
                        artifact["digest"] == **reference
                            || artifact["tags"]
                                .as_array()
                                .into_iter()
                                .flatten()
                                .any(|tag| tag["name"] == **reference)
                    };
                    if let Some(artifact) = artifacts.iter().find(is) {
                        Response::json(200, artifact)
                    } else {
                        let message = format!("artifact {name}/{repository}:{reference} not found");
                        Response::error(404, "NOT_FOUND", &message)
                    }
                }
            }
        }
        _ => Response::error(404, "NOT_FOUND", &format!("path {path} was not found")),
    }
}

fn gc_schedule(state: &mut State, request: &Request, body: &Value) -> Response {
    if request.method == "GET" {
        return match state.gc_json() {
            Some(schedule) => Response::json(200, &schedule),
            None => Response { body: String::new(), ..Response::json(200, &Value::Null) },
        };
    }
    let cron = body["schedule"]["cron"].as_str().unwrap_or_default().to_owned();
    let fields: Vec<&str> = cron.split_whitespace().collect();
    if fields.len() != 6 {
        let message = format!(
            "invalid cron string for scheduled gc: {cron}, error: expected exactly 6 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        );
        return Response::error(400, "BAD_REQUEST", &message);
    }
    if !state.jobservice {
        return unknown();
    }
    if std::mem::take(&mut state.lose_execution) {
        return Response::error(404, "NOT_FOUND", "execution 17 not found");
    }
    let id = state.next_id("schedule");
    let kind = body["schedule"]["type"].as_str().unwrap_or_default().to_owned();
    state.gc = Some(Gc { id, kind, cron, parameters: body["parameters"].clone() });
    match request.method.as_str() {
        "POST" => Response::empty(201).with("Location", "/api/v2.0/system/gc/0"),
        _ => Response::empty(200),
    }
}
