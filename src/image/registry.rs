use std::fmt;
use std::str::FromStr;

/// The registry that images without a host come from, by the name that references use.
pub const DOCKER_HUB: &str = "docker.io";
/// The host that serves Docker Hub's API.
pub const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// A registry as image references name it: `host` or `host:port`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

/// Why a text is not a registry name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryHostError {
    /// Nothing is there.
    #[error("the name is empty")]
    Empty,
    /// A scheme stands before it.
    #[error("a registry name has no scheme")]
    Scheme,
    /// A path follows it.
    #[error("a registry name has no path")]
    Path,
    /// Upper case letters; Talos compares names as they are written.
    #[error("a registry name is in lower case")]
    UpperCase,
    /// A character that no host name has.
    #[error("`{0}` cannot stand in a registry name")]
    Character(char),
    /// A port that is not a number from 1 to 65535.
    #[error("`{0}` is not a valid port")]
    Port(String),
}

impl FromStr for RegistryHost {
    type Err = RegistryHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(RegistryHostError::Empty);
        }
        if text.contains("://") {
            return Err(RegistryHostError::Scheme);
        }
        if text.contains('/') {
            return Err(RegistryHostError::Path);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (text, None),
        };
        if let Some(port) = port
            && !port.parse::<u16>().is_ok_and(|number| number > 0)
        {
            return Err(RegistryHostError::Port(port.to_owned()));
        }
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let allowed = |c: char| match inner {
            Some(_) => c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%'),
            None => c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'),
        };
        if let Some(c) = inner.unwrap_or(host).chars().find(|c| !allowed(*c)) {
            return Err(RegistryHostError::Character(c));
        }
        if host.is_empty() {
            return Err(RegistryHostError::Empty);
        }
        if host.starts_with('.') || host.contains("..") {
            return Err(RegistryHostError::Character('.'));
        }
        if host.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(RegistryHostError::UpperCase);
        }
        Ok(Self(text.to_owned()))
    }
}

impl RegistryHost {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether an image reference can begin with this name: it has a dot or a port, or is `localhost`.
    ///
    /// Anything else is read as the first part of a repository on Docker Hub
    /// (`distribution/reference` normalize.go, `splitDockerDomain`).
    pub fn can_start_a_reference(&self) -> bool {
        self.0.contains(['.', ':']) || self.0 == "localhost"
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the host that serves a registry's API (containerd `docker.DefaultHost`).
pub fn api_host(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_API } else { registry }
}

/// Returns whether a name is one of Docker Hub's others, which no image reference resolves to.
pub fn is_docker_hub_alias(name: &str) -> bool {
    matches!(
        name,
        "registry-1.docker.io"
            | "index.docker.io"
            | "registry.docker.io"
            | "registry.hub.docker.com"
            | "hub.docker.com"
            | "www.docker.com"
            | "docker.com"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let error = |text: &str| text.parse::<RegistryHost>().unwrap_err();
        for good in
            ["docker.io", "10.0.0.1:5000", "[fd00::1]:5000", "[fd00::1]", "localhost", "zot.example.com:443"]
        {
            assert_eq!(good.parse::<RegistryHost>().unwrap().to_string(), good);
        }
        assert_eq!(error(""), RegistryHostError::Empty);
        assert_eq!(error("https://docker.io"), RegistryHostError::Scheme);
        assert_eq!(error("ghcr.io/x"), RegistryHostError::Path);
        assert_eq!(error("GHCR.io"), RegistryHostError::UpperCase);
        assert_eq!(error("a b"), RegistryHostError::Character(' '));
        assert_eq!(error(".."), RegistryHostError::Character('.'));
        assert_eq!(error("a..b"), RegistryHostError::Character('.'));
        assert_eq!(error("h:0"), RegistryHostError::Port("0".into()));
        assert_eq!(error(":5000"), RegistryHostError::Empty);
    }
}
