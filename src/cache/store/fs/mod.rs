//! A store in one folder of one process.

mod config;
mod entries;
mod eviction;
mod index;
mod journal;
mod journal_entry;
mod layout;
mod leftovers;
mod records;
mod replay;
mod reservation;
mod small_files;
mod state;
mod store;
mod unfinished;

pub use config::{Durability, FsConfig, Pins};
pub use layout::Naming;
pub use store::FsStore;
