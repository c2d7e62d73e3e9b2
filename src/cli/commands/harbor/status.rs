#![expect(clippy::disallowed_methods, reason = "tells how long a robot is good for")]

use clap::Args;
use serde_json::{Value, json};

use super::connection::{Connection, ConnectionArgs};
use crate::cli::args::{Global, OutputArgs};
use crate::harbor::{Account, Actual, Login, Status, status};
use crate::image::Reference;
use crate::inventory::{Inventory, Target};
use crate::secret::without_userinfo;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, table};

/// Arguments of `harbor status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 1 when a part of Harbor or a registry is not healthy, when Harbor refuses the robot, or when an image is not \
cached.

Examples:
  talmirror harbor status
  talmirror harbor status docker.io/library/alpine:3.22 registry.k8s.io/pause:3.10 -o json"
)]
pub(crate) struct StatusArgs {
    /// Images to look for; without any, those of `verify.images`
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: StatusArgs) -> Result<Exit, CliError> {
    let mut connection = Connection::open(ui, global, &args.connection)?;
    let given =
        if args.images.is_empty() { &connection.loaded.inventory.verify.images } else { &args.images };
    let images = given.iter().map(|image| {
        let parsed = image.parse::<Reference>();
        let parsed = parsed.map_err(|error| {
            CliError::from_error(exit::USAGE, error)
                .context(format!("`{}` is not a valid image reference", without_userinfo(image)))
        })?;
        let project = project(&connection.loaded.inventory, &connection.name, parsed.registry());
        Ok((parsed, project))
    });
    let images = images.collect::<Result<Vec<_>, CliError>>()?;
    let robot = connection.robot()?;
    if let Some(robot) = &robot {
        connection.harbor.hide(&robot.password);
    }
    let Connection { harbor, runtime, .. } = &connection;
    let found = runtime.block_on(status(harbor, robot.as_ref(), &images))?;
    let now = jiff::Timestamp::now().as_second();
    let value = object(&connection, &found, robot.as_ref());
    ui.output(args.output.format, &value, || text(&connection, &found, robot.as_ref(), now))?;
    Ok(if is_well(&connection, &found) { exit::OK } else { exit::FOUND })
}

/// Returns the project that a registry's images have in a mirror.
pub(super) fn project(inventory: &Inventory, mirror: &str, registry: &str) -> Option<String> {
    let routes = inventory.routes(Target::Base);
    let route = routes.get(registry)?;
    let here =
        |hop: &crate::inventory::Via| matches!(hop, crate::inventory::Via::Mirror(name) if name == mirror);
    if !route.via.iter().any(here) {
        return None;
    }
    inventory.mirrors.get(mirror)?.harbor_project(registry)
}

fn is_well(connection: &Connection, found: &Status) -> bool {
    let healthy = |status: &str| status.is_empty() || status == "healthy";
    found.health.iter().all(|part| healthy(&part.status))
        && rows(connection, &found.actual).iter().all(|row| healthy(&row.status))
        && found.actual.login != Login::Refused
        && found.cached.iter().all(|cached| cached.state() != "missing")
}

/// What there is to say about one project of the inventory.
struct Row {
    project: String,
    registry: String,
    status: String,
    used: Option<i64>,
    limit: Option<String>,
    repositories: i64,
}

fn rows(connection: &Connection, actual: &Actual) -> Vec<Row> {
    let row = |name: &str, registry: &str| {
        let project = actual.projects.iter().find(|project| project.name == name);
        let behind = project.and_then(|project| {
            let id = project.proxied()?;
            actual.registries.iter().find(|registry| registry.id == id)
        });
        let quota = project.and_then(|project| actual.quotas.as_ref()?.get(&project.id));
        Row {
            project: name.to_owned(),
            registry: registry.to_owned(),
            status: match (project, behind) {
                (None, _) => "missing".to_owned(),
                (Some(_), None) => "not a proxy".to_owned(),
                (Some(_), Some(behind)) => behind.status.clone(),
            },
            used: quota.map(|quota| quota.used.storage),
            limit: quota.map(|quota| quota.limit().to_string()),
            repositories: project.map_or(0, |project| project.repo_count),
        }
    };
    connection.desired.projects.iter().map(|wanted| row(&wanted.project, &wanted.registry)).collect()
}

fn login(robot: Option<&Account>, actual: &Actual) -> &'static str {
    match (robot, actual.login) {
        (None, _) => "none in the inventory",
        (Some(_), Login::Accepted) => "accepted",
        (Some(_), Login::None | Login::Refused) => "refused",
    }
}

