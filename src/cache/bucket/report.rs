use super::gate::Closed;

/// How a bucket is, and what came of it since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketReport {
    /// The bucket, as it is configured.
    pub url: String,
    /// Where its store is asked for it.
    pub location: String,
    /// Whether it is in use.
    pub used: BucketUse,
    /// Why it is not read, where it is not.
    pub unread: Option<Paused>,
    /// For how many seconds it has been far slower than upstream, and read where that gives nothing only.
    pub slow_for_seconds: Option<u64>,
    /// Why it is not written, where it is not.
    pub unwritten: Option<Paused>,
    /// Whether the store refuses a write that would replace something; [`None`] is not known yet.
    pub is_conditional: Option<bool>,
    /// How long it took to answer when it was last looked at, in milliseconds.
    pub answers_in_ms: Option<u64>,
    /// How many blobs and manifests came from it.
    pub given: u64,
    /// How many bytes came from it.
    pub received_bytes: u64,
    /// How many things were written to it.
    pub written: u64,
    /// How many bytes were sent to it.
    pub sent_bytes: u64,
    /// How many things wait to be written.
    pub pending: usize,
    /// How many things were not written, because too much waited or the store did not take them.
    pub dropped: u64,
    /// How many requests it was sent.
    pub requests: u64,
    /// How many of them failed by its fault.
    pub failed: u64,
    /// What came of collecting what is not needed.
    pub collection: CollectionReport,
}

/// What came of collecting what is not needed in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionReport {
    /// The last collection that has ended, by whichever cache.
    pub last: Option<LastCollection>,
    /// Whether this cache is collecting now.
    pub is_running: bool,
    /// Why nothing can be collected by this cache, if nothing can.
    pub trouble: Option<String>,
    /// How many bytes this cache has taken away since its start.
    pub freed_bytes: u64,
}

/// A collection that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCollection {
    /// When it ended, by the store's clock, in seconds since 1970.
    pub ended_at: u64,
    /// How many tags it took away.
    pub tags: usize,
    /// How many manifests.
    pub manifests: usize,
    /// How many blobs.
    pub blobs: usize,
    /// How many bytes.
    pub freed_bytes: u64,
    /// How many blobs and manifests it left.
    pub kept: usize,
    /// How many bytes they have.
    pub kept_bytes: u64,
}

/// Whether a bucket is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketUse {
    /// It could not be looked at yet.
    Unseen,
    /// It is.
    Used,
    /// It is not, and why.
    Refused(String),
}

/// Why something is not done with a bucket, and how long that has been so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Why.
    pub why: String,
    /// For how many seconds it has been so.
    pub for_seconds: Option<u64>,
}

impl From<Closed> for Paused {
    fn from(closed: Closed) -> Self {
        Self { why: closed.why, for_seconds: closed.since.map(|since| since.as_secs()) }
    }
}

impl BucketReport {
    /// Returns what is wrong with it, in a line for operators; [`None`] where nothing is.
    pub fn trouble(&self) -> Option<String> {
        match (&self.used, &self.unread, &self.unwritten) {
            (BucketUse::Refused(why), _, _) => Some(format!("it is not used: {why}")),
            (_, Some(unread), _) => Some(format!("it is not read for now: {}", unread.why)),
            (BucketUse::Unseen, None, _) => Some("it could not be looked at yet".to_owned()),
            (BucketUse::Used, None, Some(unwritten)) => {
                Some(format!("it is not written to for now: {}", unwritten.why))
            }
            (BucketUse::Used, None, None) => self
                .slow_for_seconds
                .map(|_| "it is far slower than upstream: blobs come from there for now".to_owned()),
        }
    }
}
