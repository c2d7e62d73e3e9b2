use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::blob::Blob;
use crate::image::Digest;
use futures_util::future::BoxFuture;

/// A second place for blobs behind the local store, such as a bucket that several caches share.
///
/// It is asked before any upstream, and given what was committed. It is not trusted: what comes from it is hashed like
/// what comes from an upstream, and that it has something grants nothing to any client: it is asked only for what the
/// repository is known to have that a client names.
pub trait Tier: Send + Sync + 'static {
    /// Opens a blob from byte `from` on; [`None`] where it does not have it.
    fn open<'a>(&'a self, digest: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<Option<TierBody>>>;

    /// Opens a part of a blob that it has just given, from byte `from` up to, and without, byte `end`; more may come.
    fn open_part<'a>(
        &'a self,
        digest: &'a Digest,
        from: u64,
        _end: u64,
    ) -> BoxFuture<'a, io::Result<Option<TierBody>>> {
        self.open(digest, from)
    }

    /// Keeps a blob that was committed, now or soon; one that is there already is success.
    fn put<'a>(&'a self, digest: &'a Digest, blob: &'a Blob) -> BoxFuture<'a, io::Result<()>>;

    /// Takes note that what it gave has another digest.
    fn mismatch<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, ()>;

    /// Takes note that it is far slower than upstream, and asked after that only, or no longer.
    fn note_slow(&self, _slow: bool) {}
}

/// A blob as a tier gives it.
pub struct TierBody {
    /// How long the whole blob is, in bytes.
    pub total: u64,
    /// The bytes from the position on that was asked for.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

impl std::fmt::Debug for TierBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierBody").field("total", &self.total).finish_non_exhaustive()
    }
}
