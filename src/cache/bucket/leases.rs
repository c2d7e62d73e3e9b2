#![expect(clippy::disallowed_methods, reason = "waits for the store, for a moment")]

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::client::ClientError;
use super::shared_bucket::{Bucket, Inner};
use super::traffic::Direction;
use crate::cache::store::Object;
use crate::image::Digest;

/// How long the store may take for a lease. A client waits for it, and duplicates are better than waiting.
const PATIENCE: Duration = Duration::from_millis(500);

/// A lease as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache) struct StoredLease {
    /// What its holder wrote.
    pub(in crate::cache) content: Bytes,
    /// Its version, which changes whenever its holder renews it.
    pub(in crate::cache) version: String,
}

/// What a store answers about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache) enum LeaseAnswer<T> {
    /// It is so, with its version.
    Yes(T),
    /// There is no such lease, or another one than was expected.
    No,
    /// It has not answered in time: what was asked for may have happened, or happen yet.
    Late,
    /// It cannot say: it is ill, or does not look at the conditions of writes.
    Unable,
}

/// Leases: which cache fetches a blob now, so that it is fetched once.
impl Bucket {
    /// Returns whether a lease can be taken: the store is well, and looks at the conditions of writes.
    pub(in crate::cache) fn has_leases(&self) -> bool {
        let inner = self.inner();
        let traffic = inner.client.traffic();
        inner.is_conditional() && traffic.is_open(Direction::Read) && traffic.is_open(Direction::Write)
    }

    /// Takes the lease of a blob where no cache has it.
    pub(in crate::cache) async fn create_lease(
        &self,
        digest: &Digest,
        content: Bytes,
    ) -> LeaseAnswer<String> {
        let (inner, key) = (self.inner(), self.inner().keys.lease(digest));
        within(inner, inner.client.create(&key, content)).await
    }

    /// Writes a lease in place of one version of it: renews it, or takes it over.
    pub(in crate::cache) async fn replace_lease(
        &self,
        digest: &Digest,
        content: Bytes,
        version: &str,
    ) -> LeaseAnswer<String> {
        let (inner, key) = (self.inner(), self.inner().keys.lease(digest));
        within(inner, inner.client.replace(&key, content, version)).await
    }

    /// Reads which cache has the lease of a blob.
    pub(in crate::cache) async fn read_lease(&self, digest: &Digest) -> LeaseAnswer<StoredLease> {
        let (inner, key) = (self.inner(), self.inner().keys.lease(digest));
        let read = async {
            let found = inner.client.get_version(&key).await?;
            Ok(found.map(|(content, version)| StoredLease { content, version }))
        };
        within(inner, read).await
    }

    /// Removes the lease of a blob, whoever has it.
    pub(in crate::cache) async fn remove_lease(&self, digest: &Digest) -> LeaseAnswer<()> {
        let (inner, key) = (self.inner(), self.inner().keys.lease(digest));
        within(inner, async { inner.client.remove(&key).await.map(Some) }).await
    }

    /// Returns whether a blob is known to be in the bucket.
    pub(in crate::cache) fn is_written(&self, digest: &Digest) -> bool {
        self.inner().is_known(&Object::blob(*digest))
    }
}

async fn within<T>(
    inner: &Inner,
    run: impl Future<Output = Result<Option<T>, ClientError>>,
) -> LeaseAnswer<T> {
    match timeout(PATIENCE, run).await {
        Ok(Ok(Some(found))) => LeaseAnswer::Yes(found),
        Ok(Ok(None)) => LeaseAnswer::No,
        Ok(Err(error)) => {
            tracing::debug!("a lease in the bucket {} cannot be had: {error}", inner.url);
            LeaseAnswer::Unable
        }
        Err(_) => {
            tracing::debug!("a lease in the bucket {} cannot be had in time", inner.url);
            LeaseAnswer::Late
        }
    }
}
