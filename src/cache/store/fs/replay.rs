#![expect(clippy::disallowed_methods, reason = "reads the index from disk")]

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use super::index::Index;
use super::journal::Extent;
use super::journal_entry::JournalEntry;
use crate::cache::store::local::Object;

/// What a journal said.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// What there is.
    pub(super) index: Index,
    /// The boot in which it was last written, where that was known.
    pub(super) boot: Option<String>,
    /// What became of its last writer.
    pub(super) ending: Ending,
    /// What was to be stored when it was cut: the one thing that may not have come into being.
    pub(super) unfinished: Option<Object>,
    /// How long it is, and how it ends.
    pub(super) extent: Extent,
}

/// What became of the last writer of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// There was none, or it left nothing readable.
    #[default]
    Never,
    /// It ended in order.
    Clean,
    /// It was killed, or the machine went down.
    Cut,
}

impl Replayed {
    /// Reads a journal, line by line; lines that are none are passed over.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut out = Self::default();
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(out);
            }
            out.extent.lines += 1;
            out.extent.is_torn = bytes.pop() != Some(b'\n');
            if out.extent.is_torn {
                return Ok(out);
            }
            let Some(line) = str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()) else { continue };
            match &line {
                JournalEntry::Start(boot) => out.boot.clone_from(boot),
                JournalEntry::End
                | JournalEntry::Put { .. }
                | JournalEntry::Gone(_)
                | JournalEntry::Used { .. } => {}
            }
            out.ending = if line == JournalEntry::End { Ending::Clean } else { Ending::Cut };
            out.unfinished = match &line {
                JournalEntry::Put { object, .. } => Some(*object),
                JournalEntry::Start(_)
                | JournalEntry::End
                | JournalEntry::Gone(_)
                | JournalEntry::Used { .. } => None,
            };
            out.index.apply(line);
        }
    }
}
