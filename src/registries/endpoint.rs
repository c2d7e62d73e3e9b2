use crate::image::{DOCKER_HUB, DOCKER_HUB_API, Reference};

/// A URL that a mirror's images are pulled from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The URL, as Talos gets it.
    pub url: String,
    /// Whether the path is used as it is; otherwise Talos appends `/v2` where it is not there.
    pub override_path: bool,
}

/// What makes an endpoint serve no images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointFlaw {
    /// A path with `/v2` in it and more behind it, without `overridePath`: `/v2/p` becomes `/v2/p/v2`.
    PathIsExtended,
    /// `overridePath` on a bare host: `/v2` is missing.
    VersionIsLost,
    /// `overridePath` with a path that has no `/v2`: a portal may answer 200 with a web page.
    NoVersionInPath,
    /// A host that is known to serve no registry API.
    NotARegistry,
}

impl Endpoint {
    /// Makes an endpoint.
    pub fn new(url: impl Into<String>, override_path: bool) -> Self {
        Self { url: url.into(), override_path }
    }

    /// Returns scheme, host with port, and path; a URL without scheme counts as https (containerd does so).
    fn parts(&self) -> (&str, &str, &str) {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("https", &self.url));
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        (scheme, host, tail.split(['?', '#']).next().unwrap_or_default())
    }

    /// Returns the key under which Talos looks for auth and TLS: host and port as the URL has them.
    pub fn host(&self) -> &str {
        self.parts().1
    }

    /// Returns whether the URL is plain http.
    pub fn is_plain_http(&self) -> bool {
        self.parts().0 == "http"
    }

    /// Returns the path before the repository, by the rule that both of Talos' pullers share.
    ///
    /// Source: Talos `internal/pkg/containers/image/resolver.go`, containerd `core/remotes/docker/config/hosts.go`.
    pub fn prefix(&self) -> String {
        let path = clean(self.parts().2);
        if self.override_path || path.ends_with("/v2") { path } else { format!("{path}/v2") }
    }

    /// Returns the endpoint with `overridePath` on, meaning the same.
    #[must_use]
    pub fn with_override(&self) -> Self {
        let (scheme, host, path) = self.parts();
        let odd = |path: &str| path.ends_with('/') || path.contains("//") || path.contains("/.");
        if self.override_path
            && !odd(path)
            && self.url.len() == scheme.len() + "://".len() + host.len() + path.len()
        {
            return self.clone(); // it is written as it would be
        }
        Self::new(format!("{scheme}://{host}{}", self.prefix()), true)
    }

    /// Returns whether two endpoints lead to the same requests, however they are written.
    pub fn means_the_same(&self, other: &Self) -> bool {
        self.with_override() == other.with_override()
    }

    /// Returns what makes the endpoint serve no images, where its URL alone shows it.
    pub fn flaw(&self) -> Option<EndpointFlaw> {
        let (_, host, path) = self.parts();
        let path = clean(path);
        if matches!(host, DOCKER_HUB | "hub.docker.com" | "www.docker.com") {
            return Some(EndpointFlaw::NotARegistry);
        }
        match (self.override_path, path.as_str()) {
            (false, "" | "/v2") => None,
            // A path of its own, such as Nexus' `/repository/docker`, has its API at `/v2` behind it.
            (false, path) => path.split('/').any(|part| part == "v2").then_some(EndpointFlaw::PathIsExtended),
            (true, "") => Some(EndpointFlaw::VersionIsLost),
            (true, path) if !path.split('/').any(|part| part == "v2") => Some(EndpointFlaw::NoVersionInPath),
            (true, _) => None,
        }
    }
}

/// Go's `path.Clean` for the parts of a URL path: no empty ones, no `.`, `..` taken back; the root is empty.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

/// One attempt of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullAttempt {
    /// The URL of the manifest request.
    pub url: String,
    /// The key under which credentials are looked up.
    pub auth_key: String,
}

/// Returns the request for an image's manifest through an endpoint, `ns` included where Talos adds it.
///
/// Source: containerd `core/remotes/docker/registry.go` `isProxy` and `resolver.go` `addNamespace`.
pub fn request_url(endpoint: &Endpoint, image: &Reference) -> PullAttempt {
    let (scheme, host, _) = endpoint.parts();
    let registry = image.registry();
    let own = host == registry || (registry == DOCKER_HUB && host == DOCKER_HUB_API);
    let ns = if own { String::new() } else { format!("?ns={registry}") };
    let (prefix, repository, manifest) = (endpoint.prefix(), image.repository(), image.manifest());
    PullAttempt {
        url: format!("{scheme}://{host}{prefix}/{repository}/manifests/{manifest}{ns}"),
        auth_key: host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_containerd() {
        let image: Reference = "docker.io/library/nginx:1".parse().unwrap();
        for (url, override_path, want) in [
            ("https://h", false, "https://h/v2/library/nginx/manifests/1?ns=docker.io"),
            ("https://h/", false, "https://h/v2/library/nginx/manifests/1?ns=docker.io"),
            ("https://h/v2/", false, "https://h/v2/library/nginx/manifests/1?ns=docker.io"),
            ("https://h/v2/p", false, "https://h/v2/p/v2/library/nginx/manifests/1?ns=docker.io"),
            ("https://h/v2/p/", true, "https://h/v2/p/library/nginx/manifests/1?ns=docker.io"),
            ("https://h", true, "https://h/library/nginx/manifests/1?ns=docker.io"),
            (
                "https://registry-1.docker.io",
                false,
                "https://registry-1.docker.io/v2/library/nginx/manifests/1",
            ),
            ("http://10.0.0.1:5000", false, "http://10.0.0.1:5000/v2/library/nginx/manifests/1?ns=docker.io"),
        ] {
            let endpoint = Endpoint::new(url, override_path);
            assert_eq!(request_url(&endpoint, &image).url, want);
            assert_eq!(request_url(&endpoint.with_override(), &image).url, want);
        }
    }

    #[test]
    fn flaws_are_seen() {
        let flaw = |url: &str, override_path| Endpoint::new(url, override_path).flaw();
        assert_eq!(flaw("https://h/v2/p", false), Some(EndpointFlaw::PathIsExtended));
        assert_eq!(flaw("https://h/repository/docker", false), None);
        assert_eq!(flaw("https://h", true), Some(EndpointFlaw::VersionIsLost));
        assert_eq!(flaw("https://h/p", true), Some(EndpointFlaw::NoVersionInPath));
        assert_eq!(flaw("https://docker.io/v2", true), Some(EndpointFlaw::NotARegistry));
        assert_eq!(flaw("https://h/v2/p", true), None);
        assert_eq!(flaw("https://h/artifactory/v2/p", true), None);
        assert_eq!(Endpoint::new("https://u:p@h:443/x", false).host(), "h:443");
    }
}
