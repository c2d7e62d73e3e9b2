use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::proxies::TrustedProxies;

/// Where a server listens and what it puts up with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The addresses; port 0 takes a free one. Sockets that a service manager passes are served besides these.
    pub listen: Vec<SocketAddr>,
    /// The certificate; without one connections are in the clear.
    pub tls: Option<TlsFiles>,
    /// What clients may use up.
    pub limits: Limits,
    /// Proxies in front that say who the client is.
    pub proxies: TrustedProxies,
}

impl ServerConfig {
    /// Makes the settings of a server in the clear with the usual limits.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self { listen, tls: None, limits: Limits::default(), proxies: TrustedProxies::default() }
    }
}

/// The files of a server's certificate, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// The authorities of clients, as PEM; if there are any, a client has to show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What clients may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there are at once. One more closes the one that has been waiting for a request the
    /// longest, or, if none is waiting, is answered 503.
    pub connections: usize,
    /// How many of them an address may have, so that one client cannot have all; much for a node, as nodes behind one
    /// translated address share it. Trusted proxies may have any number.
    pub per_address: Option<usize>,
    /// How long a TLS handshake, and then the head of a request, may take.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may take less than [`Limits::least_rate`].
    pub stall_timeout: Duration,
    /// Bytes a second that a client has to take; the time that upstream makes it wait does not count.
    pub least_rate: u64,
    /// How long answers may take to end once the server is told to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_address: Some(512),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            stall_timeout: Duration::from_mins(1),
            least_rate: 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// The longest head of a request.
pub(super) const MAX_HEAD: usize = 16 * 1024;
/// The longest target of a request.
pub(super) const MAX_TARGET: usize = 4 * 1024;
/// The most headers of a request.
pub(super) const MAX_HEADERS: usize = 64;
