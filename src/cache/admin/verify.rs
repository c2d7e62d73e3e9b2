use std::collections::HashSet;
use std::io;

use serde::{Deserialize, Serialize};

use super::parts::{fits_digest, fits_repository, fits_tag, names, parts, reachable};
use super::text;
use super::tier::TierName;
use crate::cache::Glob;
use crate::cache::store::{Kind, Listed, Object, Store, Verdict};
use crate::image::Digest;

/// Asks to check what is stored against its digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct Verify {
    /// Only images and repositories whose name fits.
    pub(in crate::cache) pattern: Option<Glob>,
    /// Where.
    #[serde(default, skip_serializing_if = "TierName::is_local")]
    pub(in crate::cache) tier: TierName,
}

/// What a check found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Verified {
    /// How many blobs and manifests were checked.
    pub(in crate::cache) checked: u64,
    /// Their bytes.
    pub(in crate::cache) bytes: u64,
    /// What was damaged, and was removed.
    pub(in crate::cache) damaged: Vec<DamagedRecord>,
    /// How much of that was in which tier.
    #[serde(default)]
    pub(in crate::cache) tiers: Vec<TierChecked>,
    /// What could not be read, in the bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cache) unread: Vec<UnreadRecord>,
    /// How much was left alone, as too much could not be read.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(in crate::cache) unchecked: u64,
    /// Tags in the bucket whose manifests are not there: they are fetched when a client asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cache) dangling_tags: Vec<DanglingRecord>,
    /// Manifests in the bucket of which blobs are not there, as nobody has pulled them yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cache) incomplete: Vec<IncompleteRecord>,
    /// How much has gone since it was listed.
    #[serde(skip)]
    pub(super) absent: u64,
}

/// What was checked in a tier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct TierChecked {
    /// The tier.
    pub(in crate::cache) tier: TierName,
    /// How many blobs and manifests were checked.
    pub(in crate::cache) checked: u64,
    /// Their bytes.
    pub(in crate::cache) bytes: u64,
}

/// Something in the bucket that could not be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct UnreadRecord {
    /// `blob` or `manifest`.
    pub(in crate::cache) kind: String,
    /// Its digest.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// Why.
    pub(in crate::cache) why: String,
}

/// A tag in the bucket whose manifest is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct DanglingRecord {
    /// Registry, repository and tag.
    pub(in crate::cache) image: String,
    /// What it stands for.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// The key that says so.
    pub(in crate::cache) key: String,
}

/// A manifest in the bucket of which blobs are not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct IncompleteRecord {
    /// Its digest.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// How many of its blobs are not there.
    pub(in crate::cache) missing: usize,
    /// The repositories that it was pulled from, with their registries.
    pub(in crate::cache) repositories: Vec<String>,
}

/// Something that was damaged, and was removed if nothing else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct DamagedRecord {
    /// Where.
    #[serde(default)]
    pub(in crate::cache) tier: TierName,
    /// `blob` or `manifest`; in the bucket `tag`, too.
    pub(in crate::cache) kind: String,
    /// Its digest.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// The repositories that it was pulled from, with their registries.
    pub(in crate::cache) repositories: Vec<String>,
    /// Its key in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) key: Option<String>,
    /// Why it is still there; [`None`]: it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) kept: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Verified {
    /// Makes one of a tier in which nothing was checked yet.
    pub(super) fn of(tier: TierName) -> Self {
        Self { tiers: vec![TierChecked { tier, checked: 0, bytes: 0 }], ..Self::default() }
    }

    /// Counts something that was checked.
    pub(super) fn count(&mut self, bytes: u64) {
        self.checked += 1;
        self.bytes += bytes;
        for tier in &mut self.tiers {
            tier.checked += 1;
            tier.bytes += bytes;
        }
    }

    /// Adds what was found in another tier.
    pub(in crate::cache) fn and(mut self, other: Self) -> Self {
        self.damaged.extend(other.damaged);
        self.tiers.extend(other.tiers);
        let (checked, bytes) = (self.checked + other.checked, self.bytes + other.bytes);
        Self { checked, bytes, damaged: self.damaged, tiers: self.tiers, ..other }
    }
}

/// Checks what is wanted, and returns what that was.
pub(super) async fn verify(store: &dyn Store, wanted: &Verify) -> io::Result<Verified> {
    let mut verified = Verified::of(TierName::Local);
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
        match store.verify(&listed.object).await? {
            Verdict::Absent => continue,
            Verdict::Sound => {}
            Verdict::Damaged => verified.damaged.push(DamagedRecord {
                tier: TierName::Local,
                kind: listed.object.kind.as_str().to_owned(),
                digest: listed.object.digest,
                repositories: names(&origins),
                key: None,
                kept: None,
            }),
        }
        verified.count(listed.size);
    }
    Ok(verified)
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
