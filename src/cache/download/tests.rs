//! Downloads against a source that does what a script says, under a clock that jumps.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::policy::TAIL;
use super::*;
use crate::cache::store::*;
use crate::http::{Body, Piece};
use crate::image::{Algorithm, Digest};
use crate::oci::{Span, digest_of};

/// What one answer of the source is like.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) endpoint: usize,
    pub(super) fails: Option<FetchError>,
    /// Whether it begins where it was asked to, or at 0.
    pub(super) ranges: bool,
    pub(super) says_length: bool,
    pub(super) chunk: usize,
    pub(super) pace: Duration,
    /// So many bytes, then the end, an error, or nothing more for ever.
    pub(super) gives: Option<usize>,
    pub(super) then: Then,
    /// Which byte of the content it gives wrong.
    pub(super) wrong: Option<usize>,
    /// What it calls the whole length, if that is not true.
    pub(super) lies: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    End,
    Break,
    Stall,
}

pub(super) const GOOD: Answer = Answer {
    endpoint: 0,
    fails: None,
    ranges: true,
    says_length: true,
    chunk: 16 << 10,
    pace: Duration::ZERO,
    gives: None,
    then: Then::End,
    wrong: None,
    lies: None,
};

/// Gives the answers of a script, then `last` for ever.
pub(super) struct Script {
    content: Bytes,
    answers: Mutex<VecDeque<Answer>>,
    last: Answer,
    asked: Mutex<Vec<u64>>,
    pub(super) mismatches: Mutex<Vec<Vec<usize>>>,
}

impl Script {
    pub(super) fn new(content: &Bytes, answers: impl IntoIterator<Item = Answer>, last: Answer) -> Arc<Self> {
        Arc::new(Self {
            content: content.clone(),
            answers: Mutex::new(answers.into_iter().collect()),
            last,
            asked: Mutex::default(),
            mismatches: Mutex::default(),
        })
    }

    pub(super) fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

impl Source for Script {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(from);
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| self.last.clone());
            if let Some(error) = answer.fails {
                return Err(error);
            }
            let starts_at = if answer.ranges { from } else { 0 };
            let mut content = self.content.to_vec();
            if let Some(at) = answer.wrong
                && let Some(byte) = content.get_mut(at)
            {
                *byte ^= 1;
            }
            let mut rest = Bytes::from(content).slice(usize::try_from(starts_at).unwrap()..);
            if let Some(gives) = answer.gives {
                rest.truncate(gives);
            }
            let mut chunks = Vec::new();
            while !rest.is_empty() {
                chunks.push(Ok(rest.split_to(answer.chunk.min(rest.len()))));
            }
            if answer.then == Then::Break {
                chunks.push(Err(FetchError::Broken("connection reset".to_owned())));
            }
            let pace = answer.pace;
            let body = stream::iter(chunks).then(move |chunk| async move {
                sleep(pace).await;
                chunk
            });
            let body =
                if answer.then == Then::Stall { body.chain(stream::pending()).boxed() } else { body.boxed() };
            let total = answer.lies.unwrap_or(self.content.len() as u64);
            Ok(Opened {
                total: answer.says_length.then_some(total),
                starts_at,
                endpoint: answer.endpoint,
                body,
            })
        })
    }

    fn mismatch(&self, endpoints: &[usize]) {
        self.mismatches.lock().unwrap().push(endpoints.to_vec());
    }
}

/// A store whose spools take so many bytes.
pub(super) struct Tight {
    pub(super) store: FsStore,
    limit: Option<u64>,
    root: tempfile::TempDir,
}

struct NoRoom;

impl Room for NoRoom {
    fn grow(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn wrote(&self, _: u64) {}
    fn full(&self) {}
    fn release(&self, _: u64, _: u64) {}
}

impl Tight {
    pub(super) async fn new(limit: Option<u64>) -> Arc<Self> {
        let root = tempfile::tempdir().unwrap();
        let config = FsConfig { cap: Some(1 << 30), reserve: Some(0), ..FsConfig::new(root.path().into()) };
        Arc::new(Self { store: FsStore::open(config).await.unwrap(), limit, root })
    }

