#![expect(clippy::disallowed_methods, reason = "dates uses, and works at intervals")]

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::blob_file::Blob;
use super::folder_file::{Folder, Naming};
use super::interface::{Listed, Object, Store, Usage};
use super::keeper_store::{Keeper, Look};
use super::record::{Document, Origin, RecordKey, RecordKind};
use super::spool_file::Spool;
use crate::image::Digest;

/// Says whether what an origin has must never be evicted.
pub type Pins = Arc<dyn Fn(&Origin) -> bool + Send + Sync>;

/// How a store in a folder behaves.
#[derive(Clone)]
pub struct FsConfig {
    /// The folder; made if it is not there.
    pub root: PathBuf,
    /// What it may hold in all, unfinished files included, in bytes; [`None`]: 90 % of what is free at the start, and of what it holds.
    pub cap: Option<u64>,
    /// What it leaves free on the disk, in bytes; [`None`]: 5 % of it and at least 2 GiB, but never more than a quarter.
    pub reserve: Option<u64>,
    /// When it waits for the disk.
    pub durability: Durability,
    /// What must never be evicted.
    pub pins: Option<Pins>,
    /// How unfinished files are kept apart; [`None`]: as the file system allows.
    pub naming: Option<Naming>,
    /// How many files of blobs are kept open between requests.
    pub open_files: usize,
    /// Whether the level is lowered and what nobody renews is swept out; not by who only looks.
    pub tended: bool,
}

/// When a store waits for the disk. None of these can make it serve wrong bytes after a power failure: what may not
/// have been on the disk by then is hashed before it is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Every file and its name are on the disk when it is committed.
    Full,
    /// Every file above 1 MiB is on the disk before it gets its name; names follow within a second.
    #[default]
    Data,
    /// Never.
    Never,
}

/// A store in a folder of the local file system.
pub struct FsStore {
    keeper: Arc<Keeper>,
    /// Held while something doubtful is hashed: after a crash everybody may want the same large blob at once.
    doubt: tokio::sync::Mutex<()>,
    tending: Option<tokio::task::JoinHandle<()>>,
}

/// How often uses are written down, in ticks of a second.
const WRITE_USES: u64 = 5;
/// How often what nobody renews is swept out, in ticks of a second.
const SWEEP: u64 = 24 * 3600;
/// Tags and referrers that nobody has asked for in so many seconds are forgotten: far longer than anything stale is served.
const FORGET: u64 = 90 * 24 * 3600;

impl FsConfig {
    /// The defaults for a folder.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            cap: None,
            reserve: None,
            durability: Durability::default(),
            pins: None,
            naming: None,
            open_files: 128,
            tended: true,
        }
    }
}

impl FsStore {
    /// Opens a store, and begins to tend it, if so configured: every second names are written to the disk and the level is
    /// lowered.
    ///
    /// Fails where another process has it open, or where the folder cannot be written.
    pub async fn open(config: FsConfig) -> io::Result<Self> {
        let tended = config.tended;
        let keeper = Arc::new(blocking(move || Keeper::open(config)).await?);
        let tending = tended.then(|| tokio::spawn(tend(Arc::downgrade(&keeper))));
        Ok(Self { keeper, doubt: tokio::sync::Mutex::new(()), tending })
    }

    /// Takes other pins, as a configuration that was read again may say.
    pub fn set_pins(&self, pins: Option<Pins>) {
        self.keeper.set_pins(pins);
    }

