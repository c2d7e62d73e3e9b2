use std::collections::BTreeMap;

use crate::cli::args::VersionArgs;
use crate::cli::commands::verify::via_of;
use crate::cli::inventory::{LoadedInventory, default_version};
use crate::cli::meant::Meant;
use crate::image::Reference;
use crate::inventory::MirrorKind;
use crate::mirror::scan::Images;
use crate::mirror::warm::{Sharing, Warmed};
use crate::mirror::{Access, Cause, PullHop, hops};
use crate::registries::{Endpoint, Registries};
use crate::ui::CliError;

/// An image and the mirror that it is pulled through.
pub(super) struct Job {
    pub(super) image: Reference,
    /// [`None`]: no mirror is in its route.
    pub(super) mirror: Option<(PullHop, Access)>,
    /// Which images the mirror's layers are fetched for at once.
    pub(super) sharing: Sharing,
    /// The registry itself, which knows the quota.
    pub(super) upstream: Option<(PullHop, Access)>,
}

/// How an image came out.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// It is cached.
    Cached(Warmed),
    /// It is not.
    Failed(Cause, String),
    /// It was not tried.
    Skipped(String),
}

/// Returns what is pulled: each image once through each mirror that is the first of its route on a node.
pub(super) fn jobs(
    loaded: &mut LoadedInventory,
    meant: &Meant,
    images: &Images,
) -> Result<Vec<Job>, CliError> {
    let mut all: Vec<Vec<Job>> = images.iter().map(|_| Vec::new()).collect();
    for target in meant.targets() {
        let version = loaded.talos_version(&VersionArgs::default(), target).unwrap_or_else(default_version);
        let registries = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
        for ((image, _), jobs) in images.iter().zip(&mut all) {
            let new = job(loaded, &registries, image);
            if !jobs.iter().any(|job| job.mirror == new.mirror) {
                jobs.push(new);
            }
        }
    }
    for jobs in &mut all {
        // Where some nodes have a mirror for it, those that have none are no concern of the mirror.
        if jobs.iter().any(|job| job.mirror.is_some()) {
            jobs.retain(|job| job.mirror.is_some());
        }
    }
    Ok(all.into_iter().flatten().collect())
}

fn job(loaded: &LoadedInventory, registries: &Registries, image: &Reference) -> Job {
    let name = |entry: &str, endpoint: &Endpoint| via_of(loaded, entry, endpoint);
    let route = hops(&registries.mirrors, image, &name);
    let direct = hops(&BTreeMap::new(), image, &|_, _| String::new());
    let with_access = |hop: PullHop| {
        let access = Access::of(registries, &hop.host);
        (hop, access)
    };
    let upstream = route.iter().chain(&direct).find(|hop| hop.via == "upstream").cloned();
    let upstream = upstream.map(with_access);
    let mirror: Option<(PullHop, Access)> =
        route.into_iter().find(|hop| hop.via != "upstream").map(with_access);
    let kind = mirror.as_ref().and_then(|(hop, _)| loaded.inventory.mirrors.get(&hop.via));
    let sharing = match kind.map(|mirror| &mirror.kind) {
        Some(MirrorKind::Cache) => Sharing::Host,
        Some(
            MirrorKind::Harbor { .. } | MirrorKind::Path { .. } | MirrorKind::Plain | MirrorKind::Raw { .. },
        )
        | None => Sharing::Repository,
    };
    Job { image: image.clone(), mirror, sharing, upstream }
}
