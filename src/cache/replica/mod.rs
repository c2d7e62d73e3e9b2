//! Replicas: caches on one bucket that fetch a blob once between them.
//!
//! Each says in the bucket that it is there, and all find the same order of members for a digest. The first one fetches
//! it from upstream, and the others read what it has so far over HTTP, as clients do. Before upstream is asked, the lease
//! of the blob is taken in the bucket: members that do not know the same members read there which one fetches. Where that
//! one is gone, a reader takes the lease over, and goes on at the first byte that it lacks.
//!
//! Without the bucket there are no leases: the order alone decides then, a blob may be fetched twice, and no pull waits.

mod client;
mod gate;
mod holding;
mod lease;
mod leases;
mod listener;
mod proof;
mod rendezvous;
mod replicas;
mod report;
mod roster;
mod secrets;
mod source;

pub use gate::{Asks, Member, PeerGate, Readers};
pub use listener::{PeerError, PeerListener};
pub use replicas::{MemberCheck, Replicas, check};
pub use report::{MemberReport, Reach, ReplicaReport};
pub use secrets::PeerSecrets;
pub use source::{Asker, ReplicaSource};
