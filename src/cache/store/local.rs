use std::io;

use super::blob::Blob;
use super::partial::PartialKey;
use super::record::{Document, Origin, RecordKey, RecordKind, ReferrersRecord, TagRecord};
use super::spool::Spool;
use crate::image::{Digest, Tag};
use crate::secret::Secret;
use futures_util::future::BoxFuture;

/// What a digest is the digest of. A manifest has a media type, which is served with it; a blob has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A layer, a configuration, anything that is asked for under `/blobs/`.
    Blob,
    /// A manifest or an index.
    Manifest,
}

impl Kind {
    /// Returns the word for logs, file names and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
        }
    }
}

/// A stored thing's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl Object {
    /// Names a blob.
    pub const fn blob(digest: Digest) -> Self {
        Self { kind: Kind::Blob, digest }
    }

    /// Names a manifest.
    pub const fn manifest(digest: Digest) -> Self {
        Self { kind: Kind::Manifest, digest }
    }
}

/// A stored thing, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub object: Object,
    /// How many bytes it has.
    pub size: u64,
    /// When it was last used, in seconds since 1970.
    pub used_at: u64,
    /// How often it was used after it was stored.
    pub hits: u32,
}

/// What a check of something stored against its digest gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what its digest says.
    Sound,
    /// It is not, and was removed.
    Damaged,
    /// It is not there any more.
    Absent,
}

/// How full a store is, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What it may hold in all.
    pub cap: u64,
    /// What its blobs and manifests take, in whole blocks of the file system.
    pub stored: u64,
    /// What is set aside for what is just being fetched.
    pub reserved: u64,
    /// What its records, folders and the index take.
    pub own: u64,
    /// What is free on its disk; [`None`] where that has no meaning.
    pub free: Option<u64>,
    /// How many blobs there are.
    pub blobs: u64,
    /// How many manifests there are.
    pub manifests: u64,
    /// How many tags there are.
    pub tags: usize,
    /// How many things were evicted since the start.
    pub evicted: u64,
    /// How many bytes they had.
    pub evicted_bytes: u64,
    /// How many things were removed since the start because they were damaged.
    pub damaged: u64,
    /// The last attempt to make room failed: what is fetched now is passed on without being kept.
    pub full: bool,
}

/// What a store says to a use of something that is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// It is stored, and the use was counted.
    Counted,
    /// It is not stored any more: it was evicted, removed, or found damaged.
    Gone,
    /// It is stored, and something is to be kept once a client takes it: see [`Store::taken`].
    Wanted,
}

