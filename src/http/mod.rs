//! The transport under a [`Handler`]: HTTP/1.1 and HTTP/2, TLS, limits, drain. It knows no registry and no cache.

mod body;
mod certificate;
mod chunks;
mod config;
mod connections;
mod context;
mod date;
mod error;
mod handler;
mod http1;
mod http2;
mod observer;
mod page_cache;
mod prepared;
mod proxies;
mod request_head;
mod response_head;
mod server;
mod stream;

pub use body::{Body, Piece, Pieces};
pub use certificate::Certificate;
pub use config::{Limits, ServerConfig, TlsFiles};
pub use error::ServerError;
pub use handler::{Handler, Rejected};
pub use observer::{End, Exchange, Observer, RequestLine};
pub use prepared::{PlainRequest, PreparedResponse};
pub use proxies::TrustedProxies;
pub use request_head::{KeepAlive, Malformed, ParsedHead, parse_request_head};
pub use response_head::{ConnectionHeader, split_response, write_response_head};
pub use server::{Drained, Server};
