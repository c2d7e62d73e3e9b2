//! The cryptography behind every TLS connection, of whichever module.

mod verifier;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use verifier::{AnyCertificate, OtherName};

/// Returns the cryptography behind every TLS connection: ring, and nothing else.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
