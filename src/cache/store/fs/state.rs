#![expect(clippy::disallowed_methods, reason = "dates uses, and looks for files")]

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::config::{Durability, FsConfig, Pins};
use super::entries::Entry;
use super::eviction::Levels;
use super::index::{Index, blocks};
use super::journal::Journal;
use super::journal_entry::{JournalEntry, Trust};
use super::layout::{self, Folder, Found};
use super::leftovers::Leftovers;
use super::records::Records;
use super::replay::{Ending, Replayed};
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::store::blob::Blob;
use crate::cache::store::local::{Kind, Listed, Object, Touched, Usage, Verdict};
use crate::cache::store::record::{Document, Origin, RecordKey, RecordKind};
use crate::cache::store::spool::{Room, Spool};
use crate::image::Digest;
use crate::oci::Hasher;

/// The folder, its index and its ledger; everything here blocks, and nothing here knows of async.
pub(super) struct State {
    folder: Folder,
    ledger: Mutex<Ledger>,
    /// Held from the line to the file and the index, so that all three say the same whatever comes between; taken
    /// before [`State::ledger`], never while that is held.
    journal: Mutex<Journal>,
    files: Mutex<BoundedMap<Digest, Arc<File>>>,
    /// Whether what earlier processes have left of records was counted; held while it is.
    pub(super) counted: Mutex<bool>,
    /// Held while room is made, so that two do not set the same room aside.
    pub(super) making_room: Mutex<()>,
    pub(super) levels: Levels,
    /// What is to stay free on the disk.
    pub(super) reserve: u64,
    durability: Durability,
    /// How far the check of all that is stored has come.
    scrub: Mutex<Scrub>,
    pub(super) pins: Mutex<Option<Pins>>,
    boot: Option<String>,
    /// How many bytes the journal has.
    journal_size: Arc<AtomicU64>,
    /// What of the cap is left for records, folders and the index; beyond that they take from the content's share.
    own_share: u64,
}

/// How far a check of all that is stored has come.
#[derive(Default)]
struct Scrub {
    /// What is still to be checked, with its size.
    queue: VecDeque<(Object, u64)>,
    /// How many bytes may be read now.
    credit: u64,
}

/// In how many seconds everything is checked once.
const SCRUB_SECONDS: u64 = 30 * 24 * 3600;
/// How many bytes are checked a second at least.
const LEAST_SCRUB: u64 = 64 << 10;

/// What there is, and what is to come.
pub(super) struct Ledger {
    pub(super) index: Index,
    /// Set aside for spools.
    pub(super) reserved: u64,
    /// How much of that is on the disk already.
    pub(super) written: u64,
    /// What unfinished downloads have left.
    pub(super) leftovers: Leftovers,
    /// The small files.
    pub(super) records: Records,
    /// What is counted since the start.
    pub(super) usage: Usage,
}

impl Ledger {
    /// Returns what is stored, set aside and left, in bytes, without what is not content.
    fn content(&self) -> u64 {
        self.index.stored().saturating_add(self.reserved).saturating_add(self.leftovers.stored())
    }

    /// Gives room back that was set aside, and what of it was written.
    pub(super) fn release(&mut self, reserved: u64, written: u64) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.written = self.written.saturating_sub(written);
    }
}

/// What a lookup into the index says of a blob.
pub(super) enum Lookup {
    /// It is not there.
    Absent,
    /// It is there, and it is open.
    Open(Blob),
    /// The disk has to be asked.
    Ask(Entry),
}

/// Smaller files are not worth waiting for the disk: after a power failure they are hashed in a millisecond.
const WORTH_A_SYNC: u64 = 1 << 20;
/// Of the cap so much is left for folders, records and the index: a 32nd.
const OWN_SHARE: u64 = 32;

