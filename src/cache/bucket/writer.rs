#![expect(clippy::disallowed_methods, reason = "waits, and says what of a tag is old")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::Put;
use super::key::{TagEntry, read_tag_entry, tag_entry};
use super::pending::Pending;
use super::shared_bucket::{Bucket, Inner};
use super::traffic::Direction;
use super::transport::Purpose;
use crate::cache::memory::locked;
use crate::cache::store::{Kind, Object, Origin};
use crate::image::Tag;

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

/// What of a tag's entries is written.
struct Entry<'a> {
    origin: &'a Origin,
    tag: &'a Tag,
    at: Timestamp,
    what: TagEntry,
    bytes: Bytes,
}

impl Bucket {
    /// Writes what is to be written, and looks whether a bucket that was ill is well again; never ends.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            tasks.spawn(write_all(Arc::clone(self.inner())));
        }
        tasks.spawn(look_after(Arc::clone(self.inner())));
        tasks.spawn(keep_journal(Arc::clone(self.inner())));
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
    loop {
        while !inner.is_used() {
            sleep(TICK).await;
        }
        let Some(pending) = ({ locked(&inner.queue).take() }) else {
            inner.added.notified().await;
            continue;
        };
        while let Some(wait) = inner.client.traffic().wait(Direction::Write) {
            sleep(wait).await;
        }
        let name = pending.name();
        let written = write(&inner, &pending).await;
        // There may have been nothing to write: whether it can be, the next one finds out.
        inner.client.traffic().undecided(Direction::Write);
        match written {
            Ok(()) => locked(&inner.queue).done(&name),
            Err(error) => {
                tracing::debug!("cannot write {name} to the bucket yet: {error}");
                let tries = locked(&inner.queue).again(&name);
                if tries >= TRIES && inner.client.traffic().is_open(Direction::Write) {
                    tracing::warn!("cannot write {name} to the bucket: {error}");
                    locked(&inner.queue).give_up(&name);
                }
                sleep(REST).await;
            }
        }
    }
}

/// Writes one thing; what is not stored any more need not be written.
async fn write(inner: &Inner, pending: &Pending) -> std::io::Result<()> {
    match pending {
        Pending::Object(object) => write_object(inner, object).await?,
        Pending::Grant(object, origin) => {
            let key = inner.keys.grant(object, origin, inner.audience(&origin.registry));
            inner.client.put(&key, Bytes::new()).await?;
            inner.note_known(key);
        }
        Pending::Tag(record) => {
            let (what, bytes) = (TagEntry::Is(record.digest), Bytes::from(record.write()));
            let (origin, tag, at) = (&record.origin, &record.tag, record.checked_at);
            write_entry(inner, Entry { origin, tag, at, what, bytes }).await?;
        }
        Pending::Gone(origin, tag, at) => {
            let (what, bytes) = (TagEntry::Gone, Bytes::new());
            write_entry(inner, Entry { origin, tag, at: *at, what, bytes }).await?;
        }
    }
    inner.written.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn write_object(inner: &Inner, object: &Object) -> std::io::Result<()> {
    let key = inner.keys.object(object);
    let put = match object.kind {
        Kind::Blob => {
            let Some(blob) = inner.local.open(&object.digest).await? else { return Ok(()) };
            inner.client.put_blob(&key, &blob).await?
        }
        Kind::Manifest => {
            let Some(document) = inner.local.manifest(&object.digest).await? else { return Ok(()) };
            inner.client.put(&key, Bytes::from(document.write())).await?
        }
    };
    match put {
        Put::Created => inner.note_written(&key),
        Put::Existed => {}
    }
    inner.note_known(key);
    Ok(())
}

/// Writes what a tag is, and removes what it was long ago.
async fn write_entry(inner: &Inner, entry: Entry<'_>) -> std::io::Result<()> {
    let prefix = inner.keys.tag(entry.origin, entry.tag, inner.audience(&entry.origin.registry));
    let key = format!("{prefix}{}", tag_entry(entry.at, entry.what));
    inner.client.put(&key, entry.bytes).await?;
    let all = inner.client.first(Purpose::Care, &prefix, ENTRIES).await?;
    let now = Timestamp::now();
    for old in all.iter().skip(1) {
        let is_old = read_tag_entry(old)
            .is_none_or(|(at, _)| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > GRACE));
        if is_old {
            inner.client.remove(old).await?;
        }
    }
    Ok(())
}
