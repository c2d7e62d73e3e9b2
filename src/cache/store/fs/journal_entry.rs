use std::fmt;
use std::str::FromStr;

use crate::cache::store::local::{Kind, Object};

/// A line of the journal, which is the index on disk: what a store holds is what its lines say, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JournalEntry {
    /// A process begins to write; with the boot of the machine, where that is known.
    Start(Option<String>),
    /// Something is about to be stored: written before it is, so that no file is unknown.
    Put {
        /// Its name.
        object: Object,
        /// How many bytes its file has.
        size: u64,
        /// When it was last used, in seconds since 1970.
        used_at: u32,
        /// How often it was used after it was stored.
        hits: u16,
        /// How sure it is that the file holds what it should.
        trust: Trust,
    },
    /// Something is gone.
    Gone(Object),
    /// Something was used.
    Used {
        /// Its name.
        object: Object,
        /// When.
        used_at: u32,
        /// How often so far.
        hits: u16,
    },
    /// The process ended in order: everything it wrote is on the disk.
    End,
}

/// How sure it is that a file holds what its digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It was on the disk before it got its name.
    Durable,
    /// It was written whole; until the kernel has put it on the disk, a power failure may lose it.
    Written,
    /// Nobody knows: it is hashed before it is served.
    Doubtful,
}

/// A line that is none: torn by a crash, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no line of the index")]
pub(super) struct NoLine;

impl Trust {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Written => "written",
            Self::Doubtful => "doubtful",
        }
    }
}

impl fmt::Display for JournalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(boot) => write!(f, "start 1 {}", boot.as_deref().unwrap_or("-")),
            Self::Put { object, size, used_at, hits, trust } => {
                write!(f, "put {} {size} {used_at} {hits} {}", Named(object), trust.as_str())
            }
            Self::Gone(object) => write!(f, "gone {}", Named(object)),
            Self::Used { object, used_at, hits } => write!(f, "used {} {used_at} {hits}", Named(object)),
            Self::End => f.write_str("end"),
        }
    }
}

struct Named<'a>(&'a Object);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.kind.as_str(), self.0.digest)
    }
}

impl FromStr for JournalEntry {
    type Err = NoLine;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        let line = read(&mut words).ok_or(NoLine)?;
        if words.next().is_none() { Ok(line) } else { Err(NoLine) }
    }
}

fn read<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<JournalEntry> {
    let line = match words.next()? {
        "start" => {
            let ("1", boot) = (words.next()?, words.next()?) else { return None };
            JournalEntry::Start((boot != "-").then(|| boot.to_owned()))
        }
        "put" => JournalEntry::Put {
            object: object(words)?,
            size: words.next()?.parse().ok()?,
            used_at: words.next()?.parse().ok()?,
            hits: words.next()?.parse().ok()?,
            trust: match words.next()? {
                "durable" => Trust::Durable,
                "written" => Trust::Written,
                "doubtful" => Trust::Doubtful,
                _ => return None,
            },
        },
        "gone" => JournalEntry::Gone(object(words)?),
        "used" => JournalEntry::Used {
            object: object(words)?,
            used_at: words.next()?.parse().ok()?,
            hits: words.next()?.parse().ok()?,
        },
        "end" => JournalEntry::End,
        _ => return None,
    };
    Some(line)
}

fn object<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Object> {
    let kind = match words.next()? {
        "blob" => Kind::Blob,
        "manifest" => Kind::Manifest,
        _ => return None,
    };
    Some(Object { kind, digest: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Algorithm;
    use crate::oci::digest_of;

    #[test]
    fn lines_read_back_and_torn_ones_are_none() {
        let blob = Object::blob(digest_of(Algorithm::Sha256, b"a"));
        let manifest = Object::manifest(digest_of(Algorithm::Sha512, b"b"));
        let lines = [
            JournalEntry::Start(None),
            JournalEntry::Start(Some("0f1e".to_owned())),
            JournalEntry::Put { object: blob, size: 1 << 40, used_at: 7, hits: 0, trust: Trust::Durable },
            JournalEntry::Put { object: manifest, size: 0, used_at: 7, hits: 65535, trust: Trust::Written },
            JournalEntry::Put { object: manifest, size: 0, used_at: 7, hits: 1, trust: Trust::Doubtful },
            JournalEntry::Gone(manifest),
            JournalEntry::Used { object: blob, used_at: u32::MAX, hits: 3 },
            JournalEntry::End,
        ];
        for line in lines {
            let text = line.to_string();
            assert_eq!(text.parse(), Ok(line.clone()), "{text}");
            assert_eq!(format!("{text} ").parse::<JournalEntry>(), Err(NoLine));
            for end in 0..text.len() {
                // A torn number is still a number: the line feed is what tells, and the reader looks for it.
                if let Ok(torn) = text[..end].parse::<JournalEntry>() {
                    assert!(matches!(torn, JournalEntry::Used { .. } | JournalEntry::Start(_)), "{torn:?}");
                }
            }
        }
    }
}
