#![expect(clippy::disallowed_methods, reason = "dates uses, and works at intervals")]

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use super::config::{FsConfig, Pins};
use super::journal_entry::Trust;
use super::layout::Folder;
use super::state::{Lookup, State};
use crate::cache::memory::locked;
use crate::cache::store::blob::Blob;
use crate::cache::store::local::{Listed, Object, Store, Touched, Usage, Verdict};
use crate::cache::store::partial::PartialKey;
use crate::cache::store::record::{Document, Origin, RecordKey, RecordKind};
use crate::cache::store::spool::Spool;
use crate::image::Digest;
use futures_util::future::BoxFuture;

/// A store in a folder of the local file system.
pub struct FsStore {
    state: Arc<State>,
    /// Held while something doubtful is hashed: after a crash many clients may want the same large blob at once.
    checking: tokio::sync::Mutex<()>,
    tending: Option<tokio::task::JoinHandle<()>>,
    /// Whether it is closed; held while it is tended.
    closed: Arc<Mutex<bool>>,
}

/// How long closing waits for what tends the store: to hash what is large takes longer, and changes nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often uses are written down, in ticks of a second.
const WRITE_USES: u64 = 5;
/// How often some of what is stored is checked, in ticks of a second.
const SCRUB: u64 = 60;
/// How often what no request renews is swept out, in ticks of a second.
const SWEEP: u64 = 24 * 3600;
/// Tags and referrers that no client has asked for in so many seconds are forgotten: far longer than anything stale is served.
const FORGET: u64 = 90 * 24 * 3600;

impl FsStore {
    /// Opens a store, and begins to tend it, if so configured: every second names are written to the disk and the level is
    /// lowered.
    ///
    /// Fails where another process has it open, or where the folder cannot be written.
    pub async fn open(config: FsConfig) -> io::Result<Self> {
        let tended = config.tended;
        let state = Arc::new(blocking(move || State::open(config)).await?);
        let closed = Arc::new(Mutex::new(false));
        let tending = tended.then(|| tokio::spawn(tend(Arc::downgrade(&state), Arc::clone(&closed))));
        Ok(Self { state, checking: tokio::sync::Mutex::new(()), tending, closed })
    }

    /// Takes other pins, as a configuration that was read again may say.
    pub fn set_pins(&self, pins: Option<Pins>) {
        self.state.set_pins(pins);
    }

    /// Ends in order, so that the next start need not check anything.
    pub async fn close(&self) -> io::Result<()> {
        if let Some(tending) = &self.tending {
            tending.abort();
            let closed = Arc::clone(&self.closed);
            let closing = blocking(move || {
                *locked(&closed) = true;
                Ok(())
            });
            // One that is too late finds it closed.
            drop(tokio::time::timeout(PATIENCE, closing).await);
        }
        self.run(|state| state.close()).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<State>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let state = Arc::clone(&self.state);
        blocking(move || work(&state)).await
    }
}

impl Drop for FsStore {
    fn drop(&mut self) {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
    }
}

impl Store for FsStore {
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Blob>>> {
        Box::pin(async move {
            let digest = *digest;
            let entry = match self.state.lookup(&digest) {
                Lookup::Absent => return Ok(None),
                Lookup::Open(blob) => return Ok(Some(blob)),
                Lookup::Ask(entry) => entry,
            };
            let _doubt = match entry.trust {
                Trust::Doubtful => Some(self.checking.lock().await),
                Trust::Durable | Trust::Written => None,
            };
            self.run(move |state| state.open_blob(&digest)).await
        })
    }

