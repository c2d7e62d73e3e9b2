use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::version::HarborVersion;
use crate::inventory::{Quota, Retention};

/// What a Harbor holds, as its answers have it.
#[derive(Clone, Debug)]
pub struct Actual {
    /// Its version.
    pub version: HarborVersion,
    /// What it tells about itself.
    pub system: SystemInfo,
    /// What stands before the names of robots; [`None`] where the account may not read the configuration, and no robot
    /// shows it.
    pub robot_prefix: Option<String>,
    /// Its registries.
    pub registries: Vec<Registry>,
    /// Its projects.
    pub projects: Vec<Project>,
    /// Its robots of level system.
    pub robots: Vec<Robot>,
    /// The retention policies of the projects that were asked for, by the project's number.
    pub retentions: BTreeMap<i64, RetentionPolicy>,
    /// The quotas, by the project's number; [`None`] where the account may not read them.
    pub quotas: Option<BTreeMap<i64, QuotaState>>,
    /// The schedule of the garbage collection; [`None`] where the account may not read it.
    pub gc: Option<GcSchedule>,
    /// What it says to the secret of the inventory.
    pub login: Login,
}

/// What a Harbor says to the credentials of the mirror, asked under the name that the robot has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// The inventory has none.
    None,
    /// It takes them.
    Accepted,
    /// It does not.
    Refused,
}

/// `GET /systeminfo`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SystemInfo {
    /// Told to known callers; up to 2.12 to all.
    pub harbor_version: Option<String>,
    /// How users log in.
    #[serde(default)]
    pub auth_mode: String,
    /// Whether nothing can be changed.
    #[serde(default)]
    pub read_only: bool,
}

/// A registry of `GET /registries`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Registry {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its URL.
    #[serde(default)]
    pub url: String,
    /// Whether its certificate goes unchecked.
    #[serde(default)]
    pub insecure: bool,
    /// Words; ours begin with a mark.
    #[serde(default)]
    pub description: String,
    /// Its credentials, the secret masked.
    #[serde(default)]
    pub credential: Credential,
    /// Its authorities, PEM.
    #[serde(default)]
    pub ca_certificate: String,
    /// What Harbor's last check said.
    #[serde(default)]
    pub status: String,
}

/// The credentials of a registry; the secret comes masked and is not read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Credential {
    /// The user.
    #[serde(default)]
    pub access_key: String,
}

/// A project of `GET /projects`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Project {
    /// Its number.
    #[serde(rename = "project_id")]
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The registry that it passes on.
    pub registry_id: Option<i64>,
    /// Its settings, all of them texts.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
    /// How many repositories it holds.
    #[serde(default)]
    pub repo_count: i64,
}

impl Project {
    /// Returns a setting.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }

    /// Returns the number of its retention policy.
    pub fn retention_id(&self) -> Option<i64> {
        self.metadata("retention_id")?.parse().ok()
    }

    /// Returns the number of the registry that it passes on, if it is a proxy.
    pub fn proxied(&self) -> Option<i64> {
        self.registry_id.filter(|id| *id > 0)
    }
}

/// A robot of `GET /robots`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Robot {
    /// Its number.
    pub id: i64,
    /// Its whole name, with Harbor's prefix.
    pub name: String,
    /// Words; ours begin with a mark.
    #[serde(default)]
    pub description: String,
    /// `system` or `project`.
    #[serde(default)]
    pub level: String,
    /// Days; -1 for ever.
    #[serde(default)]
    pub duration: i64,
    /// When it ends, in seconds since 1970; -1 never.
    #[serde(default)]
    pub expires_at: i64,
    /// Whether it is switched off.
    #[serde(default)]
    pub disable: bool,
    /// What it may do.
    #[serde(default)]
    pub permissions: Vec<Permission>,
}

impl Robot {
    /// Returns whether it may pull from a project.
    pub fn pulls(&self, project: &str) -> bool {
        self.permissions.iter().any(|permission| {
            permission.kind == "project"
                && (permission.namespace == project || permission.namespace == "*")
                && permission.access.iter().any(Access::is_pull)
        })
    }

    /// Returns whether it has ended.
    pub fn has_expired(&self, now: i64) -> bool {
        self.expires_at > 0 && self.expires_at <= now
    }
}

/// What a robot may do in one project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Permission {
    /// `project` or `system`.
    #[serde(default)]
    pub kind: String,
    /// The project, or `*` for all.
    #[serde(default)]
    pub namespace: String,
    /// The actions.
    #[serde(default)]
    pub access: Vec<Access>,
}

/// An action on a kind of thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Access {
    /// The kind of thing.
    pub resource: String,
    /// The action.
    pub action: String,
}

impl Access {
    /// Returns whether it is what nodes need.
    pub fn is_pull(&self) -> bool {
        self.resource == "repository" && self.action == "pull"
    }
}

/// A policy of `GET /retentions/{id}`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RetentionPolicy {
    /// Its number.
    #[serde(default)]
    pub id: i64,
    /// What is kept.
    #[serde(default)]
    pub rules: Vec<RetentionRule>,
    /// When the rest is deleted.
    #[serde(default)]
    pub trigger: Trigger,
}

