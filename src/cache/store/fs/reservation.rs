use std::fs::File;
use std::io;

use tempfile::TempPath;

use super::config::Pins;
use super::entries::Pin;
use super::eviction::order;
use super::state::{State, now};
use crate::cache::memory::locked;
use crate::cache::store::local::Object;
use crate::cache::store::partial::PartialKey;
use crate::cache::store::spool::Room;

/// How often more goes where what went was less than it takes, since names and folders are counted too.
const ROUNDS: usize = 16;

/// How room is made, and accounted for.
impl State {
    fn is_pinned(&self, object: &Object) -> bool {
        let Some(pins) = locked(&self.pins).clone() else {
            return false;
        };
        match self.ledger().index.get(object).map(|entry| entry.pin) {
            Some(Pin::Yes) => return true,
            Some(Pin::No) => return false,
            Some(Pin::Unknown) | None => {}
        }
        match self.origins(object) {
            Ok(origins) => {
                let pinned = origins.iter().any(|origin| pins(origin));
                self.ledger().index.set_pin(object, if pinned { Pin::Yes } else { Pin::No });
                pinned
            }
            Err(error) => {
                tracing::warn!("cannot say whether {} is pinned, so it stays: {error}", object.digest);
                true
            }
        }
    }

    /// Takes other pins; what they say of things that are there is asked again.
    pub(super) fn set_pins(&self, pins: Option<Pins>) {
        *locked(&self.pins) = pins;
        self.ledger().index.forget_pins();
    }

    /// Sets room aside, and evicts what is in its way, if enough can be evicted.
    pub(super) fn make_room(&self, wanted: u64) -> io::Result<()> {
        let _turn = locked(&self.making_room);
        if wanted > self.levels.cap {
            // One that can keep nothing at all is as good as full.
            self.ledger().usage.full |= self.levels.cap == 0;
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{wanted} bytes are more than the store may hold in all"),
            ));
        }
        let mut missing = self.missing(wanted)?;
        if missing > 0 && self.give_up_leftovers(missing) > 0 {
            missing = self.missing(wanted)?;
        }
        if missing > 0 && self.remove_orphans()? {
            missing = self.missing(wanted)?;
        }
        for _ in 0..ROUNDS {
            if missing == 0 {
                break;
            }
            let victims = self.victims(missing);
            let sum = victims.iter().map(|(_, size)| size).sum::<u64>();
            // What goes takes names and folders along.
            let own = if self.over_cap(wanted) > 0 { self.own(&self.ledger()) } else { 0 };
            let enough = !victims.is_empty() && sum.saturating_add(own) >= missing;
            if enough {
                self.evict(&victims);
                missing = self.over_cap(wanted);
            }
            if enough && missing > 0 {
                continue;
            }
            // What a client reads gives its room back only when the client has done: until then the disk is still full.
            missing = self.missing(wanted)?;
            break;
        }
        if missing > 0 {
            self.ledger().usage.full = true;
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("no room for {wanted} bytes, and nothing more can be evicted"),
            ));
        }
        let mut ledger = self.ledger();
        ledger.reserved = ledger.reserved.saturating_add(wanted);
        if wanted > 0 {
            ledger.usage.full = false;
        }
        Ok(())
    }

    /// Returns by how many bytes the cap would be passed if so many more were set aside.
    fn over_cap(&self, wanted: u64) -> u64 {
        self.levels.before(self.taken(&self.ledger()), wanted)
    }

    /// Returns how many bytes have to go before so many more may be set aside.
    fn missing(&self, wanted: u64) -> io::Result<u64> {
        let free = self.folder().disk()?.free;
        let ledger = self.ledger();
        let taken = self.taken(&ledger);
        let to_come = ledger.reserved.saturating_sub(ledger.written).saturating_add(wanted);
        let on_disk = to_come.saturating_add(self.reserve).saturating_sub(free);
        Ok(self.levels.before(taken, wanted).max(on_disk))
    }

    /// Chooses what goes, until that is so many bytes or there is nothing more.
    fn victims(&self, bytes: u64) -> Vec<(Object, u64)> {
        let mut candidates = {
            let ledger = self.ledger();
            ledger.index.candidates(now(), |manifest| ledger.records.bytes_about(manifest))
        };
        order(&mut candidates);
        let mut sum = 0_u64;
        let mut out = Vec::new();
        for candidate in candidates {
            if sum >= bytes {
                break;
            }
            if !self.is_pinned(&candidate.key) {
                sum = sum.saturating_add(candidate.size);
                out.push((candidate.key, candidate.size));
            }
        }
        out
    }

    fn evict(&self, victims: &[(Object, u64)]) {
        for (object, size) in victims {
            match self.remove(object) {
                Ok(_) => {
                    tracing::debug!(digest = %object.digest, kind = object.kind.as_str(), size, "evicted");
                    let mut ledger = self.ledger();
                    ledger.usage.evicted += 1;
                    ledger.usage.evicted_bytes = ledger.usage.evicted_bytes.saturating_add(*size);
                }
                Err(error) => tracing::error!("cannot evict: {error}"),
            }
        }
    }

    /// Lowers the level, if it is above the mark; a little at a time, so that no download waits long for its reservation.
    pub(super) fn lower(&self) {
        let taken = self.taken(&self.ledger());
        let surplus = self.levels.surplus(taken);
        let surplus = surplus.saturating_sub(self.give_up_leftovers(surplus));
        if surplus > 0 {
            for some in self.victims(surplus).chunks(16) {
                // Names and folders went along, so that it may be enough already.
                if self.taken(&self.ledger()) <= self.levels.stop {
                    break;
                }
                let _turn = locked(&self.making_room);
                self.evict(some);
            }
        }
    }
}

impl Room for State {
    fn grow(&self, bytes: u64) -> io::Result<()> {
        self.make_room(bytes)
    }

    fn wrote(&self, bytes: u64) {
        let mut ledger = self.ledger();
        ledger.written = ledger.written.saturating_add(bytes);
    }

    fn full(&self) {
        self.ledger().usage.full = true;
    }

    fn release(&self, reserved: u64, written: u64) {
        self.ledger().release(reserved, written);
    }

    fn name(&self, key: &PartialKey, file: &File, named: Option<TempPath>) -> io::Result<String> {
        self.name_unfinished(key, file, named)
    }

    fn left(&self, key: &PartialKey, name: String, written: u64) {
        self.put_leftover(key, name, written);
    }

    fn discard(&self, name: &str) {
        self.discard_unfinished(name);
    }
}
