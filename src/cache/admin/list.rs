use std::collections::{HashMap, HashSet};
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text;
use crate::cache::Glob;
use crate::cache::store::{Object, Store};
use crate::image::Digest;
use crate::oci::Manifest;

/// Asks for the images that are stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct ListImages {
    /// Only those whose name fits.
    pub(in crate::cache) pattern: Option<Glob>,
}

/// Asks for the blobs and manifests that are stored.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct ListObjects {}

/// A list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct List<T> {
    /// What is in it.
    pub(in crate::cache) items: Vec<T>,
}

/// A tag that is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct ImageRecord {
    /// Registry, repository and tag.
    pub(in crate::cache) image: String,
    /// The manifest that the tag leads to.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// The manifest's media type.
    pub(in crate::cache) media_type: String,
    /// How many bytes of the image are stored.
    pub(in crate::cache) stored_bytes: u64,
    /// How many of its manifests and blobs are not stored.
    pub(in crate::cache) missing: usize,
    /// When the registry was last asked where the tag leads.
    #[serde(with = "text")]
    pub(in crate::cache) checked_at: Timestamp,
}

/// A blob or a manifest that is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct ObjectRecord {
    /// `blob` or `manifest`.
    pub(in crate::cache) kind: String,
    /// Its digest.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// Its size.
    pub(in crate::cache) size_bytes: u64,
    /// When a client asked for it last.
    #[serde(with = "text")]
    pub(in crate::cache) used_at: Timestamp,
    /// How often clients asked for it since it was stored.
    pub(in crate::cache) hits: u32,
    /// The repositories that it was pulled from, with their registries.
    pub(in crate::cache) repositories: Vec<String>,
}

/// Lists the images whose name fits.
pub(super) async fn images(store: &dyn Store, wanted: &ListImages) -> io::Result<List<ImageRecord>> {
    let sizes: HashMap<Object, u64> =
        store.list().await?.into_iter().map(|listed| (listed.object, listed.size)).collect();
    let mut tags = store.tags().await?;
    tags.sort_by(|a, b| (&a.origin, &a.tag).cmp(&(&b.origin, &b.tag)));
    let mut items = Vec::new();
    for tag in tags {
        let repository = format!("{}/{}", tag.origin.registry, tag.origin.repository);
        let image = format!("{repository}:{}", tag.tag);
        let fits = |pattern: &Glob| pattern.matches(&image) || pattern.matches(&repository);
        if !wanted.pattern.as_ref().is_none_or(fits) {
            continue;
        }
        let (stored_bytes, missing) = parts(store, &sizes, &tag.digest).await?;
        let (digest, media_type, checked_at) = (tag.digest, tag.media_type, tag.checked_at);
        items.push(ImageRecord { image, digest, media_type, stored_bytes, missing, checked_at });
    }
    Ok(List { items })
}

/// Returns how many bytes of an image are stored, and how many of its parts are not.
async fn parts(store: &dyn Store, sizes: &HashMap<Object, u64>, digest: &Digest) -> io::Result<(u64, usize)> {
    let (mut seen, mut queue) = (HashSet::new(), vec![Object::manifest(*digest)]);
    let (mut stored, mut missing) = (0, 0);
    while let Some(object) = queue.pop() {
        if !seen.insert(object) {
            continue;
        }
        let Some(size) = sizes.get(&object) else {
            missing += 1;
            continue;
        };
        stored += size;
        if object != Object::manifest(object.digest) {
            continue;
        }
        let Some(document) = store.manifest(&object.digest).await? else { continue };
        if let Ok(manifest) = Manifest::parse(&document.bytes, Some(&document.media_type)) {
            queue.extend(manifest.children().iter().map(|child| Object::manifest(child.digest)));
            queue.extend(manifest.blobs().map(|blob| Object::blob(blob.digest)));
        }
    }
    Ok((stored, missing))
}

/// Lists all blobs and manifests, those first that were used last.
pub(super) async fn objects(store: &dyn Store) -> io::Result<List<ObjectRecord>> {
    let mut listed = store.list().await?;
    listed.sort_by_key(|listed| std::cmp::Reverse((listed.used_at, listed.object)));
    let mut items = Vec::new();
    for listed in listed {
        let origins = store.origins(&listed.object).await?;
        let mut repositories: Vec<String> =
            origins.iter().map(|origin| format!("{}/{}", origin.registry, origin.repository)).collect();
        repositories.sort_unstable();
        items.push(ObjectRecord {
            kind: listed.object.kind.as_str().to_owned(),
            digest: listed.object.digest,
            size_bytes: listed.size,
            used_at: timestamp(listed.used_at),
            hits: listed.hits,
            repositories,
        });
    }
    Ok(List { items })
}

/// Returns a time of seconds since 1970.
pub(super) fn timestamp(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
}
