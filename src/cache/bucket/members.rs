use bytes::Bytes;

use super::client::Client;
use super::key::Keys;
use super::shared_bucket::{Bucket, variable};
use super::transport::Purpose;
use crate::cache::config::BucketConfig;

/// How many marks of members are read at most.
const MOST: usize = 1000;

/// Which caches use a bucket and can be asked by others: each keeps a key there as long as it runs.
impl Bucket {
    /// Says that a cache is there, with another mark than before; returns whether the bucket knows it now.
    pub(in crate::cache) async fn announce(&self, url: &str, mark: &str) -> Said {
        let inner = self.inner();
        if !inner.is_used() {
            return Said::No;
        }
        if let Err(error) = inner.client.put(&inner.keys.member(url, mark), Bytes::new()).await {
            tracing::debug!("cannot tell the other caches on the bucket that this one is there: {error}");
            return Said::No;
        }
        Said::Yes
    }

    /// Takes back that a cache is there.
    pub(in crate::cache) async fn withdraw(&self, url: &str, mark: &str) {
        let inner = self.inner();
        if inner.is_used()
            && let Err(error) = inner.client.remove(&inner.keys.member(url, mark)).await
        {
            tracing::debug!("cannot take a cache off the list in the bucket: {error}");
        }
    }

    /// Returns which caches say that they are there, and their marks; [`None`] where the bucket does not say.
    pub(in crate::cache) async fn members(&self) -> Option<Vec<(String, String)>> {
        let inner = self.inner();
        if !inner.is_used() {
            return None;
        }
        let listed = list(&inner.client, &inner.keys).await;
        listed.inspect_err(|error| tracing::debug!("{error}")).ok()
    }
}

/// Lists the caches that say that they are there, and their marks.
async fn list(client: &Client, keys: &Keys) -> Result<Vec<(String, String)>, String> {
    let found = client.first(Purpose::Care, &keys.members(), MOST).await;
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.iter().filter_map(|key| keys.read_member(key)).collect())
}

/// Lists the caches that say in a bucket that they can be asked, and their marks.
pub async fn list_members(config: &BucketConfig) -> Result<Vec<(String, String)>, String> {
    let client = Client::new(config, &variable)?;
    list(&client, &Keys::new(config.address.prefix())).await
}

/// Whether a bucket knows something now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Said {
    /// It does.
    Yes,
    /// It may not.
    No,
}
