#![expect(clippy::disallowed_methods, reason = "asks the store, waits, and measures time")]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{sleep, timeout};

use super::mark::{Condemned, Unit};
use super::outcome::{Collected, Stage};
use super::place::{Answer, Body, Created, Failed, Listed, Part, Place};
use super::snapshot::{Entry, Links, Stored};
use super::timing::Timing;
use crate::cache::bucket::client::{self, Client, ClientError, ListFrom};
use crate::cache::bucket::key::{Audience, Keys, TagEntry, read_tag_entry, tag_entry};
use crate::cache::bucket::transport::Purpose;
use crate::cache::store::{Document, Kind, Object};
use crate::image::Digest;
use crate::oci::{Content, Manifest};
use crate::secret::os_random;

/// How often something is asked for that is only read.
const TRIES: u32 = 3;
/// How long it is waited before it is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// A clock that goes on while the machine sleeps.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

type Watch = Arc<dyn Fn(Stage) + Send + Sync>;

/// A bucket, as a collection sees it.
pub(in crate::cache::bucket) struct BucketPlace {
    client: Client,
    keys: Keys,
    timing: Timing,
    /// The last time that was read of the clock, in nanoseconds.
    last: AtomicU64,
    watch: Option<Watch>,
    /// Keys that were written not long ago: a list that lacks one is not whole.
    written: Vec<String>,
    /// Nothing is written.
    only_reads: bool,
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Beat => "beat",
            Self::Condemned => "condemned",
            Self::Done => "done",
        }
    }
}

/// Returns where a list goes on that gives a token; one that gives the same again would never end.
fn goes_on(from: &ListFrom, next: String, prefix: &str) -> Answer<ListFrom> {
    let next = ListFrom::Token(next);
    if *from == next {
        return Err(Failed(format!(
            "the store lists `{prefix}` without an end: it gives the same page again"
        )));
    }
    Ok(next)
}

impl BucketPlace {
    pub(in crate::cache::bucket) fn new(client: Client, keys: Keys, timing: Timing) -> Self {
        Self {
            client,
            keys,
            timing,
            last: AtomicU64::new(0),
            watch: None,
            written: Vec::new(),
            only_reads: false,
        }
    }

    /// Has lists looked through for keys that were written not long ago.
    pub(super) fn knowing(self, written: Vec<String>) -> Self {
        Self { written, ..self }
    }

    /// Has nothing written.
    pub(in crate::cache::bucket) fn reading(self) -> Self {
        Self { only_reads: true, ..self }
    }

    /// Has something told how far a collection has come.
    pub(super) fn watched(self, watch: Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for a small request as long as one may take.
    async fn within<T>(&self, run: impl Future<Output = Result<T, ClientError>> + Send) -> Answer<T> {
        match timeout(self.timing.within, run).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(Failed("it does not answer in time".to_owned())),
        }
    }

    /// Asks for something that is only read, again where that fails.
    async fn read<T, F>(&self, run: impl Fn() -> F + Send + Sync) -> Answer<T>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
        T: Send,
    {
        let mut tries = 1;
        loop {
            match self.within(run()).await {
                Err(_) if tries < TRIES => sleep(PAUSE).await,
                answer => return answer,
            }
            tries += 1;
        }
    }

    /// Gives all keys that begin with something, with their dates, to `each`.
    pub(super) async fn list(&self, prefix: &str, mut each: impl FnMut(client::Stored) + Send) -> Answer<()> {
        let mut from = ListFrom::Start;
        loop {
            let page = self.read(|| self.client.page(prefix, &from)).await?;
            page.keys.into_iter().for_each(&mut each);
            match page.next {
                Some(next) => from = goes_on(&from, next, prefix)?,
                None => return Ok(()),
            }
        }
    }