impl State {
    pub(super) fn open(config: FsConfig) -> io::Result<Self> {
        let folder = Folder::open(&config.root, config.naming)?;
        let path = folder.join("index");
        let boot = layout::boot();
        let mut replayed = Replayed::read(&path)?;
        let mut journal = Journal::open(path, replayed.extent)?;
        let same_boot = boot.is_some() && replayed.boot == boot;
        let mut rewrite = replayed.ending == Ending::Never;
        if !same_boot {
            replayed.index.distrust();
            rewrite = true;
        }
        if replayed.ending == Ending::Cut {
            replayed.index.distrust_all();
            rewrite = true;
        }
        if replayed.ending == Ending::Never || (replayed.ending == Ending::Cut && !same_boot) {
            reconcile(&mut replayed.index, &folder.scan()?);
        }
        let mut lines = vec![JournalEntry::Start(boot.clone())];
        if replayed.ending == Ending::Cut
            && let Some(object) = replayed.unfinished
            && !folder.path(&object).exists()
        {
            replayed.index.remove(&object);
            lines.push(JournalEntry::Gone(object));
        }
        // Until the kernel has put a file on the disk, a power failure may leave it with other bytes.
        let may_trust = same_boot || replayed.ending == Ending::Clean;
        let leftovers = Leftovers::find(&folder, may_trust, now())?;
        let index = replayed.index;
        if rewrite || journal.is_long(index.len()) {
            journal.rewrite(lines.into_iter().chain(index.lines()))?;
        } else {
            journal.append(&lines)?;
        }

        let disk = folder.disk()?;
        let reserve = config.reserve.unwrap_or_else(|| default_reserve(disk.total));
        let there = index.stored().saturating_add(leftovers.stored()).saturating_add(folder.folder_bytes());
        let cap =
            config.cap.unwrap_or_else(|| disk.free.saturating_add(there).saturating_sub(reserve) / 10 * 9);
        if cap < LITTLE && config.cap.is_none() {
            tracing::warn!(
                free_bytes = disk.free,
                reserve_bytes = reserve,
                "the disk has hardly any room beside what is to stay free, so that almost nothing is kept: make room, or set \
                 --reserve"
            );
        }
        Ok(Self {
            folder,
            ledger: Mutex::new(Ledger {
                index,
                reserved: 0,
                written: 0,
                leftovers,
                records: Records::default(),
                usage: Usage { cap, ..Usage::default() },
            }),
            journal_size: journal.size(),
            journal: Mutex::new(journal),
            files: Mutex::new(BoundedMap::new(config.open_files)),
            counted: Mutex::new(false),
            making_room: Mutex::new(()),
            levels: Levels::of(cap - cap / OWN_SHARE),
            own_share: cap / OWN_SHARE,
            reserve,
            durability: config.durability,
            scrub: Mutex::default(),
            pins: Mutex::new(config.pins),
            boot,
        })
    }

    /// Returns what is taken of the cap, in bytes: all content, and what records, folders and the index take beyond what
    /// is left for them.
    pub(super) fn taken(&self, ledger: &Ledger) -> u64 {
        ledger.content().saturating_add(self.own(ledger).saturating_sub(self.own_share))
    }

    /// Returns what records, folders and the index take, in bytes.
    pub(super) fn own(&self, ledger: &Ledger) -> u64 {
        let journal = blocks(self.journal_size.load(Ordering::Relaxed));
        ledger.records.stored().saturating_add(self.folder.folder_bytes()).saturating_add(journal)
    }

