use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The port of Talos' API.
const PORT: u16 = 50000;

/// Where a Talos API listens: `HOST`, `HOST:PORT`, an IPv6 address in brackets or without, `https://HOST`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text names no endpoint or node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid address: use HOST, HOST:PORT or [IPV6]:PORT")]
pub struct EndpointError(String);

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Through an endpoint, which knows it by this address or name.
    Through(String),
    /// At its own address: it was given with a port.
    At(Endpoint),
}

impl Endpoint {
    /// Returns the host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the endpoint that a node is itself.
    pub fn of_node(host: &str) -> Self {
        Self { host: host.to_owned(), port: PORT }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, default) = match text.strip_prefix("https://") {
            Some(rest) => (rest.trim_end_matches('/'), 443),
            None => (text, PORT),
        };
        let (host, port) = split(rest).ok_or_else(|| EndpointError(text.to_owned()))?;
        Ok(Self { host, port: port.unwrap_or(default) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Target {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match split(text).ok_or_else(|| EndpointError(text.to_owned()))? {
            (host, Some(port)) => Ok(Self::At(Endpoint { host, port })),
            (host, None) => Ok(Self::Through(host)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Through(host) => f.write_str(host),
            Self::At(endpoint) => endpoint.fmt(f),
        }
    }
}

/// Parts a host and the port behind it.
fn split(text: &str) -> Option<(String, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(number) => Some((host.to_owned(), Some(port(number)?))),
            None => rest.is_empty().then(|| (host.to_owned(), None)),
        };
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, number)) => (host, Some(port(number)?)),
        None => (text, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!host.is_empty() && host.chars().all(fits)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_talosctl_takes_them() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1:50000"),
            ("10.0.0.1:50001", "10.0.0.1:50001"),
            ("fd00::1", "[fd00::1]:50000"),
            ("[fd00::1]", "[fd00::1]:50000"),
            ("[fd00::1]:6000", "[fd00::1]:6000"),
            ("cp-1.example", "cp-1.example:50000"),
            ("https://omni.example", "omni.example:443"),
            ("https://omni.example:8443/", "omni.example:8443"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), want);
        }
        for text in ["", ":1", "a:b", "a:0", "a b", "[a]:1", "[fd00::1]x", "http://x", "a/b", "a:1:2"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back(text in "(https://)?[a-f0-9.:\\[\\]-]{0,12}(:[0-9]{1,6})?") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                proptest::prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
            }
            if let Ok(target) = text.parse::<Target>() {
                proptest::prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }

    #[test]
    fn a_node_with_a_port_is_reached_itself() {
        assert_eq!("n1".parse(), Ok(Target::Through("n1".to_owned())));
        assert_eq!("[fd00::1]".parse(), Ok(Target::Through("fd00::1".to_owned())));
        let at: Target = "127.0.0.1:6001".parse().unwrap();
        assert_eq!(at, Target::At(Endpoint { host: "127.0.0.1".to_owned(), port: 6001 }));
    }
}
