//! What operators see of a running cache: metrics, the access log, the log, probes.

mod access_log;
mod bucket_metrics;
mod failures;
mod health;
mod history;
mod log;
mod metrics;
mod number;
mod outcome;
mod reason;
mod replica_metrics;
mod seldom;

pub use access_log::ACCESS;
pub use failures::Failure;
pub use health::Health;
pub(in crate::cache) use health::text;
pub use history::{History, Minute, Traffic};
pub use log::{LogFilter, log_filter, log_json, log_text};
pub use metrics::{Circuit, Metrics, Revalidation, Tiers, UpstreamResult};
pub use outcome::{Kind, Outcome, Served};
pub use reason::Reason;
pub use seldom::Seldom;
