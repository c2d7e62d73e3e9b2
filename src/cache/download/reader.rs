use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::passthrough::PassthroughReader;
use super::source::FetchError;
use super::state::{Attached, State};
use super::window::Wants;
use crate::http::{Piece, Pieces};
use futures_util::future::BoxFuture;

/// One reader of a download: some part of the object, in pieces as they come.
pub struct Reader {
    at: Attached,
    state: watch::Receiver<State>,
    offset: u64,
    end: u64,
    wants: Wants,
    passthrough: Option<Box<PassthroughReader>>,
}

impl Reader {
    pub(super) fn new(at: Attached, offset: u64, end: u64, wants: Wants) -> Self {
        let state = at.shared().watch();
        Self { at, state, offset, end, wants, passthrough: None }
    }

    /// Returns what is in the file, up to a position.
    fn take_file(&mut self, upto: u64) -> Option<Piece> {
        let len = upto.min(self.end).checked_sub(self.offset).filter(|len| *len > 0)?;
        let piece = Piece::File { file: Arc::clone(self.at.shared().file.get()?), offset: self.offset, len };
        self.offset += len;
        Some(piece)
    }

    async fn read(&mut self) -> Result<Option<Piece>, FetchError> {
        loop {
            if self.offset >= self.end {
                return Ok(None);
            }
            if self.passthrough.is_some() {
                return self.read_through().await.map(Some);
            }
            let readable = self.at.shared().readable();
            if let Some(piece) = self.take_file(readable) {
                return Ok(Some(piece));
            }
            // Seen first and looked at after: what is published in between is not missed.
            let state = self.state.borrow_and_update().clone();
            if self.at.shared().readable() > self.offset {
                continue;
            }
            match state {
                State::Waiting | State::Streaming(_) => {
                    if self.state.changed().await.is_err() {
                        return Err(FetchError::Internal("the download ended without a result".to_owned()));
                    }
                }
                State::Complete(total) => {
                    return Err(FetchError::Mismatch(format!("it has {total} bytes only")));
                }
                State::Failed(error) => return Err(error),
                State::Passthrough(passthrough) => {
                    let reader = PassthroughReader::new(&passthrough, self.offset, self.end, self.wants);
                    self.passthrough = Some(Box::new(reader));
                }
            }
        }
    }

    async fn read_through(&mut self) -> Result<Piece, FetchError> {
        let kept = self.passthrough.as_ref().map_or(0, |passthrough| passthrough.kept());
        if let Some(piece) = self.take_file(kept) {
            return Ok(piece);
        }
        let Some(passthrough) = &mut self.passthrough else {
            return Err(FetchError::Internal("the download is kept".to_owned()));
        };
        let bytes = passthrough.read(self.end).await?;
        self.offset += bytes.len() as u64;
        Ok(Piece::Bytes(bytes))
    }
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
