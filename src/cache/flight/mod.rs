//! One download, many readers: a blob that is being fetched is a flight, which everybody who wants it boards.

mod source;

pub use source::{Opened, Source, SourceError};
