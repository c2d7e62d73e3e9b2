#![expect(clippy::disallowed_methods, reason = "keeps the store's small files")]

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::entries::Pin;
use super::index::blocks;
use super::layout::Folder;
use super::records::{RecordName, key, subject};
use super::state::State;
use crate::cache::memory::locked;
use crate::cache::store::local::Object;
use crate::cache::store::record::{Origin, RecordKey, RecordKind};
use crate::image::Digest;

/// Records and grants: they are counted as content is, and go with what they are about.
impl State {
    /// Notes that an origin has an object. Of what is not stored nothing is noted: there is nothing to give out.
    pub(super) fn grant(&self, origin: &Origin, object: &Object) -> io::Result<()> {
        let record = RecordKey::origin(origin);
        let path = self.folder().grant(&record, object);
        if path.exists() || self.ledger().index.get(object).is_none() {
            return Ok(());
        }
        if !self.folder().record(&record).exists() && !self.put_record(&record, &origin.write())? {
            return Ok(());
        }
        self.folder().add_grant(&path)?;
        let mut ledger = self.ledger();
        ledger.records.add_grant(record.hash());
        ledger.index.set_pin(object, Pin::Unknown);
        Ok(())
    }

    /// Removes the note that an origin has an object, and with the last one what the origin is.
    pub(super) fn remove_grant(&self, path: &Path, origin: &str) -> io::Result<()> {
        let was_there = self.folder().unlink(path)?;
        self.folder().tidy(path);
        if was_there
            && let Some(hash) = hash_of(origin)
            && self.ledger().records.remove_grant(hash)
        {
            self.remove_record(&(RecordKind::Origin, hash))?;
        }
        Ok(())
    }

    /// Writes a record; returns whether there was room for it.
    pub(super) fn put_record(&self, record: &RecordKey, bytes: &[u8]) -> io::Result<bool> {
        let name = (record.kind(), record.hash());
        let size = bytes.len() as u64;
        let is_there = self.ledger().records.has(&name);
        let wanted = if is_there { 0 } else { blocks(size) };
        match self.make_room(wanted) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::debug!(kind = record.kind().as_str(), "there is no room for a record");
                return Ok(false);
            }
            made => made?,
        }
        let written = self.folder().replace(&self.folder().record(record), bytes);
        let mut ledger = self.ledger();
        if written.is_ok() {
            ledger.records.put(name, size, subject(record.kind(), bytes).as_ref());
        }
        ledger.release(wanted, 0);
        written.map(|()| true)
    }

    /// Removes a record; returns whether it was there.
    pub(super) fn remove_record(&self, name: &RecordName) -> io::Result<bool> {
        let path = self.folder().record(&key(name));
        let was_there = self.folder().unlink(&path)?;
        self.ledger().records.remove(name);
        self.folder().tidy(&path);
        Ok(was_there)
    }

    /// Looks at the records that earlier processes have left, so that they are counted, and go with what they are about;
    /// unless that was done.
    pub(super) fn count_records_once(&self) -> io::Result<()> {
        let mut counted = locked(&self.counted);
        if !*counted {
            self.count_records()?;
            *counted = true;
        }
        Ok(())
    }

    fn count_records(&self) -> io::Result<()> {
        for kind in RecordKind::ALL {
            for (path, _) in self.folder().records(kind)? {
                let Some(name) = name_of(kind, &path) else { continue };
                if self.ledger().records.has(&name) {
                    continue;
                }
                let bytes = match Folder::read(&path) {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!("a record of the store is not counted: {error}");
                        continue;
                    }
                };
                let about = subject(kind, &bytes);
                self.ledger().records.put(name, bytes.len() as u64, about.as_ref());
            }
        }
        let mut grants = HashMap::new();
        self.folder().each_grant(|_, _, origin| {
            *grants.entry(hash_of(origin).unwrap_or_default()).or_default() += 1;
        })?;
        self.ledger().records.set_grants(grants);
        Ok(())
    }

    /// Removes records that were not renewed since a time, in seconds since 1970, and what is about things that are not
    /// there.
    pub(super) fn sweep(&self, before: u64) -> io::Result<()> {
        self.expire_leftovers();
        for kind in [RecordKind::Tag, RecordKind::Referrers] {
            for (path, written_at) in self.folder().records(kind)? {
                if written_at < before
                    && let Some(name) = name_of(kind, &path)
                {
                    self.remove_record(&name)?;
                }
            }
        }
        let mut orphans = Vec::new();
        self.folder().each_grant(|path, object, origin| {
            if self.ledger().index.get(&object).is_none() {
                orphans.push((path.to_owned(), origin.to_owned()));
            }
        })?;
        for (path, origin) in orphans {
            self.remove_grant(&path, &origin)?;
        }
        self.remove_orphans()?;
        self.sweep_origins()
    }

    /// Removes records that are about manifests which are not there; returns whether there were any.
    pub(super) fn remove_orphans(&self) -> io::Result<bool> {
        let orphans = {
            let ledger = self.ledger();
            ledger.records.orphans(&ledger.index)
        };
        for name in &orphans {
            self.remove_record(name)?;
        }
        Ok(!orphans.is_empty())
    }

    /// Removes the records of origins that nothing is of any more.
    fn sweep_origins(&self) -> io::Result<()> {
        // Looked at first: one that is noted meanwhile is not among them.
        let known = self.ledger().records.origins();
        let mut granted = HashSet::new();
        self.folder().each_grant(|_, _, origin| {
            granted.insert(origin.to_owned());
        })?;
        for name in known.iter().filter(|name| !granted.contains(&key(name).hex())) {
            self.remove_record(name)?;
        }
        Ok(())
    }
}

/// Returns the name of a record by its path.
fn name_of(kind: RecordKind, path: &Path) -> Option<RecordName> {
    Some((kind, hash_of(path.file_name()?.to_str()?)?))
}

/// Returns the hash that a record's file is called by.
fn hash_of(hex: &str) -> Option<[u8; 32]> {
    let digest: Digest = format!("sha256:{hex}").parse().ok()?;
    digest.bytes().try_into().ok()
}
