//! The transports under a [`Handler`](super::Handler): HTTP/1.1 and HTTP/2, TLS, limits, drain; who may ask; numbers.

mod access_file;
mod access_log;
mod chunks_file;
mod config;
mod connections;
mod error;
mod front;
mod health;
mod htpasswd;
mod http1_server;
mod http2_server;
mod listen_server;
mod log_driver;
mod metrics;
mod reply;
mod request;
mod resident_file;
mod stamp_file;
mod systemd_client;
mod tls_file;
mod traffic;
mod wire_server;

pub use access_file::Access;
pub use access_log::ACCESS;
pub use config::{Limits, ServerConfig, TlsFiles};
pub use error::ServerError;
pub use front::{Front, Identity, Numbers, Strangers};
pub use health::Health;
pub use listen_server::{Drained, Server};
pub use log_driver::{log_json, log_text};
pub use metrics::{Circuit, Metrics, Revalidation, UpstreamResult};
pub use reply::refusal;
pub use systemd_client::{notify_ready, notify_reloading, notify_stopping};
pub use tls_file::Certificate;
pub use traffic::{End, Kind, Outcome};