    /// Does that for lists by whose ends it is known what is not there.
    ///
    /// Some stores, and what stands in front of them, end a list where there is more, and do not say so: where one ends, it
    /// is asked for what comes after. What is known to be there has to be in it, as `known` and what was written not long ago
    /// is.
    async fn list_whole(
        &self,
        prefix: &str,
        known: Option<&str>,
        mut each: impl FnMut(client::Stored) + Send,
    ) -> Answer<()> {
        let written = self.written.iter().map(String::as_str).filter(|key| key.starts_with(prefix));
        let mut unseen: HashSet<&str> = written.chain(known).collect();
        let (mut from, mut last) = (ListFrom::Start, String::new());
        loop {
            let page = self.read(|| self.client.page(prefix, &from)).await?;
            let is_after = matches!(from, ListFrom::After(_));
            let (mut has_more, is_empty) = (false, page.keys.is_empty());
            for one in page.keys {
                // One that does not know what is after something begins again.
                if is_after && one.key <= last {
                    continue;
                }
                has_more = true;
                if one.key > last {
                    last.clone_from(&one.key);
                }
                unseen.remove(one.key.as_str());
                each(one);
            }
            from = match page.next {
                // A page may be empty though there is more.
                Some(next) if !is_after || is_empty => goes_on(&from, next, prefix)?,
                Some(_) | None if last.is_empty() || is_after && !has_more => break,
                Some(_) | None => ListFrom::After(last.clone()),
            };
        }
        for key in unseen {
            // It may have been removed since, as what a tag was before is.
            if self.read(|| self.client.has(Purpose::Care, key)).await? {
                return Err(Failed(format!(
                    "`{key}` is there, and the store does not list it: by lists that are not whole nobody can say what is \
                     not needed"
                )));
            }
        }
        Ok(())
    }

    /// Returns the repositories of which it was noted that they have what is condemned.
    pub(super) async fn repositories(
        &self,
        condemned: &[Condemned],
    ) -> Answer<HashMap<Object, BTreeSet<String>>> {
        let mut all: HashMap<Object, BTreeSet<String>> = HashMap::new();
        for one in condemned {
            if let Unit::Object(object) = one.unit {
                all.insert(object, BTreeSet::new());
            }
        }
        self.grants(|object, key, _| {
            let Some(found) = all.get_mut(&object) else { return };
            let mut each = Audience::ALL.into_iter();
            let origin = each.find_map(|audience| self.keys.origin(&object, audience, &key));
            found.extend(origin.map(|origin| format!("{}/{}", origin.registry, origin.repository)));
        })
        .await?;
        Ok(all)
    }

    /// Writes an entry of a tag that nobody has, at the end of a list of tags: one that is cut lacks it.
    async fn witness(&self, audience: Audience) -> Answer<Option<String>> {
        if self.only_reads {
            return Ok(None);
        }
        let mut random = [0; 8];
        os_random(&mut random);
        let name = format!("{:f>48}{:016x}", "", u64::from_le_bytes(random));
        let entry = tag_entry(Timestamp::now(), TagEntry::Gone);
        let key = format!("{}{name}/{entry}", self.keys.tags(audience));
        self.within(self.client.overwrite(&key, Bytes::new())).await?;
        Ok(Some(key))
    }

    /// Returns since when caches write what is in use again once in a time, or more often: the date of a key that says so,
    /// which is written where there is none.
    pub(in crate::cache::bucket) async fn since(&self, every: Duration) -> Answer<u64> {
        self.forget_since(every).await?;
        if let Some(since) = self.said_since(every).await? {
            return Ok(since);
        }
        let key = self.keys.since(every.as_secs());
        self.within(self.client.create(&key, Bytes::new())).await?;
        let since = self.said_since(every).await?;
        since.ok_or_else(|| Failed(format!("`{key}` was written, and is not listed")))
    }

    /// Removes what says that caches write what is in use again more often than once in a time: they do not any more.
    pub(in crate::cache::bucket) async fn forget_since(&self, every: Duration) -> Answer<()> {
        let mut untrue = Vec::new();
        self.list(&self.keys.all_since(), |one| {
            if self.keys.read_since(&one.key).is_some_and(|other| other < every.as_secs()) {
                untrue.push(one.key);
            }
        })
        .await?;
        for key in untrue {
            self.within(self.client.remove(&key)).await?;
        }
        Ok(())
    }

