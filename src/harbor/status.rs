use serde::Deserialize;
use serde_json::{Value, json};

use super::actual::{Actual, Login};
use super::client::{Account, Harbor};
use super::error::HarborError;
use super::observe::{gc_schedule, optional, quotas};
use crate::image::Reference;

/// How a Harbor is.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it holds.
    pub actual: Actual,
    /// Its parts.
    pub health: Vec<Health>,
    /// The last runs of the garbage collection, the latest first; [`None`] where the account may not read them.
    pub gc_runs: Option<Vec<GcRun>>,
    /// What it has of the images that were asked for.
    pub cached: Vec<Cached>,
}

/// How a part of a Harbor is.
#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    /// Its name, such as `jobservice`.
    #[serde(default)]
    pub name: String,
    /// `healthy` or not.
    #[serde(default)]
    pub status: String,
    /// Why not.
    #[serde(default)]
    pub error: String,
}

/// A run of the garbage collection.
#[derive(Clone, Debug, Deserialize)]
pub struct GcRun {
    /// `Success`, `Error`, `Running` and the like.
    #[serde(default)]
    pub job_status: String,
    /// When it began.
    #[serde(default)]
    pub creation_time: String,
    /// When it was last heard of.
    #[serde(default)]
    pub update_time: String,
}

/// What a Harbor has of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The image.
    pub image: Reference,
    /// The project; [`None`] where the image does not go through this Harbor.
    pub project: Option<String>,
    /// The artifact; [`None`] where it is not cached.
    pub artifact: Option<Artifact>,
}

/// A cached artifact.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Artifact {
    /// Its digest.
    #[serde(default)]
    pub digest: String,
    /// Bytes.
    #[serde(default)]
    pub size: i64,
    /// When it was cached.
    #[serde(default)]
    pub push_time: String,
    /// When it was last pulled through Harbor.
    #[serde(default)]
    pub pull_time: String,
}

impl Cached {
    /// Returns the word for its state.
    pub fn state(&self) -> &'static str {
        match (&self.project, &self.artifact) {
            (None, _) => "elsewhere",
            (Some(_), None) => "missing",
            (Some(_), Some(_)) => "cached",
        }
    }

    /// Returns it for scripts.
    pub fn to_json(&self) -> Value {
        json!({
            "image": self.image.to_string(),
            "project": self.project,
            "state": self.state(),
            "digest": self.artifact.as_ref().map(|artifact| &artifact.digest),
            "size": self.artifact.as_ref().map(|artifact| artifact.size),
            "cachedAt": self.artifact.as_ref().map(|artifact| &artifact.push_time),
            "pulledAt": self.artifact.as_ref().map(|artifact| &artifact.pull_time),
        })
    }
}

/// Reads how a Harbor is, and what it has of some images, each with its project.
pub async fn status(
    harbor: &Harbor,
    robot: Option<&Account>,
    images: &[(Reference, Option<String>)],
) -> Result<Status, HarborError> {
    #[derive(Deserialize)]
    struct Components {
        #[serde(default)]
        components: Vec<Health>,
    }
    let mut actual = super::observe::read(harbor).await?;
    actual.quotas = quotas(harbor).await?;
    actual.gc = gc_schedule(harbor).await?;
    if let Some(account) = robot {
        actual.login = if harbor.admits(account).await? { Login::Accepted } else { Login::Refused };
    }
    let health: Option<Components> = optional(harbor, "/api/v2.0/health", "read Harbor's health").await?;
    let runs = "/api/v2.0/system/gc?sort=-creation_time&page=1&page_size=5";
    let gc_runs: Option<Option<Vec<GcRun>>> =
        optional(harbor, runs, "list runs of the garbage collection").await?;
    let mut cached = Vec::new();
    for (image, project) in images {
        cached.push(look_up(harbor, image, project.clone()).await?);
    }
    Ok(Status {
        actual,
        health: health.map(|health| health.components).unwrap_or_default(),
        gc_runs: gc_runs.map(Option::unwrap_or_default),
        cached,
    })
}

/// Asks whether an image is cached; the repository's slashes are encoded twice, as Harbor wants them.
async fn look_up(harbor: &Harbor, image: &Reference, project: Option<String>) -> Result<Cached, HarborError> {
    let artifact = match &project {
        None => None,
        Some(project) => {
            let repository = image.repository().as_str().replace('/', "%252F");
            let reference = image.manifest().to_string();
            let path =
                format!("/api/v2.0/projects/{project}/repositories/{repository}/artifacts/{reference}");
            harbor.find::<Artifact>(&path, &format!("look for `{image}`")).await?
        }
    };
    Ok(Cached { image: image.clone(), project, artifact })
}
