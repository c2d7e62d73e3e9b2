#![expect(
    clippy::disallowed_methods,
    reason = "reads the environment, and remembers what is not there for a while"
)]

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::Client;
use super::collected::Collecting;
use super::credentials::Variables;
use super::gc::{BucketPlace, Limits, LinkMap, Timing, View};
use super::journal::Journal;
use super::key::{Audience, Keys, TagEntry, read_tag_entry};
use super::known::Known;
use super::pending::Pending;
use super::probe::{ProbeError, Probed, probe};
use super::queue::{Pushed, Queue};
use super::renewals::Renewals;
use super::report::{BucketReport, BucketUse};
use super::traffic::Direction;
use super::transport::{Purpose, READ_PATIENCE};
use crate::cache::config::{BucketConfig, Config};
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::observe::Seldom;
use crate::cache::store::{Blob, Document, Object, Origin, Store, TagRecord, Tier, TierBody};
use crate::image::{Digest, RegistryHost, Tag};

/// Of how many tags it is remembered what was last to be written about them.
const TAGS: usize = 65_536;
/// Of how many keys it is remembered that they are not there.
const ABSENT: usize = 4096;
/// Of how many repositories it is read that they have an object.
const ORIGINS: usize = 1000;
/// How long a bucket is waited for at the start.
const LOOK_PATIENCE: Duration = READ_PATIENCE.saturating_mul(2);
/// How many keys are remembered that were written last.
const LAST: usize = 64;
/// How often it is said that too much waits.
const DROPPED_AGAIN: Duration = Duration::from_mins(1);
/// A tag that stands where it stood is written again only after so long.
const SAME_TAG_AGAIN: Duration = Duration::from_hours(1);

/// A bucket of an S3-compatible store behind the local store, which several caches share; a copy is the same one.
///
/// It is asked where the local store lacks something, and given what was committed. When it is ill it is left alone, so
/// that no pull fails for it.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

pub(super) struct Inner {
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) local: Arc<dyn Store>,
    pub(super) phase: Mutex<Phase>,
    pub(super) queue: Mutex<Queue>,
    /// Something was added to the queue.
    pub(super) added: Notify,
    pub(super) journal: Mutex<Journal>,
    /// What is there, by the rules of collections.
    pub(super) known: Mutex<Known>,
    /// What was seen of collections; locked before what is known.
    pub(super) view: Mutex<View>,
    /// Held by the one that looks for collections.
    pub(super) looks: tokio::sync::Mutex<()>,
    pub(super) place: BucketPlace,
    pub(super) timing: Timing,
    /// When something of it was used last, by the clock of `place`, in seconds.
    pub(super) used_at: AtomicU64,
    pub(super) renewals: Mutex<Renewals>,
    pub(super) collecting: Mutex<Collecting>,
    pub(super) limits: Limits,
    /// What manifests refer to, as collections have read it.
    pub(super) links: Arc<Mutex<LinkMap>>,
    /// The keys that were written last.
    last: Mutex<VecDeque<String>>,
    /// Keys that are not there, and when that was found.
    pub(super) absent: Mutex<BoundedMap<String, Instant>>,
    /// Objects that were damaged, and when that was found.
    pub(super) bad: Mutex<BoundedMap<String, Instant>>,
    /// Blobs that are there, and when that was asked.
    pub(super) there: Mutex<BoundedMap<String, Instant>>,
    /// For how long an address holds that clients are told.
    pub(super) redirect_expiry: Duration,
    /// The registries whose content is for everyone, as this cache is configured now.
    public: Mutex<BTreeSet<RegistryHost>>,
    /// What was last to be written about a tag.
    tags: Mutex<BoundedMap<String, (Digest, Timestamp)>>,
    /// That something is not written, as too much waits.
    dropped: Seldom,
    given: AtomicU64,
    pub(super) written: AtomicU64,
}

/// How far the look at a bucket has come, without which nothing is read or written.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Unseen,
    Used(Probed),
    Refused(String),
}