    fn downloads(self: &Arc<Self>, policy: Policy) -> Downloads {
        Downloads::new(Arc::<Self>::clone(self), policy)
    }

    pub(super) async fn has(&self, digest: &Digest) -> bool {
        self.store.open(digest).await.unwrap().is_some()
    }

    fn path(&self) -> &Path {
        self.root.path()
    }
}

impl Store for Tight {
    fn spool(&self, size: Option<u64>) -> BoxFuture<'_, io::Result<Spool>> {
        let Some(limit) = self.limit else { return self.store.spool(size) };
        Box::pin(async move {
            let file = tempfile::tempfile_in(self.path())?;
            Ok(Spool::new(file, None, Arc::new(NoRoom), limit))
        })
    }
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Blob>>> {
        self.store.open(digest)
    }
    fn commit<'a>(&'a self, spool: Spool, digest: &'a Digest) -> BoxFuture<'a, io::Result<()>> {
        self.store.commit(spool, digest)
    }
    fn manifest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Document>>> {
        self.store.manifest(digest)
    }
    fn put_manifest<'a>(
        &'a self,
        digest: &'a Digest,
        document: &'a Document,
    ) -> BoxFuture<'a, io::Result<()>> {
        self.store.put_manifest(digest, document)
    }
    fn touch(&self, object: &Object) -> Touched {
        self.store.touch(object)
    }
    fn remove<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        self.store.remove(object)
    }
    fn verify<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Verdict>> {
        self.store.verify(object)
    }
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<Listed>>> {
        self.store.list()
    }
    fn usage(&self) -> BoxFuture<'_, io::Result<Usage>> {
        self.store.usage()
    }
    fn grant<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<()>> {
        self.store.grant(origin, object)
    }
    fn granted<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        self.store.granted(origin, object)
    }
    fn origins<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Vec<Origin>>> {
        self.store.origins(object)
    }
    fn record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.store.record(key)
    }
    fn put_record<'a>(&'a self, key: &'a RecordKey, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        self.store.put_record(key, bytes)
    }
    fn remove_record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<bool>> {
        self.store.remove_record(key)
    }
    fn records(&self, kind: RecordKind) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        self.store.records(kind)
    }
}

