#![expect(
    clippy::disallowed_methods,
    reason = "measures how fast transfers are, and has several run at once"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::source::FetchError;
use super::tier_pace::Came;
use crate::cache::memory::locked;
use crate::cache::store::{Tier, TierBody};
use crate::image::Digest;

/// How much one of several transfers gives. What comes before its turn is in memory until then.
const PART: u64 = 8 << 20;
/// How many transfers of one blob run at once.
const AT_ONCE: usize = 4;
/// How many parts are in memory at most, or on the way there, of all blobs together.
const ROOM: usize = 16;
/// One transfer that gives so many bytes a second is enough: AWS gives somewhat less to each.
const ENOUGH: u64 = 100 << 20;
/// After how many bytes, or how long a wait, it is known how fast a transfer is.
const SAMPLE: u64 = 8 << 20;
const WAITED: Duration = Duration::from_secs(1);
/// How often in a row one has to be slow: over a long way the first bytes of any take their time.
const SAMPLES: u32 = 2;
/// A smaller blob always comes by one transfer.
const LARGE: u64 = 32 << 20;
/// How much has to be left for several.
const LEAST: u64 = 2 * PART;
/// Over how many bytes it is measured whether several are faster than one.
const TRIAL: u64 = 4 * PART;
/// For how long none is begun beside another where several were no faster.
const PAUSE: Duration = Duration::from_mins(1);

/// What all blobs share that come from a tier.
#[derive(Debug)]
pub(super) struct PartsRoom {
    room: Arc<Semaphore>,
    /// Until when one transfer a blob is all that is tried: the tier gives no more to several.
    one_until: Mutex<Option<Instant>>,
}

impl Default for PartsRoom {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM)), one_until: Mutex::default() }
    }
}

impl PartsRoom {
    fn may_be_several(&self, now: Instant) -> bool {
        locked(&self.one_until).is_none_or(|until| until <= now)
    }
}

/// A blob's bytes from a tier, one after the other: by one transfer as long as that is fast, and by several at once where
/// it is slow and they are faster.
pub(super) struct Parts {
    tier: Arc<dyn Tier>,
    digest: Digest,
    shared: Arc<PartsRoom>,
    total: u64,
    /// The next byte's position.
    position: u64,
    /// What gives the next bytes, and where it ends, or is left.
    now: BoxStream<'static, Result<Bytes, FetchError>>,
    upto: u64,
    /// What it has given beyond that, as long as it could go on to the end of the blob.
    beyond: Option<Bytes>,
    /// What gives those after it, in their order.
    ahead: VecDeque<Part>,
    /// What came since, and how long it was waited for.
    came: Came,
    since: Instant,
    /// How often in a row one transfer was slow.
    slow: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// One transfer, whose rate is being found out.
    One,
    /// Several, after one had given so many bytes a second.
    Several(u64),
    /// One again: several were no faster.
    Settled,
}

/// A transfer that runs before its turn.
struct Part {
    end: u64,
    pieces: UnboundedReceiver<Result<Bytes, FetchError>>,
    room: OwnedSemaphorePermit,
}

impl Parts {
    /// Goes on with what a tier has opened at a position.
    pub(super) fn new(
        tier: Arc<dyn Tier>,
        digest: Digest,
        shared: Arc<PartsRoom>,
        position: u64,
        opened: TierBody,
    ) -> Self {
        let total = opened.total;
        Self {
            tier,
            digest,
            shared,
            total,
            position,
            now: pieces(opened),
            upto: total,
            beyond: None,
            ahead: VecDeque::new(),
            came: Came::default(),
            since: Instant::now(),
            slow: 0,
            phase: Phase::One,
        }
    }

