//! What comes from a tier by several transfers, with a clock that stands still.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::time::{Instant, sleep, sleep_until};

use super::parts::{Parts, PartsRoom};
use super::source::FetchError;
use crate::cache::store::{Blob, Tier, TierBody};
use crate::image::Digest;

const MIB: usize = 1 << 20;

/// A tier that gives each transfer so much a second, and all of them together no more than so much.
struct Slow {
    content: Bytes,
    each: u64,
    all: u64,
    /// When the next byte of all transfers may go.
    free_at: Mutex<Instant>,
    /// Transfers that begin there break off at once.
    broken: Mutex<Vec<u64>>,
    /// It gives the whole only.
    refuses_parts: AtomicBool,
    asked: Mutex<Vec<(u64, Option<u64>)>>,
    running: AtomicUsize,
    most: AtomicUsize,
    /// How many bytes it has given that were not taken yet, and the most of that.
    held: Arc<Mutex<(usize, usize)>>,
}

/// Counts a transfer as long as there is one.
struct Running(Arc<Slow>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slow {
    fn new(mib: usize, each: u64, all: u64) -> Arc<Self> {
        Self::counted(mib, each, all, Arc::default())
    }

    /// One of several that count what they give together.
    fn counted(mib: usize, each: u64, all: u64, held: Arc<Mutex<(usize, usize)>>) -> Arc<Self> {
        let mut content = vec![0; mib * MIB];
        for (at, piece) in content.chunks_mut(MIB / 2).enumerate() {
            piece.fill(u8::try_from(at % 251).unwrap());
        }
        Arc::new(Self {
            content: content.into(),
            each,
            all,
            free_at: Mutex::new(Instant::now()),
            broken: Mutex::default(),
            refuses_parts: AtomicBool::default(),
            asked: Mutex::default(),
            running: AtomicUsize::default(),
            most: AtomicUsize::default(),
            held,
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn give(self: &Arc<Self>, from: u64, end: Option<u64>) -> TierBody {
        self.asked.lock().unwrap().push((from, end));
        let total = self.content.len() as u64;
        let range = usize::try_from(from).unwrap()..usize::try_from(end.unwrap_or(total)).unwrap();
        let mut rest = self.content.slice(range);
        if self.broken.lock().unwrap().contains(&from) {
            rest.truncate(MIB);
        }
        let now = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let running = Running(Arc::clone(self));
        let body = stream::unfold((rest, running), |(mut rest, running)| async move {
            let tier = &running.0;
            let piece = rest.split_to(rest.len().min(MIB));
            if piece.is_empty() {
                return None;
            }
            let needs = |rate: u64| Duration::from_micros(piece.len() as u64 * 1_000_000 / rate);
            let turn = {
                let mut free_at = tier.free_at.lock().unwrap();
                *free_at = (*free_at).max(Instant::now()) + needs(tier.all);
                *free_at
            };
            sleep_until(turn.max(Instant::now() + needs(tier.each))).await;
            let mut held = tier.held.lock().unwrap();
            held.0 += piece.len();
            held.1 = held.1.max(held.0);
            drop(held);
            Some((Ok(piece), (rest, running)))
        });
        TierBody { total, body: body.boxed() }
    }
}

/// The tier of a test, which is also looked into.
struct Shown(Arc<Slow>);

impl Tier for Shown {
    fn open<'a>(&'a self, _: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<Option<TierBody>>> {
        Box::pin(async move { Ok(Some(self.0.give(from, None))) })
    }

    fn open_part<'a>(
        &'a self,
        _: &'a Digest,
        from: u64,
        end: u64,
    ) -> BoxFuture<'a, io::Result<Option<TierBody>>> {
        Box::pin(async move {
            if self.0.refuses_parts.load(Ordering::Relaxed) {
                return Err(io::Error::other("it gave the whole instead of a part"));
            }
            Ok(Some(self.0.give(from, Some(end))))
        })
    }

    fn put<'a>(&'a self, _: &'a Digest, _: &'a Blob) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn mismatch<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// Reads all of it, from its 20th MiB on with a pause after each piece; returns how long that took.
async fn read(tier: &Arc<Slow>, room: &Arc<PartsRoom>, pause: Duration) -> Result<Duration, FetchError> {
    let begun = Instant::now();
    let opened = tier.give(0, None);
    let shown = Arc::new(Shown(Arc::clone(tier)));
    let digest = Digest::sha256([1; 32]);
    let mut parts = Parts::new(shown, digest, Arc::clone(room), 0, opened).into_stream();
    let mut at = 0;
    while let Some(piece) = parts.next().await {
        let piece = piece?;
        assert!(tier.content[at..at + piece.len()] == piece, "other bytes at {at}");
        at += piece.len();
        tier.held.lock().unwrap().0 -= piece.len();
        if at > 20 * MIB {
            sleep(pause).await;
        }
    }
    assert_eq!(at, tier.content.len());
    Ok(begun.elapsed())
}

const NO_LIMIT: u64 = 1 << 40;

#[tokio::test(start_paused = true)]
async fn several_transfers_give_more_where_one_is_slow() {
    let tier = Slow::new(256, 64 << 20, NO_LIMIT);
    let took = read(&tier, &Arc::default(), Duration::ZERO).await.unwrap();
    // One takes four seconds.
    assert!(took < Duration::from_millis(1400), "{took:?}");
    assert_eq!(tier.most.load(Ordering::Relaxed), 4, "at once");
    // One that is cut off, and 8 MiB each of what is left.
    assert_eq!(tier.asked(), 1 + (256 - 24) / 8);
    assert!(tier.held.lock().unwrap().1 <= 3 * 8 * MIB + MIB, "{:?}", tier.held);
    assert_eq!(tier.running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn one_transfer_gives_what_is_small_and_where_it_is_fast() {
    for (mib, each) in [(31, 16 << 20), (31, 64 << 10), (128, 200 << 20)] {
        let tier = Slow::new(mib, each, NO_LIMIT);
        read(&tier, &Arc::default(), Duration::ZERO).await.unwrap();
        assert_eq!(*tier.asked.lock().unwrap(), [(0, None)], "{mib} MiB, {each} bytes a second");
    }
}

#[tokio::test(start_paused = true)]
async fn one_transfer_is_enough_where_several_give_no_more() {
    let (tier, room) = (Slow::new(256, NO_LIMIT, 64 << 20), Arc::default());
    let took = read(&tier, &room, Duration::ZERO).await.unwrap();
    assert!(took < Duration::from_millis(4600), "{took:?}");
    let asked = tier.asked.lock().unwrap().clone();
    assert!(asked.len() < 12 && asked.last().unwrap().1 == Some(256 << 20), "{asked:?}");
    // Nor is it tried again with the next blob, for a while.
    read(&tier, &room, Duration::ZERO).await.unwrap();
    assert_eq!(tier.asked(), asked.len() + 1);
    sleep(Duration::from_mins(1)).await;
    read(&tier, &room, Duration::ZERO).await.unwrap();
    assert!(tier.asked() > asked.len() + 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_is_bounded_whoever_reads_slowly() {
    let (tier, room) = (Slow::new(64, 32 << 20, NO_LIMIT), Arc::<PartsRoom>::default());
    read(&tier, &room, Duration::from_millis(200)).await.unwrap();
    assert_eq!(tier.most.load(Ordering::Relaxed), 4);
    assert!(tier.held.lock().unwrap().1 <= 4 * 8 * MIB, "{:?}", tier.held);
    // It was noted that several are no faster; that is forgotten after a while.
    sleep(Duration::from_mins(1)).await;
    // Many blobs at once share the room.
    let held = Arc::<Mutex<(usize, usize)>>::default();
    let tier = |_| Slow::counted(64, 32 << 20, NO_LIMIT, Arc::clone(&held));
    let tiers: Vec<_> = (0..12).map(tier).collect();
    let all = tiers.iter().map(|tier| read(tier, &room, Duration::from_millis(1)));
    futures_util::future::try_join_all(all).await.unwrap();
    let (_, most) = *held.lock().unwrap();
    assert!(most <= (16 * 8 + 12) * MIB, "{} MiB", most / MIB);
}

#[tokio::test(start_paused = true)]
async fn where_one_of_several_fails_one_goes_on() {
    let (tier, room) = (Slow::new(128, 64 << 20, NO_LIMIT), Arc::default());
    tier.broken.lock().unwrap().push(32 << 20);
    read(&tier, &room, Duration::ZERO).await.unwrap();
    let asked = tier.asked.lock().unwrap().clone();
    // What came of the part that failed is not asked for again.
    assert_eq!(asked.last(), Some(&(33 << 20, Some(128 << 20))), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_of_those_still_ahead_after_a_lost_trial_ends_nothing() {
    let (tier, room) = (Slow::new(256, NO_LIMIT, 64 << 20), Arc::default());
    // By then it is known that several are no faster.
    tier.broken.lock().unwrap().push(56 << 20);
    read(&tier, &room, Duration::ZERO).await.unwrap();
    let asked = tier.asked.lock().unwrap().clone();
    assert!(asked.len() < 12, "several were no faster: {asked:?}");
    assert_eq!(asked.last(), Some(&(57 << 20, Some(256 << 20))), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn one_transfer_goes_on_where_a_tier_gives_no_parts() {
    let (tier, room) = (Slow::new(128, 64 << 20, NO_LIMIT), Arc::default());
    tier.refuses_parts.store(true, Ordering::Relaxed);
    let took = read(&tier, &room, Duration::ZERO).await.unwrap();
    assert!(took < Duration::from_millis(2100), "{took:?}");
    assert_eq!(*tier.asked.lock().unwrap(), [(0, None)]);
}

/// Where it is the reader that takes its time, one transfer is enough.
#[tokio::test(start_paused = true)]
async fn a_reader_that_is_slower_than_one_transfer_has_one() {
    let (tier, room) = (Slow::new(64, 100 << 20, NO_LIMIT), Arc::<PartsRoom>::default());
    let opened = tier.give(0, None);
    let shown = Arc::new(Shown(Arc::clone(&tier)));
    let mut parts = Parts::new(shown, Digest::sha256([1; 32]), room, 0, opened).into_stream();
    while parts.next().await.is_some() {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tier.asked(), 1);
}
