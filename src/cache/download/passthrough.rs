use std::collections::VecDeque;

use bytes::Bytes;

use super::policy::readable;
use super::source::FetchError;
use super::state::Passthrough;
use super::window::{Wants, WindowReader};
use crate::oci::Verifier;

/// The rest of an object that cannot be kept, for one reader: one that began with what was kept of it gets nothing of
/// its end before the digest proved right.
///
/// A part by itself cannot be checked: it goes out as it comes, and it is for the client to check the whole.
pub(super) struct PassthroughReader {
    reader: WindowReader,
    /// How many bytes from the beginning are in the download's file.
    kept: u64,
    /// Has seen all that came before `position`; [`None`] where nothing is checked, or all was.
    verifier: Option<Verifier>,
    position: u64,
    /// The end, which was read before it may be given.
    tail: VecDeque<Bytes>,
}

impl PassthroughReader {
    /// Takes the place of a reader of what lies between two positions.
    pub(super) fn new(passthrough: &Passthrough, offset: u64, end: u64, wants: Wants) -> Self {
        let window = &passthrough.window;
        let kept = passthrough.at;
        let is_checked = offset <= kept && end > readable(Some(window.total()), window.total());
        let position = offset.max(kept);
        let upto = if is_checked { window.total() } else { end };
        Self {
            reader: window.enter(position, upto, wants),
            kept,
            verifier: is_checked.then(|| passthrough.verifier.clone()),
            position,
            tail: VecDeque::new(),
        }
    }

    /// Returns how many bytes from the beginning are in the download's file.
    pub(super) const fn kept(&self) -> u64 {
        self.kept
    }

    /// Waits for the next bytes, up to a position: those that follow the file, or the last that were given.
    pub(super) async fn read(&mut self, end: u64) -> Result<Bytes, FetchError> {
        let total = self.reader.window().total();
        while let Some(verifier) = &mut self.verifier {
            let withheld = readable(Some(total), total);
            let is_withheld = self.position >= withheld;
            if self.position == total {
                let Some(verifier) = self.verifier.take() else { break };
                self.finish(verifier).await?;
                break;
            }
            let upto = if is_withheld { total } else { withheld.min(end) };
            let bytes = self.reader.read(self.position, upto).await?;
            // Small steps: this is hashed where other requests are served too.
            for slice in bytes.chunks(64 << 10) {
                verifier.update(slice);
                tokio::task::yield_now().await;
            }
            self.position += bytes.len() as u64;
            if !is_withheld {
                return Ok(bytes);
            }
            self.tail.push_back(bytes);
        }
        if let Some(mut bytes) = self.tail.pop_front() {
            let from = self.position_of_tail(bytes.len());
            bytes.truncate(usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX));
            return Ok(bytes);
        }
        let bytes = self.reader.read(self.position, end).await?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    /// Returns where a piece of the tail begins that was taken from it just now.
    fn position_of_tail(&self, len: usize) -> u64 {
        let left: usize = self.tail.iter().map(Bytes::len).sum();
        self.position - (left + len) as u64
    }

    async fn finish(&self, verifier: Verifier) -> Result<(), FetchError> {
        match verifier.finish() {
            Ok(_) => {
                self.reader.window().complete().await;
                Ok(())
            }
            Err(mismatch) => {
                self.reader.window().mismatch();
                Err(FetchError::Mismatch(mismatch.to_string()))
            }
        }
    }
}
