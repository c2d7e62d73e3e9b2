//! What unfinished downloads have left, and no download uses now.

use std::collections::HashMap;
use std::io;

use super::index::blocks;
use super::layout::Folder;
use crate::cache::store::partial::PartialKey;

/// For how long what a download has left is kept for the next one, in seconds.
pub(super) const KEPT_FOR: u64 = 24 * 3600;

/// A file that an unfinished download left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    /// What the file is called.
    pub(super) name: String,
    /// How many bytes it has.
    pub(super) size: u64,
    /// When it was left, in seconds since 1970.
    pub(super) left_at: u32,
}

/// All such files, by what they are of; they go before anything that was finished.
#[derive(Debug, Default)]
pub(super) struct Leftovers(HashMap<PartialKey, Leftover>);

impl Leftovers {
    /// Finds what earlier processes have left, if what is in those files can be what was written there; `now` is in
    /// seconds since 1970.
    pub(super) fn find(folder: &Folder, may_trust: bool, now: u32) -> io::Result<Self> {
        let mut left = Self::default();
        let oldest = u64::from(now).saturating_sub(KEPT_FOR);
        for (name, size, left_at) in folder.partials()? {
            let unwanted = match name.split_once('.') {
                Some((key, _)) if may_trust && u64::from(left_at) >= oldest => {
                    let leftover = Leftover { name: name.clone(), size, left_at };
                    left.put(PartialKey::of_file(key), leftover).map(|unwanted| unwanted.name)
                }
                Some(_) | None => Some(name),
            };
            if let Some(name) = unwanted {
                folder.unlink(&folder.partial(&name))?;
            }
        }
        Ok(left)
    }

    /// Adds one; of two of the same thing the larger stays, and the other one is returned.
    pub(super) fn put(&mut self, key: PartialKey, leftover: Leftover) -> Option<Leftover> {
        match self.0.remove(&key) {
            Some(other) if other.size > leftover.size => {
                self.0.insert(key, other);
                Some(leftover)
            }
            other => {
                self.0.insert(key, leftover);
                other
            }
        }
    }

    /// Returns how many bytes are left of something.
    pub(super) fn size(&self, key: &PartialKey) -> u64 {
        self.0.get(key).map_or(0, |leftover| leftover.size)
    }

    /// Takes what is left of something.
    pub(super) fn take(&mut self, key: &PartialKey) -> Option<Leftover> {
        self.0.remove(key)
    }

    /// Takes the oldest.
    pub(super) fn take_oldest(&mut self) -> Option<Leftover> {
        let oldest = self.0.iter().min_by_key(|(_, leftover)| leftover.left_at);
        let key = oldest.map(|(key, _)| key.clone())?;
        self.0.remove(&key)
    }

    /// Takes all that were left before a time, in seconds since 1970.
    pub(super) fn take_older(&mut self, before: u64) -> Vec<Leftover> {
        let is_old = |leftover: &Leftover| u64::from(leftover.left_at) < before;
        self.0.extract_if(|_, leftover| is_old(leftover)).map(|(_, leftover)| leftover).collect()
    }

    /// Returns what they take, in whole blocks of the file system.
    pub(super) fn stored(&self) -> u64 {
        self.0.values().map(|leftover| blocks(leftover.size)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(name: &str, size: u64, left_at: u32) -> Leftover {
        Leftover { name: name.to_owned(), size, left_at }
    }

    #[test]
    fn the_larger_one_stays_and_the_oldest_goes_first() {
        let (a, b) = (PartialKey::of_file("a"), PartialKey::of_file("b"));
        let mut left = Leftovers::default();
        assert_eq!(left.put(a.clone(), leftover("a.1", 5000, 20)), None);
        assert_eq!(left.put(a.clone(), leftover("a.2", 4000, 30)), Some(leftover("a.2", 4000, 30)));
        assert_eq!(left.put(a.clone(), leftover("a.3", 6000, 30)), Some(leftover("a.1", 5000, 20)));
        left.put(b.clone(), leftover("b.1", 1, 10));
        assert_eq!((left.size(&a), left.size(&b), left.stored()), (6000, 1, 8192 + 4096));
        assert_eq!(left.take_oldest(), Some(leftover("b.1", 1, 10)));
        assert_eq!((left.take_older(30), left.take_older(31).len()), (vec![], 1));
        assert_eq!((left.take(&a), left.take_oldest()), (None, None));
    }
}
