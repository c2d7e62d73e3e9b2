//! A bucket of an S3-compatible store behind the local store, which several caches share.
//!
//! The local folder stays in front: what it has costs the bucket no request. What it lacks comes from the bucket, checked
//! like what comes from an upstream, and is kept; what is committed is written to the bucket in the background. Keys are
//! written once and hold no index, so that any number of caches may write at the same time. A bucket that is ill is left
//! alone, each way by itself, and pulls go on from the folder and from upstream.

mod checking;
mod client;
mod collected;
mod collecting;
mod collection;
mod contents;
mod credentials;
mod fault;
mod gate;
mod gc;
mod journal;
mod key;
mod knowledge;
mod known;
mod layout;
mod leases;
mod members;
mod pending;
mod presence;
mod probe;
mod pruning;
mod queue;
mod redirect;
mod renewal;
mod renewals;
mod report;
mod shared_bucket;
mod tiered_store;
mod traffic;
mod transport;
mod uploading;
mod uploads;
mod writer;

#[cfg(test)]
#[path = "../../../tests/support/bucket.rs"]
#[expect(unreachable_pub, reason = "other tests use it, too")]
mod fake_bucket;
#[cfg(test)]
mod testing;

pub(in crate::cache) use checking::Checked;
pub use collection::{Collection, CollectionError, Progress, collect, plan_collection};
pub(in crate::cache) use contents::{Contents, HeldTag, Origins, Tell};
pub(in crate::cache) use gc::Named;
pub(in crate::cache) use leases::{LeaseAnswer, StoredLease};
pub(in crate::cache) use members::Said;
pub use members::list_members;
pub(in crate::cache) use pruning::Removed;
pub use redirect::{RedirectCheck, check_redirect};
pub use report::{BucketReport, BucketUse, CollectionReport, LastCollection, Paused};
pub(in crate::cache) use shared_bucket::location;
pub use shared_bucket::{Bucket, BucketError, check};
pub use tiered_store::TieredStore;
pub(in crate::cache) use transport::{innermost, tls};
