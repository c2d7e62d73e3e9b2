#![expect(clippy::disallowed_methods, reason = "reads certificates again")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::config::TlsFiles;
use super::error::ServerError;
use crate::file::Watched;
use crate::tls::crypto_provider;

/// The certificate that is shown to clients, as its files could last be read.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    config: Watched<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads the files.
    pub(super) fn read(files: TlsFiles) -> Result<Self, ServerError> {
        let all = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
        let all = all.into_iter().flatten().cloned().collect();
        let config = Watched::new(all, || config(&files).map(Arc::new))?;
        Ok(Self { files, config })
    }

    /// Returns what the next connection gets.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.get())
    }

    /// Reads the files again if they have changed; returns whether they had.
    ///
    /// If they cannot be used now, the certificate stays as it was.
    pub fn reload(&self) -> Result<bool, ServerError> {
        self.config.reload(|| config(&self.files).map(Arc::new))
    }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, ServerError> {
    let chain = certificates(&files.certificate)?;
    let unusable = |why: String| ServerError::Certificate { file: files.key.clone(), why };
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(|_| unusable("it holds no private key as PEM".into()))?;
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable(error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                let why = |error: rustls::Error| ServerError::Certificate {
                    file: file.clone(),
                    why: error.to_string(),
                };
                roots.add(certificate).map_err(why)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider()).build();
            let why = |error: rustls::server::VerifierBuilderError| ServerError::Certificate {
                file: file.clone(),
                why: error.to_string(),
            };
            builder.with_client_cert_verifier(verifier.map_err(why)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            unusable(format!("it is not the key of {}", files.certificate.display()))
        }
        error => unusable(error.to_string()),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let why = |why: &str| ServerError::Certificate { file: file.to_owned(), why: why.to_owned() };
    let text = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| why(&error.to_string()))?;
    if all.is_empty() { Err(why("it holds no certificate as PEM")) } else { Ok(all) }
}

fn read(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, ServerError> {
    let read = fs::read(file).map(zeroize::Zeroizing::new);
    read.map_err(|error: io::Error| ServerError::Certificate {
        file: file.to_owned(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key, as PEM.
    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    #[test]
    fn new_files_are_read_and_bad_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let files = TlsFiles { certificate: path("live/crt"), key: path("live/key"), client_ca: None };
        // As the kubelet does it: a link to the folder of each version.
        let publish = |version: &str, crt: &str, key: &str| {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("crt"), crt).unwrap();
            fs::write(path(version).join("key"), key).unwrap();
            let _ = fs::remove_file(path("live"));
            std::os::unix::fs::symlink(version, path("live")).unwrap();
        };
        let (first, second) = (pair(), pair());
        let missing = Certificate::read(files.clone()).unwrap_err().to_string();
        assert!(missing.contains("live/crt") && missing.contains("No such file"), "{missing}");
        publish("1", &first.0, &first.1);
        let certificate = Certificate::read(files).unwrap();
        let before = certificate.config();
        assert!(!certificate.reload().unwrap());
        publish("2", &second.0, &first.1);
        let error = certificate.reload().unwrap_err().to_string();
        assert!(error.contains("live/key") && error.contains("is not the key of"), "{error}");
        publish("3", "nothing", &second.1);
        assert!(certificate.reload().unwrap_err().to_string().contains("no certificate"));
        assert!(Arc::ptr_eq(&before, &certificate.config()));
        publish("4", &second.0, &second.1);
        assert!(certificate.reload().unwrap());
        assert!(!Arc::ptr_eq(&before, &certificate.config()));
    }
}
