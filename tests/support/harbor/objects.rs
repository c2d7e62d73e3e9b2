//! What a Harbor holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::Seen;
use super::api::{ADMIN_PASSWORD, Version};
use super::robots::Robot;

pub const NEVER: &str = "0001-01-01T00:00:00.000Z";
pub const NOW: &str = "2026-11-26T05:16:00.443Z";
pub const NEXT: &str = "2026-11-27T00:00:00.000Z";

#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    pub name: String,
    pub kind: String,
    pub url: String,
    pub insecure: bool,
    pub description: String,
    pub ca: String,
    /// User and secret.
    pub credential: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    pub name: String,
    pub registry: Option<i64>,
    pub metadata: BTreeMap<String, String>,
    /// Repositories, and the artifacts in them.
    pub repositories: BTreeMap<String, Vec<Value>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    pub project: i64,
    pub hard: i64,
    pub touched: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Gc {
    pub id: i64,
    pub kind: String,
    pub cron: String,
    pub parameters: Value,
}

/// An image of an upstream: its manifest, and what Harbor tells about it once it is cached.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub manifest: Value,
    pub artifact: Value,
}

pub struct State {
    pub version: Version,
    pub address: SocketAddr,
    pub closed: bool,
    pub seen: Vec<Seen>,
    pub admin_password: String,
    pub auth_mode: String,
    pub robot_prefix: String,
    pub read_only: bool,
    pub jobservice: bool,
    /// Where the next change of the schedule meets another one.
    pub lose_execution: bool,
    /// Upstreams that do not answer.
    pub dead: BTreeSet<String>,
    /// Keys of projects' metadata that this Harbor drops though its version knows them.
    pub drops: BTreeSet<String>,
    pub health: Value,
    pub gc_runs: Vec<Value>,
    /// Images by upstream URL and `repository:reference`.
    pub upstreams: BTreeMap<(String, String), Upstream>,
    /// Blobs of all of them, by digest.
    pub blobs: BTreeMap<String, String>,
    /// The last number that was given, by kind of object; one that is refused as a duplicate has taken one, too.
    pub ids: BTreeMap<&'static str, i64>,
    pub registries: BTreeMap<i64, Registry>,
    pub projects: BTreeMap<i64, Project>,
    pub retentions: BTreeMap<i64, Value>,
    pub quotas: BTreeMap<i64, Quota>,
    pub robots: BTreeMap<i64, Robot>,
    pub gc: Option<Gc>,
}

impl State {
    pub fn new(version: Version, address: SocketAddr) -> Self {
        let components = ["core", "database", "jobservice", "portal", "redis", "registry", "registryctl"]
            .map(|name| json!({"name": name, "status": "healthy"}));
        let library = Project {
            name: "library".to_owned(),
            registry: None,
            metadata: BTreeMap::from([("public".to_owned(), "true".to_owned())]),
            repositories: BTreeMap::new(),
        };
        Self {
            version,
            address,
            closed: false,
            seen: Vec::new(),
            admin_password: ADMIN_PASSWORD.to_owned(),
            auth_mode: "db_auth".to_owned(),
            robot_prefix: "robot$".to_owned(),
            read_only: false,
            jobservice: true,
            lose_execution: false,
            dead: BTreeSet::new(),
            drops: BTreeSet::new(),
            health: json!({"components": components, "status": "healthy"}),
            gc_runs: Vec::new(),
            upstreams: BTreeMap::new(),
            blobs: BTreeMap::new(),
            // Two schedules are Harbor's own.
            ids: BTreeMap::from([("project", 1), ("quota", 1), ("schedule", 2)]),
            registries: BTreeMap::new(),
            projects: BTreeMap::from([(1, library)]),
            retentions: BTreeMap::new(),
            quotas: BTreeMap::from([(1, Quota { project: 1, hard: -1, touched: false })]),
            robots: BTreeMap::new(),
            gc: None,
        }
    }

    pub fn next_id(&mut self, kind: &'static str) -> i64 {
        let id = self.ids.entry(kind).or_insert(0);
        *id += 1;
        *id
    }

    pub fn registry(&self, name: &str) -> Option<(i64, &Registry)> {
        self.registries
            .iter()
            .find(|(_, registry)| registry.name == name)
            .map(|(id, registry)| (*id, registry))
    }

    pub fn project(&self, name: &str) -> Option<(i64, &Project)> {
        self.projects.iter().find(|(_, project)| project.name == name).map(|(id, project)| (*id, project))
    }

