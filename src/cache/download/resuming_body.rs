#![expect(clippy::disallowed_methods, reason = "waits for upstream")]

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::policy::{Policy, RESUME};
use super::source::{FetchError, Opened, Source};
use futures_util::future::BoxFuture;

/// The bytes of an object, one after the other from some position on, whatever happens to the transfers they come by.
///
/// [`ResumingBody::next`] may be dropped and called again: what it waits for is kept here.
pub(super) struct ResumingBody {
    source: Arc<dyn Source>,
    policy: Policy,
    /// The next byte's position.
    position: u64,
    total: Option<u64>,
    /// Where it ends, if that is before the object does.
    end: Option<u64>,
    /// An endpoint has answered with the whole to a request for a part.
    ignores_ranges: bool,
    /// Every endpoint that gave some of it.
    endpoints: Vec<usize>,
    has_opened: bool,
    tries: u32,
    /// Where the present transfer began.
    since: u64,
    resumed: u64,
    pace: Pace,
    phase: Phase,
}

/// How fast bytes come lately: how long they were waited for, and how many came. Time in which no reader wants any does
/// not count.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    waited: Duration,
    came: u64,
}

impl Pace {
    /// Takes note of bytes; returns whether they have come too slowly for a while.
    fn note(&mut self, waited: Duration, came: usize) -> bool {
        self.waited += waited;
        self.came += came as u64;
        if self.waited < SLOW_AFTER {
            return false;
        }
        let is_slow = self.came < LEAST_RATE * SLOW_AFTER.as_secs();
        *self = Self::default();
        is_slow
    }
}

/// What comes more slowly than so many bytes a second, for so long, counts as broken: it could go on for days.
const LEAST_RATE: u64 = 1 << 10;
const SLOW_AFTER: Duration = Duration::from_mins(1);

enum Phase {
    Pausing(Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Result<Opened, FetchError>>),
    /// With how many bytes of it were had before.
    Body(BoxStream<'static, Result<Bytes, FetchError>>, u64),
    Ended,
}

/// No upstream makes a download wait longer than this: clients do not wait that long either.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl ResumingBody {
    /// Begins at a position; `total` is how long the object is, where that is known.
    pub(super) fn new(source: Arc<dyn Source>, policy: Policy, position: u64, total: Option<u64>) -> Self {
        Self::between(source, policy, position, total, None)
    }

    /// Begins at a position, and ends before another, of an object that may be longer.
    pub(super) fn part(
        source: Arc<dyn Source>,
        policy: Policy,
        position: u64,
        total: Option<u64>,
        end: u64,
    ) -> Self {
        Self::between(source, policy, position, total, Some(end))
    }

    fn between(
        source: Arc<dyn Source>,
        policy: Policy,
        position: u64,
        total: Option<u64>,
        end: Option<u64>,
    ) -> Self {
        let phase = Phase::Opening(open(&source, position, end));
        Self {
            source,
            policy,
            position,
            total,
            end,
            ignores_ranges: false,
            endpoints: Vec::new(),
            has_opened: false,
            tries: 0,
            since: position,
            resumed: 0,
            pace: Pace::default(),
            phase,
        }
    }

    /// Returns how long the object is, where an endpoint has said so.
    pub(super) const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns the position of the next byte.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns where it ends, if that is before the object does.
    pub(super) const fn stop(&self) -> Option<u64> {
        self.end
    }

    /// Returns every endpoint that gave some of it.
    pub(super) fn endpoints(&self) -> &[usize] {
        &self.endpoints
    }

    /// Returns whether an endpoint answered with the whole to a request for a part.
    pub(super) const fn ignores_ranges(&self) -> bool {
        self.ignores_ranges
    }

    /// Returns how often a transfer was resumed.
    pub(super) const fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Takes note how long the object should be, where the upstream did not say.
    pub(super) fn expect(&mut self, total: Option<u64>) {
        self.total = self.total.or(total);
    }

    /// Tells the source that what it gave has another digest.
    pub(super) fn mismatch(&self) {
        self.source.mismatch(&self.endpoints);
    }

    /// Waits for the headers. An error here is final.
    pub(super) async fn begin(&mut self) -> Result<(), FetchError> {
        while !self.has_opened {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for the next bytes; [`None`] is the end, at which as many came as were to come.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.end.or(self.total) == Some(self.position) && self.has_opened {
                self.phase = Phase::Ended;
            }
            if matches!(self.phase, Phase::Ended) {
                return Ok(None);
            }
            if let Some(bytes) = self.step().await? {
                return Ok(Some(bytes));
            }
        }
    }

