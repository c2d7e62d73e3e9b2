use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use x509_parser::pem::Pem;

use super::certificate::{CertificateError, read_all};
use super::config::Context;
use crate::tls::crypto_provider;

/// Makes the TLS settings of a context: only its authorities are trusted, and its certificate is shown.
pub(super) fn config(context: &Context) -> Result<ClientConfig, CertificateError> {
    let mut roots = RootCertStore::empty();
    for pem in read_all("ca", context.ca.as_deref().ok_or(CertificateError::NoAuthority)?)? {
        let added = roots.add(CertificateDer::from(pem.contents));
        added.map_err(|_| CertificateError::Unreadable("ca"))?;
    }
    let builder =
        ClientConfig::builder_with_provider(crypto_provider()).with_safe_default_protocol_versions();
    // ring has suites of both versions, so this cannot fail; this is the closest word for it if it does.
    let builder = builder.map_err(|_| CertificateError::Unreadable("ca"))?.with_root_certificates(roots);
    let mut config = match &context.crt {
        None => builder.with_no_client_auth(),
        Some(crt) => {
            let chain = read_all("crt", crt)?.into_iter().map(|pem| CertificateDer::from(pem.contents));
            let key = key(context.key.as_ref().ok_or(CertificateError::NoKey)?.expose())?;
            builder.with_client_auth_cert(chain.collect(), key).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => CertificateError::OtherKey,
                _ => CertificateError::Unreadable("key"),
            })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Reads a private key by its PEM label: Talos labels PKCS#8 `ED25519 PRIVATE KEY`, which no TLS library knows.
fn key(text: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let mut blocks = Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
    let block = blocks.find(|block| block.label.ends_with("PRIVATE KEY"));
    let block = block.ok_or(CertificateError::Unreadable("key"))?;
    match block.label.as_str() {
        "PRIVATE KEY" | "ED25519 PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(block.contents.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(block.contents.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(block.contents.into())),
        _ => Err(CertificateError::Unreadable("key")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::authority::Authority;
    use super::*;

    #[test]
    fn keys_are_known_by_any_label() {
        let authority = Authority::new();
        let (pair, other) = (authority.client("os:admin", 0, 1), authority.client("os:admin", 0, 1));
        assert!(pair.key.contains("BEGIN ED25519 PRIVATE KEY"), "as Talos writes it");
        let with = |key: &str| {
            let (ca, crt) = (Some(authority.pem.clone()), Some(pair.crt.clone()));
            config(&Context { ca, crt, key: Some(key.into()), ..Context::default() })
        };
        assert!(with(&pair.key).is_ok());
        assert!(with(&pair.key.replace("ED25519 PRIVATE", "PRIVATE")).is_ok());
        assert_eq!(with(&other.key).unwrap_err(), CertificateError::OtherKey);
        assert_eq!(with("x").unwrap_err(), CertificateError::Unreadable("key"));
    }
}
