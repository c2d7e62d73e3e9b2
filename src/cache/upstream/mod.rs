//! Upstream registries: each a list of endpoints, asked in order as long as they are well.
//!
//! What comes is checked before any client gets it: a manifest against the digests that were asked for and announced,
//! a blob's transfer for resuming where it broke. What one endpoint does not have is asked of the next; only what none
//! of them has is not there.

mod blob;
mod circuit_breaker;
mod circuits;
mod endpoints;
mod error;
mod gzip;
mod health;
mod list;
mod lost_answers;
mod probes;
mod pull_quota;
mod registry;
mod trust;
mod verify;

pub use circuit_breaker::{Admission, CircuitBreaker, PauseReason, Signal};
pub use circuits::PausedRepository;
pub use endpoints::{EndpointHealth, Transfers};
pub use list::TagList;
pub use pull_quota::PullQuota;
pub use registry::{Checked, Upstream};
pub use trust::UpstreamError;
pub use verify::FetchedManifest;