    async fn said_since(&self, every: Duration) -> Answer<Option<u64>> {
        let mut since = None::<u64>;
        self.list(&self.keys.all_since(), |one| {
            if self.keys.read_since(&one.key).is_some_and(|other| other <= every.as_secs()) {
                since = Some(since.unwrap_or(u64::MAX).min(one.written));
            }
        })
        .await?;
        Ok(since)
    }

    /// Returns whether a list has a key.
    async fn is_listed(&self, key: &str) -> Answer<bool> {
        let mut is_listed = false;
        self.list(key, |one| is_listed |= one.key == key).await?;
        Ok(is_listed)
    }

    /// Writes a key, reads when the store says that was, and removes it.
    async fn probe(&self) -> Answer<u64> {
        let mut random = [0; 8];
        os_random(&mut random);
        let key = self.keys.probe(&format!("{:016x}", u64::from_le_bytes(random)));
        let cannot = |what: &str, error: &Failed| Failed(format!("cannot {what} `{key}`: {error}"));
        self.within(self.client.overwrite(&key, Bytes::new()))
            .await
            .map_err(|error| cannot("write", &error))?;
        let mut written = None;
        self.list(&key, |one| written = Some(one.written)).await?;
        let removed = self.within(self.client.remove(&key)).await;
        removed.map_err(|error| {
            Failed(format!("{}; what is not needed cannot be removed", cannot("remove", &error)))
        })?;
        written.ok_or_else(|| Failed(format!("`{key}` was written, and is not listed")))
    }

