use url::{Host, Url};

use super::address_policy::AddressPolicy;

/// Why a challenge's realm is not asked for a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RealmRefused {
    /// It is not a URL of http or https.
    #[error("the token realm is not a valid http or https URL")]
    NoUrl,
    /// It has a user or a password.
    #[error("the token realm has a user name in it")]
    User,
    /// It is http, and the registry is https.
    #[error("the token realm at `{0}` is not https")]
    Plain(String),
    /// It is an address, or a name of this machine.
    #[error("the token realm is at the address `{0}`")]
    Address(String),
    /// It is at a port that is not the usual one.
    #[error("the token realm is at port {1} of `{0}`")]
    Port(String, u16),
    /// It is at a host of another domain.
    #[error("the token realm at `{realm}` has nothing to do with `{registry}`")]
    Stranger {
        /// The realm's host.
        realm: String,
        /// The registry's host.
        registry: String,
    },
}

/// Which token servers an endpoint's credentials may go to besides the registry's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenServers {
    /// Those that the operator names, as `host` or `host:port`.
    Named(Vec<String>),
    /// Whatever host a challenge names, as the nodes of a cluster take it.
    AsChallenged,
}

/// A token server that may be asked, and at which addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    /// Its URL.
    pub url: Url,
    /// What the URL's host and redirects from there may be at.
    pub policy: AddressPolicy,
}

/// Registries that send to a host of another name: lscr.io is ghcr.io under a name of its own, and NVIDIA has one token
/// server for all that it has.
const RELATED: [(&str, &str); 2] = [("lscr.io", "ghcr.io"), ("nvcr.io", "authn.nvidia.com")];

/// Returns a challenge's realm, if it may be asked, and at which addresses.
///
/// The realm is what an upstream says, so it could be anything within our network, and credentials go there. Taken are
/// the registry's own origin, its host at the usual port, hosts of the same domain, and what `servers` names.
///
/// A registry of the operator's own network ([`AddressPolicy::Anywhere`]) may have its token server under any name, as
/// names are given there as they like: such a name is asked at addresses of private networks only. Through an HTTP proxy
/// the proxy resolves names, so that any name is asked there: the operator of a proxy keeps it from other networks.
pub fn check_realm(
    realm: &str,
    registry: &Url,
    policy: AddressPolicy,
    servers: &TokenServers,
) -> Result<Realm, RealmRefused> {
    let mut url: Url = realm.parse().map_err(|_| RealmRefused::NoUrl)?;
    let (Some(host), Some(port)) = (url.host_str().map(str::to_owned), url.port_or_known_default()) else {
        return Err(RealmRefused::NoUrl);
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(RealmRefused::NoUrl);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RealmRefused::User);
    }
    url.set_fragment(None);
    if url.scheme() == "http" && registry.scheme() != "http" {
        return Err(RealmRefused::Plain(host));
    }
    let with_port = format!("{host}:{port}");
    let is_named = match servers {
        TokenServers::Named(names) => names.iter().any(|name| *name == host || *name == with_port),
        TokenServers::AsChallenged => false,
    };
    if url.origin() == registry.origin() || is_named {
        return Ok(Realm { url, policy });
    }
    let same_host = url.host() == registry.host();
    // What only the challenge names is never where clouds keep secrets.
    let onward = match (policy, servers) {
        (AddressPolicy::Anywhere, TokenServers::Named(_)) => AddressPolicy::OwnNetworks,
        (policy, _) => policy,
    };
    if same_host && policy == AddressPolicy::Anywhere {
        return Ok(Realm { url, policy });
    }
    let by_name = matches!(url.host(), Some(Host::Domain(_))) && AddressPolicy::Public.allows_host(&url);
    if !by_name {
        return Err(RealmRefused::Address(host));
    }
    let registry = registry.host_str().unwrap_or_default();
    let is_related =
        same_host || RELATED.contains(&(registry, host.as_str())) || same_domain(&host, registry);
    match (policy, servers) {
        (AddressPolicy::Anywhere, TokenServers::AsChallenged) => Ok(Realm { url, policy }),
        (AddressPolicy::Anywhere, TokenServers::Named(_)) if is_related => Ok(Realm { url, policy: onward }),
        (AddressPolicy::Anywhere, TokenServers::Named(_)) => {
            Ok(Realm { url, policy: AddressPolicy::PrivateOnly })
        }
        (AddressPolicy::Public | AddressPolicy::OwnNetworks | AddressPolicy::PrivateOnly, _) => {
            if url.port().is_some() {
                Err(RealmRefused::Port(host, port))
            } else if is_related {
                Ok(Realm { url, policy })
            } else {
                Err(RealmRefused::Stranger { realm: host, registry: registry.to_owned() })
            }
        }
    }
}

