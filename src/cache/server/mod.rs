//! The transports under a [`Handler`](super::Handler): HTTP/1.1 and HTTP/2, TLS, limits, drain; who may ask; numbers.

mod config;
mod health;
mod metrics;
mod traffic;

pub use config::{Limits, ServerConfig, TlsFiles};
pub use health::Health;
pub use metrics::{Circuit, Metrics, Revalidation, UpstreamResult};
pub use traffic::{End, Kind, Outcome};
