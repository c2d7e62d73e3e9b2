#![expect(clippy::disallowed_methods, reason = "waits, and says what of a tag is old")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{ClientError, Put};
use super::collecting::collect_all;
use super::gc::Place as _;
use super::key::{TagEntry, read_tag_entry, tag_entry};
use super::pending::Pending;
use super::renewal::renew_all;
use super::shared_bucket::{Bucket, Inner};
use super::traffic::Direction;
use super::transport::Purpose;
use crate::cache::memory::locked;
use crate::cache::store::{Kind, Object};

/// How much is written at once.
const WRITERS: usize = 4;
/// How often it is looked whether a bucket is well again, and what is to be written is noted.
const TICK: Duration = Duration::from_millis(250);
/// How long a writer rests after something could not be written.
const REST: Duration = Duration::from_secs(1);
/// How often something is tried to be written while other things can be.
const TRIES: u32 = 20;
/// For how long what a tag was is left for those who have just read its name.
const GRACE: Duration = Duration::from_hours(1);
/// How many entries of a tag are looked at to remove old ones.
const ENTRIES: usize = 100;

impl Bucket {
    /// Writes what is to be written, and looks whether a bucket that was ill is well again; never ends.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            tasks.spawn(write_all(Arc::clone(self.inner())));
        }
        tasks.spawn(look_after(Arc::clone(self.inner())));
        tasks.spawn(keep_journal(Arc::clone(self.inner())));
        tasks.spawn(keep_seeing(Arc::clone(self.inner())));
        tasks.spawn(renew_all(Arc::clone(self.inner())));
        tasks.spawn(collect_all(Arc::clone(self.inner())));
        while tasks.join_next().await.is_some() {}
    }

    /// Notes what is still to be written, for the next start.
    pub async fn close(&self) {
        note(self.inner()).await;
    }
}

/// Asks a bucket that is ill whether it is well again.
async fn look_after(inner: Arc<Inner>) {
    loop {
        sleep(TICK).await;
        let traffic = inner.client.traffic();
        let is_well = inner.is_used() && traffic.is_open(Direction::Read);
        if is_well || traffic.wait(Direction::Read).is_some() {
            continue;
        }
        if inner.is_used() {
            drop(inner.client.get(Purpose::Care, &inner.keys.layout()).await);
        } else if inner.look().await.is_err() {
            sleep(REST).await;
        }
    }
}

async fn keep_journal(inner: Arc<Inner>) {
    loop {
        sleep(TICK).await;
        note(&inner).await;
    }
}

async fn note(inner: &Arc<Inner>) {
    let own = Arc::clone(inner);
    let noted = tokio::task::spawn_blocking(move || {
        let mut journal = locked(&own.journal);
        let (unsaid, left) = {
            let mut queue = locked(&own.queue);
            (queue.take_unsaid(), queue.len())
        };
        if !unsaid.is_empty() {
            journal.append(&unsaid)?;
        }
        if journal.is_behind() || journal.is_long(left) {
            let whole = locked(&own.queue).journal();
            journal.replace(&whole)?;
        }
        std::io::Result::Ok(())
    });
    match noted.await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::warn!("cannot note what is to be written to the bucket: {error}"),
    }
}

async fn write_all(inner: Arc<Inner>) {
    let traffic = inner.client.traffic();
    loop {
        while !inner.is_used() {
            sleep(TICK).await;
        }
        let Some(pending) = ({ locked(&inner.queue).take() }) else {
            inner.added.notified().await;
            continue;
        };
        // What is to be relied on has to be read.
        while !traffic.is_open(Direction::Read) {
            sleep(TICK).await;
        }
        while let Some(wait) = traffic.wait(Direction::Write) {
            sleep(wait).await;
        }
        let name = pending.name();
        let written = write(&inner, &pending).await;
        // There may have been nothing to write: whether it can be, the next one finds out.
        traffic.undecided(Direction::Write);
        match written {
            Ok(Written::Done) => locked(&inner.queue).done(&name),
            Ok(Written::Condemned) => locked(&inner.queue).put_aside(&name),
            Ok(Written::Unsure(why)) => {
                tracing::debug!("{name} is to be written to the bucket again: {why}");
                locked(&inner.queue).later(&name);
                sleep(REST).await;
            }
            Err(error) => {
                tracing::debug!("cannot write {name} to the bucket yet: {error}");
                let tries = locked(&inner.queue).again(&name);
                if tries >= TRIES && traffic.is_open(Direction::Write) {
                    tracing::warn!("cannot write {name} to the bucket: {error}");
                    locked(&inner.queue).give_up(&name);
                }
                sleep(REST).await;
            }
        }
    }
}

/// Looks for collections, and brings back what was put aside for one that has ended; never ends.
async fn keep_seeing(inner: Arc<Inner>) {
    loop {
        sleep(inner.timing.fresh / 4).await;
        if !inner.is_used() || !inner.client.traffic().is_open(Direction::Read) {
            continue;
        }
        if let Err(error) = inner.look_again().await {
            tracing::debug!("cannot see what is collected in the bucket: {error}");
        }
        let is_back = locked(&inner.queue).aside() > 0 && {
            // What is condemned now, a writer puts aside again.
            let mut queue = locked(&inner.queue);
            queue.bring_back(|pending| inner.may_write(pending))
        };
        if is_back {
            inner.added.notify_one();
        }
    }
}

