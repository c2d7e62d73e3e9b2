//! What a rollout has done, on disk: its records, what they say of each node, what is left to do, and where journals lie.

mod error;
mod folder;
mod format;
mod leftover;
mod names;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

pub use error::StoreError;
pub use folder::{ELSEWHERE, NAME, elsewhere, file_name, latest, lock, newest, read_history, remember};
pub use format::{Address, Entry, JournalError, KnownBy, Record};
pub use leftover::{Aim, Leftover, leftover};
pub use names::{NameTaken, Resumed};
pub use replay::{History, HistoryState, NodeHistory, Witness};
pub use writer::Journal;
