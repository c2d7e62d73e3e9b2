//! What operators see of a running cache: metrics, the access log, the log, probes.

mod access_log;
mod admin_endpoint;
mod health;
mod log;
mod metrics;
mod outcome;
mod reason;
mod seldom;

pub use access_log::ACCESS;
pub use admin_endpoint::AdminEndpoint;
pub use health::Health;
pub use log::{LogFilter, log_filter, log_json, log_text};
pub use metrics::{Circuit, Metrics, Revalidation, UpstreamResult};
pub use outcome::{Kind, Outcome, Served};
pub use reason::Reason;
pub use seldom::Seldom;