/// Returns whether two hosts are of one domain: what a registrar sells, as nearly as can be told without the list of
/// public suffixes. The last two labels must be equal, and three where the last two look like `co.uk` or `github.io`.
fn same_domain(a: &str, b: &str) -> bool {
    let labels = |host: &str| host.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (labels(a), labels(b));
    let (Some(top), Some(second)) = (a.first(), a.get(1)) else { return false };
    let shared_by_many = (top.len() == 2 && (second.len() <= 3 || SECOND_LEVEL.contains(&second.as_str())))
        || HOSTERS.contains(&(second.as_str(), top.as_str()));
    let depth = if shared_by_many { 3 } else { 2 };
    a.len() >= depth && b.len() >= depth && a.iter().zip(&b).take(depth).all(|(a, b)| a == b)
}

const SECOND_LEVEL: [&str; 4] = ["info", "name", "gouv", "govt"];
const HOSTERS: [(&str, &str); 12] = [
    ("amazonaws", "com"),
    ("appspot", "com"),
    ("azurecr", "io"),
    ("azurewebsites", "net"),
    ("cloudapp", "net"),
    ("cloudfront", "net"),
    ("github", "io"),
    ("gitlab", "io"),
    ("herokuapp", "com"),
    ("pages", "dev"),
    ("run", "app"),
    ("workers", "dev"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(registry: &str, realm: &str, policy: AddressPolicy) -> &'static str {
        let named = vec!["auth.other.example:5001".to_owned(), "sso.example".to_owned()];
        check_with(registry, realm, policy, &TokenServers::Named(named))
    }

    fn check_with(
        registry: &str,
        realm: &str,
        policy: AddressPolicy,
        servers: &TokenServers,
    ) -> &'static str {
        match check_realm(realm, &registry.parse().unwrap(), policy, servers) {
            Ok(realm) if realm.policy == policy => "taken",
            Ok(realm) if realm.policy == AddressPolicy::OwnNetworks => {
                "taken, but not where clouds keep secrets"
            }
            Ok(realm) => {
                assert_eq!(realm.policy, AddressPolicy::PrivateOnly);
                "taken at private addresses"
            }
            Err(RealmRefused::NoUrl) => "no url",
            Err(RealmRefused::User) => "user",
            Err(RealmRefused::Plain(_)) => "plain",
            Err(RealmRefused::Address(_)) => "address",
            Err(RealmRefused::Port(..)) => "port",
            Err(RealmRefused::Stranger { .. }) => "stranger",
        }
    }

    #[test]
    fn realms() {
        for (registry, realm, want) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", "taken"),
            ("https://ghcr.io", "https://ghcr.io/token", "taken"),
            ("https://lscr.io", "https://ghcr.io/token", "taken"),
            ("https://nvcr.io", "https://authn.nvidia.com/token", "taken"),
            ("https://public.ecr.aws", "https://public.ecr.aws/token/", "taken"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", "taken"),
            ("https://git.example.com:5050", "https://git.example.com/jwt/auth", "taken"),
            ("https://harbor.lan:8443", "https://harbor.lan:8443/service/token", "taken"),
            ("https://a.example.co.uk", "https://b.example.co.uk/t", "taken"),
            ("https://r.example.com", "https://auth.other.example:5001/t", "taken"),
            ("https://r.example.com", "https://sso.example/t", "taken"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/t", "taken"),
            ("http://r.example.com", "http://r.example.com/t", "taken"),
            ("https://r.example.com", "https://auth.other.example:5002/t", "port"),
            ("https://r.example.com", "https://auth.example.com:5001/t", "port"),
            ("https://r.example.com", "http://r.example.com/t", "plain"),
            ("https://r.example.com", "http://169.254.169.254/latest", "plain"),
            ("https://r.example.com", "https://169.254.169.254/latest", "address"),
            ("https://r.example.com", "https://10.0.0.1/t", "address"),
            ("https://r.example.com", "https://8.8.8.8/t", "address"),
            ("https://r.example.com", "https://localhost/t", "address"),
            ("https://r.example.com", "https://[::1]/t", "address"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/t", "address"),
            ("https://r.example.com", "https://evil.test/t", "stranger"),
            ("https://docker.io", "https://docker.io.evil.test/t", "stranger"),
            ("https://docker.io", "https://notdocker.io/t", "stranger"),
            ("https://a.co.uk", "https://evil.co.uk/t", "stranger"),
            ("https://a.github.io", "https://evil.github.io/t", "stranger"),
            ("https://harbor.lan", "https://evil.lan/t", "stranger"),
            ("https://harbor", "https://evil/t", "stranger"),
            ("https://10.0.0.1", "https://0.0.0.1/t", "address"),
            ("https://ghcr.io", "https://ghcr.io@evil.test/t", "user"),
            ("https://ghcr.io", "https://u:p@ghcr.io/t", "user"),
            ("https://ghcr.io", "ftp://ghcr.io/t", "no url"),
            ("https://ghcr.io", "/token", "no url"),
            ("https://ghcr.io", "", "no url"),
        ] {
            assert_eq!(check(registry, realm, AddressPolicy::Public), want, "{registry} {realm}");
        }
    }

    #[test]
    fn realms_of_a_private_registry() {
        let elsewhere = "taken at private addresses";
        for (registry, realm, want) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/t", "taken"),
            ("https://10.0.0.1", "https://10.0.0.2/t", "address"),
            ("https://10.0.0.1", "https://169.254.169.254/t", "address"),
            ("https://harbor.lan", "https://harbor.lan:8443/t", "taken"),
            (
                "https://r.corp.example",
                "https://sso.corp.example:8443/t",
                "taken, but not where clouds keep secrets",
            ),
            ("https://r.corp.example", "https://sso.example/t", "taken"),
            ("https://r.corp.example", "https://auth.other.example:5001/t", "taken"),
            ("https://r.corp.example", "https://auth.other.example:5002/t", elsewhere),
            ("https://r.corp.example", "https://evil.test/t", elsewhere),
            ("https://harbor", "https://keycloak/t", elsewhere),
            ("https://10.0.0.1", "https://keycloak.lan:8443/t", elsewhere),
            ("https://10.0.0.1", "http://keycloak.lan/t", "plain"),
        ] {
            assert_eq!(check(registry, realm, AddressPolicy::Anywhere), want, "{registry} {realm}");
        }
        let as_challenged = |realm| {
            let servers = TokenServers::AsChallenged;
            check_with("https://r.example.com", realm, AddressPolicy::Anywhere, &servers)
        };
        assert_eq!(as_challenged("https://evil.test:8443/t"), "taken");
        assert_eq!(as_challenged("https://169.254.169.254/t"), "address");
    }

    proptest! {
        #[test]
        fn never_panics(realm in "\\PC{0,40}|https?://[a-z0-9.:@\\[\\]/-]{0,30}") {
            let _ = check("https://ghcr.io", &realm, AddressPolicy::Public);
            let _ = check("https://ghcr.io", &realm, AddressPolicy::Anywhere);
        }
    }
}
