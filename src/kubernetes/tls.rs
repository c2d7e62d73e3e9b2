use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::KubernetesError;
use super::kubeconfig::Access;
use crate::tls::crypto_provider;

/// Makes the TLS settings of an access.
pub(super) fn config(access: &Access) -> Result<ClientConfig, KubernetesError> {
    let failed = |what, why: &str| KubernetesError::Credentials {
        context: access.context.clone(),
        what,
        why: why.to_owned(),
    };
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &access.ca {
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            let certificate =
                certificate.map_err(|_| failed("certificate-authority", "it is not valid PEM"))?;
            roots.add(certificate).map_err(|error| failed("certificate-authority", &error.to_string()))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("TLS settings", &error.to_string()))?;
    let builder = if access.insecure || access.server_name.is_some() {
        let name = access.server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| failed("tls-server-name", "it is not a valid host name"))?;
        let usual = if access.insecure {
            None
        } else {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto_provider()).build();
            Some(verifier.map_err(|error| failed("certificate-authority", &error.to_string()))?)
        };
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { usual, name }))
    } else {
        builder.with_root_certificates(roots)
    };
    let Some(certificate) = &access.certificate else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|_| failed("client-certificate", "it is not valid PEM"))?;
    let Some(first) = chain.first() else {
        return Err(failed("client-certificate", "it is not valid PEM"));
    };
    if is_version_one(first) {
        return Err(failed(
            "client-certificate",
            "it is of X.509 version 1, which kubectl takes and TLS libraries do not; issue one of version 3",
        ));
    }
    let key = access.key.as_ref().ok_or_else(|| failed("client-certificate", "there is no client-key"))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
    let key = key.map_err(|_| failed("client-key", "it is not a valid private key in PEM"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            failed("client-key", "it is not the key of the client-certificate")
        }
        error => failed("client-certificate", &error.to_string()),
    })
}

fn is_version_one(certificate: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(certificate)
        .is_ok_and(|(_, parsed)| parsed.version() == x509_parser::x509::X509Version::V1)
}

/// Checks a certificate for another name than the URL's, or not at all.
#[derive(Debug)]
struct Verifier {
    /// What checks; [`None`]: nothing does.
    usual: Option<Arc<WebPkiServerVerifier>>,
    name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.usual {
            None => Ok(ServerCertVerified::assertion()),
            Some(usual) => {
                let name = self.name.as_ref().unwrap_or(server_name);
                usual.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crypto_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crypto_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto_provider().signature_verification_algorithms.supported_schemes()
    }
}