/// Why a cache cannot use the bucket that it is told to.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// Something about how it is reached is missing or wrong.
    #[error("cannot use the bucket `{url}`: {why}")]
    Configuration {
        /// The bucket.
        url: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// What is in it is not for this version.
    #[error("cannot use the bucket `{url}`: {why}")]
    Layout {
        /// The bucket.
        url: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The file that says what is to be written cannot be used.
    #[error("cannot use `{}`", file.display())]
    Journal {
        /// The file.
        file: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns how quick collections are: only tests have them hurry, who see to it that nobody else uses the bucket.
pub(super) fn timing() -> Timing {
    let times = variable("TALMIRROR_CACHE_BUCKET_HASTE").and_then(|times| times.parse().ok());
    // In a release, one that hurries would not wait for the others.
    times
        .filter(|times| cfg!(debug_assertions) && (1..=60).contains(times))
        .map_or(Timing::USUAL, |times| Timing::USUAL.hastened(times))
}

/// Returns what is to be kept in a bucket at most.
pub(super) fn limits(config: &BucketConfig) -> Limits {
    Limits { age: config.max_age, bytes: config.max_size.map(|size| size.0), ..Limits::default() }
}

/// Looks whether a bucket can be used, without changing anything in it.
pub async fn check(config: &BucketConfig) -> Result<(), String> {
    let client = Client::new(config, &variable)?;
    let keys = Keys::new(config.address.prefix());
    super::probe::look(&client, &keys).await.map(drop).map_err(|error| error.to_string())
}

/// Returns where a bucket is; [`None`] where that cannot be said.
pub(in crate::cache) fn location(config: &BucketConfig) -> Option<String> {
    Client::new(config, &variable).ok().map(|client| client.location())
}

/// Returns the registries whose content is for everyone.
fn public(config: &Config) -> BTreeSet<RegistryHost> {
    let upstreams = config.upstreams.iter().filter(|(_, upstream)| !upstream.is_private());
    upstreams.map(|(host, _)| host.clone()).collect()
}

impl Bucket {
    /// Begins to use a bucket behind the local store in a folder. One that cannot be reached is looked at again later.
    ///
    /// Fails where it cannot be used however often it is tried.
    pub async fn open(
        bucket: &BucketConfig,
        config: &Config,
        folder: &Path,
        local: Arc<dyn Store>,
    ) -> Result<Self, BucketError> {
        Self::open_with(bucket, config, folder, local, &variable, timing()).await
    }

    /// Begins to use it by these variables and times.
    pub(super) async fn open_with(
        bucket: &BucketConfig,
        config: &Config,
        folder: &Path,
        local: Arc<dyn Store>,
        variables: Variables<'_>,
        timing: Timing,
    ) -> Result<Self, BucketError> {
        let url = bucket.address.to_string();
        let client = Client::new(bucket, variables)
            .map_err(|why| BucketError::Configuration { url: url.clone(), why })?;
        let own = folder.to_owned();
        let opened = tokio::task::spawn_blocking(move || Journal::open(&own)).await;
        let (journal, pending) = opened
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| BucketError::Journal { file: Journal::path(folder), source })?;
        let mut queue = Queue::default();
        for pending in pending {
            queue.push(pending);
        }
        queue.take_unsaid();
        let keys = Keys::new(bucket.address.prefix());
        let limits = limits(bucket);
        let redirect_expiry = bucket.redirect_expiry();
        let bucket = Self(Arc::new(Inner {
            url: url.clone(),
            client: client.clone(),
            keys: keys.clone(),
            local,
            phase: Mutex::new(Phase::Unseen),
            queue: Mutex::new(queue),
            added: Notify::new(),
            journal: Mutex::new(journal),
            known: Mutex::default(),
            view: Mutex::default(),
            looks: tokio::sync::Mutex::default(),
            // What is condemned may be long: that it takes its time says nothing to those who pull.
            place: BucketPlace::new(client.for_collection(), keys.clone(), timing),
            timing,
            used_at: AtomicU64::default(),
            renewals: Mutex::new(Renewals::new(&limits)),
            collecting: Mutex::default(),
            limits,
            links: Arc::default(),
            last: Mutex::default(),
            absent: Mutex::new(BoundedMap::new(ABSENT)),
            bad: Mutex::new(BoundedMap::new(ABSENT)),
            there: Mutex::new(BoundedMap::new(ABSENT)),
            redirect_expiry,
            public: Mutex::new(public(config)),
            tags: Mutex::new(BoundedMap::new(TAGS)),
            dropped: Seldom::new(DROPPED_AGAIN),
            given: AtomicU64::default(),
            written: AtomicU64::default(),
        }));
        let looked = timeout(LOOK_PATIENCE, bucket.0.look()).await;
        match looked.unwrap_or_else(|_| Err(ProbeError::Ill("it does not answer in time".to_owned()))) {
            Ok(()) => {}
            Err(ProbeError::Ill(why)) => {
                tracing::warn!("the bucket {url} cannot be used yet: {why}");
            }
            Err(error @ (ProbeError::Newer(_) | ProbeError::Foreign)) => {
                return Err(BucketError::Layout { url, why: error.to_string() });
            }
        }
        Ok(bucket)
    }

    /// Goes by another configuration from now on, as to whose content is for everyone.
    pub fn follow(&self, config: &Config) {
        *locked(&self.0.public) = public(config);
    }

    pub(super) const fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Returns how it is.
    pub fn report(&self) -> BucketReport {
        let (traffic, counts) = (self.0.client.traffic(), self.0.client.traffic().counts());
        let (pending, dropped) = {
            let queue = locked(&self.0.queue);
            (queue.len(), queue.dropped())
        };
        let phase = locked(&self.0.phase).clone();
        let (used, probed) = match phase {
            Phase::Unseen => (BucketUse::Unseen, None),
            Phase::Used(probed) => (BucketUse::Used, Some(probed)),
            Phase::Refused(why) => (BucketUse::Refused(why), None),
        };
        BucketReport {
            url: self.0.url.clone(),
            location: self.0.client.location(),
            used,
            unread: traffic.closed(Direction::Read).map(Into::into),
            unwritten: traffic.closed(Direction::Write).map(Into::into),
            slow_for_seconds: traffic.slow_for().map(|slow| slow.as_secs()),
            is_conditional: probed.and_then(|probed| probed.is_conditional),
            answers_in_ms: probed.and_then(|probed| u64::try_from(probed.took.as_millis()).ok()),
            given: self.0.given.load(Ordering::Relaxed),
            received_bytes: counts.received,
            written: self.0.written.load(Ordering::Relaxed),
            sent_bytes: counts.sent,
            pending,
            dropped,
            requests: counts.requests,
            failed: counts.failed,
            collection: locked(&self.0.collecting).report(),
        }
    }

    /// Reads a manifest.
    pub(super) async fn manifest(&self, digest: &Digest) -> Option<Document> {
        let object = Object::manifest(*digest);
        let key = self.0.keys.object(&object);
        if self.0.is_bad(&key) {
            return None;
        }
        let mark = self.0.mark();
        let Some(bytes) = self.0.get(&key).await? else {
            self.0.note_absent(&object, key);
            return None;
        };
        let Some(document) = Document::read(bytes, digest) else {
            self.0.note_bad(&object, &key);
            // No client waits for that.
            let inner = Arc::clone(&self.0);
            tokio::spawn(async move { inner.remove_bad(&key).await });
            return None;
        };
        self.0.give(object, mark);
        Some(document)
    }

    /// Returns what a tag was last seen to be, by whichever replica.
    pub(super) async fn tag(&self, origin: &Origin, tag: &Tag) -> Option<TagRecord> {
        if !self.0.may_read() {
            return None;
        }
        let mut newest: Option<(Timestamp, String)> = None;
        for audience in self.0.readable(&origin.registry) {
            let prefix = self.0.keys.tag(origin, tag, *audience);
            let found = self.0.client.first(Purpose::Pull, &prefix, 1).await;
            let found = found.inspect_err(|error| tracing::debug!("{error}")).ok()?;
            let entry = found.into_iter().next().and_then(|key| Some((read_tag_entry(&key)?.0, key)));
            newest = newest.max(entry);
        }
        let (_, key) = newest?;
        match read_tag_entry(&key)? {
            (_, TagEntry::Gone) => None,
            (_, TagEntry::Is(digest)) => {
                let record = TagRecord::read(&self.0.get(&key).await??)?;
                let is_it = record.origin == *origin && record.tag == *tag && record.digest == digest;
                is_it.then_some(record)
            }
        }
    }

    /// Returns whether it was noted that a repository has an object.
    pub(super) async fn granted(&self, origin: &Origin, object: &Object) -> bool {
        if !self.0.may_read() {
            return false;
        }
        for audience in self.0.readable(&origin.registry) {
            if self.0.has_grant(object, self.0.keys.grant(object, origin, *audience)).await {
                return true;
            }
        }
        false
    }

    /// Returns the repositories of which it was noted that they have an object.
    pub(super) async fn origins(&self, object: &Object) -> Vec<Origin> {
        if !self.0.may_read() {
            return Vec::new();
        }
        // Nobody has what is not there: that costs less to ask than who has it.
        if !self.0.is_there(object).await {
            return Vec::new();
        }
        // A client waits for it: both are read at once.
        let read = [Audience::Everyone, Audience::Users].map(async |audience| {
            let prefix = self.0.keys.grants(object, audience);
            let found = self.0.client.first(Purpose::Pull, &prefix, ORIGINS).await;
            let keys = found.inspect_err(|error| tracing::debug!("{error}")).unwrap_or_default();
            let origins = keys.iter().filter_map(|key| self.0.keys.origin(object, audience, key));
            // What others keep for their users is not there for a cache whose registry is for everyone.
            origins.filter(|origin| self.0.readable(&origin.registry).contains(&audience)).collect::<Vec<_>>()
        });
        join_all(read).await.concat()
    }

    /// Has something written, soon.
    pub(super) fn push(&self, pending: Pending) {
        self.0.push(pending);
    }
}

impl Inner {
    /// Has something written, soon; returns whether there is room for it, or no need.
    pub(super) fn push(&self, pending: Pending) -> bool {
        let name = pending.name();
        match &pending {
            Pending::Object(object) => {
                if self.is_known(object) {
                    return true;
                }
            }
            Pending::Grant(object, origin) => {
                let audience = self.audience(&origin.registry);
                if self.is_granted(object, &self.keys.grant(object, origin, audience)) {
                    return true;
                }
            }
            Pending::Tag(record) => {
                let last = locked(&self.tags).get(&name);
                let is_same = last.is_some_and(|(digest, at)| {
                    let passed = Duration::try_from(record.checked_at.duration_since(at)).unwrap_or_default();
                    digest == record.digest && passed < SAME_TAG_AGAIN
                });
                if is_same {
                    return true;
                }
                locked(&self.tags).put(name.clone(), (record.digest, record.checked_at), 1);
            }
            Pending::Gone(..) => {
                locked(&self.tags).remove(&name);
            }
        }
        let pushed = locked(&self.queue).push(pending);
        match pushed {
            Pushed::New => self.added.notify_one(),
            Pushed::Known => {}
            Pushed::Dropped => {
                locked(&self.tags).remove(&name);
                if self.dropped.is_due() {
                    tracing::warn!(
                        "too much is to be written to the bucket {}: what comes now is not written there, until less waits",
                        self.url
                    );
                }
                return false;
            }
        }
        true
    }
}

impl Inner {
    /// Looks what is in the bucket, and what its store can do.
    pub(super) async fn look(&self) -> Result<(), ProbeError> {
        let probed = probe(&self.client, &self.keys).await;
        match &probed {
            Ok(probed) => {
                if probed.is_conditional == Some(false) {
                    tracing::warn!(
                        "the store of the bucket {} does not look at the conditions of writes: replicas may write \
                         things twice, never wrong ones",
                        self.url
                    );
                }
                *locked(&self.phase) = Phase::Used(*probed);
            }
            Err(ProbeError::Ill(_)) => {}
            Err(error @ (ProbeError::Newer(_) | ProbeError::Foreign)) => {
                tracing::error!("the bucket {} is not used: {error}", self.url);
                *locked(&self.phase) = Phase::Refused(error.to_string());
            }
        }
        probed.map(drop)
    }

    /// Returns whether what is in the bucket is known to be of use.
    pub(super) fn is_used(&self) -> bool {
        matches!(&*locked(&self.phase), Phase::Used(_))
    }

    pub(super) fn may_read(&self) -> bool {
        self.is_used() && self.client.traffic().is_open(Direction::Read)
    }

    /// Returns for whom a registry's content is.
    pub(super) fn audience(&self, registry: &RegistryHost) -> Audience {
        if locked(&self.public).contains(registry) { Audience::Everyone } else { Audience::Users }
    }

    /// Returns for whom what was noted by any cache may be read here.
    fn readable(&self, registry: &RegistryHost) -> &'static [Audience] {
        match self.audience(registry) {
            Audience::Everyone => &[Audience::Everyone],
            Audience::Users => &[Audience::Users, Audience::Everyone],
        }
    }

    /// Takes note that an object comes from the bucket.
    fn give(&self, object: Object, mark: u64) {
        self.believe(object, mark, |known| known.note(object));
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads something small; [`None`] where the bucket does not say whether it is there.
    async fn get(&self, key: &str) -> Option<Option<Vec<u8>>> {
        if !self.may_read() {
            return None;
        }
        let found = self.client.get(Purpose::Pull, key).await;
        let found = found.inspect_err(|error| tracing::debug!("{error}")).ok()?;
        Some(found.map(Vec::from))
    }

    /// Takes note of a key that was written: a list of the store has to have it.
    pub(super) fn note_last(&self, key: String) {
        let mut last = locked(&self.last);
        last.push_back(key);
        if last.len() > LAST {
            last.pop_front();
        }
    }

    /// Returns the keys that were written last.
    pub(super) fn written_last(&self) -> Vec<String> {
        locked(&self.last).iter().cloned().collect()
    }
}

impl Tier for Bucket {
    fn open<'a>(&'a self, digest: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<Option<TierBody>>> {
        Box::pin(async move {
            if !self.0.may_read() {
                return Ok(None);
            }
            let object = Object::blob(*digest);
            let key = self.0.keys.object(&object);
            if self.0.is_bad(&key) {
                return Ok(None);
            }
            let mark = self.0.mark();
            let Some(opened) = self.0.client.open(&key, from).await? else {
                // A rule of the bucket may have removed it: it is to be written again.
                self.0.note_absent(&object, key);
                return Ok(None);
            };
            locked(&self.0.absent).remove(&key);
            self.0.give(object, mark);
            Ok(Some(TierBody { total: opened.total, body: opened.body }))
        })
    }

    fn open_part<'a>(
        &'a self,
        digest: &'a Digest,
        from: u64,
        end: u64,
    ) -> BoxFuture<'a, io::Result<Option<TierBody>>> {
        Box::pin(async move {
            // What was begun goes on whatever others have met since: how the bucket is, this request finds out.
            if !self.0.is_used() {
                return Ok(None);
            }
            let key = self.0.keys.object(&Object::blob(*digest));
            let opened = self.0.client.open_part(&key, from..end).await?;
            Ok(opened.map(|opened| TierBody { total: opened.total, body: opened.body }))
        })
    }

    fn put<'a>(&'a self, digest: &'a Digest, _: &'a Blob) -> BoxFuture<'a, io::Result<()>> {
        self.push(Pending::Object(Object::blob(*digest)));
        Box::pin(async { Ok(()) })
    }

    fn mismatch<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, ()> {
        let object = Object::blob(*digest);
        let key = self.0.keys.object(&object);
        self.0.note_bad(&object, &key);
        Box::pin(async move { self.0.remove_bad(&key).await })
    }

    fn note_slow(&self, slow: bool) {
        self.0.client.traffic().note_slow(slow);
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("url", &self.0.url).finish_non_exhaustive()
    }
}
