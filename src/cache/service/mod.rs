//! What the cache answers: a request's route, who may have it, what is stored, what upstream says.
//!
//! Tags are checked with upstream when their time is up, manifests are kept under their digest as soon as they are
//! seen, and blobs come from the store or from a running download. What upstream cannot say for now is answered with
//! what was known last, marked as such; what cannot be known for now is 503, never 404.

mod access;
mod authorize;
mod blob;
mod dispatch;
mod errors;
mod freshness;
mod list;
mod manifest;
mod ready;
mod redirect;
mod request;
mod response;
mod single_flight;
mod snapshot;
mod tag;

pub use dispatch::Service;
pub(in crate::cache) use freshness::ago;
pub use snapshot::Snapshot;
pub use tag::Refreshed;