/// A rule of a retention policy.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RetentionRule {
    /// Whether it is switched off.
    #[serde(default)]
    pub disabled: bool,
    /// Its kind.
    #[serde(default)]
    pub template: String,
    /// Its numbers.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Which tags it is about.
    #[serde(default)]
    pub tag_selectors: Vec<Selector>,
    /// Which repositories it is about.
    #[serde(default)]
    pub scope_selectors: BTreeMap<String, Vec<Selector>>,
}

/// What a rule of a retention policy is about.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Selector {
    /// A pattern; `**` is everything.
    #[serde(default)]
    pub pattern: String,
}

/// When a retention policy runs.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Trigger {
    /// `cron` is empty where it never runs by itself.
    #[serde(default)]
    pub settings: TriggerSettings,
}

/// The schedule of a retention policy.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TriggerSettings {
    /// A cron line of six fields.
    #[serde(default)]
    pub cron: String,
}

/// What a retention policy comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One rule for everything.
    Simple(Retention),
    /// It never runs: everything is kept.
    NeverRuns,
    /// Something else.
    Custom,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simple(retention) => retention.fmt(f),
            Self::NeverRuns => f.write_str("never runs"),
            Self::Custom => f.write_str("rules of its own"),
        }
    }
}

impl RetentionPolicy {
    /// Returns what the policy comes to.
    pub fn kept(&self) -> Kept {
        if self.trigger.settings.cron.is_empty() {
            return Kept::NeverRuns;
        }
        let mut rules = self.rules.iter().filter(|rule| !rule.disabled);
        let (Some(rule), None) = (rules.next(), rules.next()) else { return Kept::Custom };
        let repositories = rule.scope_selectors.values().flatten();
        if !rule.tag_selectors.iter().chain(repositories).all(|selector| selector.pattern == "**") {
            return Kept::Custom;
        }
        match rule.template.as_str() {
            "always" => Kept::Simple(Retention::Forever),
            "nDaysSinceLastPull" => {
                let days = rule.params.get("nDaysSinceLastPull").and_then(Value::as_u64);
                let days = days.and_then(|days| u32::try_from(days).ok());
                days.map_or(Kept::Custom, |days| Kept::Simple(Retention::Days(days)))
            }
            _ => Kept::Custom,
        }
    }
}

/// A quota of `GET /quotas`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct QuotaState {
    /// Its number.
    pub id: i64,
    /// The project.
    #[serde(rename = "ref", default)]
    pub project: QuotaProject,
    /// The limit.
    #[serde(default)]
    pub hard: Storage,
    /// What is used.
    #[serde(default)]
    pub used: Storage,
}

impl QuotaState {
    /// Returns the limit.
    pub fn limit(&self) -> Quota {
        Quota::from_storage(self.hard.storage)
    }
}

/// The project of a quota.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct QuotaProject {
    /// Its number.
    #[serde(default)]
    pub id: i64,
}

/// Bytes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Storage {
    /// Bytes; -1 for no limit.
    #[serde(default)]
    pub storage: i64,
}

/// The schedule of `GET /system/gc/schedule`; an empty answer where it was never set.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct GcSchedule {
    /// The schedule.
    pub schedule: Option<Schedule>,
    /// JSON in a text.
    #[serde(default)]
    pub job_parameters: String,
}

/// When something runs.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Schedule {
    /// `Hourly`, `Daily`, `Weekly`, `Custom`, `None`, `Manual`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// A cron line of six fields.
    #[serde(default)]
    pub cron: String,
}

impl GcSchedule {
    /// Returns the cron line, if there is a schedule.
    pub fn cron(&self) -> Option<&str> {
        let schedule = self.schedule.as_ref()?;
        Some(schedule.cron.as_str()).filter(|cron| !cron.is_empty() && schedule.kind != "None")
    }

    /// Returns whether it deletes what has no tag, as images that are pulled by digest have none.
    pub fn deletes_untagged(&self) -> bool {
        let parameters = serde_json::from_str::<Value>(&self.job_parameters).unwrap_or_default();
        parameters.get("delete_untagged").and_then(Value::as_bool).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_in_a_word() {
        let policy = |text: &str| serde_json::from_str::<RetentionPolicy>(text).unwrap().kept().to_string();
        let rule = |template: &str, days: u32, pattern: &str| {
            format!(
                r#"{{"template":"{template}","params":{{"nDaysSinceLastPull":{days}}},"tag_selectors":[{{"pattern":"{pattern}"}}],
                "scope_selectors":{{"repository":[{{"pattern":"**"}}]}}}}"#
            )
        };
        let runs = r#""trigger":{"kind":"Schedule","settings":{"cron":"0 0 0 * * *"}}"#;
        let one = |rule: String| format!(r#"{{"rules":[{rule}],{runs}}}"#);
        assert_eq!(policy(&one(rule("nDaysSinceLastPull", 7, "**"))), "7d");
        assert_eq!(policy(&one(rule("always", 0, "**"))), "forever");
        assert_eq!(policy(&one(rule("always", 0, "v*"))), "rules of its own");
        assert_eq!(policy(&one(rule("latestPushedK", 0, "**"))), "rules of its own");
        assert_eq!(policy(r#"{"rules":[]}"#), "never runs");
    }
}
