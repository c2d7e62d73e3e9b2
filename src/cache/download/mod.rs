//! One download, many readers: all clients that want a blob while it is fetched join the same download.
//!
//! A download is a task of its own. It writes into a file of the store, and readers get parts of that file as far as
//! it is written: a slow reader does not hold up the others, and the memory it takes does not depend on their number.
//! Broken transfers are resumed. The last 64 KiB are withheld until the digest has proved right, so that wrong bytes
//! never make a complete body. Where there is no room to keep a blob, its readers share a window of it in memory; a part
//! is asked for as a part.

mod downloads;
mod parts;
#[cfg(test)]
mod parts_tests;
mod passthrough;
mod policy;
mod progress;
mod provenance;
mod reader;
mod resuming_body;
mod source;
mod state;
mod task;
#[cfg(test)]
mod tests;
mod tier_pace;
#[cfg(test)]
mod tier_tests;
mod tiered;
mod window;
#[cfg(test)]
mod window_tests;

pub use downloads::{Download, Downloads, Joined, Overloaded, Stats};
pub use policy::{Finish, Policy};
pub use progress::Progress;
pub use provenance::{CameFrom, Provenance};
pub use reader::Reader;
pub use source::{FetchError, Opened, Source};
