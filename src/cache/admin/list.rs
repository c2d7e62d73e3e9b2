use std::collections::{HashMap, HashSet};
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parts::{image, name, names};
use super::text;
use super::tier::TierName;
use crate::cache::Glob;
use crate::cache::store::{Listed, Object, Store, TagRecord};
use crate::image::Digest;

/// Asks for the images that are stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct ListImages {
    /// Only those whose name fits.
    pub(in crate::cache) pattern: Option<Glob>,
    /// Where.
    #[serde(default, skip_serializing_if = "TierName::is_local")]
    pub(in crate::cache) tier: TierName,
}

/// Asks for the blobs and manifests that are stored.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct ListObjects {
    /// Where.
    #[serde(default, skip_serializing_if = "TierName::is_local")]
    pub(in crate::cache) tier: TierName,
}

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
    /// Where the tag stands for that manifest; what is stored of the image is said of the tier that has most of it.
    #[serde(default = "TierName::only_local")]
    pub(in crate::cache) tiers: Vec<TierName>,
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
    /// When a client asked for it last; in the bucket alone, when a cache wrote it last.
    #[serde(with = "text")]
    pub(in crate::cache) used_at: Timestamp,
    /// How often clients asked for it since it was stored.
    pub(in crate::cache) hits: u32,
    /// The repositories that it was pulled from, with their registries.
    pub(in crate::cache) repositories: Vec<String>,
    /// Where it is.
    #[serde(default = "TierName::only_local")]
    pub(in crate::cache) tiers: Vec<TierName>,
}

impl ListImages {
    /// Returns whether a tag is asked for.
    pub(super) fn fits(&self, tag: &TagRecord) -> bool {
        let fits = |pattern: &Glob| pattern.matches(&image(tag)) || pattern.matches(&name(&tag.origin));
        self.pattern.as_ref().is_none_or(fits)
    }
}

impl ObjectRecord {
    pub(super) fn of(listed: &Listed, repositories: Vec<String>, tier: TierName) -> Self {
        Self {
            kind: listed.object.kind.as_str().to_owned(),
            digest: listed.object.digest,
            size_bytes: listed.size,
            used_at: timestamp(listed.used_at),
            hits: listed.hits,
            repositories,
            tiers: vec![tier],
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl List<ImageRecord> {
    /// Adds what is in another tier: what a tag stands for in both is said once.
    pub(in crate::cache) fn and(self, other: Self) -> Self {
        let mut items = self.items;
        items.extend(other.items);
        items.sort_by(|a, b| (&a.image, a.digest, &a.tiers).cmp(&(&b.image, b.digest, &b.tiers)));
        items.dedup_by(|next, first| {
            let is_same = next.image == first.image && next.digest == first.digest;
            if is_same {
                if (next.missing, first.stored_bytes) < (first.missing, next.stored_bytes) {
                    (first.missing, first.stored_bytes) = (next.missing, next.stored_bytes);
                }
                first.checked_at = first.checked_at.max(next.checked_at);
                first.tiers.append(&mut next.tiers);
            }
            is_same
        });
        Self { items }
    }
}

impl List<ObjectRecord> {
    /// Adds what is in another tier: what is in both is said once.
    pub(in crate::cache) fn and(self, other: Self) -> Self {
        let mut items = self.items;
        items.extend(other.items);
        items.sort_by(|a, b| (&a.kind, a.digest, &a.tiers).cmp(&(&b.kind, b.digest, &b.tiers)));
        items.dedup_by(|next, first| {
            let is_same = next.kind == first.kind && next.digest == first.digest;
            if is_same {
                first.used_at = first.used_at.max(next.used_at);
                first.repositories.append(&mut next.repositories);
                first.repositories.sort_unstable();
                first.repositories.dedup();
                first.tiers.append(&mut next.tiers);
            }
            is_same
        });
        items.sort_by_key(|record| std::cmp::Reverse((record.used_at, record.digest)));
        Self { items }
    }
}

/// Lists the images whose name fits.
pub(super) async fn images(store: &dyn Store, wanted: &ListImages) -> io::Result<List<ImageRecord>> {
    let sizes: HashMap<Object, u64> =
        store.list().await?.into_iter().map(|listed| (listed.object, listed.size)).collect();
    let mut tags = store.tags().await?;
    tags.sort_by(|a, b| (&a.origin, &a.tag).cmp(&(&b.origin, &b.tag)));
    let mut items = Vec::new();
    for tag in tags {
        if !wanted.fits(&tag) {
            continue;
        }
        let (image, tiers) = (image(&tag), TierName::only_local());
        let (stored_bytes, missing) = parts(store, &sizes, &tag.digest).await?;
        let (digest, media_type, checked_at) = (tag.digest, tag.media_type, tag.checked_at);
        items.push(ImageRecord { image, digest, media_type, stored_bytes, missing, checked_at, tiers });
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
        queue.extend(document.parts());
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
        items.push(ObjectRecord::of(&listed, names(&origins), TierName::Local));
    }
    Ok(List { items })
}

/// Returns a time of seconds since 1970.
pub(super) fn timestamp(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, digest: u8, missing: usize, tier: TierName) -> ImageRecord {
        ImageRecord {
            image: name.to_owned(),
            digest: Digest::sha256([digest; 32]),
            media_type: String::new(),
            stored_bytes: 10,
            missing,
            checked_at: timestamp(100),
            tiers: vec![tier],
        }
    }

    #[test]
    fn what_is_in_both_tiers_is_said_once() {
        let (local, bucket) = (TierName::Local, TierName::Bucket);
        let here = List { items: vec![image("a", 1, 2, local), image("b", 1, 0, local)] };
        let there = List {
            items: vec![image("c", 1, 0, bucket), image("b", 2, 0, bucket), image("a", 1, 1, bucket)],
        };
        let all = here.and(there).items;
        let said: Vec<_> =
            all.iter().map(|one| (one.image.as_str(), one.missing, one.tiers.clone())).collect();
        let wanted = [
            ("a", 1, vec![local, bucket]),
            // The tag stands for something else there.
            ("b", 0, vec![local]),
            ("b", 0, vec![bucket]),
            ("c", 0, vec![bucket]),
        ];
        assert_eq!(said, wanted);

        let object = |digest: u8, used_at, repository: &str, tier| {
            let object = Object::blob(Digest::sha256([digest; 32]));
            ObjectRecord::of(&Listed { object, size: 1, used_at, hits: 3 }, vec![repository.to_owned()], tier)
        };
        let here = List { items: vec![object(1, 5, "y", local), object(2, 4, "x", local)] };
        let there = List { items: vec![object(2, 9, "x", bucket), object(1, 1, "a", bucket)] };
        let all = here.and(there).items;
        let said: Vec<_> =
            all.iter().map(|one| (one.used_at, one.repositories.join(","), one.tiers.len())).collect();
        assert_eq!(said, [(timestamp(9), "x".to_owned(), 2), (timestamp(5), "a,y".to_owned(), 2)]);
    }

    #[test]
    fn what_older_servers_say_is_of_the_folder() {
        let text = r#"{"image":"a","digest":"sha256:0101010101010101010101010101010101010101010101010101010101010101",
            "mediaType":"x","storedBytes":1,"missing":0,"checkedAt":"2026-01-01T00:00:00Z"}"#;
        let read: ImageRecord = serde_json::from_str(text).unwrap();
        assert_eq!(read.tiers, [TierName::Local]);
        // And a request about the folder is one that they know.
        let asked = serde_json::to_string(&ListObjects { tier: TierName::Local }).unwrap();
        assert_eq!(asked, "{}");
    }
}
