use std::fmt;

use url::Url;

use super::address_policy::AddressPolicy;
use super::error::shown;
use crate::image::Repository;

/// Where a registry is asked: the URL that its objects are under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL of `/v2/`.
    root: Url,
    /// What stands between that and a repository's name.
    prefix: String,
}

/// A URL is not a valid endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid registry URL: http or https, a host, perhaps a path")]
pub struct EndpointError(pub String);

impl Endpoint {
    /// Makes an endpoint of a configured URL.
    ///
    /// A path with a segment `v2` is what objects are under, as it is with Talos' `overridePath`:
    /// `https://harbor.example/v2/hub`. Any other path is in front of the repositories, as it is in an image
    /// reference: `https://harbor.example/hub` means the same.
    pub fn new(url: &Url) -> Result<Self, EndpointError> {
        let failed = || EndpointError(shown(url));
        let good = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none();
        if !good {
            return Err(failed());
        }
        let segments: Vec<&str> =
            url.path_segments().map_or_else(Vec::new, |all| all.filter(|part| !part.is_empty()).collect());
        let (before, behind) = match segments.iter().position(|part| *part == "v2") {
            Some(at) => (segments.get(..at), segments.get(at + 1..)),
            None => (None, Some(segments.as_slice())),
        };
        let mut root = url.clone();
        root.set_query(None);
        root.set_fragment(None);
        let mut path = before.unwrap_or_default().join("/");
        path.push_str("/v2/");
        root.set_path(&path);
        Ok(Self { root, prefix: behind.unwrap_or_default().join("/") })
    }

    /// Makes an endpoint of a URL whose path is exactly what repositories follow, as Talos uses its endpoints.
    ///
    /// A path without a segment `v2` stays as it is: what answers there is not a registry, and the answer shows it.
    pub fn verbatim(url: &Url) -> Result<Self, EndpointError> {
        let mut endpoint = Self::new(url)?;
        if !url.path().split('/').any(|segment| segment == "v2") {
            endpoint.root.set_path(&format!("{}/", url.path().trim_end_matches('/')));
            endpoint.prefix.clear();
        }
        Ok(endpoint)
    }

    /// Returns the URL of `/v2/`, which says whether a registry is there.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// Returns the URL of something in a repository, such as `manifests/latest`.
    pub fn object(&self, repository: &Repository, what: &str) -> Url {
        let mut url = self.root.clone();
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        url.set_path(&format!("{}{}{slash}{repository}/{what}", self.root.path(), self.prefix));
        url
    }

    /// Returns the name that the registry there has for a repository.
    pub fn repository(&self, repository: &Repository) -> Repository {
        let full =
            if self.prefix.is_empty() { None } else { format!("{}/{repository}", self.prefix).parse().ok() };
        full.unwrap_or_else(|| repository.clone())
    }

    /// Returns the host, with the port if the URL has one.
    pub fn host(&self) -> String {
        let host = self.root.host_str().unwrap_or_default();
        self.root.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Returns what the endpoint itself may be at, given what it may lead to.
    ///
    /// An operator who configures `http://` or an address of their own network means it. A name under https may move there
    /// only where the operator says so.
    pub fn own_policy(&self, policy: AddressPolicy) -> AddressPolicy {
        if self.root.scheme() == "http" || !AddressPolicy::Public.allows_host(&self.root) {
            AddressPolicy::Anywhere
        } else {
            policy
        }
    }

    /// Returns whether a URL is of the same origin.
    pub fn is_own(&self, url: &Url) -> bool {
        self.root.origin() == url.origin()
    }
}

/// Prints the URL as it is configured, without a slash at the end.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.root.as_str().trim_end_matches('/');
        match (self.prefix.as_str(), root.strip_suffix("/v2")) {
            ("", Some(root)) => f.write_str(root),
            (prefix, _) => write!(f, "{root}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(&url.parse().unwrap())
    }

    #[test]
    fn paths_of_three_kinds() {
        let repository: Repository = "library/alpine".parse().unwrap();
        for (url, object, name, root) in [
            ("https://h", "https://h/v2/library/alpine/tags/list", "library/alpine", "https://h/v2/"),
            ("https://h/v2/", "https://h/v2/library/alpine/tags/list", "library/alpine", "https://h/v2/"),
            (
                "https://h/hub",
                "https://h/v2/hub/library/alpine/tags/list",
                "hub/library/alpine",
                "https://h/v2/",
            ),
            (
                "http://h:5000/v2/hub/",
                "http://h:5000/v2/hub/library/alpine/tags/list",
                "hub/library/alpine",
                "http://h:5000/v2/",
            ),
            (
                "https://h/api/docker/v2",
                "https://h/api/docker/v2/library/alpine/tags/list",
                "library/alpine",
                "https://h/api/docker/v2/",
            ),
            (
                "https://h/a/v2/b/c",
                "https://h/a/v2/b/c/library/alpine/tags/list",
                "b/c/library/alpine",
                "https://h/a/v2/",
            ),
        ] {
            let endpoint = endpoint(url).unwrap();
            assert_eq!(endpoint.object(&repository, "tags/list").as_str(), object);
            assert_eq!(endpoint.repository(&repository).as_str(), name);
            assert_eq!(endpoint.root().as_str(), root);
        }
        for (url, shown) in [
            ("https://h", "https://h"),
            ("https://h/v2/", "https://h"),
            ("https://h/hub", "https://h/v2/hub"),
            ("https://h/api/v2", "https://h/api"),
        ] {
            assert_eq!(endpoint(url).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_endpoint() {
        for url in ["ftp://h", "https://u:p@h", "file:///x"] {
            let error = endpoint(url).unwrap_err();
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
    }

    #[test]
    fn paths_that_are_used_as_they_are() {
        let repository: Repository = "library/alpine".parse().unwrap();
        for (url, want) in [
            ("https://h/v2", "https://h/v2/library/alpine/tags/list"),
            ("https://h/v2/hub", "https://h/v2/hub/library/alpine/tags/list"),
            ("https://h/v2/hub/v2", "https://h/v2/hub/v2/library/alpine/tags/list"),
            ("https://h", "https://h/library/alpine/tags/list"),
            ("https://h/hub", "https://h/hub/library/alpine/tags/list"),
        ] {
            let endpoint = Endpoint::verbatim(&url.parse().unwrap()).unwrap();
            assert_eq!(endpoint.object(&repository, "tags/list").as_str(), want);
        }
    }

    #[test]
    fn the_configured_host_is_meant() {
        for (url, own) in [
            ("https://ghcr.io", AddressPolicy::Public),
            ("https://8.8.8.8", AddressPolicy::Public),
            ("http://ghcr.io", AddressPolicy::Anywhere),
            ("https://127.0.0.1:5000", AddressPolicy::Anywhere),
            ("https://10.0.0.1", AddressPolicy::Anywhere),
            ("https://localhost", AddressPolicy::Anywhere),
        ] {
            assert_eq!(endpoint(url).unwrap().own_policy(AddressPolicy::Public), own, "{url}");
            assert_eq!(endpoint(url).unwrap().own_policy(AddressPolicy::Anywhere), AddressPolicy::Anywhere);
        }
    }
}
