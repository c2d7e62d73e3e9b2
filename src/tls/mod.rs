//! The cryptography behind every TLS connection, of whichever module.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Returns the cryptography behind every TLS connection: ring, and nothing else.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
