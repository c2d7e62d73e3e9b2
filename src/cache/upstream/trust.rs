#![expect(clippy::disallowed_methods, reason = "reads the files of certificates")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cache::config::{Connection, UpstreamProxy, header_lines};
use crate::image::RegistryHost;
use crate::oci::{self, Http, HttpError, HttpOverrides, Identity, Proxies};
use crate::secret::Secret;

/// An upstream cannot be made of its configuration.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] oci::EndpointError),
    /// A file of it cannot be read.
    #[error("cannot read `{}`, which the upstream {registry} names", file.display())]
    Unreadable {
        /// The registry.
        registry: RegistryHost,
        /// The file.
        file: PathBuf,
        /// What the file system says.
        source: Arc<io::Error>,
    },
    /// A file of it holds no certificate, or one that cannot be read.
    #[error("`{}`, which the upstream {registry} names, does not hold certificates as PEM", file.display())]
    NoCertificate {
        /// The registry.
        registry: RegistryHost,
        /// The file.
        file: PathBuf,
    },
    /// A file of headers has a line that is not one.
    #[error("`{}`, which the upstream {registry} names: {problem}", file.display())]
    Headers {
        /// The registry.
        registry: RegistryHost,
        /// The file.
        file: PathBuf,
        /// What is wrong with which line.
        problem: String,
    },
    /// What it takes to reach it cannot be set up.
    #[error("cannot connect to the upstream {registry}")]
    Client {
        /// The registry.
        registry: RegistryHost,
        /// What is wrong.
        source: Arc<HttpError>,
    },
}

/// What the files hold that say how an upstream is trusted; they may be renewed while a server runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    ca: Option<Vec<u8>>,
    identity: Option<(String, Secret<String>)>,
    headers: Vec<(String, Secret<String>)>,
}

impl Trust {
    /// Reads the files that a configuration names.
    pub(super) fn read(registry: &RegistryHost, connection: &Connection) -> Result<Self, UpstreamError> {
        let bytes = |file: &Path| {
            std::fs::read(file).map_err(|error| UpstreamError::Unreadable {
                registry: registry.clone(),
                file: file.to_owned(),
                source: Arc::new(error),
            })
        };
        let text = |file: &Path| bytes(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let identity = match &connection.identity {
            Some((certificate, key)) => Some((text(certificate)?, Secret::new(text(key)?))),
            None => None,
        };
        let headers = match &connection.header_file {
            Some(file) => header_lines(&text(file)?).map_err(|problem| UpstreamError::Headers {
                registry: registry.clone(),
                file: file.clone(),
                problem,
            })?,
            None => Vec::new(),
        };
        Ok(Self { ca: connection.ca.as_deref().map(bytes).transpose()?, identity, headers })
    }

    /// Returns the connections of an upstream: those of all, if nothing holds otherwise.
    pub(super) fn http(
        &self,
        registry: &RegistryHost,
        connection: &Connection,
        all: &Http,
    ) -> Result<Http, UpstreamError> {
        if self.ca.is_none() && self.identity.is_none() && connection.proxy.is_none() {
            return Ok(all.clone());
        }
        let roots = self.ca.iter().flat_map(|ca| CertificateDer::pem_slice_iter(ca));
        // One that cannot be read would be missed later.
        let roots: Vec<CertificateDer<'static>> = roots.collect::<Result<_, _>>().unwrap_or_default();
        if let (true, Some(file)) = (roots.is_empty(), &connection.ca) {
            return Err(UpstreamError::NoCertificate { registry: registry.clone(), file: file.clone() });
        }
        let identity = self.identity.clone().map(|(certificate, key)| Identity { certificate, key });
        let proxies = connection.proxy.as_ref().map(|proxy| match proxy {
            UpstreamProxy::Direct => Proxies::None,
            UpstreamProxy::At(url) => Proxies::At(url.clone()),
        });
        let own = all.with(HttpOverrides { roots, identity, proxies });
        own.map_err(|error| UpstreamError::Client { registry: registry.clone(), source: Arc::new(error) })
    }

    /// Returns the headers that an upstream's own requests have.
    pub(super) fn headers(&self, connection: &Connection) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (name, value) in connection.headers.iter().chain(&self.headers) {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value.expose())) {
                value.set_sensitive(true);
                out.append(name, value);
            }
        }
        out
    }
}
