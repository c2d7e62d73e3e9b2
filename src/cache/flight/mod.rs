//! One download, many readers: a blob that is being fetched is a flight, which everybody who wants it boards.
//!
//! The fetch is a task of its own. It writes into a file of the store, and readers get parts of that file as far as
//! it is written: its slowest reader holds up nobody, and the memory it takes does not depend on their number. Broken
//! transfers are taken up again. The last 64 KiB are withheld until the digest has proved right, so that wrong bytes
//! never make a complete body. Where there is no room to keep a blob, each reader goes on alone, under the same rules.

mod driver;
mod fill_driver;
mod intake_driver;
mod reader_driver;
mod rules;
mod shared;
mod source;
#[cfg(test)]
mod tests;

pub use driver::{Flight, Flights, Overloaded, Role, Stats};
pub use reader_driver::Reader;
pub use rules::{Finish, Rules};
pub use source::{Opened, Source, SourceError};
