//! Any header is read without a panic, what is printed of it is one challenge, and no realm leads to a private address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::oci::{Challenge, AddressPolicy, check_realm};

fuzz_target!(|header: &str| {
    let registry = "https://registry-1.docker.io".parse().expect("a URL");
    for challenge in Challenge::parse_all(header) {
        let printed = challenge.to_string();
        assert!(!printed.contains(['\r', '\n']));
        assert!(Challenge::parse_all(&printed).len() <= 1);
        if let Challenge::Bearer(bearer) = challenge
            && let Ok(url) = check_realm(&bearer.realm, &registry, AddressPolicy::Public, &[])
        {
            assert!(url.scheme() == "https" && AddressPolicy::Public.allows_host(&url));
            assert!(url.host_str().is_some_and(|host| host.ends_with("docker.io")));
        }
    }
});
