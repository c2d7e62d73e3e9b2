#![expect(clippy::disallowed_methods, reason = "keeps the index on disk")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::journal_entry::JournalEntry;
use crate::file::AppendLog;

/// The journal, open for writing at its end.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    log: AppendLog,
    lines: usize,
    /// Whether it has been ended in order.
    has_ended: bool,
    /// How many bytes it has; shared with those who count what the store takes.
    size: Arc<AtomicU64>,
}

/// How long a journal is that was read, and how it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// How many lines it has.
    pub(super) lines: usize,
    /// Whether its last line has no end.
    pub(super) is_torn: bool,
}

/// A word too many: what is left of a line must not become one.
const SEPARATOR: &str = " ~\n";

/// Below this many lines a journal is not worth rewriting.
const FEW: usize = 4096;

impl Journal {
    /// Opens a journal that has just been read.
    pub(super) fn open(path: PathBuf, extent: Extent) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let size = Arc::new(AtomicU64::new(file.metadata()?.len()));
        let log = AppendLog::new(file, SEPARATOR, extent.is_torn);
        Ok(Self { path, log, lines: extent.lines, has_ended: false, size })
    }

    /// Returns how many bytes it has, whatever is written later.
    pub(super) fn size(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.size)
    }

    /// Writes lines at the end, with one call.
    pub(super) fn append(&mut self, lines: &[JournalEntry]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&format!("{line}\n"));
        }
        self.log.append(&text)?;
        self.lines += lines.len();
        self.size.fetch_add(text.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether most lines say what later ones unsay.
    pub(super) fn is_long(&self, entries: usize) -> bool {
        self.lines > entries.saturating_mul(2).saturating_add(FEW)
    }

    /// Puts another journal in its place: these lines, and room for more.
    pub(super) fn rewrite(&mut self, lines: impl Iterator<Item = JournalEntry>) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let written = write_all(&new, lines).and_then(|(file, count)| {
            fs::rename(&new, &self.path)?;
            Ok((file, count))
        });
        match written {
            Ok((file, count)) => {
                self.size.store(file.metadata()?.len(), Ordering::Relaxed);
                (self.log, self.lines) = (AppendLog::new(file, SEPARATOR, false), count);
                self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
            }
            Err(error) => {
                // What was written of it takes room that is missing elsewhere; that it cannot be removed changes nothing.
                drop(fs::remove_file(&new));
                Err(error)
            }
        }
    }

    /// Writes that all is in order.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.append(&[JournalEntry::End])?;
        self.has_ended = true;
        self.sync()
    }

    /// Waits until all of it is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.log.sync()
    }

    /// Returns whether it has been ended in order: what comes after that makes the next start doubt everything.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }
}

fn write_all(path: &Path, lines: impl Iterator<Item = JournalEntry>) -> io::Result<(File, usize)> {
    drop(fs::remove_file(path)); // a new one must be empty, and appending is how it is opened
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let mut writer = BufWriter::with_capacity(64 << 10, file);
    let mut count = 0;
    for line in lines {
        writeln!(writer, "{line}")?;
        count += 1;
    }
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_data()?;
    Ok((file, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::Object;
    use crate::cache::store::fs::journal_entry::Trust;
    use crate::cache::store::fs::replay::{Ending, Replayed};
    use crate::image::Algorithm;
    use crate::oci::digest_of;

    fn put(n: u8) -> JournalEntry {
        let object = Object::blob(digest_of(Algorithm::Sha256, &[n]));
        JournalEntry::Put { object, size: 10, used_at: 5, hits: 0, trust: Trust::Written }
    }

    #[test]
    fn a_torn_end_costs_that_line_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut journal = Journal::open(path.clone(), Replayed::read(&path).unwrap().extent).unwrap();
        journal.append(&[JournalEntry::Start(Some("b".to_owned())), put(1), put(2)]).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let replayed = Replayed::read(&path).unwrap();
            let lines = str::from_utf8(&whole[..end]).unwrap().matches('\n').count();
            assert_eq!(replayed.index.len(), lines.saturating_sub(1), "{end}");
            let mut journal = Journal::open(path.clone(), replayed.extent).unwrap();
            journal.append(&[put(3)]).unwrap();
            let replayed = Replayed::read(&path).unwrap();
            assert_eq!(replayed.index.len(), lines.saturating_sub(1) + 1, "{end}");
            assert_eq!(replayed.ending, Ending::Cut);
        }
    }

    #[test]
    fn rewriting_keeps_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut journal = Journal::open(path.clone(), Extent::default()).unwrap();
        for _ in 0..FEW {
            journal.append(&[put(1), put(2)]).unwrap();
        }
        assert!(journal.is_long(2));
        let index = Replayed::read(&path).unwrap().index;
        journal.rewrite(std::iter::once(JournalEntry::Start(None)).chain(index.lines())).unwrap();
        assert!(!journal.is_long(2));
        journal.append(&[put(3), JournalEntry::End]).unwrap();
        let replayed = Replayed::read(&path).unwrap();
        assert_eq!((replayed.index.len(), replayed.extent.lines, replayed.ending), (3, 5, Ending::Clean));
    }
}
