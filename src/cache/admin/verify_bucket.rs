use std::collections::{HashMap, HashSet};
use std::mem::take;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::parts::{fits_digest, fits_repository, fits_tag, image, names};
use super::tier::TierName;
use super::verify::{DamagedRecord, DanglingRecord, IncompleteRecord, UnreadRecord, Verified, Verify};
use crate::cache::bucket::{Checked, CollectionError, Contents, Origins, Tell};
use crate::cache::config::ByteSize;
use crate::cache::store::{Kind, Object};

/// How many manifests are read at once.
const MANIFESTS: usize = 16;
/// How many blobs are read at once.
const BLOBS: usize = 4;
/// How much may not be readable until the rest is left alone: then the bucket is ill.
const MOST_UNREAD: usize = 50;

/// What is checked, and what was found so far.
struct Check<'a> {
    sizes: HashMap<Object, u64>,
    origins: Origins,
    found: Verified,
    tell: Tell<'a>,
    /// How much is to be read.
    bytes: u64,
}

/// Checks what is wanted of what is in a bucket, and returns what that was.
pub(in crate::cache) async fn verify_bucket(
    contents: &Contents,
    wanted: &Verify,
    tell: Tell<'_>,
) -> Result<Verified, CollectionError> {
    let listed = contents.objects(tell).await?;
    let sizes: HashMap<Object, u64> = listed.iter().map(|listed| (listed.object, listed.size)).collect();
    let (tags, origins) = (contents.tags(tell).await?, contents.origins(tell).await?);
    let pattern = wanted.pattern.as_slice();
    let mut check = Check { sizes, origins, found: Verified::of(TierName::Bucket), tell, bytes: 0 };
    let mut images = Vec::new();
    for tag in tags.all {
        let manifest = Object::manifest(tag.record.digest);
        if !pattern.is_empty() && !fits_tag(pattern, &tag.record) {
            continue;
        }
        if !check.sizes.contains_key(&manifest) {
            let (image, digest) = (image(&tag.record), manifest.digest);
            check.found.dangling_tags.push(DanglingRecord { image, digest, key: tag.key });
        }
        images.push(manifest);
    }
    if pattern.is_empty() {
        check.found.damaged.extend(tags.wrong.into_iter().map(|wrong| DamagedRecord {
            tier: TierName::Bucket,
            kind: "tag".to_owned(),
            digest: wrong.digest,
            repositories: Vec::new(),
            key: Some(wrong.key),
            kept: Some("caches take it for no tag, and the next pull by it writes a new one".to_owned()),
        }));
    }
    let fits = |object: &Object| {
        let origins = check.origins.get(object);
        let fits = |origin| fits_repository(pattern, origin) || fits_digest(pattern, origin, object);
        pattern.is_empty() || origins.iter().any(fits)
    };
    let own = listed.iter().map(|listed| listed.object).filter(fits);
    let all: HashSet<Object> = own.chain(images).filter(|object| check.sizes.contains_key(object)).collect();
    check.run(contents, all).await;
    check.found.dangling_tags.sort_unstable_by(|a, b| a.image.cmp(&b.image));
    Ok(check.found)
}

impl Check<'_> {
    /// Checks some objects, and what those of them are made of that are manifests.
    async fn run(&mut self, contents: &Contents, mut all: HashSet<Object>) {
        self.bytes = all.iter().filter_map(|object| self.sizes.get(object)).sum();
        let mut blobs: Vec<Object> = all.iter().filter(|object| object.kind == Kind::Blob).copied().collect();
        let mut wave: Vec<Object> =
            all.iter().filter(|object| object.kind == Kind::Manifest).copied().collect();
        while !wave.is_empty() {
            wave.sort_unstable();
            let read = stream::iter(take(&mut wave))
                .map(|object| async move { (object, contents.check(&object).await) });
            let mut read = read.buffer_unordered(MANIFESTS);
            while let Some((object, checked)) = read.next().await {
                for part in self.parts(object, &checked) {
                    if !self.sizes.contains_key(&part) || !all.insert(part) {
                        continue;
                    }
                    self.bytes += self.sizes.get(&part).copied().unwrap_or_default();
                    match part.kind {
                        Kind::Manifest => wave.push(part),
                        Kind::Blob => blobs.push(part),
                    }
                }
                if self.note(object, checked) {
                    self.leave(all.len());
                    return;
                }
            }
        }
        blobs.sort_unstable();
        let read = stream::iter(blobs).map(|object| async move { (object, contents.check(&object).await) });
        let mut read = read.buffer_unordered(BLOBS);
        while let Some((object, checked)) = read.next().await {
            if self.note(object, checked) {
                break;
            }
        }
        self.leave(all.len());
    }

    /// Returns what a manifest is made of, and takes note of one whose blobs are not all there.
    fn parts(&mut self, object: Object, checked: &Checked) -> Vec<Object> {
        let Checked::Sound(Some(document)) = checked else { return Vec::new() };
        let parts = document.parts();
        let is_missing = |part: &&Object| part.kind == Kind::Blob && !self.sizes.contains_key(part);
        let missing = parts.iter().filter(is_missing).count();
        if missing > 0 {
            let repositories = names(&self.origins.get(&object));
            self.found.incomplete.push(IncompleteRecord { digest: object.digest, missing, repositories });
        }
        parts
    }

    /// Takes note of what was checked; returns whether too much cannot be read.
    fn note(&mut self, object: Object, checked: Checked) -> bool {
        match checked {
            Checked::Absent => self.found.absent += 1,
            Checked::Sound(_) => self.found.count(self.sizes.get(&object).copied().unwrap_or_default()),
            Checked::Damaged(wrong) => {
                self.found.count(self.sizes.get(&object).copied().unwrap_or_default());
                self.found.damaged.push(DamagedRecord {
                    tier: TierName::Bucket,
                    kind: object.kind.as_str().to_owned(),
                    digest: object.digest,
                    repositories: names(&self.origins.get(&object)),
                    key: Some(wrong.key),
                    kept: wrong.kept,
                });
            }
            Checked::Unread(why) => {
                let (kind, digest) = (object.kind.as_str().to_owned(), object.digest);
                self.found.unread.push(UnreadRecord { kind, digest, why });
            }
        }
        let (done, of) = (ByteSize(self.found.bytes), ByteSize(self.bytes));
        (self.tell)(format!("checks what is in the bucket: {done} of {of}"));
        self.found.unread.len() > MOST_UNREAD
    }

    /// Takes note of how much was not looked at, of so much in all.
    fn leave(&mut self, of: usize) {
        let seen = self.found.checked + self.found.absent + self.found.unread.len() as u64;
        self.found.unchecked = (of as u64).saturating_sub(seen);
    }
}