/// A local store: a place on this machine that keeps what was fetched.
///
/// It gives out open files, which is what makes a hit cheap; a store elsewhere, such as a bucket, is a
/// [`Tier`](super::Tier) behind it.
///
/// What it gives is what was put: a blob has the length it had, a manifest is checked against its digest, and
/// what turns out to be damaged is removed and not there. Errors are those of the store itself; the one that
/// callers act on has the kind [`io::ErrorKind::StorageFull`]: go on without keeping.
pub trait Store: Send + Sync + 'static {
    /// Opens a blob and counts that as a use.
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Blob>>>;

    /// Sets room aside, a known number of bytes or what will be needed, and gives a file for it.
    ///
    /// Evicts where that makes room; `StorageFull` where it does not.
    fn spool(&self, size: Option<u64>) -> BoxFuture<'_, io::Result<Spool>>;

    /// Returns the size of the largest thing that it can keep, in bytes.
    fn largest(&self) -> u64 {
        u64::MAX
    }

    /// Returns how many bytes an unfinished download has left of something: a spool of [`Store::resume`] begins with them.
    fn left(&self, _: &PartialKey) -> u64 {
        0
    }

    /// Sets room aside as [`Store::spool`] does, for a file that stays when it is dropped unfinished: it holds what an
    /// earlier download has left.
    fn resume<'a>(&'a self, _: &'a PartialKey, size: Option<u64>) -> BoxFuture<'a, io::Result<Spool>> {
        self.spool(size)
    }

    /// Makes a filled spool the blob of this digest, whole or not at all; one that is there already is success.
    ///
    /// The caller has checked the digest.
    fn commit<'a>(&'a self, spool: Spool, digest: &'a Digest) -> BoxFuture<'a, io::Result<()>>;

    /// Reads a manifest and counts that as a use.
    fn manifest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Document>>>;

    /// Returns whether there is a tier behind it that may have what is not here.
    fn has_tier(&self) -> bool {
        false
    }

    /// Reads a manifest that is not here from the tier behind it; nothing of it is kept.
    fn tier_manifest<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Option<Document>> {
        Box::pin(async { None })
    }

    /// Returns an address where a client gets a blob from the tier behind it, if that gives one out and has the blob now.
    ///
    /// Whoever has the address gets the blob until it expires: it is for those only to whom the blob would be given here, and
    /// goes nowhere but to them.
    fn tier_location<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Option<Secret<String>>> {
        Box::pin(async { None })
    }

    /// Keeps what the tier behind it said of a manifest that a client takes: of what is only asked about, nothing is kept.
    fn taken<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// Keeps a manifest; the caller has checked the digest.
    fn put_manifest<'a>(
        &'a self,
        digest: &'a Digest,
        document: &'a Document,
    ) -> BoxFuture<'a, io::Result<()>>;

    /// Counts a use of something that is to be served from memory; returns whether it may be.
    fn touch(&self, object: &Object) -> Touched;

    /// Removes something; returns whether it was there. A client that reads it reads on.
    fn remove<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<bool>>;

    /// Checks something against its digest; what is damaged is removed.
    fn verify<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Verdict>>;

    /// Lists everything, in no order.
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<Listed>>>;

    /// Says how full it is.
    fn usage(&self) -> BoxFuture<'_, io::Result<Usage>>;

    /// Notes that an origin has an object; that is forgotten when the object goes, and of what is not stored nothing is
    /// noted. Call it for public origins too: pins are by origin.
    fn grant<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<()>>;

    /// Returns whether it was noted that an origin has an object.
    fn granted<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<bool>>;

    /// Returns every origin of which it was noted that it has an object, in no order.
    fn origins<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Vec<Origin>>>;

    /// Reads a record as bytes.
    fn record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>>;

    /// Writes a record, whole or not at all: not where there is no room for it, or its manifest goes.
    fn put_record<'a>(&'a self, key: &'a RecordKey, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a record; returns whether it was there.
    fn remove_record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<bool>>;

    /// Returns the bytes of all records of a kind, in no order.
    fn records(&self, kind: RecordKind) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>>;

    /// Returns what a tag was last seen to be.
    fn tag<'a>(&'a self, origin: &'a Origin, tag: &'a Tag) -> BoxFuture<'a, io::Result<Option<TagRecord>>> {
        Box::pin(async move {
            let bytes = self.record(&RecordKey::tag(origin, tag)).await?;
            let record = bytes.as_deref().and_then(TagRecord::read);
            Ok(record.filter(|record| record.origin == *origin && record.tag == *tag))
        })
    }

    /// Notes what a tag is.
    fn put_tag<'a>(&'a self, record: &'a TagRecord) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.put_record(&RecordKey::tag(&record.origin, &record.tag), record.write()).await
        })
    }

    /// Forgets a tag; returns whether it was known.
    fn remove_tag<'a>(&'a self, origin: &'a Origin, tag: &'a Tag) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async move { self.remove_record(&RecordKey::tag(origin, tag)).await })
    }

    /// Returns every tag that is known, in no order.
    fn tags(&self) -> BoxFuture<'_, io::Result<Vec<TagRecord>>> {
        Box::pin(async move {
            let records = self.records(RecordKind::Tag).await?;
            Ok(records.iter().filter_map(|bytes| TagRecord::read(bytes)).collect())
        })
    }

    /// Returns the list of referrers that an origin last gave for a digest.
    fn referrers<'a>(
        &'a self,
        origin: &'a Origin,
        subject: &'a Digest,
    ) -> BoxFuture<'a, io::Result<Option<ReferrersRecord>>> {
        Box::pin(async move {
            let bytes = self.record(&RecordKey::referrers(origin, subject)).await?;
            let record = bytes.as_deref().and_then(ReferrersRecord::read);
            Ok(record.filter(|record| record.origin == *origin && record.subject == *subject))
        })
    }

    /// Notes a list of referrers.
    fn put_referrers<'a>(&'a self, record: &'a ReferrersRecord) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.put_record(&RecordKey::referrers(&record.origin, &record.subject), record.write()).await
        })
    }
}
