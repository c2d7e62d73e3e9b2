//! Upstream registries: each a chain of endpoints, asked in order as long as they are well.
//!
//! What comes is checked before anybody sees it: a manifest against the digests that were asked for and announced, a
//! blob's transfer for going on where it broke. What an endpoint says that is not there is asked of the next; only
//! what none of them has is not there.

mod blob_source;
mod budget;
mod chain_client;
mod circuit;
mod error;
mod judge;
mod list_client;
mod recent;
mod upstream_client;

pub use budget::Budget;
pub use chain_client::EndpointHealth;
pub use circuit::{Admission, Circuit, Pause, Sign};
pub use error::UpstreamError;
pub use judge::Fetched;
pub use upstream_client::{Checked, Upstream};
