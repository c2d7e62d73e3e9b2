use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The header that proxies write the client's address into.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies in front of a server whose word about a client's address is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Makes it of the proxies' networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns whether an address is one of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the client's address: the last that `X-Forwarded-For` names and that is not a trusted proxy's.
    ///
    /// What stands before it may have been made up by the client.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if self.0.is_empty() || !self.contains(peer.ip()) {
            return peer;
        }
        let values: Vec<&str> =
            headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let mut client = peer;
        for text in values.into_iter().rev().flat_map(|value| value.rsplit(',')) {
            let Some(named) = address(text.trim()) else { break };
            client = named;
            if !self.contains(named.ip()) {
                break;
            }
        }
        client
    }
}

/// Reads an address with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip.to_canonical(), 0));
    ip.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (peer, values, client) in [
            ("10.0.0.1:5", &["192.0.2.7"][..], "192.0.2.7"),
            ("10.0.0.1:5", &["6.6.6.6, 192.0.2.7, 10.1.1.1"], "192.0.2.7"),
            ("10.0.0.1:5", &["6.6.6.6, 192.0.2.7", "10.1.1.1,[fd00::1]:80"], "192.0.2.7"),
            ("[fd00::2]:5", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1:5", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1:5", &["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["10.0.0.2"], "10.0.0.2"),
            ("192.0.2.9:5", &["6.6.6.6"], "192.0.2.9"),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let found = proxies.client(peer.parse().unwrap(), &headers);
            assert_eq!(found.ip().to_string(), client, "{peer} {values:?}");
        }
    }
}
