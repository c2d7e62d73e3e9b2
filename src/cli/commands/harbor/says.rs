#![expect(clippy::disallowed_methods, reason = "tells whether a robot has expired")]

use std::time::Duration;

use super::connection::{account, account_of_environment, ca, client, pair, runtime, tell_clear};
use super::status::project;
use crate::cli::inventory::LoadedInventory;
use crate::finding::one_line;
use crate::harbor::{Account, Cached, Login, Status, harbors, status};
use crate::image::Reference;
use crate::inventory::{Inventory, MirrorKind};
use crate::ui::{CliError, Ui};

/// Asks the Harbor behind a mirror of the inventory what it knows that bears on the pull of an image.
///
/// Returns nothing for mirrors of other kinds, and where no account is named; that it cannot be asked, and why, is one of
/// the lines.
pub(in crate::cli) fn says(
    ui: &mut Ui,
    loaded: &mut LoadedInventory,
    mirror: &str,
    image: &Reference,
    timeout: Duration,
) -> Vec<String> {
    if !is_harbor(&loaded.inventory, mirror) {
        return Vec::new();
    }
    let lines = match asked(ui, loaded, mirror, image, timeout) {
        Ok(lines) => lines,
        Err(error) => vec![format!("not asked: {}", one_line(error.error.as_ref()))],
    };
    lines.into_iter().map(|line| format!("{mirror} (Harbor): {line}")).collect()
}

/// Returns how a Harbor behind a mirror could be asked, for pulls that something is wrong with.
pub(in crate::cli) fn how_to_ask(inventory: &Inventory, mirror: &str) -> Option<String> {
    let how = match harbors(inventory).len() {
        1 => format!("set HARBOR_USERNAME and HARBOR_PASSWORD, or `mirrors.{mirror}.admin`"),
        _ => format!("set `mirrors.{mirror}.admin`"),
    };
    is_harbor(inventory, mirror).then(|| format!("{mirror} (Harbor): not asked: {how}"))
}

fn is_harbor(inventory: &Inventory, mirror: &str) -> bool {
    let kind = inventory.mirrors.get(mirror).map(|mirror| &mirror.kind);
    matches!(kind, Some(MirrorKind::Harbor { .. }))
}

fn asked(
    ui: &mut Ui,
    loaded: &mut LoadedInventory,
    name: &str,
    image: &Reference,
    timeout: Duration,
) -> Result<Vec<String>, CliError> {
    let Some(mirror) = loaded.inventory.mirrors.get(name).cloned() else { return Ok(Vec::new()) };
    let account = match account_of_environment() {
        _ if mirror.admin.is_some() => account(&mirror, name, loaded)?,
        None => return Ok(Vec::new()),
        // The environment does not say which of them its password is for, and it is not shown to the others.
        Some(_) if harbors(&loaded.inventory).len() > 1 => {
            return Ok(vec!["not asked: several Harbors; give each an `admin`".to_owned()]);
        }
        Some(account) => {
            tell_clear(ui, &mirror.url);
            account
        }
    };
    // Credentials in another form say nothing of a robot, and the administrator can be asked without one.
    let robot = match &mirror.credentials {
        Some(credentials) if credentials.username().is_some() => {
            Some(pair(credentials, &format!("mirrors.{name}.credentials"), loaded)?)
        }
        Some(_) | None => None,
    };
    let ca = match &mirror.tls {
        Some(tls) => ca(tls, name, loaded)?,
        None => None,
    };
    let mut harbor = client(&mirror.url, account, ca.as_deref(), timeout)?;
    if let Some(robot) = &robot {
        harbor.hide(&robot.password);
    }
    let project = project(&loaded.inventory, name, image.registry());
    let images = [(image.clone(), project.clone())];
    let runtime = runtime()?;
    let found = runtime.block_on(status(&harbor, robot.as_ref(), &images));
    // A name that is still being looked up knows no deadline.
    runtime.shutdown_background();
    Ok(lines(&found?, robot.as_ref(), project.as_deref(), jiff::Timestamp::now().as_second()))
}

/// Returns what of a Harbor's state bears on pulls from a project; `now` is in seconds since 1970.
fn lines(found: &Status, robot: Option<&Account>, project: Option<&str>, now: i64) -> Vec<String> {
    let actual = &found.actual;
    let mut lines = Vec::new();
    for part in found.health.iter().filter(|part| part.status != "healthy") {
        let error = if part.error.is_empty() { String::new() } else { format!(" ({})", part.error) };
        lines.push(format!("its part {} is {}{error}", part.name, part.status));
    }
    if let Some(name) = project {
        let here = actual.projects.iter().find(|project| project.name == name);
        let behind = here.and_then(crate::harbor::Project::proxied);
        let behind = behind.and_then(|id| actual.registries.iter().find(|registry| registry.id == id));
        match (here, behind) {
            (None, _) => lines.push(format!("it has no project `{name}`")),
            (Some(_), None) => lines.push(format!("its project `{name}` passes no registry on")),
            (Some(_), Some(behind)) if !behind.status.is_empty() && behind.status != "healthy" => {
                lines.push(format!("its registry `{}` ({}) is {}", behind.name, behind.url, behind.status));
            }
            (Some(_), Some(_)) => {}
        }
        let quota = here.and_then(|project| actual.quotas.as_ref()?.get(&project.id));
        if let Some(quota) = quota.filter(|quota| {
            quota.hard.storage > 0
                && quota.used.storage.saturating_mul(20) >= quota.hard.storage.saturating_mul(19)
        }) {
            lines.push(format!(
                "its project `{name}` has used {} of {} bytes: what is new is not kept",
                quota.used.storage, quota.hard.storage
            ));
        }
    }
    if let Some(robot) = robot {
        let known = actual.robots.iter().find(|known| known.name == robot.user);
        let user = &robot.user;
        match known {
            Some(known) if known.disable => lines.push(format!("the account `{user}` is disabled")),
            Some(known) if known.has_expired(now) => lines.push(format!("the account `{user}` has expired")),
            Some(known) if project.is_some_and(|project| !known.pulls(project)) => {
                lines.push(format!("the account `{user}` has no right to pull from this project"));
            }
            Some(_) | None if actual.login == Login::Refused => {
                lines.push(format!("it refuses the password of `{user}`"));
            }
            Some(_) | None => {}
        }
    }
    lines.extend(found.cached.iter().map(|cached| match cached {
        Cached { project: None, image, .. } => {
            format!("the inventory sends no image of {} through it", image.registry())
        }
        Cached { artifact: None, .. } => "it has not cached the image: a pull asks its upstream".to_owned(),
        Cached { artifact: Some(artifact), .. } => {
            format!("it has cached the image ({}, at {})", artifact.digest, artifact.push_time)
        }
    }));
    lines
}