/// What came of something that was to be written.
enum Written {
    /// It is there, or is not here any more.
    Done,
    /// A collection condemns it: it is written when that has ended.
    Condemned,
    /// It may be there, and nobody can rely on that.
    Unsure(String),
}

/// Waits for a small request, as long as one may take.
async fn within<T>(inner: &Inner, run: impl Future<Output = Result<T, ClientError>>) -> std::io::Result<T> {
    match timeout(inner.timing.within, run).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Writes one thing by the rules for what is written beside collections (see `gc`); what is not stored any more need not be
/// written.
async fn write(inner: &Inner, pending: &Pending) -> std::io::Result<Written> {
    let until = match inner.ready().await {
        Ok(until) => until,
        Err(error) => return Ok(Written::Unsure(error.to_string())),
    };
    let Some(mark) = inner.begin(&inner.unit(pending)) else { return Ok(Written::Condemned) };
    let noted = match pending {
        Pending::Object(object) => {
            if inner.is_known(object) {
                return Ok(Written::Done);
            }
            if !write_object(inner, object).await? {
                return Ok(Written::Done);
            }
            // They may have gone while it was not there.
            inner.ensure_grants(*object).await?;
            inner.settle(*object, mark, |known| known.note(*object)).await
        }
        Pending::Grant(object, origin) => {
            let key = inner.keys.grant(object, origin, inner.audience(&origin.registry));
            if inner.is_granted(object, &key) {
                return Ok(Written::Done);
            }
            within(inner, inner.client.put(&key, Bytes::new())).await?;
            inner.settle(*object, mark, |known| known.note_grant(*object, &key)).await
        }
        Pending::Tag(_) | Pending::Gone(..) => {
            let bytes = match pending {
                Pending::Tag(record) => {
                    inner.ensure(record.digest).await?;
                    Bytes::from(record.write())
                }
                Pending::Object(_) | Pending::Grant(..) | Pending::Gone(..) => Bytes::new(),
            };
            let Some(key) = inner.entry(pending) else { return Ok(Written::Done) };
            within(inner, inner.client.put(&key, bytes)).await?;
            // One that came too late may say what is not so any more.
            let is_in_time = inner.place.moment() <= until;
            remove_old_entries(inner, &key).await;
            inner.note_last(key);
            Ok(is_in_time)
        }
    };
    match noted {
        Ok(true) => {
            inner.written.fetch_add(1, Ordering::Relaxed);
            Ok(Written::Done)
        }
        Ok(false) => Ok(Written::Unsure("something was collected meanwhile".to_owned())),
        Err(error) => Ok(Written::Unsure(error.to_string())),
    }
}

/// Writes a blob or a manifest; returns whether it was here.
async fn write_object(inner: &Inner, object: &Object) -> std::io::Result<bool> {
    let key = inner.keys.object(object);
    let put = match object.kind {
        Kind::Blob => {
            let Some(blob) = inner.local.open(&object.digest).await? else { return Ok(false) };
            inner.client.put_blob(&key, &blob).await?
        }
        Kind::Manifest => {
            let Some(document) = inner.local.manifest(&object.digest).await? else { return Ok(false) };
            inner.ensure_below(&document).await?;
            within(inner, inner.client.put(&key, Bytes::from(document.write()))).await?
        }
    };
    match put {
        Put::Created => {
            inner.note_written(&key);
            inner.note_last(key);
        }
        Put::Existed => {}
    }
    Ok(true)
}

impl Inner {
    /// Returns the key of a tag's entry; [`None`] for what is none.
    pub(super) fn entry(&self, pending: &Pending) -> Option<String> {
        let (origin, tag, at, what) = match pending {
            Pending::Object(_) | Pending::Grant(..) => return None,
            Pending::Tag(record) => {
                (&record.origin, &record.tag, record.checked_at, TagEntry::Is(record.digest))
            }
            Pending::Gone(origin, tag, at) => (origin, tag, *at, TagEntry::Gone),
        };
        let prefix = self.keys.tag(origin, tag, self.audience(&origin.registry));
        Some(format!("{prefix}{}", tag_entry(at, what)))
    }
}

/// Removes what a tag was long ago; what is left, a collection removes.
async fn remove_old_entries(inner: &Inner, key: &str) {
    let Some((prefix, _)) = key.rsplit_once('/') else { return };
    let all = inner.client.first(Purpose::Care, &format!("{prefix}/"), ENTRIES).await;
    let now = Timestamp::now();
    for old in all.unwrap_or_default().iter().skip(1) {
        let is_old = read_tag_entry(old)
            .is_none_or(|(at, _)| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > GRACE));
        if is_old && let Err(error) = inner.client.remove(old).await {
            tracing::debug!("cannot remove what a tag was from the bucket: {error}");
            return;
        }
    }
}