fn text(connection: &Connection, found: &Status, robot: Option<&Account>, now: i64) -> String {
    let actual = &found.actual;
    let mut out = format!("harbor {}   Harbor {}\n", connection.url(), actual.version);
    let sick: Vec<String> = found
        .health
        .iter()
        .filter(|part| part.status != "healthy")
        .map(|part| format!("{} {}{}", part.name, part.status, in_brackets(&part.error)))
        .collect();
    let health = if sick.is_empty() { "healthy".to_owned() } else { sick.join("; ") };
    out.push_str(&format!("health  {health}\n"));
    let expires = robot.and_then(|robot| {
        let found = actual.robots.iter().find(|found| found.name == robot.user)?;
        (found.expires_at > 0).then(|| format!(", expires in {} days", (found.expires_at - now) / 86_400))
    });
    let user = robot.map_or("-", |robot| robot.user.as_str());
    out.push_str(&format!("robot   {user}  {}{}\n", login(robot, actual), expires.unwrap_or_default()));
    let schedule = actual.gc.as_ref().and_then(|gc| gc.cron()).unwrap_or("never");
    let last = match found.gc_runs.as_deref() {
        None => "last run not told to this account".to_owned(),
        Some([]) => "never ran".to_owned(),
        Some([last, ..]) => format!("last {} {}", last.creation_time, last.job_status),
    };
    out.push_str(&format!("gc      {schedule}, {last}\n\n"));
    let header =
        ["PROJECT", "REGISTRY", "STATUS", "USED", "QUOTA", "REPOSITORIES"].map(str::to_owned).to_vec();
    let project = |row: Row| {
        let used = row.used.map_or_else(|| "-".to_owned(), mebibytes);
        let limit = row.limit.unwrap_or_else(|| "-".to_owned());
        vec![row.project, row.registry, row.status, used, limit, row.repositories.to_string()]
    };
    let projects = std::iter::once(header).chain(rows(connection, actual).into_iter().map(project));
    out.push_str(&table(&projects.collect::<Vec<_>>()));
    if !found.cached.is_empty() {
        let header = ["IMAGE", "STATE", "SIZE", "LAST PULLED", "DIGEST"].map(str::to_owned).to_vec();
        let rows = found.cached.iter().map(|cached| {
            let artifact = cached.artifact.as_ref();
            let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            vec![
                cached.image.to_string(),
                cached.state().to_owned(),
                cell(artifact.map(|artifact| mebibytes(artifact.size))),
                // A time of year 1 is none at all.
                cell(
                    artifact
                        .map(|artifact| artifact.pull_time.clone())
                        .filter(|time| !time.starts_with("0001")),
                ),
                cell(artifact.map(|artifact| artifact.digest.clone())),
            ]
        });
        out.push('\n');
        out.push_str(&table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()));
    }
    out
}

fn in_brackets(error: &str) -> String {
    if error.is_empty() { String::new() } else { format!(" ({error})") }
}

fn mebibytes(bytes: i64) -> String {
    format!("{} MiB", bytes.max(0).unsigned_abs().div_ceil(1024 * 1024))
}

fn object(connection: &Connection, found: &Status, robot: Option<&Account>) -> Value {
    let actual = &found.actual;
    let expires = robot.and_then(|robot| {
        let found = actual.robots.iter().find(|found| found.name == robot.user)?;
        (found.expires_at > 0).then_some(found.expires_at)
    });
    let runs = found.gc_runs.as_ref().map(|runs| {
        let run = |run: &crate::harbor::GcRun| {
            json!({"status": run.job_status, "startedAt": run.creation_time, "updatedAt": run.update_time})
        };
        runs.iter().map(run).collect::<Vec<_>>()
    });
    json!({
        "apiVersion": "talmirror/v1",
        "kind": "HarborStatus",
        "mirror": connection.name,
        "url": connection.url(),
        "version": actual.version.to_string(),
        "health": found.health.iter().map(|part| json!({
            "name": part.name, "status": part.status, "error": part.error,
        })).collect::<Vec<_>>(),
        "robot": robot.map(|robot| json!({
            "name": robot.user, "login": login(Some(robot), actual), "expiresAt": expires,
        })),
        "gc": {"schedule": actual.gc.as_ref().and_then(|gc| gc.cron()), "runs": runs},
        "projects": rows(connection, actual).into_iter().map(|row| json!({
            "project": row.project, "registry": row.registry, "status": row.status, "usedBytes": row.used,
            "quota": row.limit, "repositories": row.repositories,
        })).collect::<Vec<_>>(),
        "images": found.cached.iter().map(crate::harbor::Cached::to_json).collect::<Vec<_>>(),
    })
}
