use std::collections::HashSet;
use std::io;

use serde::{Deserialize, Serialize};

use super::parts::{fits_digest, fits_repository, fits_tag, parts, reachable};
use super::text;
use crate::cache::Glob;
use crate::cache::store::{Kind, Listed, Object, Store, Verdict};
use crate::image::Digest;

/// Asks to check what is stored against its digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct Verify {
    /// Only images and repositories whose name fits.
    pub(in crate::cache) pattern: Option<Glob>,
}

/// What a check found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Verified {
    /// How many blobs and manifests were checked.
    pub(in crate::cache) checked: u64,
    /// Their bytes.
    pub(in crate::cache) bytes: u64,
    /// What was damaged, and was removed.
    pub(in crate::cache) damaged: Vec<DamagedRecord>,
}

/// Something that was damaged, and was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct DamagedRecord {
    /// `blob` or `manifest`.
    pub(in crate::cache) kind: String,
    /// Its digest.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// The repositories that it was pulled from, with their registries.
    pub(in crate::cache) repositories: Vec<String>,
}

/// Checks what is wanted, and returns what that was.
pub(super) async fn verify(store: &dyn Store, wanted: &Verify) -> io::Result<Verified> {
    let (mut checked, mut bytes, mut damaged) = (0, 0, Vec::new());
    let all = store.list().await?;
    let pattern = wanted.pattern.as_slice();
    let of_images = if pattern.is_empty() { HashSet::new() } else { of_images(store, pattern, &all).await? };
    for listed in all {
        let origins = store.origins(&listed.object).await?;
        if !pattern.is_empty()
            && !of_images.contains(&listed.object)
            && !origins.iter().any(|origin| fits_repository(pattern, origin))
        {
            continue;
        }
        let names = origins.iter().map(|origin| format!("{}/{}", origin.registry, origin.repository));
        let mut repositories: Vec<String> = names.collect();
        repositories.sort_unstable();
        match store.verify(&listed.object).await? {
            Verdict::Absent => continue,
            Verdict::Sound => {}
            Verdict::Damaged => damaged.push(DamagedRecord {
                kind: listed.object.kind.as_str().to_owned(),
                digest: listed.object.digest,
                repositories,
            }),
        }
        checked += 1;
        bytes += listed.size;
    }
    Ok(Verified { checked, bytes, damaged })
}

/// Returns what images are made of that are meant, by a tag or a digest.
async fn of_images(store: &dyn Store, pattern: &[Glob], all: &[Listed]) -> io::Result<HashSet<Object>> {
    let tags = store.tags().await?.into_iter().filter(|record| fits_tag(pattern, record));
    let mut images: Vec<Object> = tags.map(|record| Object::manifest(record.digest)).collect();
    for listed in all.iter().filter(|listed| listed.object.kind == Kind::Manifest) {
        let origins = store.origins(&listed.object).await?;
        if origins.iter().any(|origin| fits_digest(pattern, origin, &listed.object)) {
            images.push(listed.object);
        }
    }
    Ok(reachable(images, &parts(store, all).await?))
}
