use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::driver::Flight;
use super::intake_driver::Intake;
use super::rules::readable;
use super::shared::{Diversion, Rest, State};
use super::source::SourceError;
use crate::http::{Piece, Pieces};
use crate::oci::Verifier;

/// One reader of a flight: some part of the object, in pieces as they come.
pub struct Reader {
    flight: Flight,
    state: watch::Receiver<State>,
    offset: u64,
    end: u64,
    detour: Option<Box<Detour>>,
}

/// The rest of an object that cannot be kept, for one reader alone: nothing of its end before the digest proved right.
struct Detour {
    diversion: Arc<Diversion>,
    intake: Intake,
    pending: VecDeque<Bytes>,
    verifier: Verifier,
    total: u64,
    /// What has come and was not given on, and where it begins.
    held: VecDeque<Bytes>,
    held_from: u64,
    verified: bool,
}

impl Reader {
    pub(super) fn new(flight: Flight, offset: u64, end: u64) -> Self {
        let state = flight.shared().watch();
        Self { flight, state, offset, end, detour: None }
    }

    /// Returns what is in the file, up to a position.
    fn take_file(&mut self, upto: u64) -> Option<Piece> {
        let len = upto.min(self.end).checked_sub(self.offset).filter(|len| *len > 0)?;
        let piece =
            Piece::File { file: Arc::clone(self.flight.shared().file.get()?), offset: self.offset, len };
        self.offset += len;
        Some(piece)
    }

    async fn read(&mut self) -> Result<Option<Piece>, SourceError> {
        loop {
            if self.offset >= self.end {
                return Ok(None);
            }
            if self.detour.is_some() {
                return self.go_round().await.map(Some);
            }
            let readable = self.flight.shared().readable();
            if let Some(piece) = self.take_file(readable) {
                return Ok(Some(piece));
            }
            // Seen first and looked at after: what is published in between is not missed.
            let state = self.state.borrow_and_update().clone();
            if self.flight.shared().readable() > self.offset {
                continue;
            }
            match state {
                State::Boarding | State::Flying(_) => {
                    if self.state.changed().await.is_err() {
                        return Err(SourceError::Internal("the fetch ended without a word".to_owned()));
                    }
                }
                State::Landed(total) => {
                    return Err(SourceError::Mismatch(format!("it has {total} bytes only")));
                }
                State::Lost(error) => return Err(error),
                State::Diverted(diversion) => self.detour = Some(Box::new(Detour::new(diversion)?)),
            }
        }
    }

    async fn go_round(&mut self) -> Result<Piece, SourceError> {
        loop {
            let Some(detour) = &mut self.detour else {
                return Err(SourceError::Internal("there is no detour".to_owned()));
            };
            let limit =
                if detour.verified { detour.total } else { readable(Some(detour.total), detour.total) };
            let kept = detour.diversion.at.min(limit);
            if let Some(piece) = self.take_file(kept) {
                return Ok(piece);
            }
            let Some(detour) = &mut self.detour else { continue };
            if let Some(bytes) = detour.take(self.offset, limit.min(self.end)) {
                self.offset += bytes.len() as u64;
                return Ok(Piece::Bytes(bytes));
            }
            detour.pull(self.offset).await?;
        }
    }
}

impl Detour {
    fn new(diversion: Arc<Diversion>) -> Result<Self, SourceError> {
        let Some(total) = diversion.total else { return Err(no_length()) };
        let rest = diversion.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Rest { pending, intake } = rest.unwrap_or_else(|| Rest {
            pending: Vec::new(),
            intake: Intake::new(
                Arc::clone(&diversion.source),
                diversion.rules,
                diversion.at,
                diversion.total,
            ),
        });
        Ok(Self {
            intake,
            pending: pending.into(),
            verifier: diversion.verifier.clone(),
            total,
            held: VecDeque::new(),
            held_from: diversion.at,
            verified: false,
            diversion,
        })
    }

    /// Takes bytes from a position on, up to another.
    fn take(&mut self, offset: u64, upto: u64) -> Option<Bytes> {
        if self.held_from != offset {
            return None;
        }
        let wanted = usize::try_from(upto.checked_sub(offset)?).unwrap_or(usize::MAX);
        let front = self.held.front_mut()?;
        let bytes = front.split_to(wanted.min(front.len()));
        if front.is_empty() {
            self.held.pop_front();
        }
        self.held_from += bytes.len() as u64;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Waits for more; what lies before a position is hashed only.
    async fn pull(&mut self, offset: u64) -> Result<(), SourceError> {
        let bytes = match self.pending.pop_front() {
            Some(bytes) => Some(bytes),
            None => self.intake.next().await?,
        };
        let Some(mut bytes) = bytes else {
            let verifier = self.verifier.clone();
            return match verifier.finish() {
                Ok(_) => {
                    self.verified = true;
                    Ok(())
                }
                Err(mismatch) => {
                    self.intake.mismatch();
                    Err(SourceError::Mismatch(mismatch.to_string()))
                }
            };
        };
        // Small steps: this is hashed where other requests are served too.
        for slice in bytes.chunks(64 << 10) {
            self.verifier.update(slice);
            tokio::task::yield_now().await;
        }
        if self.held.is_empty() {
            let end = self.held_from.saturating_add(bytes.len() as u64);
            let skipped = offset.saturating_sub(self.held_from).min(end - self.held_from);
            drop(bytes.split_to(usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len())));
            self.held_from += skipped;
        }
        if !bytes.is_empty() {
            self.held.push_back(bytes);
        }
        Ok(())
    }
}

pub(super) fn no_length() -> SourceError {
    SourceError::Unavailable(
        "the upstream does not say how long it is, and there is no room to keep it until that is known"
            .to_owned(),
    )
}

impl Pieces for Reader {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Piece>>> {
        Box::pin(async move { self.read().await.map_err(io::Error::other) })
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("offset", &self.offset).field("end", &self.end).finish_non_exhaustive()
    }
}
