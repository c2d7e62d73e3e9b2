use std::collections::BTreeMap;

use crate::image::{Reference, api_host};
use crate::registries::{Endpoint, Mirror, request_url};

/// One host that a pull asks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullHop {
    /// What it is called: a mirror's name, or `upstream`.
    pub via: String,
    /// Its place: 1 is asked first.
    pub number: usize,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The URL of the manifest.
    pub url: String,
    /// The host that credentials and TLS settings are looked up under.
    pub host: String,
    /// Whether a failure ends the pull.
    pub is_last: bool,
}

/// Returns the hosts that a pull of an image asks, in order, as containerd derives them from a node's mirrors.
///
/// `name` says what an endpoint of the entry for a registry, or of `*`, is called.
pub fn hops(
    mirrors: &BTreeMap<String, Mirror>,
    image: &Reference,
    name: &dyn Fn(&str, &Endpoint) -> String,
) -> Vec<PullHop> {
    let registry = image.registry();
    let found = mirrors.get_key_value(registry).or_else(|| mirrors.get_key_value("*"));
    let mut all: Vec<(String, Endpoint)> = Vec::new();
    if let Some((entry, mirror)) = found {
        all.extend(mirror.endpoints.iter().map(|endpoint| (name(entry, endpoint), endpoint.clone())));
    }
    let upstream = Endpoint::new(format!("https://{}", api_host(registry)), false);
    let listed = found.is_some_and(|(_, mirror)| mirror.endpoints.last() == Some(&upstream));
    // Without an endpoint, `skipFallback` does nothing in pods' pulls.
    let never = found.is_some_and(|(_, mirror)| mirror.skip_fallback && !mirror.endpoints.is_empty());
    if !listed && !never {
        all.push(("upstream".to_owned(), upstream));
    }
    let count = all.len();
    let hop = |(at, (via, endpoint)): (usize, (String, Endpoint))| {
        let request = request_url(&endpoint, image);
        let (url, host) = (request.url, request.auth_key);
        PullHop { via, number: at + 1, endpoint, url, host, is_last: at + 1 == count }
    };
    all.into_iter().enumerate().map(hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_order() {
        let image: Reference = "docker.io/library/alpine:3".parse().unwrap();
        let mirror = |skip_fallback| Mirror {
            endpoints: vec![Endpoint::new("https://h/v2/hub", true), Endpoint::new("http://c:5000", false)],
            skip_fallback,
        };
        let urls = |mirrors: BTreeMap<String, Mirror>| {
            let hops = hops(&mirrors, &image, &|entry, _| entry.to_owned());
            hops.into_iter().map(|hop| format!("{} {} {}", hop.via, hop.url, hop.is_last)).collect::<Vec<_>>()
        };
        let upstream = "upstream https://registry-1.docker.io/v2/library/alpine/manifests/3 true".to_owned();
        assert_eq!(urls(BTreeMap::new()), std::slice::from_ref(&upstream));
        let both = |name: &str, last: bool| {
            vec![
                format!("{name} https://h/v2/hub/library/alpine/manifests/3?ns=docker.io false"),
                format!("{name} http://c:5000/v2/library/alpine/manifests/3?ns=docker.io {last}"),
            ]
        };
        let entry = |name: &str, mirror| BTreeMap::from([(name.to_owned(), mirror)]);
        assert_eq!(urls(entry("*", mirror(false))), [both("*", false), vec![upstream]].concat());
        assert_eq!(urls(entry("docker.io", mirror(true))), both("docker.io", true));
    }
}
