#![expect(clippy::disallowed_methods, reason = "waits, and compares dates with the clock here")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::gc::{Place as _, Unit};
use super::shared_bucket::{Bucket, Inner};
use super::traffic::Direction;
use crate::cache::memory::locked;
use crate::cache::store::Object;
use crate::image::Digest;

/// How often it is looked whether something is to be renewed.
const LOOK: Duration = Duration::from_mins(1);
/// How soon it is tried again.
const AGAIN: Duration = Duration::from_mins(10);

impl Bucket {
    /// Takes note that a manifest is served: as long as that is so, it is to stay in the bucket.
    pub(super) fn serves(&self, digest: Digest) {
        let inner = self.inner();
        locked(&inner.renewals).served(digest, inner.place.moment());
    }
}

/// Renews what is in use; never ends.
pub(super) async fn renew_all(inner: Arc<Inner>) {
    loop {
        sleep(LOOK).await;
        let (reads, writes) =
            [Direction::Read, Direction::Write].map(|way| inner.client.traffic().is_open(way)).into();
        if !(inner.is_used() && reads && writes && inner.is_conditional()) {
            continue;
        }
        let due = locked(&inner.renewals).take(inner.place.moment());
        for digest in due {
            if let Err(error) = renew(&inner, digest).await {
                tracing::debug!(%digest, "cannot renew a manifest in the bucket yet: {error}");
                let mut renewals = locked(&inner.renewals);
                renewals.again(digest, inner.place.moment() + AGAIN);
            }
        }
    }
}

/// Writes a manifest again that is old, by the rules for all that is written.
pub(super) async fn renew(inner: &Inner, digest: Digest) -> Result<(), String> {
    let object = Object::manifest(digest);
    let key = inner.keys.object(&object);
    let said = |error: &dyn std::fmt::Display| error.to_string();
    inner.ready().await.map_err(|error| said(&error))?;
    let Some(mark) = inner.begin(&Unit::Object(object)) else {
        return Err("a collection condemns it".to_owned());
    };
    let every = locked(&inner.renewals).every().as_secs();
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let Some(written) = inner.client.date(&key).await.map_err(|error| said(&error))? else {
        locked(&inner.known).is_absent(&object);
        return inner.ensure(digest).await.map_err(|error| said(&error));
    };
    if now.saturating_sub(written) < every {
        return Ok(());
    }
    let Some(document) = inner.local.manifest(&digest).await.map_err(|error| said(&error))? else {
        return Ok(());
    };
    inner.ensure_below(&document).await.map_err(|error| said(&error))?;
    inner.ensure_grants(object).await.map_err(|error| said(&error))?;
    let written = inner.client.overwrite(&key, Bytes::from(document.write()));
    match timeout(inner.timing.within, written).await {
        Ok(written) => written.map_err(|error| said(&error))?,
        Err(_) => return Err("it does not answer in time".to_owned()),
    }
    let settled = inner.settle(object, mark, |known| known.note(object)).await;
    if settled.map_err(|error| said(&error))? {
        Ok(())
    } else {
        Err("a collection may have removed it meanwhile".to_owned())
    }
}
