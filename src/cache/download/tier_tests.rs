//! Downloads with a tier behind the store.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::tests::{GOOD, Script, Tight, content, digest, until_idle, whole};
use super::*;
use crate::cache::store::{Blob, Store as _, Tier, TierBody};
use crate::image::Digest;
use futures_util::future::BoxFuture;

/// A tier in memory, which does what it is told to do wrong.
#[derive(Default)]
struct Bucket {
    blobs: Mutex<HashMap<Digest, Bytes>>,
    /// Breaks off after so many bytes.
    gives: Option<usize>,
    fails: bool,
    asked: Mutex<Vec<u64>>,
    mismatches: Mutex<usize>,
}

impl Bucket {
    fn of(blobs: impl IntoIterator<Item = (Digest, Bytes)>) -> Self {
        Self { blobs: Mutex::new(blobs.into_iter().collect()), ..Self::default() }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Tier for Bucket {
    fn open<'a>(&'a self, digest: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<Option<TierBody>>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(from);
            if self.fails {
                return Err(io::Error::other("the bucket is closed"));
            }
            let Some(bytes) = self.blobs.lock().unwrap().get(digest).cloned() else { return Ok(None) };
            let total = bytes.len() as u64;
            let rest = bytes.slice(usize::try_from(from).unwrap()..);
            let body = match self.gives {
                Some(gives) => stream::iter([Ok(rest.slice(..gives)), Err(io::Error::other("cut"))]).boxed(),
                None => stream::iter([Ok(rest)]).boxed(),
            };
            Ok(Some(TierBody { total, body }))
        })
    }

    fn put<'a>(&'a self, digest: &'a Digest, blob: &'a Blob) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut bytes = vec![0; usize::try_from(blob.len()).unwrap()];
            blob.file().read_exact_at(&mut bytes, 0)?;
            self.blobs.lock().unwrap().insert(*digest, bytes.into());
            Ok(())
        })
    }

    fn mismatch<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            *self.mismatches.lock().unwrap() += 1;
            self.blobs.lock().unwrap().remove(digest);
        })
    }
}

async fn downloads(bucket: &Arc<Bucket>) -> (Arc<Tight>, Downloads) {
    let store = Tight::new(None).await;
    let tier: Arc<dyn Tier> = Arc::<Bucket>::clone(bucket);
    let downloads = Downloads::with_tier(Arc::<Tight>::clone(&store), Some(tier), Policy::default());
    (store, downloads)
}

#[tokio::test]
async fn what_a_tier_has_costs_upstream_nothing() {
    let content = content(300_000);
    let bucket = Arc::new(Bucket::of([(digest(&content), content.clone())]));
    let (store, downloads) = downloads(&bucket).await;
    let source = Script::new(&content, [], GOOD);
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert_eq!(whole(&download).await, content);
    until_idle(&downloads).await;
    assert!(store.has(&digest(&content)).await);
    assert_eq!((source.asked().len(), bucket.asked()), (0, 1));
}

#[tokio::test]
async fn what_is_committed_goes_to_the_tier() {
    let content = content(300_000);
    let bucket = Arc::new(Bucket::default());
    let (_store, downloads) = downloads(&bucket).await;
    let source = Script::new(&content, [], GOOD);
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert_eq!(whole(&download).await, content);
    while bucket.blobs.lock().unwrap().get(&digest(&content)) != Some(&content) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(source.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_fails_or_breaks_off_is_passed_over() {
    let content = content(300_000);
    for (fails, gives, asked) in [(true, None, 0), (false, Some(100_000), 100_000)] {
        let bucket = Bucket::of([(digest(&content), content.clone())]);
        let bucket = Arc::new(Bucket { gives, fails, ..bucket });
        let (_store, downloads) = downloads(&bucket).await;
        let source = Script::new(&content, [], GOOD);
        let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
        assert_eq!(whole(&download).await, content);
        assert_eq!(source.asked(), [asked], "upstream gives the rest");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_is_not_trusted() {
    let content = content(50_000);
    let mut wrong = content.to_vec();
    wrong[7] ^= 1;
    let bucket = Arc::new(Bucket::of([(digest(&content), wrong.into())]));
    let (store, downloads) = downloads(&bucket).await;
    let source = Script::new(&content, [], GOOD);
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert_eq!(whole(&download).await, content);
    until_idle(&downloads).await;
    assert!(store.store.open(&digest(&content)).await.unwrap().is_some());
    assert_eq!(*bucket.mismatches.lock().unwrap(), 1);
    assert!(source.mismatches.lock().unwrap().is_empty(), "upstream is not accused");
}
