use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::layout::Naming;
use crate::cache::store::record::Origin;

/// Says whether what an origin has must never be evicted.
pub type Pins = Arc<dyn Fn(&Origin) -> bool + Send + Sync>;

/// How a store in a folder behaves.
#[derive(Clone)]
pub struct FsConfig {
    /// The folder; made if it is not there.
    pub root: PathBuf,
    /// What it may hold in all, unfinished files included, in bytes; [`None`]: 90 % of what is free at the start, and of what it holds.
    pub cap: Option<u64>,
    /// What it leaves free on the disk, in bytes; [`None`]: 5 % of it and at least 2 GiB, but never more than a quarter.
    pub reserve: Option<u64>,
    /// When it waits for the disk.
    pub durability: Durability,
    /// What must never be evicted.
    pub pins: Option<Pins>,
    /// How unfinished files are kept apart; [`None`]: as the file system allows.
    pub naming: Option<Naming>,
    /// How many files of blobs are kept open between requests, at most; half as many are sure to be.
    pub open_files: usize,
    /// Whether the level is lowered and what is not renewed is swept out; not by a command that only reads.
    pub tended: bool,
}

/// When a store waits for the disk. None of these can make it serve wrong bytes after a power failure: what may not
/// have been on the disk by then is hashed before it is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Every file and its name are on the disk when it is committed.
    Full,
    /// Every file above 1 MiB is on the disk before it gets its name; names follow within a second.
    #[default]
    Data,
    /// Never.
    Never,
}

impl FsConfig {
    /// The defaults for a folder.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            cap: None,
            reserve: None,
            durability: Durability::default(),
            pins: None,
            naming: None,
            open_files: 256,
            tended: true,
        }
    }
}

impl fmt::Debug for FsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsConfig")
            .field("root", &self.root)
            .field("cap", &self.cap)
            .field("reserve", &self.reserve)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
