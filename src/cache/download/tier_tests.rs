//! Downloads with a tier behind the store.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::tests::{Answer, GOOD, Script, Tight, content, digest, until_idle, whole};
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
    /// How long it takes for each 16 KiB.
    pace: Mutex<Duration>,
    fails: bool,
    /// What it was told of how slow it is.
    told: Mutex<Vec<bool>>,
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
            if let Some(gives) = self.gives {
                let body = [Ok(rest.slice(..gives)), Err(io::Error::other("cut"))];
                return Ok(Some(TierBody { total, body: stream::iter(body).boxed() }));
            }
            let (pace, mut rest, mut pieces) = (*self.pace.lock().unwrap(), rest, Vec::new());
            while !rest.is_empty() {
                pieces.push(Ok(rest.split_to(rest.len().min(16 << 10))));
            }
            let body = stream::iter(pieces).then(move |piece| async move {
                tokio::time::sleep(pace).await;
                piece
            });
            let body = body.boxed();
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

    fn note_slow(&self, slow: bool) {
        self.told.lock().unwrap().push(slow);
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
        tokio::time::sleep(Duration::from_millis(1)).await;
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

/// Downloads something new, which the tier has, too; returns how often the tier was asked for it, and from where upstream was.
async fn download(
    downloads: &Downloads,
    bucket: &Bucket,
    content: &Bytes,
    last: Answer,
) -> (usize, Vec<u64>) {
    bucket.blobs.lock().unwrap().insert(digest(content), content.clone());
    let before = bucket.asked();
    let source = Script::new(content, [], last);
    let download = downloads.get(&digest(content), None, None, source.clone()).unwrap();
    assert_eq!(whole(&download).await, *content);
    until_idle(downloads).await;
    (bucket.asked() - before, source.asked())
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_far_slower_than_upstream_holds_no_pull() {
    let bucket = Arc::new(Bucket::default());
    let (_store, downloads) = downloads(&bucket).await;
    // 32 KiB a second, where upstream gives sixteen times that.
    *bucket.pace.lock().unwrap() = Duration::from_millis(500);
    let upstream = Answer { pace: Duration::from_millis(30), ..GOOD };
    let begun = tokio::time::Instant::now();
    let (tier, asked) = download(&downloads, &bucket, &content(1_000_000), upstream.clone()).await;
    assert_eq!((tier, asked.len()), (1, 1));
    assert!(asked[0] > 0, "what the tier gave is not fetched again: {asked:?}");
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(*bucket.told.lock().unwrap(), [true]);
    // For a while upstream is asked first.
    assert_eq!(download(&downloads, &bucket, &content(1_000_001), upstream.clone()).await, (0, vec![0]));
    // When the tier is well again, that is found out.
    *bucket.pace.lock().unwrap() = Duration::ZERO;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(download(&downloads, &bucket, &content(1_000_002), upstream.clone()).await, (1, vec![]));
    assert_eq!(download(&downloads, &bucket, &content(1_000_003), upstream).await, (1, vec![]));
    assert_eq!(*bucket.told.lock().unwrap(), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_tier_is_better_than_an_upstream_that_gives_nothing() {
    let bucket = Arc::new(Bucket::default());
    let (_store, downloads) = downloads(&bucket).await;
    *bucket.pace.lock().unwrap() = Duration::from_millis(500);
    let down = Answer { fails: Some(FetchError::unavailable("no connection")), ..GOOD };
    let (tier, _) = download(&downloads, &bucket, &content(500_000), down).await;
    assert_eq!(tier, 2, "it is asked for the rest");
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_hardly_slower_than_upstream_comes_first() {
    let bucket = Arc::new(Bucket::default());
    let (_store, downloads) = downloads(&bucket).await;
    *bucket.pace.lock().unwrap() = Duration::from_millis(100);
    // Upstream gives half of that; until it was measured, the tier may be left once.
    let upstream = Answer { pace: Duration::from_millis(200), ..GOOD };
    download(&downloads, &bucket, &content(1_500_000), upstream.clone()).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    for more in 1..4 {
        let (tier, asked) = download(&downloads, &bucket, &content(1_500_000 + more), upstream.clone()).await;
        assert_eq!((tier, asked), (1, vec![]));
    }
}
