use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::list::{ImageRecord, List, ListImages, ListObjects, ObjectRecord};
use super::parts::{image, names};
use super::tier::TierName;
use crate::cache::bucket::{CollectionError, Contents, Tell};
use crate::cache::store::{Object, TagRecord};

/// Lists the images in a bucket whose name fits.
pub(in crate::cache) async fn list_bucket_images(
    contents: &Contents,
    wanted: &ListImages,
    tell: Tell<'_>,
) -> Result<List<ImageRecord>, CollectionError> {
    let sizes: HashMap<Object, u64> =
        contents.objects(tell).await?.into_iter().map(|listed| (listed.object, listed.size)).collect();
    let tags = contents.tags(tell).await?.all.into_iter().map(|tag| tag.record);
    let mut tags: Vec<TagRecord> = tags.filter(|record| wanted.fits(record)).collect();
    // For everyone, and for the users of some: what was seen last counts.
    tags.sort_by(|a, b| {
        (&a.origin, &a.tag, Reverse(a.checked_at)).cmp(&(&b.origin, &b.tag, Reverse(b.checked_at)))
    });
    tags.dedup_by(|a, b| (&a.origin, &a.tag) == (&b.origin, &b.tag));
    let manifests: Vec<Object> = tags.iter().map(|tag| Object::manifest(tag.digest)).collect();
    let parts = contents.parts(manifests, &|object| sizes.contains_key(object), tell).await?;
    let record = |tag: TagRecord| {
        let (stored_bytes, missing) = measured(Object::manifest(tag.digest), &sizes, &parts);
        ImageRecord {
            image: image(&tag),
            digest: tag.digest,
            media_type: tag.media_type,
            stored_bytes,
            missing,
            checked_at: tag.checked_at,
            tiers: vec![TierName::Bucket],
        }
    };
    Ok(List { items: tags.into_iter().map(record).collect() })
}

/// Lists all blobs and manifests in a bucket, those first that were written last.
pub(in crate::cache) async fn list_bucket_objects(
    contents: &Contents,
    _: &ListObjects,
    tell: Tell<'_>,
) -> Result<List<ObjectRecord>, CollectionError> {
    let mut listed = contents.objects(tell).await?;
    let origins = contents.origins(tell).await?;
    listed.sort_by_key(|listed| Reverse((listed.used_at, listed.object)));
    let record = |listed| ObjectRecord::of(listed, names(&origins.get(&listed.object)), TierName::Bucket);
    Ok(List { items: listed.iter().map(record).collect() })
}

/// Returns how many bytes of an image are stored, and how many of its parts are not.
fn measured(
    image: Object,
    sizes: &HashMap<Object, u64>,
    parts: &HashMap<Object, Vec<Object>>,
) -> (u64, usize) {
    let (mut seen, mut queue) = (HashSet::new(), vec![image]);
    let (mut stored, mut missing) = (0, 0);
    while let Some(object) = queue.pop() {
        if !seen.insert(object) {
            continue;
        }
        match sizes.get(&object) {
            Some(size) => stored += size,
            None => missing += 1,
        }
        queue.extend(parts.get(&object).into_iter().flatten());
    }
    (stored, missing)
}
