use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ui::duration_text;

/// What a collection took away, as its last key says it to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cache::bucket) struct Collected {
    pub(in crate::cache::bucket) number: u64,
    /// Entries that said what tags were before.
    pub(in crate::cache::bucket) superseded: usize,
    /// Tags whose images went.
    pub(in crate::cache::bucket) tags: usize,
    pub(in crate::cache::bucket) manifests: usize,
    pub(in crate::cache::bucket) blobs: usize,
    /// How many bytes went.
    pub(in crate::cache::bucket) bytes: u64,
    /// How many bytes of blobs and manifests there were that stay.
    pub(in crate::cache::bucket) kept_bytes: u64,
    /// How many blobs and manifests stay.
    pub(in crate::cache::bucket) kept: usize,
    /// What is left for the next collection, as it was too much for one.
    pub(in crate::cache::bucket) left: usize,
    /// What could not be removed.
    pub(in crate::cache::bucket) failed: usize,
    /// What was named, and is too young to go.
    #[serde(skip)]
    pub(in crate::cache::bucket) young: usize,
}

impl Collected {
    /// Adds what a collection took away that came after this one.
    pub(in crate::cache::bucket) const fn and(self, next: Self) -> Self {
        Self {
            superseded: self.superseded + next.superseded,
            tags: self.tags + next.tags,
            manifests: self.manifests + next.manifests,
            blobs: self.blobs + next.blobs,
            bytes: self.bytes + next.bytes,
            failed: self.failed + next.failed,
            ..next
        }
    }
}

/// How far a collection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It lists what there is.
    Lists,
    /// It reads what manifests refer to.
    Reads {
        /// How many were read.
        read: usize,
        /// How many there are to read.
        of: usize,
    },
    /// It waits so long until all caches know what is condemned.
    Waits(Duration),
    /// It takes away.
    Removes {
        /// How much was taken away.
        removed: usize,
        /// How much there is to take away.
        of: usize,
    },
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lists => f.write_str("lists what is in the bucket"),
            Self::Reads { read, of } => write!(f, "reads manifests: {read} of {of}"),
            Self::Waits(time) => {
                let time = duration_text(Duration::from_secs(time.as_secs().max(1)));
                write!(f, "waits {time} until all caches know what is to go")
            }
            Self::Removes { removed, of } => write!(f, "removes: {removed} of {of}"),
        }
    }
}
