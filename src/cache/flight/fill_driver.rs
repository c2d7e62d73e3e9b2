#![expect(clippy::disallowed_methods, reason = "waits for upstream")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::intake_driver::Intake;
use super::rules::{GRACE, Rules, readable};
use super::shared::{Diversion, Rest, Shared, State};
use super::source::{Source, SourceError};
use crate::cache::store::{Spool, Store};
use crate::oci::Verifier;

/// One fetch into the store, on behalf of everybody.
pub(super) struct Fill {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn Store>,
    pub(super) source: Arc<dyn Source>,
    pub(super) rules: Rules,
    /// How long the object should be, for upstreams that do not say.
    pub(super) hint: Option<u64>,
}

/// How a fetch ended.
pub(super) enum Outcome {
    /// It was there already.
    Present,
    /// It is to be committed; its readers have all of it.
    Landed(Spool),
    /// Everybody goes on alone.
    Diverted,
    /// It failed.
    Lost(SourceError),
    /// Nobody waits for it, and too little was there.
    Deserted,
}

/// What a fetch has come to, with how often transfers were taken up again.
pub(super) struct Report {
    pub(super) outcome: Outcome,
    pub(super) resumed: u64,
}

/// The file and the hash; they go to a thread of their own for every batch, and come back.
struct Pen {
    spool: Spool,
    verifier: Verifier,
}

/// What a thread brings back: with an error, the bytes that are neither written nor hashed.
type Wrote = (Pen, Result<(), (std::io::Error, Vec<Bytes>)>);

enum Written {
    All(Pen),
    /// The file takes no more; with what did not fit.
    Full(Pen, Vec<Bytes>),
}

/// So much is gathered while the batch before is written and hashed.
const BATCH: usize = 256 << 10;
/// How often another endpoint is tried for content that was wrong, where nobody has seen any of it.
const RESTARTS: u32 = 3;

