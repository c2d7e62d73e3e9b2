use std::io;
use std::sync::PoisonError;

use super::Pins;
use super::index::Pin;
use super::interface::Object;
use super::keeper_store::{Keeper, now};
use super::spool_file::Room;
use crate::cache::evict::order;

/// How a keeper makes room, and keeps account of it.
impl Keeper {
    fn is_pinned(&self, object: &Object) -> bool {
        let Some(pins) = self.pins.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return false;
        };
        match self.account().index.get(object).map(|entry| entry.pin) {
            Some(Pin::Yes) => return true,
            Some(Pin::No) => return false,
            Some(Pin::Unknown) | None => {}
        }
        match self.origins(object) {
            Ok(origins) => {
                let pinned = origins.iter().any(|origin| pins(origin));
                self.account().index.set_pin(object, if pinned { Pin::Yes } else { Pin::No });
                pinned
            }
            Err(error) => {
                tracing::warn!("cannot say whether {} is pinned, so it stays: {error}", object.digest);
                true
            }
        }
    }

    /// Takes other pins; what they say of things that are there is asked anew.
    pub(super) fn set_pins(&self, pins: Option<Pins>) {
        *self.pins.lock().unwrap_or_else(PoisonError::into_inner) = pins;
        self.account().index.forget_pins();
    }

    /// Sets room aside, and evicts what is in its way, if enough can be evicted.
    pub(super) fn make_room(&self, wanted: u64) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted > self.levels.cap {
            // One that can keep nothing at all is as good as full.
            self.account().usage.full |= self.levels.cap == 0;
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{wanted} bytes are more than the store may hold in all"),
            ));
        }
        let missing = self.missing(wanted)?;
        if missing > 0 {
            let victims = self.victims(missing);
            let enough = victims.iter().map(|(_, size)| size).sum::<u64>() >= missing;
            if enough {
                self.evict(&victims);
            }
            // What somebody reads gives its room back only when he has done: then the disk still says no.
            if !enough || self.missing(wanted)? > 0 {
                self.account().usage.full = true;
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("no room for {wanted} bytes, and nothing more can be evicted"),
                ));
            }
        }
        let mut account = self.account();
        account.reserved = account.reserved.saturating_add(wanted);
        if wanted > 0 {
            account.usage.full = false;
        }
        Ok(())
    }

    /// Returns how many bytes have to go before so many more may be set aside.
    fn missing(&self, wanted: u64) -> io::Result<u64> {
        let free = self.folder().disk()?.free;
        let account = self.account();
        let taken = account.index.stored().saturating_add(account.reserved);
        let to_come = account.reserved.saturating_sub(account.written).saturating_add(wanted);
        let on_disk = to_come.saturating_add(self.reserve).saturating_sub(free);
        Ok(self.levels.before(taken, wanted).max(on_disk))
    }

    /// Chooses what goes, until that is so many bytes or there is nothing more.
    fn victims(&self, bytes: u64) -> Vec<(Object, u64)> {
        let mut candidates = self.account().index.candidates(now());
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
                    let mut account = self.account();
                    account.usage.evicted += 1;
                    account.usage.evicted_bytes = account.usage.evicted_bytes.saturating_add(*size);
                }
                Err(error) => tracing::error!("cannot evict: {error}"),
            }
        }
    }

    /// Lowers the level, if it is above the mark; a little at a time, so that nobody waits long for his turn.
    pub(super) fn lower(&self) {
        let taken = {
            let account = self.account();
            account.index.stored().saturating_add(account.reserved)
        };
        let surplus = self.levels.surplus(taken);
        if surplus > 0 {
            for some in self.victims(surplus).chunks(16) {
                let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                self.evict(some);
            }
        }
    }
}

impl Room for Keeper {
    fn grow(&self, bytes: u64) -> io::Result<()> {
        self.make_room(bytes)
    }

    fn wrote(&self, bytes: u64) {
        let mut account = self.account();
        account.written = account.written.saturating_add(bytes);
    }

    fn full(&self) {
        self.account().usage.full = true;
    }

    fn release(&self, reserved: u64, written: u64) {
        self.account().release(reserved, written);
    }
}
