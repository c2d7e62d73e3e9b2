#![expect(clippy::disallowed_methods, reason = "reads the proxies of the environment")]

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::secret::Secret;

/// The proxies through which requests go.
#[derive(Clone, Debug)]
pub(super) struct ProxyTable {
    matcher: Option<Arc<Matcher>>,
    /// Their hosts, which are the operator's and may be anywhere.
    pub(super) hosts: BTreeSet<String>,
}

impl ProxyTable {
    /// Returns none.
    pub(super) fn none() -> Self {
        Self { matcher: None, hosts: BTreeSet::new() }
    }

    /// Returns those of the environment.
    pub(super) fn from_environment() -> Self {
        let hosts = ["http_proxy", "https_proxy", "all_proxy"]
            .into_iter()
            .flat_map(|name| [name.to_owned(), name.to_ascii_uppercase()])
            .filter_map(|name| std::env::var(name).ok())
            .filter_map(|proxy| {
                let url = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
                Some(url.parse::<Url>().ok()?.host_str()?.to_ascii_lowercase())
            })
            .collect();
        Self { matcher: Some(Arc::new(Matcher::from_env())), hosts }
    }

    /// Returns the one that everything goes through.
    pub(super) fn at(url: &Secret<String>) -> Self {
        let host =
            url.expose().parse::<Url>().ok().and_then(|url| Some(url.host_str()?.to_ascii_lowercase()));
        let matcher = Matcher::builder().all(url.expose().as_str()).build();
        Self { matcher: Some(Arc::new(matcher)), hosts: host.into_iter().collect() }
    }

    /// Returns the proxy through which a URL is asked, as `host:port`: its credentials are not shown.
    pub(super) fn of(&self, url: &Url) -> Option<String> {
        let proxy = self.matcher.as_ref()?.intercept(&url.as_str().parse().ok()?)?;
        let authority = proxy.uri().authority()?;
        let port = authority.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}", authority.host()))
    }
}
