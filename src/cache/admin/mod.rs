//! Questions and orders about a store: by a running server over its socket, else by the command itself.

mod bucket;
mod folder;
mod list;
mod list_bucket;
mod parts;
mod prune;
mod prune_bucket;
mod refresh;
mod replicas;
mod request;
mod socket;
mod stats;
mod text;
mod tier;
mod upload;
mod verify;
mod verify_bucket;

pub(in crate::cache) use bucket::{BucketState, CollectionState};
pub(in crate::cache) use folder::AskError;
pub(in crate::cache) use list::{ImageRecord, ListImages, ListObjects, ObjectRecord};
pub(in crate::cache) use list_bucket::{list_bucket_images, list_bucket_objects};
pub(in crate::cache) use prune::{Prune, PruneTarget, Pruned};
pub(in crate::cache) use prune_bucket::prune_bucket;
pub(in crate::cache) use refresh::{Refresh, RefreshRecord};
pub(in crate::cache) use replicas::{MemberState, ReplicaState};
pub(in crate::cache) use request::{OpenCache, Question};
pub(in crate::cache) use socket::{AdminSocket, ask, ask_bucket, is_running};
#[cfg(test)]
pub(in crate::cache) use stats::RepositoryState;
pub(in crate::cache) use stats::{EndpointState, HostState, ReadStats, Stats, UpstreamState};
pub(in crate::cache) use tier::TierName;
pub(in crate::cache) use upload::{Upload, UploadError, Uploaded, upload_folder};
pub(in crate::cache) use verify::{DamagedRecord, Verified, Verify};
pub(in crate::cache) use verify_bucket::verify_bucket;