    /// All that a second run could find different, without times and numbers; secrets included.
    pub fn picture(&self) -> Value {
        let by_id = |id: Option<i64>| {
            id.and_then(|id| self.registries.get(&id)).map(|registry| registry.name.clone())
        };
        let registries: BTreeMap<&str, String> = self
            .registries
            .values()
            .map(|registry| (registry.name.as_str(), format!("{registry:?}")))
            .collect();
        let projects: BTreeMap<&str, Value> = self
            .projects
            .iter()
            .map(|(id, project)| {
                let mut metadata = project.metadata.clone();
                let policy = metadata.remove("retention_id").and_then(|id| id.parse().ok());
                let policy = policy.and_then(|id: i64| self.retentions.get(&id));
                let quota = self.quotas.values().find(|quota| quota.project == *id).map(|quota| quota.hard);
                let rules = policy.map(|policy| {
                    let mut rules = policy["rules"].clone();
                    for rule in rules.as_array_mut().into_iter().flatten() {
                        rule.as_object_mut().unwrap().remove("id");
                    }
                    rules
                });
                let value = json!({
                    "registry": by_id(project.registry), "metadata": metadata, "rules": rules, "quota": quota,
                });
                (project.name.as_str(), value)
            })
            .collect();
        let robots: BTreeMap<&str, Value> =
            self.robots.values().map(|robot| (robot.name.as_str(), robot.picture())).collect();
        let gc = self.gc.as_ref().map(|gc| json!([gc.kind, gc.cron, gc.parameters]));
        json!({"registries": registries, "projects": projects, "robots": robots, "gc": gc})
    }

    pub fn registry_json(&self, id: i64, registry: &Registry) -> Value {
        let credential = match &registry.credential {
            Some((user, _)) => json!({"access_key": user, "access_secret": "*****", "type": "basic"}),
            None => json!({}),
        };
        let status = if self.dead.contains(&registry.url) { "unhealthy" } else { "healthy" };
        let mut value = json!({
            "creation_time": NOW, "credential": credential, "id": id, "name": registry.name, "status": status,
            "type": registry.kind, "update_time": NOW, "url": registry.url,
        });
        let map = value.as_object_mut().unwrap();
        for (key, text) in [("description", &registry.description), ("ca_certificate", &registry.ca)] {
            if !text.is_empty() {
                map.insert(key.to_owned(), json!(text));
            }
        }
        if registry.insecure {
            map.insert("insecure".to_owned(), json!(true));
        }
        value
    }

    pub fn project_json(id: i64, project: &Project, detail: bool) -> Value {
        let mut allowlist = json!({"creation_time": NEVER, "items": null, "update_time": NEVER});
        if detail {
            allowlist = json!({"creation_time": NEVER, "id": id, "items": [], "project_id": id, "update_time": NEVER});
        }
        let mut value = json!({
            "creation_time": NOW, "current_user_role_id": 1, "current_user_role_ids": [1], "cve_allowlist": allowlist,
            "name": project.name, "owner_id": 1, "project_id": id, "repo_count": project.repositories.len(),
            "update_time": NOW,
        });
        let map = value.as_object_mut().unwrap();
        if detail {
            map.insert("metadata".to_owned(), json!(project.metadata));
        }
        map.insert("owner_name".to_owned(), json!("admin"));
        if let Some(registry) = project.registry {
            map.insert("registry_id".to_owned(), json!(registry));
        }
        value
    }

    pub fn quota_json(&self, id: i64, quota: &Quota) -> Value {
        let name = self.projects.get(&quota.project).map(|project| project.name.clone());
        json!({
            "creation_time": NOW, "hard": {"storage": quota.hard}, "id": id,
            "ref": {"id": quota.project, "name": name, "owner_name": ""},
            "update_time": if quota.touched { NEVER } else { NOW }, "used": {"storage": 0},
        })
    }

    /// Makes a project's own policy: everything that was pulled within a week.
    pub fn default_retention(&mut self, project: i64) -> i64 {
        let id = self.next_id("retention");
        self.next_id("schedule");
        let policy = json!({
            "algorithm": "or", "id": id,
            "rules": [{
                "action": "retain", "id": 1, "params": {"nDaysSinceLastPull": 7}, "priority": 1,
                "scope_selectors": {"repository": [{"decoration": "repoMatches", "kind": "doublestar", "pattern": "**"}]},
                "tag_selectors": [{"decoration": "matches", "kind": "doublestar", "pattern": "**"}],
                "template": "nDaysSinceLastPull",
            }],
            "scope": {"level": "project", "ref": project},
            "trigger": {"kind": "Schedule", "settings": {"cron": "0 0 0 * * *", "next_scheduled_time": NEXT}},
        });
        self.retentions.insert(id, policy);
        id
    }

    pub fn gc_json(&self) -> Option<Value> {
        let gc = self.gc.as_ref()?;
        let mut parameters = Map::new();
        if self.version == Version::V2_15_2 {
            parameters.insert("delete_tag".to_owned(), json!(false));
        }
        let flag = |key: &str| gc.parameters.get(key).cloned();
        parameters.insert("delete_untagged".to_owned(), flag("delete_untagged").unwrap_or(json!(false)));
        parameters.insert("workers".to_owned(), flag("workers").unwrap_or(json!(0)));
        Some(json!({
            "creation_time": NOW, "id": gc.id, "job_kind": gc.cron,
            "job_parameters": Value::Object(parameters).to_string(), "job_status": "Running",
            "schedule": {"cron": gc.cron, "next_scheduled_time": NEXT, "type": gc.kind}, "update_time": NOW,
        }))
    }
}
