#![expect(clippy::disallowed_methods, reason = "measures how long a file is written")]

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempPath;

use super::partial::PartialKey;

/// Who keeps ledger of the room that spools take.
pub trait Room: Send + Sync {
    /// Sets more bytes aside; `StorageFull` where nothing more can be evicted. May take a while: not for async code.
    fn grow(&self, bytes: u64) -> io::Result<()>;

    /// Learns that of what was set aside so much is on the disk now.
    fn wrote(&self, bytes: u64);

    /// Learns that the disk is full, whatever the ledger says.
    fn full(&self);

    /// Takes back bytes that were set aside, and of which so many had been written.
    fn release(&self, reserved: u64, written: u64);

    /// Gives a file that is being written a name that outlives this process; returns the name.
    fn name(&self, _: &PartialKey, _: &File, _: Option<TempPath>) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Learns that a file with such a name was left unfinished, with so many bytes.
    fn left(&self, _: &PartialKey, _: String, _: u64) {}

    /// Removes a file with such a name.
    fn discard(&self, _: &str) {}
}

/// A file that something is fetched into, and the room set aside for it; dropped, both are gone, unless it has come to
/// have a name that outlives this process.
///
/// Nothing but its holder writes, and only at its end, so that what was written may be read through
/// [`Spool::file`] meanwhile.
pub struct Spool {
    file: Arc<File>,
    /// The name, where the file system has no files without one; goes with the value.
    named: Option<TempPath>,
    room: Arc<dyn Room>,
    reserved: u64,
    written: u64,
    unfinished: Option<Unfinished>,
}

/// What a spool is of that stays when it is dropped.
struct Unfinished {
    key: PartialKey,
    begun: Instant,
    /// The name, once it has one: what is fetched in a moment needs none.
    name: Option<String>,
}

/// Room is taken in steps that grow with the file, where its size is not known beforehand.
const FIRST_STEP: u64 = 1 << 20;
const LARGEST_STEP: u64 = 64 << 20;
/// What is smaller is fetched again, if it has to be.
const WORTH_A_NAME: u64 = 1 << 20;
/// What has taken less time to come is fetched again, if it has to be.
const NAMED_AFTER: Duration = Duration::from_secs(1);

impl Spool {
    /// Takes an empty file, with room that has been set aside for it.
    pub fn new(file: File, named: Option<TempPath>, room: Arc<dyn Room>, reserved: u64) -> Self {
        Self { file: Arc::new(file), named, room, reserved, written: 0, unfinished: None }
    }

    /// Makes it one that stays when it is dropped unfinished, as soon as there is enough of it to be worth that.
    pub(super) fn lasting(mut self, key: PartialKey) -> Self {
        self.unfinished = Some(Unfinished { key, begun: Instant::now(), name: None });
        self
    }

    /// Takes a file that was left unfinished, with the room that it has.
    pub(super) fn resumed(
        file: File,
        room: Arc<dyn Room>,
        reserved: u64,
        written: u64,
        key: PartialKey,
        name: String,
    ) -> Self {
        let unfinished = Some(Unfinished { key, begun: Instant::now(), name: Some(name) });
        Self { file: Arc::new(file), named: None, room, reserved, written, unfinished }
    }

    /// Returns the file.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes at the end, all or, with an error, nothing that counts; blocks.
    ///
    /// `StorageFull` where there is no room: neither by the store's ledger nor on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.written.saturating_add(bytes.len() as u64);
        if end > self.reserved {
            let step = (self.written / 8).clamp(FIRST_STEP, LARGEST_STEP).max(end - self.reserved);
            self.room.grow(step)?;
            self.reserved = self.reserved.saturating_add(step);
        }
        if let Err(error) = self.file.write_all_at(bytes, self.written) {
            if !is_full(&error) {
                return Err(error);
            }
            // Somebody else filled the disk. What the ledger can still give up may be enough.
            self.room.grow(bytes.len() as u64)?;
            self.reserved = self.reserved.saturating_add(bytes.len() as u64);
            if let Err(error) = self.file.write_all_at(bytes, self.written) {
                self.room.full();
                return Err(if is_full(&error) {
                    io::Error::new(io::ErrorKind::StorageFull, error)
                } else {
                    error
                });
            }
        }
        self.room.wrote(bytes.len() as u64);
        self.written = end;
        self.name_if_worth();
        Ok(())
    }

    fn name_if_worth(&mut self) {
        let Some(unfinished) = &mut self.unfinished else { return };
        let is_worth = self.written >= WORTH_A_NAME && unfinished.begun.elapsed() >= NAMED_AFTER;
        if unfinished.name.is_some() || !is_worth {
            return;
        }
        match self.room.name(&unfinished.key, &self.file, self.named.take()) {
            Ok(name) => unfinished.name = Some(name),
            Err(error) => {
                tracing::warn!("a download will not outlive this process: {error}");
                self.unfinished = None;
            }
        }
    }

    /// Begins again, with the room it has; for when no client has read anything yet.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.rewind_to(0)
    }

    /// Takes back what was written from a position on, with the room it has.
    pub fn rewind_to(&mut self, position: u64) -> io::Result<()> {
        let Some(less) = self.written.checked_sub(position) else { return Ok(()) };
        self.file.set_len(position)?;
        self.room.release(0, less);
        self.written = position;
        Ok(())
    }

    /// Makes it go with all that was written when it is dropped: that is wrong, or of no use.
    pub fn discard(&mut self) {
        if let Some(name) = self.unfinished.take().and_then(|unfinished| unfinished.name) {
            self.room.discard(&name);
        }
    }

    /// Takes away the name that outlives this process, where it has one.
    pub(super) fn take_lasting_name(&mut self) -> Option<String> {
        self.unfinished.take()?.name
    }

    /// Hands over the room that was set aside, and how much of it is written: the caller gives it back.
    pub(super) fn take_reservation(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.reserved), std::mem::take(&mut self.written))
    }

    /// Takes away the file's name, where it has one.
    pub(super) fn take_name(&mut self) -> Option<TempPath> {
        self.named.take()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(Unfinished { key, name: Some(name), .. }) = self.unfinished.take() {
            self.room.left(&key, name, self.written);
        }
        self.room.release(self.reserved, self.written);
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero
    )
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("written", &self.written)
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}
