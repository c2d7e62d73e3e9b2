#![expect(clippy::disallowed_methods, reason = "waits for upstream")]

use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::policy::{GRACE, Policy, TAIL, readable};
use super::resuming_body::ResumingBody;
use super::source::{FetchError, Source};
use super::state::{Passthrough, Shared, State};
use super::window::{LEAST_ASK, Window};
use crate::cache::store::{PartialKey, SharedFile, Spool, Store};
use crate::oci::{Span, Verifier};

/// One download into the store, for all of its readers.
pub(super) struct DownloadTask {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn Store>,
    pub(super) source: Arc<dyn Source>,
    pub(super) policy: Policy,
    /// How long the object should be, for upstreams that do not say.
    pub(super) hint: Option<u64>,
    /// The name of what an earlier download may have left of it, and this one may leave.
    pub(super) key: Option<PartialKey>,
    /// What its first reader wants, where that is a part.
    pub(super) first: Option<Span>,
    /// How many bytes of objects are in memory that cannot be kept.
    pub(super) memory: Arc<AtomicUsize>,
}

/// How a download ended.
pub(super) enum Outcome {
    /// It was there already.
    Present,
    /// It is to be committed; its readers have all of it.
    Complete(Spool),
    /// It cannot be kept: readers share a window of it.
    Passthrough(Why),
    /// It failed.
    Failed(FetchError),
    /// No reader waits for it, and too little was there.
    Abandoned,
}

/// Why something cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It never can.
    TooLarge,
    /// There is no room for it now.
    NoRoom,
}

/// How a download ended, and how often its transfers were resumed.
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) resumed: u64,
}

/// The file and the hash; they go to a thread of their own for every batch, and come back.
struct HashingWriter {
    spool: Spool,
    verifier: Verifier,
}

/// What a thread brings back: with an error, the bytes that are neither written nor hashed.
type Wrote = (HashingWriter, Result<(), (std::io::Error, Vec<Bytes>)>);

enum Written {
    All(HashingWriter),
    /// The file takes no more; with what did not fit.
    Full(HashingWriter, Vec<Bytes>),
    /// No more comes; what came is written.
    Failed(HashingWriter, FetchError),
}

/// So much is gathered while the batch before is written and hashed.
const BATCH: usize = 256 << 10;
/// How often another endpoint is tried for content that was wrong, where no reader has got any of it.
const RESTARTS: u32 = 3;

