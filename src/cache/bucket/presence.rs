#![expect(clippy::disallowed_methods, reason = "remembers for a while what is not there")]

use std::time::{Duration, Instant};

use super::shared_bucket::Inner;
use super::transport::Purpose;
use crate::cache::memory::locked;
use crate::cache::store::Object;

/// For how long that is believed: another replica may write them.
const ABSENT_FOR: Duration = Duration::from_secs(3);
/// For how long an object that was damaged is not read again: it may be one that cannot be removed.
const BAD_FOR: Duration = Duration::from_hours(1);

/// What a bucket has, lacks, or has damaged, as far as a cache has just asked.
impl Inner {
    /// Returns whether it was noted by this key that a repository has an object.
    pub(super) async fn has_grant(&self, object: &Object, key: String) -> bool {
        if self.is_granted(object, &key) {
            return true;
        }
        if self.is_absent(&key) {
            return false;
        }
        let mark = self.mark();
        match self.client.has(Purpose::Pull, &key).await {
            Ok(true) => {
                self.believe(*object, mark, |known| known.note_grant(*object, &key));
                true
            }
            Ok(false) => {
                locked(&self.absent).put(key, Instant::now(), 1);
                false
            }
            Err(error) => {
                tracing::debug!("cannot read which repository has what: {error}");
                false
            }
        }
    }

    /// Returns whether an object is there; not where the bucket does not say.
    pub(super) async fn is_there(&self, object: &Object) -> bool {
        let key = self.keys.object(object);
        if self.is_known(object) || self.is_absent(&key) {
            return self.is_known(object);
        }
        let mark = self.mark();
        match self.client.has(Purpose::Pull, &key).await {
            Ok(true) => {
                self.believe(*object, mark, |known| known.note(*object));
                true
            }
            Ok(false) => {
                self.note_absent(object, key);
                false
            }
            Err(error) => {
                tracing::debug!("cannot read what is there: {error}");
                false
            }
        }
    }

    /// Returns whether a key was looked for just now and was not there.
    pub(super) fn is_absent(&self, key: &str) -> bool {
        locked(&self.absent).get(key).is_some_and(|since| since.elapsed() < ABSENT_FOR)
    }

    /// Takes note that an object is not there.
    pub(super) fn note_absent(&self, object: &Object, key: String) {
        locked(&self.known).is_absent(object);
        locked(&self.there).remove(&key);
        locked(&self.absent).put(key, Instant::now(), 1);
    }

    /// Returns whether an object was found damaged, and is not known to be written again.
    pub(super) fn is_bad(&self, key: &str) -> bool {
        locked(&self.bad).get(key).is_some_and(|since| since.elapsed() < BAD_FOR)
    }

    /// Takes note that an object has other bytes than its name says: it is not read again for a while.
    pub(super) fn note_bad(&self, object: &Object, key: &str) {
        tracing::warn!("`{key}` in the bucket {} is damaged and is removed", self.url);
        locked(&self.known).is_absent(object);
        locked(&self.there).remove(key);
        locked(&self.bad).put(key.to_owned(), Instant::now(), 1);
    }

    /// Takes note that an object was written anew.
    pub(super) fn note_written(&self, key: &str) {
        locked(&self.bad).remove(key);
    }

    /// Removes what is damaged, so that it can be written again.
    pub(super) async fn remove_bad(&self, key: &str) {
        if let Err(error) = self.client.remove(key).await {
            tracing::warn!("cannot remove `{key}` from the bucket {}: {error}", self.url);
        }
    }
}
