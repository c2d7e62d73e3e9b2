use std::net::SocketAddr;
use std::sync::Arc;

use url::Url;

use super::gate::PeerGate;
use super::replicas::Replicas;
use super::secrets::PeerSecrets;
use crate::cache::bucket::Bucket;
use crate::cache::config::PeerConfig;
use crate::cache::observe::Metrics;
use crate::http::{Handler, Limits, Server, ServerConfig, ServerError};

/// Where the other caches on a bucket ask this one.
#[derive(Debug)]
pub struct PeerListener {
    server: Server,
    secrets: PeerSecrets,
    replicas: Replicas,
}

/// Why the other caches on a bucket cannot ask this one.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The secret or the URL cannot be used.
    #[error("cannot be one of several caches on a bucket: {0}")]
    Configuration(String),
    /// It cannot listen.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl PeerListener {
    /// Begins to listen.
    ///
    /// Has to be called inside a tokio runtime.
    pub fn bind(config: &PeerConfig, clients: Limits, bucket: Bucket) -> Result<Self, PeerError> {
        let secrets = PeerSecrets::read(&config.secret).map_err(PeerError::Configuration)?;
        // All that one member reads comes from one address.
        let limits = Limits { per_address: None, ..clients };
        let settings = ServerConfig { limits, ..ServerConfig::new(vec![config.listen]) };
        // What members ask of each other is not counted as what clients ask for.
        let server = Server::bind(settings, Arc::new(Metrics::new()))?;
        let url = own_url(config, server.addresses()).map_err(PeerError::Configuration)?;
        let replicas = Replicas::new(&url, secrets.clone(), bucket).map_err(PeerError::Configuration)?;
        Ok(Self { server, secrets, replicas })
    }

    /// Returns the other caches, and how they are asked.
    pub const fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// Serves the other caches until `shutdown` is done, and lets the answers that have begun end.
    pub async fn run<H: Handler>(self, service: H, shutdown: impl Future<Output = ()>) {
        let Self { server, secrets, replicas } = self;
        let own = replicas.url().to_owned();
        let gate = PeerGate::new(service, own, secrets, move |url| replicas.greeted(url));
        server.run(Arc::new(gate), shutdown).await;
    }
}

/// Returns the URL by which the other caches reach this one.
fn own_url(config: &PeerConfig, listens: &[SocketAddr]) -> Result<Url, String> {
    if let Some(url) = &config.url {
        return Ok(url.clone());
    }
    let own = listens.first().filter(|address| !address.ip().is_unspecified());
    let url = own.and_then(|address| Url::parse(&format!("http://{address}")).ok());
    url.ok_or_else(|| {
        format!("{} is every address: name one that the others reach with --peer-url URL", config.listen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_where_it_listens_unless_it_is_named() {
        let config = |listen: &str, url: Option<&str>| PeerConfig {
            listen: listen.parse().unwrap(),
            url: url.map(|url| url.parse().unwrap()),
            secret: "f".into(),
        };
        let of = |listen: &str, url| {
            let listens = [listen.parse().unwrap()];
            own_url(&config(listen, url), &listens).map(|url| url.to_string())
        };
        assert_eq!(of("[::1]:5001", None).unwrap(), "http://[::1]:5001/");
        assert_eq!(of("[::]:5001", Some("https://a.example")).unwrap(), "https://a.example/");
        for every in ["[::]:5001", "0.0.0.0:5001"] {
            assert!(of(every, None).unwrap_err().contains("--peer-url"), "{every}");
        }
    }
}