impl DownloadTask {
    /// Fetches; readers see what happens through what is shared.
    ///
    /// `remove` takes the download off the list, unless a reader has joined it meanwhile.
    pub(super) async fn run(&self, remove: &(dyn Fn() -> bool + Send + Sync)) -> Finished {
        let mut resumed = 0;
        let outcome = match self.download(&mut resumed, remove).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error),
        };
        Finished { outcome, resumed }
    }

    async fn download(
        &self,
        resumed: &mut u64,
        remove: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Outcome, FetchError> {
        // It may have been committed between the caller's lookup and ours.
        if self.source.may_use_stored().await
            && let Ok(Some(blob)) = self.store.open(&self.shared.digest).await
        {
            drop(self.shared.file.set(Arc::clone(blob.file())));
            self.shared.publish(blob.len());
            self.shared.enter(State::Complete(blob.len()));
            return Ok(Outcome::Present);
        }
        let largest = self.policy.largest.min(self.store.largest());
        if let Some(hint) = self.hint.filter(|hint| *hint > largest) {
            let mut body = self.open_first(hint).await?;
            body.expect(Some(hint));
            self.shared.enter(State::Streaming(body.total()));
            let verifier = Verifier::new(self.shared.digest);
            return self.pass_through(Why::TooLarge, None, verifier, body, Vec::new());
        }
        let left = self.key.as_ref().map_or(0, |key| self.store.left(key));
        // The end of it is fetched again, so that there is something to ask for.
        let (mut body, mut from) = self.open(left.saturating_sub(TAIL), left).await?;
        body.expect(self.hint);
        let mut total = body.total();
        self.shared.enter(State::Streaming(total));
        let verifier = Verifier::new(self.shared.digest);
        if total.is_some_and(|total| total > largest) {
            return self.pass_through(Why::TooLarge, None, verifier, body, Vec::new());
        }
        let mut spool = match self.spool(total).await {
            Ok(spool) => spool,
            Err(error) => {
                tracing::warn!(digest = %self.shared.digest, "passing on without keeping: {error}");
                return self.pass_through(Why::NoRoom, None, verifier, body, Vec::new());
            }
        };
        if spool.written() < from {
            // It had to make room meanwhile.
            (body, from) = self.open(0, 0).await?;
            body.expect(self.hint);
            total = body.total();
        }
        spool.rewind_to(from).map_err(|error| FetchError::Internal(error.to_string()))?;
        drop(self.shared.file.set(spool.file()));
        self.shared.publish(readable(total, from));
        if from > 0 {
            tracing::info!(digest = %self.shared.digest, from, "going on with an unfinished download");
        }
        let verifier = hash(spool.file(), from, verifier).await?;
        let mut writer = HashingWriter { spool, verifier };
        let mut restarts = 0;
        loop {
            let written = self.write(writer, &mut body, remove).await;
            *resumed += body.resumed();
            writer = match written? {
                Some(Written::All(writer)) => writer,
                Some(Written::Full(mut writer, pending)) => {
                    writer.spool.discard();
                    let HashingWriter { spool, verifier } = writer;
                    return self.pass_through(Why::NoRoom, Some(spool), verifier, body, pending);
                }
                Some(Written::Failed(mut writer, error)) => {
                    if !error.is_retryable() {
                        writer.spool.discard();
                    }
                    return Err(error);
                }
                None => return Ok(Outcome::Abandoned),
            };
            let size = writer.spool.written();
            match writer.verifier.finish() {
                Ok(_) => {
                    self.source.complete().await;
                    self.shared.publish(size);
                    self.shared.enter(State::Complete(size));
                    return Ok(Outcome::Complete(writer.spool));
                }
                Err(mismatch) if from > 0 => {
                    // Which of the two is wrong, what was left or what came now, the next download tells.
                    writer.spool.discard();
                    let what =
                        format!("{mismatch}; {from} bytes of it are of a download that was not finished");
                    return Err(FetchError::Mismatch(what));
                }
                Err(mismatch) => {
                    body.mismatch();
                    let error = FetchError::Mismatch(mismatch.to_string());
                    if self.shared.readable() > 0 || restarts == RESTARTS || writer.spool.rewind().is_err() {
                        writer.spool.discard();
                        return Err(error);
                    }
                    tracing::warn!("trying another upstream: {error}");
                    restarts += 1;
                    body = ResumingBody::new(Arc::clone(&self.source), self.policy, 0, total);
                    // If there is no other, it is the wrong digest that the client has to hear of.
                    if body.begin().await.is_err() {
                        writer.spool.discard();
                        return Err(error);
                    }
                    writer.verifier = Verifier::new(self.shared.digest);
                }
            }
        }
    }

    /// Opens what is too large to be kept where its first reader begins.
    async fn open_first(&self, total: u64) -> Result<ResumingBody, FetchError> {
        if let Some(part) = self.first {
            let end = part.first().saturating_add(LEAST_ASK).min(part.last().saturating_add(1)).min(total);
            let source = Arc::clone(&self.source);
            let mut body = ResumingBody::part(source, self.policy, part.first(), None, end);
            match body.begin().await {
                Ok(()) => return Ok(body),
                Err(error) if !is_of_range(&error) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(self.open(0, 0).await?.0)
    }

    /// Opens it from a position on, or from its beginning where what is `left` of it is of no use; returns which.
    async fn open(&self, from: u64, left: u64) -> Result<(ResumingBody, u64), FetchError> {
        if from > 0 {
            let mut body = ResumingBody::new(Arc::clone(&self.source), self.policy, from, None);
            match body.begin().await {
                Ok(()) if body.total().or(self.hint).is_none_or(|total| total >= left) => {
                    return Ok((body, from));
                }
                Err(error) if !is_of_range(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let mut body = ResumingBody::new(Arc::clone(&self.source), self.policy, 0, None);
        body.begin().await?;
        Ok((body, 0))
    }

    async fn spool(&self, total: Option<u64>) -> std::io::Result<Spool> {
        match &self.key {
            Some(key) => self.store.resume(key, total).await,
            None => self.store.spool(total).await,
        }
    }

    /// Writes and hashes everything that comes; [`None`] if it was given up because no reader waits.
    async fn write(
        &self,
        writer: HashingWriter,
        body: &mut ResumingBody,
        remove: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Option<Written>, FetchError> {
        let mut abandoned = pin!(self.abandoned(remove));
        let mut idle = Some(writer);
        let mut job: Option<JoinHandle<Wrote>> = None;
        let mut batch = Vec::new();
        let mut gathered = 0;
        let mut ended = false;
        let mut failed = None;
        loop {
            if !batch.is_empty()
                && let Some(writer) = idle.take()
            {
                let (shared, total) = (Arc::clone(&self.shared), body.total());
                let batch = std::mem::take(&mut batch);
                gathered = 0;
                job = Some(tokio::task::spawn_blocking(move || write(writer, batch, &shared, total)));
            }
            if ended
                && batch.is_empty()
                && let Some(writer) = idle.take()
            {
                return Ok(Some(match failed {
                    None => Written::All(writer),
                    Some(error) => Written::Failed(writer, error),
                }));
            }
            tokio::select! {
                biased;
                wrote = wait(&mut job), if job.is_some() => {
                    job = None;
                    match wrote? {
                        (writer, Ok(())) => idle = Some(writer),
                        (writer, Err((error, mut pending))) => {
                            tracing::warn!(
                                digest = %self.shared.digest,
                                "passing on the rest without keeping: {error}"
                            );
                            pending.append(&mut batch);
                            return Ok(Some(Written::Full(writer, pending)));
                        }
                    }
                }
                next = body.next(), if !ended && gathered < BATCH => match next {
                    Ok(Some(bytes)) => {
                        gathered += bytes.len();
                        batch.push(bytes);
                    }
                    Ok(None) => ended = true,
                    Err(error) => (ended, failed) = (true, Some(error)),
                },
                () = &mut abandoned => return Ok(None),
            }
        }
    }

    /// Waits until no reader waits, and too little is there to be worth finishing.
    async fn abandoned(&self, remove: &(dyn Fn() -> bool + Send + Sync)) {
        let mut readers = self.shared.readers.subscribe();
        loop {
            // The sender is ours: neither wait can fail.
            drop(readers.wait_for(|count| *count == 0).await);
            let back = timeout(GRACE, readers.wait_for(|count| *count > 0)).await.is_ok();
            let total = match &*self.shared.watch().borrow() {
                State::Streaming(total) => *total,
                State::Waiting | State::Complete(_) | State::Failed(_) | State::Passthrough(_) => None,
            };
            if !back && !self.policy.finish.is_worth(self.shared.readable(), total) && remove() {
                return;
            }
        }
    }

    fn pass_through(
        &self,
        why: Why,
        spool: Option<Spool>,
        verifier: Verifier,
        body: ResumingBody,
        pending: Vec<Bytes>,
    ) -> Result<Outcome, FetchError> {
        let total = body.total().ok_or_else(no_length)?;
        if total == 0 {
            // Nothing at all is only said to be nothing when that has the right digest.
            verifier.finish().map_err(|error| FetchError::Mismatch(error.to_string()))?;
            self.shared.enter(State::Complete(0));
            return Ok(Outcome::Present);
        }
        let (source, memory) = (Arc::clone(&self.source), Arc::clone(&self.memory));
        let window = Arc::new(Window::new(source, self.policy, total, body, pending, memory));
        let at = spool.as_ref().map_or(0, Spool::written);
        let passthrough = Passthrough { at, verifier, window, _spool: spool };
        self.shared.enter(State::Passthrough(Arc::new(passthrough)));
        Ok(Outcome::Passthrough(why))
    }
}

/// Returns whether an error may be of the range alone, so that a request for the whole may go well.
fn is_of_range(error: &FetchError) -> bool {
    match error {
        FetchError::Unavailable { .. }
        | FetchError::Broken(_)
        | FetchError::Changed { .. }
        | FetchError::Mismatch(_) => true,
        FetchError::NotFound
        | FetchError::Denied { .. }
        | FetchError::TooMany { .. }
        | FetchError::Internal(_) => false,
    }
}

fn no_length() -> FetchError {
    FetchError::unavailable(
        "the upstream does not say how long it is, and there is no room to keep it until that is known",
    )
}

/// Hashes what is in a file already.
async fn hash(file: SharedFile, upto: u64, mut verifier: Verifier) -> Result<Verifier, FetchError> {
    if upto == 0 {
        return Ok(verifier);
    }
    let hashed = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; BATCH];
        let mut at = 0;
        while at < upto {
            let wanted = usize::try_from(upto - at).unwrap_or(BATCH).min(BATCH);
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            file.read_exact_at(piece, at)?;
            verifier.update(piece);
            at += wanted as u64;
        }
        Ok(verifier)
    });
    let hashed: std::io::Result<Verifier> =
        hashed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    hashed.map_err(|error| FetchError::Internal(error.to_string()))
}

async fn wait(job: &mut Option<JoinHandle<Wrote>>) -> Result<Wrote, FetchError> {
    match job {
        Some(job) => job.await.map_err(|error| FetchError::Internal(error.to_string())),
        None => std::future::pending().await,
    }
}

/// Writes and hashes a batch, and lets all readers read it.
fn write(mut writer: HashingWriter, mut batch: Vec<Bytes>, shared: &Shared, total: Option<u64>) -> Wrote {
    let mut wrote = Ok(());
    for at in 0..batch.len() {
        let Some(bytes) = batch.get(at) else { break };
        if let Err(error) = writer.spool.write(bytes) {
            wrote = Err((error, batch.split_off(at)));
            break;
        }
        writer.verifier.update(bytes);
    }
    shared.publish(readable(total, writer.spool.written()));
    (writer, wrote)
}
