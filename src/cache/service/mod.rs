//! What the cache answers: a request's route, who may have it, what is at hand, what upstream says.
//!
//! Tags are checked with upstream when their time is up, manifests are kept under their digest as soon as they are
//! seen, and blobs come from the store or from a running fetch. What upstream cannot say for now is answered with what
//! was known last, marked as such; what nobody knows is 503, never 404.

mod blob_driver;
mod coalesce;
mod driver;
mod freshness;
mod generations;
mod grants;
mod headers;
mod list_driver;
mod manifest_driver;
mod refusals;
mod tag_driver;
mod world;

pub use driver::Service;
pub(in crate::cache) use freshness::ago;
pub use world::World;