impl Fill {
    /// Fetches; readers see what happens through what is shared.
    ///
    /// `strike` takes the flight off the list, unless somebody has boarded it after all.
    pub(super) async fn run(&self, strike: &(dyn Fn() -> bool + Send + Sync)) -> Report {
        let mut resumed = 0;
        let outcome = match self.fly(&mut resumed, strike).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Lost(error),
        };
        Report { outcome, resumed }
    }

    async fn fly(
        &self,
        resumed: &mut u64,
        strike: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Outcome, SourceError> {
        // It may have been committed between the caller's look and ours.
        if let Ok(Some(blob)) = self.store.open(&self.shared.digest).await {
            drop(self.shared.file.set(Arc::clone(blob.file())));
            self.shared.publish(blob.len());
            self.shared.enter(State::Landed(blob.len()));
            return Ok(Outcome::Present);
        }
        let mut intake = Intake::new(Arc::clone(&self.source), self.rules, 0, None);
        intake.begin().await?;
        intake.expect(self.hint);
        let total = intake.total();
        self.shared.enter(State::Flying(total));
        let verifier = Verifier::new(self.shared.digest);
        if total.is_some_and(|total| total > self.rules.largest) {
            return Ok(self.divert(None, verifier, intake, Vec::new()));
        }
        let spool = match self.store.spool(total).await {
            Ok(spool) => spool,
            Err(error) => {
                tracing::warn!(digest = %self.shared.digest, "passing on without keeping: {error}");
                return Ok(self.divert(None, verifier, intake, Vec::new()));
            }
        };
        drop(self.shared.file.set(spool.file()));
        let mut pen = Pen { spool, verifier };
        let mut restarts = 0;
        loop {
            let written = self.write(pen, &mut intake, strike).await;
            *resumed += intake.resumed();
            pen = match written? {
                Some(Written::All(pen)) => pen,
                Some(Written::Full(pen, pending)) => {
                    return Ok(self.divert(Some(pen.spool), pen.verifier, intake, pending));
                }
                None => return Ok(Outcome::Deserted),
            };
            let size = pen.spool.written();
            match pen.verifier.finish() {
                Ok(_) => {
                    self.shared.publish(size);
                    self.shared.enter(State::Landed(size));
                    return Ok(Outcome::Landed(pen.spool));
                }
                Err(mismatch) => {
                    intake.mismatch();
                    let error = SourceError::Mismatch(mismatch.to_string());
                    if self.shared.readable() > 0 || restarts == RESTARTS || pen.spool.rewind().is_err() {
                        return Err(error);
                    }
                    tracing::warn!("trying another upstream: {error}");
                    restarts += 1;
                    intake = Intake::new(Arc::clone(&self.source), self.rules, 0, total);
                    // If there is no other, it is the wrong digest that the client has to hear of.
                    intake.begin().await.map_err(|_| error)?;
                    pen.verifier = Verifier::new(self.shared.digest);
                }
            }
        }
    }

    /// Writes and hashes everything that comes; [`None`] if it was given up because nobody waits.
    async fn write(
        &self,
        pen: Pen,
        intake: &mut Intake,
        strike: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Option<Written>, SourceError> {
        let mut deserted = pin!(self.deserted(strike));
        let mut idle = Some(pen);
        let mut job: Option<JoinHandle<Wrote>> = None;
        let mut batch = Vec::new();
        let mut gathered = 0;
        let mut ended = false;
        loop {
            if !batch.is_empty()
                && let Some(pen) = idle.take()
            {
                let (shared, total) = (Arc::clone(&self.shared), intake.total());
                let batch = std::mem::take(&mut batch);
                gathered = 0;
                job = Some(tokio::task::spawn_blocking(move || write(pen, batch, &shared, total)));
            }
            if ended
                && batch.is_empty()
                && let Some(pen) = idle.take()
            {
                return Ok(Some(Written::All(pen)));
            }
            tokio::select! {
                biased;
                wrote = wait(&mut job), if job.is_some() => {
                    job = None;
                    match wrote? {
                        (pen, Ok(())) => idle = Some(pen),
                        (pen, Err((error, mut pending))) => {
                            tracing::warn!(
                                digest = %self.shared.digest,
                                "passing on the rest without keeping: {error}"
                            );
                            pending.append(&mut batch);
                            return Ok(Some(Written::Full(pen, pending)));
                        }
                    }
                }
                next = intake.next(), if !ended && gathered < BATCH => match next? {
                    Some(bytes) => {
                        gathered += bytes.len();
                        batch.push(bytes);
                    }
                    None => ended = true,
                },
                () = &mut deserted => return Ok(None),
            }
        }
    }

    /// Waits until nobody waits, and too little is there to be worth finishing.
    async fn deserted(&self, strike: &(dyn Fn() -> bool + Send + Sync)) {
        let mut passengers = self.shared.passengers.subscribe();
        loop {
            // The sender is ours: neither wait can fail.
            drop(passengers.wait_for(|count| *count == 0).await);
            let back = timeout(GRACE, passengers.wait_for(|count| *count > 0)).await.is_ok();
            let total = match &*self.shared.watch().borrow() {
                State::Flying(total) => *total,
                State::Boarding | State::Landed(_) | State::Lost(_) | State::Diverted(_) => None,
            };
            if !back && !self.rules.finish.is_worth(self.shared.readable(), total) && strike() {
                return;
            }
        }
    }

    fn divert(
        &self,
        spool: Option<Spool>,
        verifier: Verifier,
        intake: Intake,
        pending: Vec<Bytes>,
    ) -> Outcome {
        self.shared.enter(State::Diverted(Arc::new(Diversion {
            total: intake.total(),
            at: spool.as_ref().map_or(0, Spool::written),
            verifier,
            source: Arc::clone(&self.source),
            rules: self.rules,
            rest: Mutex::new(Some(Rest { pending, intake })),
            _spool: spool,
        })));
        Outcome::Diverted
    }
}

async fn wait(job: &mut Option<JoinHandle<Wrote>>) -> Result<Wrote, SourceError> {
    match job {
        Some(job) => job.await.map_err(|error| SourceError::Internal(error.to_string())),
        None => std::future::pending().await,
    }
}

/// Writes and hashes a batch, and lets everybody read it.
fn write(mut pen: Pen, mut batch: Vec<Bytes>, shared: &Shared, total: Option<u64>) -> Wrote {
    let mut wrote = Ok(());
    for at in 0..batch.len() {
        let Some(bytes) = batch.get(at) else { break };
        if let Err(error) = pen.spool.write(bytes) {
            wrote = Err((error, batch.split_off(at)));
            break;
        }
        pen.verifier.update(bytes);
    }
    shared.publish(readable(total, pen.spool.written()));
    (pen, wrote)
}
