#![expect(
    clippy::disallowed_methods,
    reason = "measures how long the store takes, and names a key by chance"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{Client, Put};
use super::key::Keys;
use super::layout::{self, LAYOUT};
use super::transport::Purpose;
use crate::secret::os_random;

/// What was found out about a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probed {
    /// Whether its store refuses a write that would replace something; [`None`] where nothing can be written.
    pub(super) is_conditional: Option<bool>,
    /// How long it takes to answer.
    pub(super) took: Duration,
}

/// Why a bucket is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProbeError {
    /// It cannot be asked now.
    #[error("{0}")]
    Ill(String),
    /// A newer version has written it.
    #[error(
        "it has layout {0}, and this version knows layout {LAYOUT}: use the newer talmirror-cache, or another prefix"
    )]
    Newer(u64),
    /// Something else has written it.
    #[error("its key `layout` is not of talmirror-cache: choose another prefix")]
    Foreign,
}

/// Looks what is in a bucket: whether it has a layout, and how long it takes to say so.
pub(super) async fn look(client: &Client, keys: &Keys) -> Result<(bool, Duration), ProbeError> {
    let begun = Instant::now();
    let found = client.get(Purpose::Care, &keys.layout()).await;
    let took = begun.elapsed();
    match found.map_err(|error| ProbeError::Ill(error.to_string()))? {
        None => Ok((false, took)),
        Some(bytes) => match layout::read(&bytes) {
            Some(found) if found > LAYOUT => Err(ProbeError::Newer(found)),
            Some(_) => Ok((true, took)),
            None => Err(ProbeError::Foreign),
        },
    }
}

/// Looks what is in a bucket, makes it one of ours where nothing is, and finds out what its store can do.
pub(super) async fn probe(client: &Client, keys: &Keys) -> Result<Probed, ProbeError> {
    let (mut has_layout, took) = look(client, keys).await?;
    if !has_layout {
        let put = client.put(&keys.layout(), Bytes::from(layout::write())).await;
        put.map_err(|error| ProbeError::Ill(error.to_string()))?;
        // Another replica may have been first.
        (has_layout, _) = look(client, keys).await?;
        if !has_layout {
            return Err(ProbeError::Ill("what was written to it is not there".to_owned()));
        }
    }
    Ok(Probed { is_conditional: is_conditional(client, keys).await, took })
}

/// Finds out whether a store refuses a write that would replace something; [`None`] where nothing can be written now.
pub(super) async fn is_conditional(client: &Client, keys: &Keys) -> Option<bool> {
    let mut random = [0; 8];
    os_random(&mut random);
    let key = keys.probe(&format!("{:016x}", u64::from_le_bytes(random)));
    let twice = async {
        client.put(&key, Bytes::new()).await?;
        client.put(&key, Bytes::new()).await
    };
    let is_conditional = match twice.await {
        Ok(Put::Existed) => Some(true),
        Ok(Put::Created) => {
            client.set_unconditional();
            Some(false)
        }
        // What cannot be written is told where something is to be written.
        Err(_) => None,
    };
    drop(client.remove(&key).await);
    is_conditional
}