    /// Returns them as a stream.
    pub(super) fn into_stream(self) -> BoxStream<'static, Result<Bytes, FetchError>> {
        let all =
            stream::try_unfold(
                self,
                |mut this| async move { Ok(this.next().await?.map(|bytes| (bytes, this))) },
            );
        all.boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.position == self.upto && self.upto < self.total {
                self.go_on().await?;
            }
            if let Phase::Several(_) = self.phase {
                self.fill();
            }
            let begun = Instant::now();
            let mut bytes = match self.now.next().await {
                Some(Ok(bytes)) => bytes,
                // Whether that is too early, those know who read it.
                None if self.upto == self.total && self.ahead.is_empty() => return Ok(None),
                next => {
                    let error = next.and_then(Result::err).unwrap_or_else(|| ended_early(self.position));
                    self.give_up(error).await?;
                    continue;
                }
            };
            if self.upto < self.total {
                // The rest comes by another one, if that gives anything.
                let wanted = usize::try_from(self.upto - self.position).unwrap_or(usize::MAX);
                let beyond = bytes.split_off(wanted.min(bytes.len()));
                self.beyond = self.beyond.take().map(|_| beyond);
            }
            self.came.add(bytes.len(), begun.elapsed());
            self.position = self.position.saturating_add(bytes.len() as u64);
            self.judge();
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Decides whether one transfer goes on, or several do.
    fn judge(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::One if self.came.bytes >= SAMPLE || self.came.waited >= WAITED => {
                let (came, passed) = self.measured(now);
                let left = self.total.saturating_sub(self.position);
                let is_large = self.total >= LARGE && left >= LEAST;
                // Where it is our disk or our processor that is slow, several are no faster.
                let is_waiting = came.waited >= passed.waited / 4 * 3;
                self.slow = if came.rate() < ENOUGH && is_waiting { self.slow + 1 } else { 0 };
                if self.slow >= SAMPLES && is_large && self.shared.may_be_several(now) {
                    // What runs gives the first part, and is left then, where the store gives parts.
                    let first = self.position + PART;
                    if self.begin(first) {
                        let rate = passed.rate();
                        tracing::debug!(digest = %self.digest, rate, "one transfer is slow: several at once");
                        (self.upto, self.phase) = (first, Phase::Several(rate));
                        self.beyond = Some(Bytes::new());
                    }
                }
            }
            Phase::Several(one) if self.came.bytes >= TRIAL => {
                let rate = self.measured(now).1.rate();
                if rate < one + one / 4 {
                    tracing::debug!(digest = %self.digest, one, rate, "several transfers are no faster than one");
                    self.settle(now);
                }
            }
            Phase::One | Phase::Several(_) | Phase::Settled => {}
        }
    }

    /// Returns what came since it was measured last: with how long it was waited for, and with all the time that has passed.
    fn measured(&mut self, now: Instant) -> (Came, Came) {
        let came = std::mem::take(&mut self.came);
        let passed = Came { bytes: came.bytes, waited: now.saturating_duration_since(self.since) };
        self.since = now;
        (came, passed)
    }

    /// Begins no transfer beside another one any more.
    fn settle(&mut self, now: Instant) {
        *locked(&self.shared.one_until) = Some(now + PAUSE);
        self.phase = Phase::Settled;
    }

    /// Tries one transfer where one of several has failed; fails with its error where there was one only.
    async fn give_up(&mut self, error: FetchError) -> Result<(), FetchError> {
        let is_one = self.ahead.is_empty() && self.upto == self.total;
        if is_one && !matches!(self.phase, Phase::Several(_)) {
            return Err(error);
        }
        tracing::debug!(digest = %self.digest, "one of several transfers failed: one for the rest: {error}");
        self.settle(Instant::now());
        self.ahead.clear();
        self.go_on().await
    }

    /// Goes on with the one transfer there was, which has given some bytes more: the first part beside it gave none.
    fn keep(&mut self, beyond: Bytes, error: &FetchError) {
        tracing::debug!(digest = %self.digest, "no part comes beside one transfer: that one goes on: {error}");
        self.settle(Instant::now());
        self.ahead.clear();
        self.upto = self.total;
        let now = std::mem::replace(&mut self.now, stream::empty().boxed());
        self.now = stream::iter([Ok(beyond)]).chain(now).boxed();
    }

    /// Has as many transfers run before their turn as may.
    fn fill(&mut self) {
        while self.ahead.len() + 1 < AT_ONCE {
            let from = self.ahead.back().map_or(self.upto, |part| part.end);
            if from >= self.total || !self.begin(from) {
                return;
            }
        }
    }

    /// Begins a transfer before its turn; returns whether there is room for it.
    fn begin(&mut self, from: u64) -> bool {
        let Ok(room) = Arc::clone(&self.shared.room).try_acquire_owned() else { return false };
        let end = from.saturating_add(PART).min(self.total);
        let (give, pieces) = unbounded_channel();
        tokio::spawn(fetch(Arc::clone(&self.tier), self.digest, from..end, self.total, give));
        self.ahead.push_back(Part { end, pieces, room });
        true
    }

    /// Goes on with the transfer whose turn it is; with one for all that is left, where none runs.
    async fn go_on(&mut self) -> Result<(), FetchError> {
        let beyond = self.beyond.take();
        if let Some(mut part) = self.ahead.pop_front() {
            let mut begun = None;
            if let Some(beyond) = beyond {
                match part.pieces.recv().await {
                    Some(Ok(piece)) => begun = Some(Ok(piece)),
                    failed => {
                        let error =
                            failed.and_then(Result::err).unwrap_or_else(|| ended_early(self.position));
                        self.keep(beyond, &error);
                        return Ok(());
                    }
                }
            }
            self.upto = part.end;
            let pieces = stream::unfold((part.pieces, part.room), |(mut pieces, room)| async move {
                pieces.recv().await.map(|piece| (piece, (pieces, room)))
            });
            self.now = stream::iter(begun).chain(pieces).boxed();
            return Ok(());
        }
        self.now = pieces(open_part(&*self.tier, &self.digest, self.position, self.total, self.total).await?);
        self.upto = self.total;
        if let Phase::Several(_) = self.phase {
            (self.phase, self.came, self.since) = (Phase::One, Came::default(), Instant::now());
        }
        Ok(())
    }
}