    /// Ends in order, so that the next start need not look at anything.
    pub async fn close(&self) -> io::Result<()> {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
        self.run(|keeper| keeper.close()).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Keeper>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let keeper = Arc::clone(&self.keeper);
        blocking(move || work(&keeper)).await
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
            let entry = match self.keeper.look(&digest) {
                Look::Absent => return Ok(None),
                Look::Open(blob) => return Ok(Some(blob)),
                Look::Ask(entry) => entry,
            };
            let _doubt = match entry.trust {
                super::journal::Trust::Doubtful => Some(self.doubt.lock().await),
                super::journal::Trust::Durable | super::journal::Trust::Written => None,
            };
            self.run(move |keeper| keeper.open_blob(&digest)).await
        })
    }

    fn spool(&self, size: Option<u64>) -> BoxFuture<'_, io::Result<Spool>> {
        Box::pin(self.run(move |keeper| keeper.spool(size)))
    }

    fn commit<'a>(&'a self, spool: Spool, digest: &'a Digest) -> BoxFuture<'a, io::Result<()>> {
        let digest = *digest;
        Box::pin(self.run(move |keeper| keeper.commit(spool, &digest)))
    }

    fn manifest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Document>>> {
        let digest = *digest;
        Box::pin(self.run(move |keeper| keeper.manifest(&digest)))
    }

    fn put_manifest<'a>(
        &'a self,
        digest: &'a Digest,
        document: &'a Document,
    ) -> BoxFuture<'a, io::Result<()>> {
        let (digest, document) = (*digest, document.clone());
        Box::pin(self.run(move |keeper| keeper.put_manifest(&digest, &document)))
    }

    fn touch(&self, object: &Object) {
        self.keeper.touch(object);
    }

    fn remove<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        let object = *object;
        Box::pin(self.run(move |keeper| keeper.remove(&object)))
    }

    fn list(&self) -> BoxFuture<'_, io::Result<Vec<Listed>>> {
        Box::pin(self.run(|keeper| Ok(keeper.list())))
    }

    fn usage(&self) -> BoxFuture<'_, io::Result<Usage>> {
        Box::pin(self.run(|keeper| keeper.usage()))
    }

    fn grant<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<()>> {
        let (origin, object) = (origin.clone(), *object);
        Box::pin(self.run(move |keeper| keeper.grant(&origin, &object)))
    }

    fn granted<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        let (origin, object) = (origin.clone(), *object);
        Box::pin(self.run(move |keeper| Ok(keeper.granted(&origin, &object))))
    }

    fn origins<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Vec<Origin>>> {
        let object = *object;
        Box::pin(self.run(move |keeper| keeper.origins(&object)))
    }

    fn record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        let key = *key;
        Box::pin(self.run(move |keeper| Folder::read(&keeper.folder().record(&key))))
    }

    fn put_record<'a>(&'a self, key: &'a RecordKey, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        let key = *key;
        Box::pin(self.run(move |keeper| keeper.folder().replace(&keeper.folder().record(&key), &bytes)))
    }

    fn remove_record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<bool>> {
        let key = *key;
        Box::pin(self.run(move |keeper| keeper.folder().unlink(&keeper.folder().record(&key))))
    }

    fn records(&self, kind: RecordKind) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        Box::pin(self.run(move |keeper| {
            let mut out = Vec::new();
            for (path, _) in keeper.folder().records(kind)? {
                out.extend(Folder::read(&path)?);
            }
            Ok(out)
        }))
    }
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore").field("folder", self.keeper.folder()).finish_non_exhaustive()
    }
}

impl fmt::Debug for FsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsConfig")
            .field("root", &self.root)
            .field("cap", &self.cap)
            .field("reserve", &self.reserve)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// Looks after a store until it is dropped.
async fn tend(keeper: Weak<Keeper>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    loop {
        ticks.tick().await;
        count += 1;
        let Some(keeper) = keeper.upgrade() else { return };
        let tick = count;
        let done = blocking(move || {
            keeper.lower();
            if tick.is_multiple_of(WRITE_USES) {
                keeper.write_uses()?;
            }
            if tick.is_multiple_of(SWEEP) {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                keeper.sweep(now.as_secs().saturating_sub(FORGET))?;
            }
            keeper.folder().sync_names()
        });
        if let Err(error) = done.await {
            tracing::warn!("cannot tend the store: {error}");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
