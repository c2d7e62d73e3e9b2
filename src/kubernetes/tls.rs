use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::error::KubernetesError;
use super::kubeconfig::Access;
use crate::tls::{AnyCertificate, OtherName, crypto_provider};

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
        if roots.is_empty() {
            return Err(failed("certificate-authority", "there is no certificate in it"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("TLS settings", &error.to_string()))?;
    let builder = match &access.server_name {
        _ if access.insecure => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(crypto_provider())))
        }
        Some(name) => {
            let name = ServerName::try_from(name.clone());
            let name = name.map_err(|_| failed("tls-server-name", "it is not a valid host name"))?;
            let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto_provider());
            let usual = usual.build().map_err(|error| failed("certificate-authority", &error.to_string()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(OtherName { usual, name }))
        }
        None => builder.with_root_certificates(roots),
    };
    let Some(certificate) = &access.certificate else {
        if access.key.is_some() {
            return Err(failed("client-key", "there is no client-certificate beside it"));
        }
        return Ok(builder.with_no_client_auth());
    };
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
    let key = access
        .key
        .as_ref()
        .ok_or_else(|| failed("client-certificate", "there is no client-key beside it"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_needed_is_told() {
        let certificate = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap().cert.pem();
        let access = |ca: Option<&str>, certificate: Option<&str>, key: Option<&str>| Access {
            context: "c".to_owned(),
            ca: ca.map(str::to_owned),
            certificate: certificate.map(str::to_owned),
            key: key.map(Into::into),
            ..Access::default()
        };
        for (access, want) in [
            (
                access(Some(""), None, None),
                "the certificate-authority of context `c` cannot be used: there is no certificate in it",
            ),
            (
                access(Some("# a note\n"), None, None),
                "the certificate-authority of context `c` cannot be used: there is no certificate in it",
            ),
            (
                access(None, Some(&certificate), None),
                "the client-certificate of context `c` cannot be used: there is no client-key beside it",
            ),
            (
                access(None, None, Some("KEY")),
                "the client-key of context `c` cannot be used: there is no client-certificate beside it",
            ),
        ] {
            assert_eq!(config(&access).unwrap_err().to_string(), want);
        }
    }
}
