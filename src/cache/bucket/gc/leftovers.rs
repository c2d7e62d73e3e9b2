use super::bucket_place::BucketPlace;
use super::place::{Answer, Failed};
use crate::cache::store::Kind;

/// How old something has to be that those who run write again and again, or remove within seconds.
const OLD: u64 = 3600;
/// How old an upload has to be that nobody goes on with.
const OLD_UPLOAD: u64 = 24 * 3600;

/// What caches left behind that ended without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Leftovers {
    /// Leases, signs of life, and probes.
    pub(in crate::cache::bucket) keys: usize,
    /// Uploads that were begun and not ended.
    pub(in crate::cache::bucket) uploads: usize,
}

/// Removes what caches left behind, or says what there is of it; `now` is by the store's clock.
pub(super) async fn tidy(place: &BucketPlace, now: u64, remove: bool) -> Answer<Leftovers> {
    let mut found = Leftovers::default();
    let (keys, client) = (place.keys(), place.client());
    let mut old = Vec::new();
    for prefix in [keys.leases(), keys.members(), keys.probes()] {
        place
            .list(&prefix, |one| {
                // What has another name is somebody else's, who keeps things under a prefix of the same bucket.
                if now.saturating_sub(one.written) > OLD && keys.is_leftover(&one.key) {
                    old.push(one.key);
                }
            })
            .await?;
    }
    for key in old {
        if remove {
            client.remove(&key).await.map_err(Failed::from)?;
        }
        found.keys += 1;
    }
    // Nothing but blobs is uploaded in parts, and not every store minds the prefix that is asked for.
    for upload in client.uploads(&keys.objects(Kind::Blob)).await.map_err(Failed::from)? {
        let is_own = keys.read_object(Kind::Blob, &upload.key).is_some();
        if !is_own || now.saturating_sub(upload.begun) <= OLD_UPLOAD {
            continue;
        }
        if remove {
            client.abort(&upload).await.map_err(Failed::from)?;
        }
        found.uploads += 1;
    }
    Ok(found)
}