    /// Goes one step on; gives bytes where some came.
    async fn step(&mut self) -> Result<Option<Bytes>, FetchError> {
        match &mut self.phase {
            Phase::Pausing(pause) => {
                pause.as_mut().await;
                self.phase = Phase::Opening(open(&self.source, self.position, self.end));
                Ok(None)
            }
            Phase::Opening(opening) => {
                let opened = match timeout(self.policy.open, opening).await {
                    Ok(opened) => opened,
                    Err(_) => Err(FetchError::unavailable(format!(
                        "no upstream answered within {} s",
                        self.policy.open.as_secs()
                    ))),
                };
                match opened {
                    Ok(opened) => self.take(opened)?,
                    Err(error) if self.has_opened => self.again(error)?,
                    Err(error) => return Err(error),
                }
                Ok(None)
            }
            Phase::Body(body, _) => {
                let begun = Instant::now();
                let next = timeout(self.policy.idle, body.next()).await;
                match next {
                    Ok(Some(Ok(bytes))) if self.pace.note(begun.elapsed(), bytes.len()) => self.slow(bytes),
                    Ok(Some(Ok(bytes))) => self.receive(bytes),
                    Ok(Some(Err(error))) => self.again(error).map(|()| None),
                    Ok(None) => self.end().map(|()| None),
                    Err(_) => {
                        let error = format!("nothing came for {} s", self.policy.idle.as_secs());
                        self.again(FetchError::Broken(error)).map(|()| None)
                    }
                }
            }
            Phase::Ended => Ok(None),
        }
    }

    fn take(&mut self, opened: Opened) -> Result<(), FetchError> {
        if let (Some(expected), Some(found)) = (self.total, opened.total)
            && expected != found
        {
            // A length alone does not say which of two endpoints is right: a digest will.
            return Err(FetchError::Changed { expected, found });
        }
        self.total = self.total.or(opened.total);
        self.has_opened = true;
        let Some(had) = self.position.checked_sub(opened.starts_at) else {
            let error = format!("it goes on at byte {}, not {}", opened.starts_at, self.position);
            return self.again(FetchError::Broken(error));
        };
        if !self.endpoints.contains(&opened.endpoint) {
            self.endpoints.push(opened.endpoint);
        }
        self.since = self.position;
        self.ignores_ranges |= had > 0;
        self.phase = Phase::Body(opened.body, had);
        Ok(())
    }

    /// Takes what came too slowly, and asks for the rest again: no progress, as often as that may fail.
    fn slow(&mut self, bytes: Bytes) -> Result<Option<Bytes>, FetchError> {
        let received = self.receive(bytes)?;
        self.since = self.position;
        self.again(FetchError::Broken(format!("it came more slowly than {LEAST_RATE} bytes a second")))?;
        Ok(received)
    }

    fn receive(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, FetchError> {
        if let Phase::Body(_, had) = &mut self.phase {
            let skipped = usize::try_from(*had).unwrap_or(usize::MAX).min(bytes.len());
            *had -= skipped as u64;
            bytes = bytes.slice(skipped..);
        }
        if let Some(end) = self.end {
            bytes.truncate(usize::try_from(end - self.position).unwrap_or(usize::MAX));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let end = self.position.saturating_add(bytes.len() as u64);
        if let Some(total) = self.total.filter(|total| end > *total) {
            self.mismatch();
            return Err(FetchError::Mismatch(format!(
                "more than the {total} bytes came that were announced"
            )));
        }
        self.position = end;
        Ok(Some(bytes))
    }

    fn end(&mut self) -> Result<(), FetchError> {
        let Some(total) = self.end.or(self.total) else {
            self.total = Some(self.position);
            return Ok(());
        };
        self.again(FetchError::Broken(format!("it ended after {} of {total} bytes", self.position)))
    }

    /// Resumes the transfer where it broke, unless that has failed too often.
    fn again(&mut self, error: FetchError) -> Result<(), FetchError> {
        if self.position > self.since {
            self.tries = 0;
        }
        self.since = self.position;
        if !error.is_retryable() || self.tries >= self.policy.tries {
            return Err(error);
        }
        let wait = match error {
            FetchError::TooMany { retry_after: Some(wait) } => {
                wait.clamp(RESUME.after(self.tries), LONGEST_PAUSE)
            }
            _ => RESUME.after(self.tries),
        };
        tracing::debug!(position = self.position, "resuming a transfer: {error}");
        self.tries += 1;
        self.resumed += 1;
        self.phase = Phase::Pausing(Box::pin(sleep(wait)));
        Ok(())
    }
}

fn open(
    source: &Arc<dyn Source>,
    from: u64,
    end: Option<u64>,
) -> BoxFuture<'static, Result<Opened, FetchError>> {
    let source = Arc::clone(source);
    Box::pin(async move {
        match end {
            Some(end) => source.open_part(from, end).await,
            None => source.open(from).await,
        }
    })
}
