use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use crate::secret::Secret;

/// Everything that one node knows about registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// Mirrors by registry name, `*` for all that have none of their own.
    pub mirrors: BTreeMap<String, Mirror>,
    /// Credentials by endpoint host, with the port where the URL has one.
    pub auth: BTreeMap<String, Auth>,
    /// TLS settings by endpoint host, with the port where the URL has one.
    pub tls: BTreeMap<String, Tls>,
}

/// Where the images of one registry are pulled from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// The endpoints, in the order they are tried.
    pub endpoints: Vec<Endpoint>,
    /// Whether the upstream is left out when every endpoint fails.
    pub skip_fallback: bool,
}

/// Credentials, in one of three forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret<String>>,
    /// Base64 of `user:password`.
    pub auth: Option<Secret<String>>,
    /// An `OAuth2` refresh token.
    pub identity_token: Option<Secret<String>>,
}

/// How a host's TLS is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of authorities, PEM.
    pub ca: Option<String>,
    /// The client's certificate and key.
    pub client_identity: Option<ClientIdentity>,
    /// Whether the server's certificate goes unchecked.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: Secret<String>,
}

impl Registries {
    /// Returns whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.auth.is_empty() && self.tls.is_empty()
    }

    /// Returns the mirror that serves a registry's images: its own, else that of `*`.
    pub fn mirror_of(&self, registry: &str) -> Option<(&str, &Mirror)> {
        let found = self.mirrors.get_key_value(registry).or_else(|| self.mirrors.get_key_value("*"));
        found.map(|(name, mirror)| (name.as_str(), mirror))
    }

    /// Returns every host that a mirror's endpoints name, each once, in order.
    pub fn endpoint_hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> =
            self.mirrors.values().flat_map(|mirror| &mirror.endpoints).map(Endpoint::host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// Returns an object for scripts, secrets included.
    pub fn to_json(&self) -> Value {
        let mirrors = self.mirrors.iter().map(|(name, mirror)| {
            let endpoint =
                |endpoint: &Endpoint| json!({"url": endpoint.url, "overridePath": endpoint.override_path});
            let endpoints: Vec<Value> = mirror.endpoints.iter().map(endpoint).collect();
            (name.clone(), json!({"endpoints": endpoints, "skipFallback": mirror.skip_fallback}))
        });
        let text =
            |secret: &Option<Secret<String>>| secret.as_ref().map_or("", |secret| secret.expose()).to_owned();
        let auth = self.auth.iter().map(|(host, auth)| {
            let value = json!({
                "username": auth.username.as_deref().unwrap_or(""),
                "password": text(&auth.password),
                "auth": text(&auth.auth),
                "identityToken": text(&auth.identity_token),
            });
            (host.clone(), value)
        });
        let tls = self.tls.iter().map(|(host, tls)| {
            let identity =
                tls.client_identity.as_ref().map(|id| json!({"cert": id.cert, "key": id.key.expose()}));
            let value = json!({
                "ca": tls.ca.as_deref().unwrap_or(""),
                "clientIdentity": identity,
                "insecureSkipVerify": tls.insecure_skip_verify,
            });
            (host.clone(), value)
        });
        json!({
            "mirrors": mirrors.collect::<Map<_, _>>(),
            "auth": auth.collect::<Map<_, _>>(),
            "tls": tls.collect::<Map<_, _>>(),
        })
    }

    /// Returns every secret that is there.
    pub fn secrets(&self) -> Vec<&Secret<String>> {
        let auth = self.auth.values().flat_map(|auth| [&auth.password, &auth.auth, &auth.identity_token]);
        let keys =
            self.tls.values().filter_map(|tls| tls.client_identity.as_ref()).map(|identity| &identity.key);
        auth.flatten().chain(keys).collect()
    }
}

impl Mirror {
    /// Returns the endpoints as legacy config can hold them: one `overridePath` for all, meaning the same.
    ///
    /// Talos copies a legacy mirror's `overridePath` to each endpoint, so mixed ones are written out with their path.
    pub fn for_legacy(&self) -> (Vec<Endpoint>, bool) {
        if self.endpoints.iter().any(|endpoint| endpoint.override_path) {
            (self.endpoints.iter().map(Endpoint::with_override).collect(), true)
        } else {
            (self.endpoints.clone(), false)
        }
    }
}

impl Auth {
    /// Splits a raw `auth`, base64 of `user:password`, so that one rule covers every secret; others stay as they are.
    #[must_use]
    pub fn with_plain_pair(self) -> Self {
        use base64::Engine;
        let Some(raw) = &self.auth else { return self };
        // Go's decoder passes over line breaks.
        let packed: String = raw.expose().chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        let decoded = base64::engine::general_purpose::STANDARD.decode(packed.trim()).ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).map(Secret::new);
        match text.as_ref().and_then(|text| text.expose().split_once(':')) {
            Some((user, password)) => Self {
                username: Some(user.to_owned()),
                password: Some(Secret::from(password)),
                auth: None,
                identity_token: self.identity_token,
            },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_endpoints_share_one_override_path_in_legacy() {
        let mirror = Mirror {
            endpoints: vec![Endpoint::new("https://h/v2/p", true), Endpoint::new("https://gar", false)],
            skip_fallback: false,
        };
        let (endpoints, override_path) = mirror.for_legacy();
        assert!(override_path);
        assert_eq!(endpoints[1], Endpoint::new("https://gar/v2", true));
    }

    #[test]
    fn raw_auth_becomes_a_pair() {
        let auth = Auth { auth: Some("dTpwOnE=".into()), ..Auth::default() }.with_plain_pair();
        assert_eq!(auth.username.as_deref(), Some("u"));
        assert_eq!(auth.password, Some("p:q".into()));
        let odd = Auth { auth: Some("???".into()), ..Auth::default() };
        assert_eq!(odd.clone().with_plain_pair(), odd);
    }
}
