use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

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
}

/// A file that something is fetched into, and the room set aside for it; dropped, both are gone.
///
/// Nothing but its holder writes, and only at its end, so that what was written may be read through
/// [`Spool::file`] meanwhile.
pub struct Spool {
    file: Arc<File>,
    /// The name, where the file system has no files without one; goes with the value.
    named: Option<tempfile::TempPath>,
    room: Arc<dyn Room>,
    reserved: u64,
    written: u64,
}

/// Room is taken in steps that grow with the file, where its size is not known beforehand.
const FIRST_STEP: u64 = 1 << 20;
const LARGEST_STEP: u64 = 64 << 20;

impl Spool {
    /// Takes an empty file, with room that has been set aside for it.
    pub fn new(file: File, named: Option<tempfile::TempPath>, room: Arc<dyn Room>, reserved: u64) -> Self {
        Self { file: Arc::new(file), named, room, reserved, written: 0 }
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
        Ok(())
    }

    /// Begins again, with the room it has; for when no client has read anything yet.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.room.release(0, self.written);
        self.written = 0;
        Ok(())
    }

    /// Hands over the room that was set aside, and how much of it is written: the caller gives it back.
    pub(super) fn take_reservation(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.reserved), std::mem::take(&mut self.written))
    }

    /// Takes away the file's name, where it has one.
    pub(super) fn take_name(&mut self) -> Option<tempfile::TempPath> {
        self.named.take()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
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
