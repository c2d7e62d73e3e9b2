#![expect(clippy::disallowed_methods, reason = "waits, and compares dates with the clock here")]

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::gc::{Place as _, Unit};
use super::renewals::Renew;
use super::shared_bucket::{Bucket, Inner};
use super::traffic::Direction;
use super::transport::Purpose;
use crate::cache::memory::locked;
use crate::cache::store::{Document, Object};
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
        if !(inner.is_used() && reads && writes) {
            continue;
        }
        inner.ask_conditional().await;
        if !inner.is_conditional() {
            continue;
        }
        let due = locked(&inner.renewals).take(inner.place.moment());
        for (digest, how) in due {
            if let Err(NotRenewed { why, next }) = renew(&inner, digest, how).await {
                tracing::debug!(%digest, "cannot renew a manifest in the bucket yet: {why}");
                let mut renewals = locked(&inner.renewals);
                renewals.again(digest, inner.place.moment() + AGAIN, next);
            }
        }
    }
}

/// Why a manifest was not renewed, and how it is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotRenewed {
    pub(super) why: String,
    pub(super) next: Renew,
}

/// Writes a manifest again that is old, by the rules for all that is written.
pub(super) async fn renew(inner: &Inner, digest: Digest, how: Renew) -> Result<(), NotRenewed> {
    let object = Object::manifest(digest);
    let key = inner.keys.object(&object);
    // Nothing was written: it is as it was.
    let failed = |error: &dyn Display| NotRenewed { why: error.to_string(), next: how };
    inner.ready().await.map_err(|error| failed(&error))?;
    let Some(mark) = inner.begin(&Unit::Object(object)) else {
        return Err(failed(&"a collection condemns it"));
    };
    let every = locked(&inner.renewals).every().as_secs();
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let Some(written) = inner.client.date(&key).await.map_err(|error| failed(&error))? else {
        locked(&inner.known).is_absent(&object);
        return inner.ensure(digest).await.map_err(|error| failed(&error));
    };
    if how == Renew::IfOld && now.saturating_sub(written) < every {
        return Ok(());
    }
    let Some(document) = document(inner, &digest).await.map_err(|error| failed(&error))? else {
        return Ok(());
    };
    inner.ensure_below(&document).await.map_err(|error| failed(&error))?;
    inner.ensure_grants(object).await.map_err(|error| failed(&error))?;
    let written = inner.client.overwrite(&key, Bytes::from(document.write()));
    let written = timeout(inner.timing.within, written).await;
    let why = match written {
        Ok(Ok(())) => match inner.settle(object, mark, |known| known.note(object)).await {
            Ok(true) => return Ok(()),
            Ok(false) => "a collection may have removed something of it meanwhile".to_owned(),
            Err(error) => error.to_string(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer in time".to_owned(),
    };
    // What it is made of may have gone while it stood there as young.
    locked(&inner.known).forget(&object);
    Err(NotRenewed { why, next: Renew::Anyway })
}

/// Reads a manifest that is in use: from the bucket where it is not kept here any more.
async fn document(inner: &Inner, digest: &Digest) -> io::Result<Option<Document>> {
    if let Some(document) = inner.local.manifest(digest).await? {
        return Ok(Some(document));
    }
    let key = inner.keys.object(&Object::manifest(*digest));
    let found = inner.client.get(Purpose::Care, &key).await?;
    // One that is damaged is found out, and removed, when a client asks for it.
    Ok(found.and_then(|bytes| Document::read(Vec::from(bytes), digest)))
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
