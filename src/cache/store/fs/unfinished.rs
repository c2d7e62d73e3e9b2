use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempPath;

use super::index::blocks;
use super::leftovers::{KEPT_FOR, Leftover};
use super::state::{State, now};
use crate::cache::store::partial::PartialKey;
use crate::cache::store::spool::{Room, Spool};

/// So that no two files of a process have the same name.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What unfinished downloads leave.
impl State {
    pub(super) fn left_of(&self, key: &PartialKey) -> u64 {
        self.ledger().leftovers.size(key)
    }

    /// Sets room aside for something of which an earlier download may have left a part.
    pub(super) fn resume(self: &Arc<Self>, key: &PartialKey, size: Option<u64>) -> io::Result<Spool> {
        let Some(left) = self.ledger().leftovers.take(key) else {
            return Ok(self.spool(size)?.lasting(key.clone()));
        };
        match self.resume_leftover(key, &left, size) {
            Ok(spool) => Ok(spool),
            Err(error) => {
                self.discard(&left.name);
                Err(error)
            }
        }
    }

    fn resume_leftover(
        self: &Arc<Self>,
        key: &PartialKey,
        left: &Leftover,
        size: Option<u64>,
    ) -> io::Result<Spool> {
        let file = self.folder().open_partial(&left.name)?;
        let written = file.metadata()?.len();
        let (there, wanted) = (blocks(written), blocks(size.unwrap_or(written).max(written)));
        {
            let mut ledger = self.ledger();
            ledger.reserved = ledger.reserved.saturating_add(there);
            ledger.written = ledger.written.saturating_add(written);
        }
        if let Err(error) = self.make_room(wanted.saturating_sub(there)) {
            self.release(there, written);
            return Err(error);
        }
        let room: Arc<dyn Room> = Arc::<Self>::clone(self);
        Ok(Spool::resumed(file, room, wanted, written, key.clone(), left.name.clone()))
    }

    pub(super) fn name_unfinished(
        &self,
        key: &PartialKey,
        file: &File,
        named: Option<TempPath>,
    ) -> io::Result<String> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{:x}-{count:x}", key.as_str(), now());
        self.folder().name_partial(file, named, &name)?;
        Ok(name)
    }

    pub(super) fn put_leftover(&self, key: &PartialKey, name: String, size: u64) {
        let left = Leftover { name, size, left_at: now() };
        let unwanted = self.ledger().leftovers.put(key.clone(), left);
        if let Some(unwanted) = unwanted {
            self.discard_unfinished(&unwanted.name);
        }
    }

    pub(super) fn discard_unfinished(&self, name: &str) {
        if let Err(error) = self.folder().unlink(&self.folder().partial(name)) {
            tracing::warn!("cannot remove what a download has left: {error}");
        }
    }

    /// Removes what was left a while ago and no download has taken up.
    pub(super) fn expire_leftovers(&self) {
        let before = u64::from(now()).saturating_sub(KEPT_FOR);
        let old = self.ledger().leftovers.take_older(before);
        for leftover in old {
            self.discard_unfinished(&leftover.name);
        }
    }

    /// Gives up what downloads have left, the oldest first, until that is so many bytes; returns how many it was.
    pub(super) fn give_up_leftovers(&self, bytes: u64) -> u64 {
        let mut given = 0_u64;
        while given < bytes {
            let Some(oldest) = self.ledger().leftovers.take_oldest() else { break };
            self.discard_unfinished(&oldest.name);
            given = given.saturating_add(blocks(oldest.size));
        }
        given
    }
}