    fn spool(&self, size: Option<u64>) -> BoxFuture<'_, io::Result<Spool>> {
        Box::pin(self.run(move |state| state.spool(size)))
    }

    fn largest(&self) -> u64 {
        self.state.levels.cap
    }

    fn left(&self, key: &PartialKey) -> u64 {
        self.state.left_of(key)
    }

    fn resume<'a>(&'a self, key: &'a PartialKey, size: Option<u64>) -> BoxFuture<'a, io::Result<Spool>> {
        let key = key.clone();
        Box::pin(self.run(move |state| state.resume(&key, size)))
    }

    fn commit<'a>(&'a self, spool: Spool, digest: &'a Digest) -> BoxFuture<'a, io::Result<()>> {
        let digest = *digest;
        Box::pin(self.run(move |state| state.commit(spool, &digest)))
    }

    fn manifest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Document>>> {
        let digest = *digest;
        Box::pin(self.run(move |state| state.manifest(&digest)))
    }

    fn put_manifest<'a>(
        &'a self,
        digest: &'a Digest,
        document: &'a Document,
    ) -> BoxFuture<'a, io::Result<()>> {
        let (digest, document) = (*digest, document.clone());
        Box::pin(self.run(move |state| state.put_manifest(&digest, &document)))
    }

    fn touch(&self, object: &Object) -> Touched {
        self.state.touch(object)
    }

    fn remove<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        let object = *object;
        Box::pin(self.run(move |state| state.remove(&object)))
    }

    fn verify<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Verdict>> {
        let object = *object;
        Box::pin(self.run(move |state| state.verify(&object)))
    }

    fn list(&self) -> BoxFuture<'_, io::Result<Vec<Listed>>> {
        Box::pin(self.run(|state| Ok(state.list())))
    }

    fn usage(&self) -> BoxFuture<'_, io::Result<Usage>> {
        Box::pin(self.run(|state| state.usage()))
    }

    fn grant<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<()>> {
        let (origin, object) = (origin.clone(), *object);
        Box::pin(self.run(move |state| state.grant(&origin, &object)))
    }

    fn granted<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        let (origin, object) = (origin.clone(), *object);
        Box::pin(self.run(move |state| Ok(state.granted(&origin, &object))))
    }

    fn origins<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Vec<Origin>>> {
        let object = *object;
        Box::pin(self.run(move |state| state.origins(&object)))
    }

    fn record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        let key = *key;
        Box::pin(self.run(move |state| Folder::read(&state.folder().record(&key))))
    }

    fn put_record<'a>(&'a self, key: &'a RecordKey, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        let key = *key;
        Box::pin(self.run(move |state| state.put_record(&key, &bytes).map(drop)))
    }

    fn remove_record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<bool>> {
        let key = *key;
        Box::pin(self.run(move |state| state.remove_record(&(key.kind(), key.hash()))))
    }

    fn records(&self, kind: RecordKind) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        Box::pin(self.run(move |state| {
            let mut out = Vec::new();
            for (path, _) in state.folder().records(kind)? {
                out.extend(Folder::read(&path)?);
            }
            Ok(out)
        }))
    }
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore").field("folder", self.state.folder()).finish_non_exhaustive()
    }
}

/// Looks after a store until it is dropped.
async fn tend(store: Weak<State>, closed: Arc<Mutex<bool>>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u64;
    loop {
        ticks.tick().await;
        count += 1;
        if store.strong_count() == 0 {
            return;
        }
        let (store, closed, tick) = (Weak::clone(&store), Arc::clone(&closed), count);
        let done = blocking(move || {
            let closed = locked(&closed);
            // The last one to hold it unlocks the folder: that is done before another one may go on.
            let Some(state) = store.upgrade().filter(|_| !*closed) else { return Ok(()) };
            // One thing that fails keeps no other from being done.
            if tick == 1 || tick.is_multiple_of(WRITE_USES) {
                logged(state.count_records_once());
            }
            state.lower();
            if tick.is_multiple_of(WRITE_USES) {
                logged(state.write_uses());
            }
            if tick.is_multiple_of(SWEEP) {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                logged(state.sweep(now.as_secs().saturating_sub(FORGET)));
            }
            logged(state.folder().sync_names());
            // Last: it may take a while.
            if tick.is_multiple_of(SCRUB) {
                state.scrub(SCRUB);
            }
            Ok(())
        });
        logged(done.await);
    }
}

fn logged(done: io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!("cannot tend the store: {error}");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
