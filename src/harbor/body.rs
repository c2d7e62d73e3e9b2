use serde_json::{Map, Value, json};

use super::actual::{Permission, RetentionPolicy};
use super::change::RegistryField;
use super::desired::{Adapter, WantedProject};
use super::robot::pull_permissions;
use crate::inventory::{Quota, Retention};
use crate::secret::Secret;

/// Returns the body of `POST /registries`.
pub(super) fn new_registry(
    wanted: &WantedProject,
    adapter: &Adapter,
    mark: &str,
    password: Option<&Secret<String>>,
    takes_ca: bool,
) -> Value {
    let mut body = json!({
        "name": wanted.registry,
        "type": adapter.kind,
        "url": adapter.url,
        "insecure": wanted.insecure,
        "description": mark,
    });
    if let (Some((user, _)), Some(password)) = (&wanted.credentials, password) {
        put(
            &mut body,
            "credential",
            json!({ "type": "basic", "access_key": user, "access_secret": password.expose() }),
        );
    }
    if let (Some(ca), true) = (&wanted.ca, takes_ca) {
        put(&mut body, "ca_certificate", json!(ca));
    }
    body
}

/// Returns the body of `PUT /registries/{id}`: what differs and nothing else, since a masked secret that is sent back may be
/// taken for a new one.
pub(super) fn changed_registry(
    wanted: &WantedProject,
    fields: &[RegistryField],
    mark: &str,
    password: Option<&Secret<String>>,
) -> Value {
    let mut body = Value::Object(Map::new());
    for field in fields {
        match field {
            RegistryField::Adopted => put(&mut body, "description", json!(mark)),
            RegistryField::Url { to, .. } => put(&mut body, "url", json!(to)),
            RegistryField::User { .. } | RegistryField::Secret => {
                let user = wanted.credentials.as_ref().map_or("", |(user, _)| user.as_str());
                let secret = password.map_or("", |password| password.expose().as_str());
                put(&mut body, "credential_type", json!("basic"));
                put(&mut body, "access_key", json!(user));
                put(&mut body, "access_secret", json!(secret));
            }
            RegistryField::Insecure(insecure) => put(&mut body, "insecure", json!(insecure)),
            RegistryField::Ca => {
                put(&mut body, "ca_certificate", json!(wanted.ca.as_deref().unwrap_or_default()));
            }
        }
    }
    body
}

/// Returns the body of `POST /projects`; every setting is a text.
pub(super) fn new_project(
    name: &str,
    registry_id: i64,
    metadata: &[(&'static str, String)],
    quota: Option<Quota>,
) -> Value {
    let mut body = json!({
        "project_name": name,
        "registry_id": registry_id,
        "metadata": settings(metadata.iter().map(|(key, value)| (*key, value.as_str()))),
    });
    if let Some(quota) = quota {
        put(&mut body, "storage_limit", json!(quota.as_storage()));
    }
    body
}

/// Returns the body of `PUT /projects/{name}`.
pub(super) fn changed_project(metadata: &[(&'static str, Option<String>, String)]) -> Value {
    json!({ "metadata": settings(metadata.iter().map(|(key, _, to)| (*key, to.as_str()))) })
}

fn settings<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(all.map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

/// Returns the body of `POST /retentions` or `PUT /retentions/{id}`: one rule for the whole project.
pub(super) fn retention(project_id: i64, policy: Option<&RetentionPolicy>, to: Retention) -> Value {
    const NIGHTLY: &str = "0 0 0 * * *";
    let cron = policy.map(|policy| policy.trigger.settings.cron.as_str()).filter(|cron| !cron.is_empty());
    let (template, params) = match to {
        Retention::Days(days) => ("nDaysSinceLastPull", json!({ "nDaysSinceLastPull": days })),
        Retention::Forever => ("always", json!({})),
    };
    let mut body = json!({
        "algorithm": "or",
        "scope": { "level": "project", "ref": project_id },
        "trigger": { "kind": "Schedule", "settings": { "cron": cron.unwrap_or(NIGHTLY) } },
        "rules": [{
            "priority": 1,
            "action": "retain",
            "template": template,
            "params": params,
            "tag_selectors": [{ "kind": "doublestar", "decoration": "matches", "pattern": "**" }],
            "scope_selectors": {
                "repository": [{ "kind": "doublestar", "decoration": "repoMatches", "pattern": "**" }],
            },
        }],
    });
    if let Some(policy) = policy {
        put(&mut body, "id", json!(policy.id));
    }
    body
}

/// Returns the body of `PUT /quotas/{id}`.
pub(super) fn quota(to: Quota) -> Value {
    json!({ "hard": { "storage": to.as_storage() } })
}

/// Returns the body of `POST /system/gc/schedule`: images that were pulled by digest have no tag and stay.
pub(super) fn gc(cron: &str) -> Value {
    json!({
        "schedule": { "type": "Custom", "cron": cron },
        "parameters": { "delete_untagged": false, "workers": 1 },
    })
}

/// Returns the body of `POST /robots`, or of `PUT /robots/{id}` under the robot's whole name.
pub(super) fn robot(name: &str, mark: &str, projects: &[String]) -> Value {
    let permissions = pull_permissions(projects.iter().map(String::as_str));
    json!({
        "name": name,
        "description": mark,
        "level": "system",
        "duration": -1,
        "disable": false,
        "permissions": permissions.iter().map(permission).collect::<Vec<_>>(),
    })
}

fn permission(permission: &Permission) -> Value {
    let access = permission.access.iter();
    let access = access.map(|access| json!({ "resource": access.resource, "action": access.action }));
    json!({
        "kind": permission.kind,
        "namespace": permission.namespace,
        "access": access.collect::<Vec<_>>(),
    })
}

fn put(body: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = body {
        map.insert(key.to_owned(), value);
    }
}
