#![expect(clippy::disallowed_methods, reason = "keeps what is to be written over a restart")]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::pending::Pending;
use super::queue::replay;
use crate::file::{AppendLog, write_atomically};

/// What of the cache's folder says what is to be written to the bucket.
const NAME: &str = "bucket-pending";
/// From how many lines on a journal is written again that says little.
const LONG: usize = 4096;

/// A file of what is to be written to the bucket, and of what was.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    log: AppendLog<File>,
    lines: usize,
    /// Lines could not be added: it does not say all.
    is_behind: bool,
}

impl Journal {
    /// Returns the file.
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    /// Opens the file in a folder, and returns what it says is to be written.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Pending>)> {
        let path = Self::path(folder);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let pending = replay(&text);
        let whole: String = pending.iter().map(|pending| format!("+ {}\n", pending.write())).collect();
        write_atomically(&path, whole.as_bytes())?;
        let log = append_to(&path)?;
        Ok((Self { path, log, lines: pending.len(), is_behind: false }, pending))
    }

    /// Adds lines.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        self.lines += lines.lines().count();
        self.log.append(lines).inspect_err(|_| self.is_behind = true)
    }

    /// Returns whether it does not say all, so that it is to be replaced.
    pub(super) const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Returns whether much of it says what was written long ago, with so much left to be written.
    pub(super) const fn is_long(&self, left: usize) -> bool {
        self.lines > LONG && self.lines > 4 * left
    }

    /// Replaces all of it.
    pub(super) fn replace(&mut self, whole: &str) -> io::Result<()> {
        write_atomically(&self.path, whole.as_bytes())?;
        self.log = append_to(&self.path)?;
        (self.lines, self.is_behind) = (whole.lines().count(), false);
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<AppendLog<File>> {
    Ok(AppendLog::new(OpenOptions::new().append(true).open(path)?, "\n", false))
}

#[cfg(test)]
mod tests {
    use super::super::pending::tests::each;
    use super::super::queue::Queue;
    use super::*;

    #[test]
    fn it_says_after_a_restart_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, left) = Journal::open(dir.path()).unwrap();
        assert_eq!(left, []);
        let (mut queue, all) = (Queue::default(), each());
        queue.push(all[0].clone());
        queue.push(all[1].clone());
        journal.append(&queue.take_unsaid()).unwrap();
        queue.done(&all[0].name());
        journal.append(&queue.take_unsaid()).unwrap();
        drop(journal);
        let (mut journal, left) = Journal::open(dir.path()).unwrap();
        assert_eq!(left, all[1..2]);
        for _ in 0..LONG {
            journal.append("- nothing\n").unwrap();
        }
        assert!(journal.is_long(1) && !journal.is_long(LONG));
        journal.replace(&queue.journal()).unwrap();
        assert!(!journal.is_long(1));
        journal.append(&format!("+ {}\n+ {{torn", all[2].write())).unwrap();
        drop(journal);
        assert_eq!(Journal::open(dir.path()).unwrap().1, all[1..3]);
    }
}
