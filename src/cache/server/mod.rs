//! The transports under a [`Handler`](super::Handler): HTTP/1.1 and HTTP/2, TLS, limits, drain; who may ask; numbers.

mod access_log;
mod chunks_file;
mod config;
mod connections;
mod error;
mod front;
mod health;
mod http1_server;
mod http2_server;
mod listen_server;
mod metrics;
mod reply;
mod request;
mod resident_file;
mod tls_file;
mod traffic;
mod wire_server;

pub use access_log::ACCESS;
pub use config::{Limits, ServerConfig, TlsFiles};
pub use error::ServerError;
pub use front::Identity;
pub use health::Health;
pub use listen_server::{Drained, Server};
pub use metrics::{Circuit, Metrics, Revalidation, UpstreamResult};
pub use reply::refusal;
pub use tls_file::Certificate;
pub use traffic::{End, Kind, Outcome};