pub(super) fn content(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

pub(super) fn digest(content: &Bytes) -> Digest {
    digest_of(Algorithm::Sha256, content)
}

/// Reads a body; what came of it, and whether that was all.
async fn read(body: Body) -> (Vec<u8>, io::Result<()>) {
    let mut out = Vec::new();
    let take = |piece: Piece, out: &mut Vec<u8>| match piece {
        Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
        Piece::File { file, offset, len } => {
            let at = out.len();
            out.resize(at + usize::try_from(len).unwrap(), 0);
            file.read_exact_at(&mut out[at..], offset).expect("what is published can be read");
        }
    };
    match body {
        Body::Empty => {}
        Body::Piece(piece) => take(piece, &mut out),
        Body::Pieces { len, mut pieces } => loop {
            match pieces.next().await {
                Ok(Some(piece)) => {
                    assert!(!piece.is_empty());
                    take(piece, &mut out);
                }
                Ok(None) => {
                    assert_eq!(out.len() as u64, len, "an end that is none");
                    break;
                }
                Err(error) => {
                    assert!((out.len() as u64) < len, "an error behind all bytes");
                    return (out, Err(error));
                }
            }
        },
    }
    (out, Ok(()))
}

pub(super) async fn whole(download: &Download) -> Vec<u8> {
    let total = download.headers().await.unwrap();
    let (bytes, end) = read(download.body(None, total)).await;
    end.unwrap();
    bytes
}

/// Waits until nothing is being fetched.
pub(super) async fn until_idle(downloads: &Downloads) {
    while downloads.stats().running > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_readers_cost_one_download_and_get_every_range() {
    let content = content(1 << 20);
    let digest = digest(&content);
    let source =
        Script::new(&content, [Answer { chunk: 9000, pace: Duration::from_millis(3), ..GOOD }], GOOD);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let mut readers = Vec::new();
    for n in 0..64_u64 {
        let download = downloads.get(&digest, None, None, source.clone()).unwrap();
        assert_eq!(download.joined(), if n == 0 { Joined::Started } else { Joined::Existing });
        let content = content.clone();
        readers.push(tokio::spawn(async move {
            sleep(Duration::from_millis(n * 5)).await;
            let total = download.headers().await.unwrap();
            assert_eq!(total, 1 << 20);
            let first = n * 16_000;
            let span = Span::new(first, if n % 2 == 0 { total - 1 } else { first + 5000 }).unwrap();
            let (bytes, end) = read(download.body(Some(span), total)).await;
            end.unwrap();
            let range = usize::try_from(span.first()).unwrap()..=usize::try_from(span.last()).unwrap();
            assert!(bytes == content[range]);
        }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    until_idle(&downloads).await;
    assert_eq!(source.asked(), [0]);
    assert!(store.has(&digest).await);
    let stats = downloads.stats();
    assert_eq!((stats.begun, stats.followers, stats.stored, stats.failed), (1, 63, 1, 0));
    // Joining after it was stored costs nothing.
    assert_eq!(whole(&downloads.get(&digest, None, None, source.clone()).unwrap()).await, content);
    assert_eq!(source.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn headers_come_with_the_upstreams_and_the_end_only_when_the_digest_holds() {
    let content = content(300_000);
    let source =
        Script::new(&content, [], Answer { gives: Some(299_999), ranges: false, then: Then::Stall, ..GOOD });
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy { idle: Duration::from_secs(5), tries: 1, ..Policy::default() });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let begun = Instant::now();
    assert_eq!(download.headers().await, Ok(300_000));
    assert!(begun.elapsed() < Duration::from_millis(10));
    let (bytes, end) = read(download.body(None, 300_000)).await;
    assert_eq!(bytes.len() as u64, 300_000 - TAIL);
    assert!(end.unwrap_err().to_string().contains("nothing came for 5 s"), "the idle time ran out");
}

#[tokio::test(start_paused = true)]
async fn broken_transfers_are_taken_up_where_they_broke() {
    let content = content(400_000);
    let cut = |gives, ranges, then| Answer { gives: Some(gives), ranges, then, ..GOOD };
    let answers = [
        cut(50_000, true, Then::Break),
        cut(20_000, true, Then::End),
        cut(0, true, Then::Break),
        Answer { fails: Some(FetchError::unavailable("503".to_owned())), ..GOOD },
        cut(100_000, false, Then::Break), // from 0: what is there already is passed over
        cut(30_000, true, Then::Stall),
    ];
    let source = Script::new(&content, answers, Answer { endpoint: 1, ..GOOD });
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert!(whole(&download).await == content);
    until_idle(&downloads).await;
    assert_eq!(source.asked(), [0, 50_000, 70_000, 70_000, 70_000, 100_000, 130_000]);
    assert_eq!(downloads.stats().resumed, 6);
    assert!(store.has(&digest(&content)).await);
}

#[tokio::test(start_paused = true)]
async fn no_progress_ends_and_progress_does_not() {
    let content = content(200_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy { tries: 3, ..Policy::default() });
    // An upstream without ranges that always breaks at the same place.
    let source =
        Script::new(&content, [], Answer { gives: Some(90_000), ranges: false, then: Then::Break, ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let (bytes, end) = read(download.body(None, download.headers().await.unwrap())).await;
    assert!(bytes == content[..90_000]);
    assert!(end.unwrap_err().to_string().contains("connection reset"));
    assert_eq!(source.asked().len(), 4);
    drop(download);
    until_idle(&downloads).await;
    // One that gives a little each time.
    let source = Script::new(&content, [], Answer { gives: Some(9_000), then: Then::Break, ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert!(whole(&download).await == content);
    assert_eq!(source.asked().len(), 23);
}

#[tokio::test(start_paused = true)]
async fn what_trickles_does_not_go_on_for_ever() {
    let content = content(400_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let trickle = Answer { chunk: 500, pace: Duration::from_secs(1), ..GOOD };
    let source = Script::new(&content, [], trickle.clone());
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let begun = Instant::now();
    let (bytes, end) = read(download.body(None, download.headers().await.unwrap())).await;
    assert!(end.unwrap_err().to_string().contains("more slowly than 1024 bytes a second"));
    assert!(
        bytes.len() < content.len() && begun.elapsed() < Duration::from_mins(10),
        "{:?}",
        begun.elapsed()
    );
    drop(download);
    until_idle(&downloads).await;
    // Where another transfer is faster, that one goes on.
    let source = Script::new(&content, [trickle], GOOD);
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert!(whole(&download).await == content);
    assert_eq!(source.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_length_or_too_many_bytes_end_it() {
    let content = content(100_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let pace = Duration::from_millis(1);
    let cut = Answer { gives: Some(10_000), then: Then::Break, pace, ..GOOD };
    let source = Script::new(&content, [cut], Answer { lies: Some(99_999), endpoint: 7, ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let (_, end) = read(download.body(None, download.headers().await.unwrap())).await;
    assert!(end.unwrap_err().to_string().contains("99999"));
    assert!(source.mismatches.lock().unwrap().is_empty(), "a length does not say who is right");
    until_idle(&downloads).await;

    let source = Script::new(&content, [], Answer { lies: Some(99_990), pace, ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let (_, end) = read(download.body(None, download.headers().await.unwrap())).await;
    assert!(end.unwrap_err().to_string().contains("more than"));
    until_idle(&downloads).await;
    assert!(!store.has(&digest(&content)).await);
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_never_whole_and_never_stored() {
    let content = content(200_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let source = Script::new(
        &content,
        [Answer { wrong: Some(0), endpoint: 3, pace: Duration::from_millis(1), ..GOOD }],
        GOOD,
    );
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let follower = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert_eq!((download.headers().await, follower.headers().await), (Ok(200_000), Ok(200_000)));
    for download in [&download, &follower] {
        let (bytes, end) = read(download.body(None, 200_000)).await;
        assert!(bytes.len() < 200_000);
        assert!(end.unwrap_err().to_string().contains("digest"));
    }
    until_idle(&downloads).await;
    assert_eq!(*source.mismatches.lock().unwrap(), [[3]]);
    assert_eq!(downloads.stats().mismatched, 1);
    assert!(!store.has(&digest(&content)).await);
    // The next request gets it from elsewhere.
    assert!(whole(&downloads.get(&digest(&content), None, None, source).unwrap()).await == content);
}

#[tokio::test(start_paused = true)]
async fn small_wrong_bytes_are_fetched_elsewhere_before_anybody_sees_them() {
    let content = content(50_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let wrong = |endpoint| Answer { wrong: Some(0), endpoint, ..GOOD };
    let source = Script::new(&content, [wrong(0), wrong(1)], Answer { endpoint: 2, ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert!(whole(&download).await == content);
    assert_eq!(*source.mismatches.lock().unwrap(), [[0], [1]]);
    until_idle(&downloads).await;
    assert!(store.has(&digest(&content)).await);
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_the_upstream_reaches_everybody() {
    let content = content(10);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let denied = FetchError::Denied { hint: "needs a login".to_owned() };
    let source = Script::new(&content, [], Answer { fails: Some(denied.clone()), ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let follower = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert_eq!(download.headers().await, Err(denied.clone()));
    assert_eq!(follower.headers().await, Err(denied));
    assert_eq!(source.asked(), [0], "an error before the first byte is not tried again");
}

#[tokio::test(start_paused = true)]
async fn nothing_and_unknown_lengths() {
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy::default());
    let empty = Bytes::new();
    let download = downloads.get(&digest(&empty), None, None, Script::new(&empty, [], GOOD)).unwrap();
    assert_eq!(whole(&download).await, b"");
    let download = downloads.get(&digest(&content(5)), None, None, Script::new(&empty, [], GOOD)).unwrap();
    assert!(matches!(download.headers().await, Err(FetchError::Mismatch(_))));

    let content = content(150_000);
    let silent = Answer { says_length: false, pace: Duration::from_millis(10), ..GOOD };
    let download =
        downloads.get(&digest(&content), None, None, Script::new(&content, [], silent.clone())).unwrap();
    let begun = Instant::now();
    assert!(whole(&download).await == content);
    assert!(begun.elapsed() >= Duration::from_millis(100), "the length is known at the end only");
    until_idle(&downloads).await;
    store.remove(&Object::blob(digest(&content))).await.unwrap();
    let download =
        downloads.get(&digest(&content), Some(150_000), None, Script::new(&content, [], silent)).unwrap();
    let begun = Instant::now();
    assert_eq!(download.headers().await, Ok(150_000));
    assert!(begun.elapsed() < Duration::from_millis(10), "the hint is believed");
    assert!(whole(&download).await == content);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_belongs_to_the_service() {
    let content = content(300_000);
    let slow = Answer { pace: Duration::from_secs(1), ..GOOD };
    for (finish, kept) in [(Finish::Always, true), (Finish::Over(90), false), (Finish::Over(20), true)] {
        let store = Tight::new(None).await;
        let downloads = store.downloads(Policy { finish, ..Policy::default() });
        let source = Script::new(&content, [], slow.clone());
        let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
        let Body::Pieces { mut pieces, .. } = download.body(None, download.headers().await.unwrap()) else {
            panic!()
        };
        pieces.next().await.unwrap();
        drop((download, pieces));
        until_idle(&downloads).await;
        assert_eq!(store.has(&digest(&content)).await, kept, "{finish:?}");
        assert_eq!(downloads.stats().abandoned, u64::from(!kept));
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_finds_it_going_on() {
    let content = content(300_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy { finish: Finish::Over(100), ..Policy::default() });
    let source = Script::new(&content, [], Answer { pace: Duration::from_secs(3), ..GOOD });
    drop(downloads.get(&digest(&content), None, None, source.clone()).unwrap());
    sleep(Duration::from_secs(8)).await;
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    assert_eq!(download.joined(), Joined::Existing);
    assert!(whole(&download).await == content);
    assert_eq!(source.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn without_room_everybody_goes_on_alone_and_the_first_with_the_transfer_there_is() {
    let content = content(500_000);
    for limit in [0, 1, 100_000, 436_000, 440_000, 499_999] {
        let store = Tight::new(Some(limit)).await;
        let downloads = store.downloads(Policy::default());
        let source = Script::new(&content, [], Answer { pace: Duration::from_millis(1), ..GOOD });
        let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
        assert!(whole(&download).await == content);
        assert_eq!(source.asked(), [0], "one client costs one transfer");
        let total = download.headers().await.unwrap();
        for first in [0, 99_999, 250_000, 499_999] {
            let (bytes, end) = read(download.body(Span::new(first, 499_999), total)).await;
            end.unwrap();
            assert!(bytes == content[usize::try_from(first).unwrap()..], "{limit} {first}");
        }
        drop(download);
        until_idle(&downloads).await;
        assert!(!store.has(&digest(&content)).await);
        assert_eq!(downloads.stats().passed_through, 1);
        // Wrong bytes are no more whole than with room.
        let source = Script::new(&content, [], Answer { wrong: Some(0), ..GOOD });
        let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
        let (bytes, end) = read(download.body(None, total)).await;
        assert!(end.is_err() && bytes.len() < content.len());
        assert_eq!(*source.mismatches.lock().unwrap(), [[0]]);
    }
}

#[tokio::test(start_paused = true)]
async fn too_large_to_keep_and_too_many_at_once() {
    let content = content(200_000);
    let store = Tight::new(None).await;
    let downloads = store.downloads(Policy { largest: 199_999, fills: 1, ..Policy::default() });
    let source = Script::new(&content, [], Answer { pace: Duration::from_millis(5), ..GOOD });
    let download = downloads.get(&digest(&content), None, None, source.clone()).unwrap();
    let other = digest_of(Algorithm::Sha256, b"other");
    assert_eq!(downloads.get(&other, None, None, source.clone()).err(), Some(Overloaded(1)));
    assert!(whole(&download).await == content);
    assert!(!store.has(&digest(&content)).await);
    assert_eq!(source.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_leaves_nobody_waiting() {
    struct Panics;
    impl Source for Panics {
        fn open(&self, _: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
            Box::pin(async { panic!("a bug") })
        }
        fn mismatch(&self, _: &[usize]) {}
    }
    let downloads = Tight::new(None).await.downloads(Policy::default());
    let download = downloads.get(&digest(&content(1)), None, None, Arc::new(Panics)).unwrap();
    assert!(matches!(download.headers().await, Err(FetchError::Internal(_))));
    assert_eq!(downloads.stats().running, 0);
}

/// One way in which a transfer goes.
fn answer() -> impl Strategy<Value = Answer> {
    let then = prop_oneof![Just(Then::End), Just(Then::Break), Just(Then::Stall)];
    (any::<bool>(), 1usize..70_000, 0u64..40, 0usize..200_000, then, 0usize..3).prop_map(
        |(ranges, chunk, pace, gives, then, endpoint)| Answer {
            ranges,
            chunk,
            pace: Duration::from_millis(pace),
            gives: Some(gives),
            then,
            endpoint,
            ..GOOD
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever transfers do, and wherever the room ends: readers get the right bytes; and where an upstream lies,
    /// no client that asked for the end gets all of it.
    #[test]
    fn right_bytes_or_an_error(
        size in prop_oneof![0usize..200, 60_000usize..70_000, 0usize..400_000],
        answers in proptest::collection::vec(answer(), 0..6),
        wrong in proptest::option::weighted(0.4, (0usize..3, 0usize..400_000)),
        limit in proptest::option::weighted(0.4, 0u64..400_000),
        readers in proptest::collection::vec((prop_oneof![Just(0u64), 0u64..400_000], 0u64..400_000, 0u64..300, any::<bool>()), 1..6),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let content = content(size);
            let digest = digest(&content);
            let mut answers = answers;
            let mut last = Answer { chunk: 50_000, ..GOOD };
            let lies = wrong.is_some();
            if let Some((from, at)) = wrong {
                for answer in answers.iter_mut().skip(from).chain([&mut last]) {
                    answer.wrong = Some(at % size.max(1));
                }
            }
            let source = Script::new(&content, answers, last);
            let store = Tight::new(limit).await;
            let downloads = store.downloads(Policy { tries: 8, ..Policy::default() });
            let mut tasks = Vec::new();
            for (first, len, delay, to_the_end) in readers {
                let (downloads, source, content) = (downloads.clone(), source.clone(), content.clone());
                tasks.push(tokio::spawn(async move {
                    sleep(Duration::from_millis(delay)).await;
                    let download = downloads.get(&digest, None, None, source).unwrap();
                    let total = match download.headers().await {
                        Ok(total) => total,
                        Err(error) => { assert!(lies, "{error}"); return; }
                    };
                    assert_eq!(total, content.len() as u64);
                    let Some(end) = total.checked_sub(1) else { return };
                    let first = first.min(end);
                    let last = if to_the_end { end } else { (first + len).min(end) };
                    let span = Span::new(first, last);
                    let (bytes, done) = read(download.body(span, total)).await;
                    let right = &content[usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()];
                    match done {
                        // A part of what is not kept is for the client to check.
                        Ok(()) if last == end && (first == 0 || limit.is_none()) || !lies => assert!(bytes == right, "wrong bytes"),
                        Ok(()) => {}
                        Err(error) => assert!(lies, "{error}"),
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            until_idle(&downloads).await;
            if let Some(blob) = store.store.open(&digest).await.unwrap() {
                assert!(read(blob.body(None)).await.0 == content);
            } else {
                assert!(lies || limit.is_some_and(|limit| limit < size as u64));
            }
        });
    }
}
