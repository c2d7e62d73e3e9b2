use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::actual::{Actual, GcSchedule, Login, Project, QuotaState, RetentionPolicy, SystemInfo};
use super::client::{Account, Harbor};
use super::desired::Desired;
use super::error::{HarborError, Refused};
use super::robot::{DEFAULT_PREFIX, RobotName, robot_name, shown_prefix};
use crate::secret::Secret;

/// Reads what a Harbor holds, as far as it matters for what is desired.
///
/// `secret` is the inventory's secret of the robot; it is tried under the name that the robot has now.
pub async fn observe(
    harbor: &Harbor,
    desired: &Desired,
    secret: Option<&Secret<String>>,
) -> Result<Actual, HarborError> {
    let mut actual = read(harbor).await?;
    if actual.robot_prefix.is_none() {
        actual.robot_prefix = shown_prefix(&desired.robot, &actual.robots, &desired.mark);
    }
    let wanted = |project: &&Project| desired.project_names().any(|name| name == project.name);
    for project in actual.projects.iter().filter(wanted) {
        let Some(id) = project.retention_id() else { continue };
        let doing = format!("read the retention policy of project `{}`", project.name);
        if let Some(policy) =
            optional::<RetentionPolicy>(harbor, &format!("/api/v2.0/retentions/{id}"), &doing).await?
        {
            actual.retentions.insert(project.id, policy);
        }
    }
    if desired.projects.iter().any(|project| project.quota.is_some()) {
        actual.quotas = quotas(harbor).await?;
    }
    if desired.gc.is_some() {
        actual.gc = gc_schedule(harbor).await?;
    }
    if let Some(secret) = secret {
        let prefix = actual.robot_prefix.as_deref();
        let user = match robot_name(&desired.robot, prefix, &actual.robots, &desired.mark) {
            RobotName::Robot(short) => format!("{}{short}", prefix.unwrap_or(DEFAULT_PREFIX)),
            RobotName::Foreign(user) => user,
        };
        let account = Account { user, password: secret.clone() };
        actual.login = if harbor.admits(&account).await? { Login::Accepted } else { Login::Refused };
    }
    Ok(actual)
}

/// Reads what every command needs: version, prefix, registries, projects, robots.
pub(super) async fn read(harbor: &Harbor) -> Result<Actual, HarborError> {
    let system: SystemInfo =
        harbor.get("/api/v2.0/systeminfo", "read what Harbor tells about itself").await?;
    let registries = harbor.list("/api/v2.0/registries", "list registries").await;
    let registries = registries.map_err(|error| match error {
        // That it tells its version to known callers only does not prove a good password before 2.13.
        HarborError::Answer { status: 401, .. } => {
            HarborError::Login { user: harbor.user().to_owned(), auth_mode: system.auth_mode.clone() }
        }
        error => error,
    })?;
    let version = system.harbor_version.as_deref().and_then(|version| version.parse().ok());
    let no_version = || HarborError::NoVersion { url: harbor.shown("/api/v2.0/systeminfo") };
    Ok(Actual {
        version: version.ok_or_else(no_version)?,
        system,
        robot_prefix: robot_prefix(harbor).await?,
        registries,
        projects: harbor.list("/api/v2.0/projects", "list projects").await?,
        robots: harbor.list("/api/v2.0/robots?q=Level%3Dsystem", "list robots").await?,
        retentions: BTreeMap::new(),
        quotas: None,
        gc: None,
        login: Login::None,
    })
}

/// Reads all that a Harbor holds, without an inventory.
pub async fn survey(harbor: &Harbor) -> Result<Actual, HarborError> {
    let mut actual = read(harbor).await?;
    for project in &actual.projects {
        let Some(id) = project.retention_id() else { continue };
        let doing = format!("read the retention policy of project `{}`", project.name);
        if let Some(policy) =
            optional::<RetentionPolicy>(harbor, &format!("/api/v2.0/retentions/{id}"), &doing).await?
        {
            actual.retentions.insert(project.id, policy);
        }
    }
    actual.quotas = quotas(harbor).await?;
    actual.gc = gc_schedule(harbor).await?;
    Ok(actual)
}

/// Asks for what not every account may read.
pub(super) async fn optional<T: serde::de::DeserializeOwned>(
    harbor: &Harbor,
    path: &str,
    doing: &str,
) -> Result<Option<T>, HarborError> {
    match harbor.get(path, doing).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.refused(), Refused::Forbidden | Refused::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn robot_prefix(harbor: &Harbor) -> Result<Option<String>, HarborError> {
    #[derive(Deserialize)]
    struct Configurations {
        robot_name_prefix: Option<Value>,
    }
    let doing = "read Harbor's configuration";
    let read: Option<Configurations> = optional(harbor, "/api/v2.0/configurations", doing).await?;
    let prefix = read.and_then(|read| read.robot_name_prefix);
    Ok(prefix.and_then(|prefix| prefix.get("value")?.as_str().map(str::to_owned)))
}

pub(super) async fn quotas(harbor: &Harbor) -> Result<Option<BTreeMap<i64, QuotaState>>, HarborError> {
    match harbor.list::<QuotaState>("/api/v2.0/quotas?reference=project", "list quotas").await {
        Ok(all) => Ok(Some(all.into_iter().map(|quota| (quota.project.id, quota)).collect())),
        Err(error) if error.refused() == Refused::Forbidden => Ok(None),
        Err(error) => Err(error),
    }
}

/// A schedule that was never set is an empty answer.
pub(super) async fn gc_schedule(harbor: &Harbor) -> Result<Option<GcSchedule>, HarborError> {
    let doing = "read the schedule of the garbage collection";
    let read: Option<Option<GcSchedule>> = optional(harbor, "/api/v2.0/system/gc/schedule", doing).await?;
    Ok(read.map(Option::unwrap_or_default))
}