    pub(super) const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A panic elsewhere leaves nothing half done that matters: every change is one statement on the index.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        locked(&self.journal)
    }

    fn files(&self) -> MutexGuard<'_, BoundedMap<Digest, Arc<File>>> {
        locked(&self.files)
    }

    /// Closes a blob's file, as soon as the last reader has done.
    fn close_file(&self, object: &Object) {
        if object.kind == Kind::Blob {
            self.files().remove(&object.digest);
        }
    }

    /// Looks for a blob without asking the disk, and counts that as a use.
    pub(super) fn lookup(&self, digest: &Digest) -> Lookup {
        let Some(entry) = self.ledger().index.touch(&Object::blob(*digest), now()) else {
            return Lookup::Absent;
        };
        if entry.trust == Trust::Doubtful {
            return Lookup::Ask(entry);
        }
        match self.files().get(digest) {
            Some(file) if has_size(&file, entry.size) => Lookup::Open(Blob::new(file, entry.size)),
            Some(_) | None => Lookup::Ask(entry),
        }
    }

    /// Opens a blob of which the index knows; hashes it first where it is doubtful.
    pub(super) fn open_blob(&self, digest: &Digest) -> io::Result<Option<Blob>> {
        let object = Object::blob(*digest);
        let Some(entry) = self.ledger().index.get(&object) else { return Ok(None) };
        let Some(file) = layout::open(&self.folder.path(&object))? else {
            self.forget(&object);
            return Ok(None);
        };
        if !has_size(&file, entry.size) {
            self.discard_damaged(&object, "its file has another size than it had");
            return Ok(None);
        }
        if entry.trust == Trust::Doubtful {
            if hash(&file, digest)? != *digest {
                self.discard_damaged(&object, "its file does not hold what its digest says");
                return Ok(None);
            }
            self.trust_file(&object, &file);
        }
        let file = Arc::new(file);
        self.files().put(*digest, Arc::clone(&file), 1);
        Ok(Some(Blob::new(file, entry.size)))
    }

    pub(super) fn spool(self: &Arc<Self>, size: Option<u64>) -> io::Result<Spool> {
        let reserved = size.map_or(0, blocks);
        self.make_room(reserved)?;
        let room: Arc<dyn Room> = Arc::<Self>::clone(self);
        match self.folder.temporary() {
            Ok((file, name)) => Ok(Spool::new(file, name, room, reserved)),
            Err(error) => {
                self.release(reserved, 0);
                Err(error)
            }
        }
    }

    pub(super) fn commit(&self, mut spool: Spool, digest: &Digest) -> io::Result<()> {
        let object = Object::blob(*digest);
        let size = spool.written();
        if self.ledger().index.get(&object).is_some_and(|entry| is_sound(entry, size)) {
            spool.discard();
            return Ok(());
        }
        let trust = match self.durability {
            Durability::Full => Trust::Durable,
            Durability::Data if size > WORTH_A_SYNC => Trust::Durable,
            Durability::Data | Durability::Never => Trust::Written,
        };
        if trust == Trust::Durable {
            spool.file().sync_data()?;
        }
        let used_at = now();
        let mut journal = self.journal();
        if self.ledger().index.get(&object).is_some_and(|entry| is_sound(entry, size)) {
            spool.discard();
            return Ok(()); // another download was faster
        }
        journal.append(&[JournalEntry::Put { object, size, used_at, hits: 0, trust }])?;
        // What is there under that name is doubtful, or the index never heard of it: ours is right.
        self.close_file(&object);
        self.folder.unlink(&self.folder.path(&object))?;
        self.folder.link(&mut spool, &object)?;
        {
            // At one moment, so that it is not counted twice.
            let mut ledger = self.ledger();
            ledger.index.put(&object, size, used_at, trust);
            let (reserved, written) = spool.take_reservation();
            ledger.release(reserved, written);
        }
        if self.durability == Durability::Full {
            journal.sync()?;
            drop(journal);
            self.folder.sync_names()?;
        }
        Ok(())
    }

    pub(super) fn manifest(&self, digest: &Digest) -> io::Result<Option<Document>> {
        let object = Object::manifest(*digest);
        if self.ledger().index.touch(&object, now()).is_none() {
            return Ok(None);
        }
        let Some(bytes) = Folder::read(&self.folder.path(&object))? else {
            self.forget(&object);
            return Ok(None);
        };
        let document = Document::read(bytes, digest);
        if document.is_none() {
            self.discard_damaged(&object, "its file does not hold what its digest says");
        }
        Ok(document)
    }

    pub(super) fn put_manifest(&self, digest: &Digest, document: &Document) -> io::Result<()> {
        let object = Object::manifest(*digest);
        let bytes = document.write();
        let size = bytes.len() as u64;
        self.make_room(blocks(size))?;
        let used_at = now();
        let put = JournalEntry::Put { object, size, used_at, hits: 0, trust: Trust::Written };
        let mut journal = self.journal();
        let written = journal
            .append(std::slice::from_ref(&put))
            .and_then(|()| self.folder.replace(&self.folder.path(&object), &bytes));
        let mut ledger = self.ledger();
        if written.is_ok() {
            ledger.index.apply(put);
        }
        ledger.release(blocks(size), 0);
        written
    }

    pub(super) fn touch(&self, object: &Object) -> Touched {
        match self.ledger().index.touch(object, now()) {
            Some(_) => Touched::Counted,
            None => Touched::Gone,
        }
    }

    /// Removes something, wherever it is still mentioned.
    pub(super) fn remove(&self, object: &Object) -> io::Result<bool> {
        for (grant, origin) in self.folder.grants_of(object)? {
            self.remove_grant(&grant, &origin)?;
        }
        let about = self.ledger().records.about(object);
        for record in about {
            self.remove_record(&record)?;
        }
        let mut journal = self.journal();
        let known = self.ledger().index.remove(object).is_some();
        self.close_file(object);
        let path = self.folder.path(object);
        let there = self.folder.unlink(&path)?;
        self.folder.tidy(&path);
        if known {
            note(&mut journal, &JournalEntry::Gone(*object));
        }
        Ok(known && there)
    }

    /// Removes from the index what has no file any more.
    fn forget(&self, object: &Object) {
        let mut journal = self.journal();
        if !self.folder.path(object).exists() && self.ledger().index.remove(object).is_some() {
            tracing::warn!(digest = %object.digest, kind = object.kind.as_str(), "its file is gone: another process removed it");
            self.close_file(object);
            note(&mut journal, &JournalEntry::Gone(*object));
        }
    }

    /// Notes that a file has been hashed, and is what it should be, once that is on the disk: what was hashed may have
    /// been in memory only, and a power failure would take it away.
    fn trust_file(&self, object: &Object, file: &File) {
        if let Err(error) = file.sync_data() {
            tracing::warn!(digest = %object.digest, %error, "cannot write a file that was checked to the disk");
            return;
        }
        let mut journal = self.journal();
        let mut ledger = self.ledger();
        ledger.index.set_trust(object, Trust::Durable);
        if let Some(Entry { size, used_at, hits, trust, .. }) = ledger.index.get(object) {
            note(&mut journal, &JournalEntry::Put { object: *object, size, used_at, hits, trust });
        }
    }

    fn discard_damaged(&self, object: &Object, why: &str) {
        tracing::error!(digest = %object.digest, kind = object.kind.as_str(), "removed as damaged: {why}");
        self.ledger().usage.damaged += 1;
        if let Err(error) = self.remove(object) {
            tracing::error!("{error}");
        }
    }

    /// Checks something against its digest; what is damaged is removed.
    pub(super) fn verify(&self, object: &Object) -> io::Result<Verdict> {
        let Some(entry) = self.ledger().index.get(object) else { return Ok(Verdict::Absent) };
        let path = self.folder.path(object);
        let is_sound = match object.kind {
            Kind::Blob => {
                let Some(file) = layout::open(&path)? else { return Ok(self.found_gone(object)) };
                let is_sound = has_size(&file, entry.size) && hash(&file, &object.digest)? == object.digest;
                if is_sound && entry.trust != Trust::Durable {
                    self.trust_file(object, &file);
                }
                is_sound
            }
            Kind::Manifest => {
                let Some(bytes) = Folder::read(&path)? else { return Ok(self.found_gone(object)) };
                // It is checked whenever it is read, so that nothing has to be noted.
                Document::read(bytes, &object.digest).is_some()
            }
        };
        if is_sound {
            return Ok(Verdict::Sound);
        }
        self.discard_damaged(object, "its file does not hold what its digest says");
        Ok(Verdict::Damaged)
    }

    fn found_gone(&self, object: &Object) -> Verdict {
        self.forget(object);
        Verdict::Absent
    }

    /// Goes on checking what is stored, as far as the budget of so many seconds goes: all of it once in thirty days.
    pub(super) fn scrub(&self, seconds: u64) {
        let (stored, mut scrub) = (self.ledger().index.stored(), locked(&self.scrub));
        scrub.credit =
            scrub.credit.saturating_add((stored / SCRUB_SECONDS).max(LEAST_SCRUB).saturating_mul(seconds));
        loop {
            if scrub.queue.is_empty() {
                let mut all = self.ledger().index.list();
                all.sort_unstable_by_key(|listed| listed.object);
                scrub.queue.extend(all.iter().map(|listed| (listed.object, listed.size)));
            }
            let Some((object, size)) = scrub.queue.front().copied().filter(|(_, size)| *size <= scrub.credit)
            else {
                return;
            };
            scrub.queue.pop_front();
            scrub.credit = scrub.credit.saturating_sub(size.max(blocks(1)));
            if let Err(error) = self.verify(&object) {
                tracing::warn!("cannot check {}: {error}", object.digest);
            }
        }
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        self.ledger().index.list()
    }

    pub(super) fn usage(&self) -> io::Result<Usage> {
        let free = self.folder.disk()?.free;
        if let Err(error) = self.count_records_once() {
            // Told by what looks after the store.
            tracing::debug!("cannot count the store's records: {error}");
        }
        let ledger = self.ledger();
        Ok(Usage {
            stored: ledger.index.stored(),
            reserved: ledger.reserved.saturating_add(ledger.leftovers.stored()),
            free: Some(free),
            blobs: ledger.index.blobs(),
            manifests: ledger.index.manifests(),
            tags: ledger.records.tags(),
            own: self.own(&ledger),
            ..ledger.usage
        })
    }

    pub(super) fn granted(&self, origin: &Origin, object: &Object) -> bool {
        self.folder.grant(&RecordKey::origin(origin), object).exists()
    }

    pub(super) fn origins(&self, object: &Object) -> io::Result<Vec<Origin>> {
        let mut out = Vec::new();
        for (_, name) in self.folder.grants_of(object)? {
            let path = self.folder.join(RecordKind::Origin.as_str()).join(name.get(..2).unwrap_or_default());
            out.extend(Folder::read(&path.join(name))?.as_deref().and_then(Origin::read));
        }
        Ok(out)
    }

    /// Writes down what was used since the last time, and shortens the journal where it got long.
    pub(super) fn write_uses(&self) -> io::Result<()> {
        let used = self.ledger().index.take_used();
        let mut journal = self.journal();
        if !used.is_empty() {
            journal.append(&used)?;
        }
        let (long, lines) = {
            let ledger = self.ledger();
            let long = journal.is_long(ledger.index.len());
            (long, long.then(|| ledger.index.lines()))
        };
        if let Some(lines) = lines.filter(|_| long) {
            journal.rewrite(std::iter::once(JournalEntry::Start(self.boot.clone())).chain(lines))?;
        }
        Ok(())
    }

    /// Ends in order: nothing is lost after this.
    pub(super) fn close(&self) -> io::Result<()> {
        self.write_uses()?;
        self.folder.sync_names()?;
        self.folder.sync_partials()?;
        self.journal().end()
    }
}