    /// Reads what came of a collection.
    pub(in crate::cache::bucket) async fn ended(&self, number: u64) -> Answer<Option<Collected>> {
        let key = self.keys.collection(number, Part::Done.as_str());
        let found = self.read(|| self.client.get(Purpose::Care, &key)).await?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

impl Place for BucketPlace {
    fn moment(&self) -> Duration {
        let now = clock_gettime(CLOCK);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default();
        let last = self.last.fetch_max(nanos, Ordering::Relaxed);
        Duration::from_nanos(nanos.max(last))
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        sleep(time)
    }

    async fn collections(&self) -> Answer<Vec<Listed>> {
        let mut all = Vec::new();
        let parts = [Part::Claim, Part::Beat, Part::Condemned, Part::Done];
        self.list(&self.keys.collections(), |one| {
            let Some((number, name)) = self.keys.read_collection(&one.key) else { return };
            let part = parts.into_iter().find(|part| part.as_str() == name);
            all.extend(part.map(|part| Listed { number, part, written: one.written }));
        })
        .await?;
        Ok(all)
    }

    async fn clock(&self) -> Answer<u64> {
        self.probe().await
    }

    async fn create(&self, number: u64, part: Part, body: Body) -> Answer<Created> {
        let key = self.keys.collection(number, part.as_str());
        let bytes = match body {
            Body::Empty => Bytes::new(),
            Body::Condemned(units) => Bytes::from(write(&units)),
            Body::Ended(collected) => Bytes::from(serde_json::to_vec(&collected).unwrap_or_default()),
        };
        match self.within(self.client.create(&key, bytes)).await? {
            Some(_) => Ok(Created::Yes),
            None => Ok(Created::Existed),
        }
    }

    async fn beat(&self, number: u64) -> Answer<()> {
        let key = self.keys.collection(number, Part::Beat.as_str());
        self.within(self.client.overwrite(&key, Bytes::new())).await
    }

    async fn condemned(&self, number: u64) -> Answer<Option<HashSet<Unit>>> {
        let key = self.keys.collection(number, Part::Condemned.as_str());
        let found = self.read(|| self.client.get(Purpose::Care, &key)).await?;
        let Some(bytes) = found else { return Ok(None) };
        // What cannot be read may be anything.
        let units = read(&bytes).ok_or_else(|| Failed(format!("`{key}` in it cannot be read")))?;
        Ok(Some(units))
    }

    async fn tags(&self, mut each: impl FnMut(Entry) + Send) -> Answer<()> {
        for audience in Audience::ALL {
            let witness = self.witness(audience).await?;
            let prefix = self.keys.tags(audience);
            let listed = self.list_whole(&prefix, witness.as_deref(), |one| {
                let Some((_, what)) = read_tag_entry(&one.key) else { return };
                let Some(tag) = self.keys.read_tag(audience, &one.key) else { return };
                let what = match what {
                    TagEntry::Is(digest) => Some(digest),
                    TagEntry::Gone => None,
                };
                if witness.as_ref() != Some(&one.key) {
                    each(Entry { key: one.key.into(), tag: tag.len(), what, written: one.written });
                }
            });
            let listed = listed.await;
            if let Some(key) = &witness {
                // One that is left says that a tag is gone which never was: a collection removes it.
                drop(self.within(self.client.remove(key)).await);
            }
            listed?;
        }
        Ok(())
    }

    async fn objects(&self, kind: Kind, mut each: impl FnMut(Object, Stored) + Send) -> Answer<()> {
        let prefix = self.keys.objects(kind);
        let listed = self.list_whole(&prefix, None, |one| {
            if let Some(object) = self.keys.read_object(kind, &one.key) {
                each(object, Stored { bytes: one.bytes, written: one.written });
            }
        });
        listed.await
    }

    async fn grants(&self, mut each: impl FnMut(Object, String, u64) + Send) -> Answer<()> {
        for audience in Audience::ALL {
            let prefix = self.keys.all_grants(audience);
            let listed = self.list_whole(&prefix, None, |one| {
                if let Some(object) = self.keys.read_grant(audience, &one.key) {
                    each(object, one.key, one.written);
                }
            });
            listed.await?;
        }
        Ok(())
    }

    async fn is_there(&self, object: Object) -> Answer<bool> {
        let key = self.keys.object(&object);
        self.read(|| self.client.has(Purpose::Care, &key)).await
    }

    async fn think<T: Send + 'static>(&self, run: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(run).await {
            Ok(thought) => thought,
            Err(error) => match error.try_into_panic() {
                // Whoever waits goes down with it, as if it had been done here.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and whoever waits with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn links(&self, digest: Digest) -> Answer<Option<Links>> {
        let key = self.keys.object(&Object::manifest(digest));
        // A connection may have damaged it.
        for _ in 0..TRIES {
            let found = self.read(|| self.client.get(Purpose::Care, &key)).await?;
            let Some(bytes) = found else {
                // One that is too large to be read is none of ours.
                let is_there = self.read(|| self.client.has(Purpose::Care, &key)).await?;
                let error = || Failed(format!("`{key}` in it is too large for a manifest: remove it"));
                return match is_there {
                    true => Err(error()),
                    // A store that lists what it does not give has lost it for a while: its blobs are not to go for that.
                    false if self.is_listed(&key).await? => {
                        Err(Failed(format!("`{key}` in it is listed and cannot be read: try again later")))
                    }
                    false => Ok(None),
                };
            };
            if let Some(document) = Document::read(Vec::from(bytes), &digest) {
                return Ok(Some(links(&document)));
            }
        }
        // Without what it says, nothing can be said of blobs; a cache that has it writes it again.
        Err(Failed(format!(
            "`{key}` in it is damaged, so that nobody knows what it refers to: remove it, and pull what it is of again"
        )))
    }

    async fn remove(&self, object: Object) -> Answer<()> {
        self.within(self.client.remove(&self.keys.object(&object))).await
    }

    async fn remove_key(&self, key: String) -> Answer<()> {
        self.within(self.client.remove(&key)).await
    }

    async fn remove_part(&self, number: u64, part: Part) -> Answer<()> {
        self.within(self.client.remove(&self.keys.collection(number, part.as_str()))).await
    }

    fn note(&self, stage: Stage) {
        if let Some(watch) = &self.watch {
            watch(stage);
        }
    }
}

/// Returns what a manifest refers to: what it is made of and what it is about, or, where it is of an unknown kind, all
/// digests that stand in it.
pub(in crate::cache::bucket) fn links(document: &Document) -> Links {
    let Ok(manifest) = Manifest::parse(&document.bytes, Some(&document.media_type)) else {
        let digests = digests(&document.bytes);
        let both = |digest| [Object::blob(digest), Object::manifest(digest)];
        return Links { refers: digests.into_iter().flat_map(both).collect(), subject: None };
    };
    let refers = match &manifest.content {
        Content::Index(manifests) => {
            // Some say that a blob is one of the manifests.
            let both = |digest| [Object::manifest(digest), Object::blob(digest)];
            manifests.iter().flat_map(|one| both(one.digest)).collect()
        }
        Content::Image { config, layers } => {
            std::iter::once(config).chain(layers).map(|one| Object::blob(one.digest)).collect()
        }
    };
    Links { refers, subject: manifest.subject.map(|subject| subject.digest) }
}

/// Returns all digests that stand in a text.
fn digests(bytes: &[u8]) -> Vec<Digest> {
    let text = String::from_utf8_lossy(bytes);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let words = text.split(|c| !is_part(c));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Writes what is condemned, a line each.
fn write(units: &[Unit]) -> String {
    let line = |unit: &Unit| match unit {
        Unit::Tag(key) => format!("tag {key}\n"),
        Unit::Object(object) => format!("{} {}\n", object.kind.as_str(), object.digest),
    };
    let mut text: String = units.iter().map(line).collect();
    // Without it, nobody would see that the end is missing.
    text.push_str("end\n");
    text
}

/// Reads what is condemned; [`None`] where that is not whole.
fn read(bytes: &[u8]) -> Option<HashSet<Unit>> {
    let text = str::from_utf8(bytes).ok()?.strip_suffix("end\n")?;
    let unit = |line: &str| match line.split_once(' ')? {
        ("tag", key) => Some(Unit::Tag(key.to_owned())),
        ("blob", digest) => Some(Unit::Object(Object::blob(digest.parse().ok()?))),
        ("manifest", digest) => Some(Unit::Object(Object::manifest(digest.parse().ok()?))),
        _ => None,
    };
    text.lines().map(unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_condemned_reads_back() {
        let units = vec![
            Unit::Tag("a/tags/0/1-gone".to_owned()),
            Unit::Object(Object::blob(Digest::sha256([1; 32]))),
            Unit::Object(Object::manifest(Digest::sha512([2; 64]))),
        ];
        let text = write(&units);
        assert_eq!(read(text.as_bytes()), Some(units.into_iter().collect()));
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(read(write(&[]).as_bytes()), Some(HashSet::new()));
        assert_eq!(read(b"later 1\nend\n"), None, "what is not known may be anything");
    }

    #[test]
    fn what_cannot_be_judged_keeps_all_that_it_names() {
        let digest = |n: u8| Digest::sha256([n; 32]);
        let document = |media_type: &str, text: String| Document {
            media_type: media_type.to_owned(),
            bytes: Bytes::from(text),
        };
        let image = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":1}},"layers":[{{"digest":"{}","size":1}}],"subject":{{"digest":"{}","size":1}}}}"#,
            digest(1),
            digest(2),
            digest(3)
        );
        let found = links(&document("application/vnd.oci.image.manifest.v1+json", image));
        assert_eq!(found.refers, [1, 2].map(|n| Object::blob(digest(n))));
        assert_eq!(found.subject, Some(digest(3)));
        let found = links(&document("application/x", format!("[\"{}\",'{}'", digest(1), digest(4))));
        let both = |n| [Object::blob(digest(n)), Object::manifest(digest(n))];
        assert_eq!(found.refers, [both(1), both(4)].concat());
    }
}
