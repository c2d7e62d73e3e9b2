//! What of a shared bucket is not needed any more, and how it is taken away while replicas write and read.
//!
//! A collection has a number, and the keys `collections/<number>/…`. Its collector claims it (`If-None-Match`), looks at
//! everything, and writes what it condemns. Then it waits for a window, looks again, and takes away what is still garbage
//! and was not written or granted again. There is no lock: what makes it safe is what replicas do.
//!
//! - A replica lists the collections now and then. It believes what it knows of the bucket only as long as it has seen them
//!   not long ago, and forgets what is condemned; when it has not seen them for long it forgets all.
//! - What the store answered before something was forgotten says nothing: it is asked, or written, again.
//! - What is condemned it does not write, and does not believe to be there, until that collection has ended.
//! - Before it writes what refers to others (a manifest, what a tag is) it sees to it that all it has of them, and does not
//!   know to be in the bucket, is to be written, with its grants. What refers to others is written within a time after the
//!   collections were seen, or counts as not written.
//! - After it has written a blob or a manifest it sees to its grants: those of what is not there go.
//!
//! What is judged is only as good as the lists. A store, or what stands in front of it, may end one where there is more: what
//! comes after an end is asked for, a list has to have what was written for that, what this cache has written not long ago,
//! and what was in the first look; and manifests that tags and grants name are asked for where they are not listed. A list
//! that is not whole ends a collection. What cannot be removed is tried three times, and then left with all that it refers to.
//!
//! The window is longer than both times together: who did not know of a collection has written before the second look, and who
//! writes later knows. Durations only are measured, by one clock each; ages are by the store's own dates.

mod bucket_place;
mod collector;
mod cycle;
mod leftovers;
mod mark;
mod named;
mod outcome;
mod place;
mod snapshot;
mod timing;
mod view;

#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod simulation;

pub(super) use bucket_place::{BucketPlace, links};
pub(super) use cycle::{Cycle, Cycled};
pub(super) use leftovers::Leftovers;
pub(super) use mark::{Limits, Unit};
pub(in crate::cache) use named::Named;
pub(super) use outcome::Collected;
pub use outcome::Stage;
pub(super) use place::{Failed, Listed, Part, Place};
pub(super) use snapshot::LinkMap;
pub(super) use timing::Timing;
pub(super) use view::{Forget, View, look, ready};