/// Passes a part on as it comes, as long as somebody waits for it.
async fn fetch(
    tier: Arc<dyn Tier>,
    digest: Digest,
    range: std::ops::Range<u64>,
    total: u64,
    give: UnboundedSender<Result<Bytes, FetchError>>,
) {
    let all = async {
        let mut body = pieces(open_part(&*tier, &digest, range.start, range.end, total).await?);
        let mut at = range.start;
        while at < range.end {
            let mut piece = body.next().await.transpose()?.ok_or_else(|| ended_early(at))?;
            piece.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            at += piece.len() as u64;
            if give.send(Ok(piece)).is_err() {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        // Of what nobody waits for any more, nothing is asked for.
        biased;
        () = give.closed() => {}
        fetched = all => if let Err(error) = fetched {
            // Nobody waits for it any more, then.
            drop(give.send(Err(error)));
        },
    }
}

/// Opens a part of something that is known to be there, and how long it is.
async fn open_part(
    tier: &dyn Tier,
    digest: &Digest,
    from: u64,
    end: u64,
    total: u64,
) -> Result<TierBody, FetchError> {
    let opened = tier.open_part(digest, from, end).await;
    let opened = opened.map_err(|error| FetchError::Broken(error.to_string()))?;
    match opened {
        Some(opened) if opened.total == total => Ok(opened),
        Some(opened) => Err(FetchError::Broken(format!("it has {} bytes, after {total}", opened.total))),
        None => Err(FetchError::Broken("it is gone".to_owned())),
    }
}

fn pieces(opened: TierBody) -> BoxStream<'static, Result<Bytes, FetchError>> {
    opened.body.map(|piece| piece.map_err(|error| FetchError::Broken(error.to_string()))).boxed()
}

fn ended_early(at: u64) -> FetchError {
    FetchError::Broken(format!("a part of it ended at byte {at}"))
}