/// Writes what can be found out again if it gets lost, unless the journal has ended.
fn note(journal: &mut Journal, line: &JournalEntry) {
    if journal.has_ended() {
        return;
    }
    if let Err(error) = journal.append(std::slice::from_ref(line)) {
        tracing::warn!("cannot write the index: {error}");
    }
}

fn is_sound(entry: Entry, size: u64) -> bool {
    entry.trust != Trust::Doubtful && entry.size == size
}

/// Makes the index say what the folders say; what it did not know is doubtful.
fn reconcile(index: &mut Index, found: &[Found]) {
    let there: HashSet<Object> = found.iter().map(|found| found.object).collect();
    for gone in index.missing_from(&there) {
        index.remove(&gone);
    }
    for found in found {
        let known = index.get(&found.object);
        if known.is_none_or(|entry| entry.size != found.size) {
            index.put(&found.object, found.size, found.written_at, Trust::Doubtful);
        }
    }
}

/// A store for less is said to be of no use, where nobody chose that.
const LITTLE: u64 = 1 << 30;

/// 5 % of the disk, at least 2 GiB, yet never more than a quarter of it.
fn default_reserve(total: u64) -> u64 {
    (total / 20).max(2 << 30).min(total / 4)
}

fn has_size(file: &File, size: u64) -> bool {
    file.metadata().is_ok_and(|meta| meta.len() == size)
}

fn hash(file: &File, digest: &Digest) -> io::Result<Digest> {
    use std::os::unix::fs::FileExt as _;
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(hasher.finish());
        };
        hasher.update(bytes);
        at = at.saturating_add(read as u64);
    }
}

/// Seconds since 1970; they fit until 2106.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
