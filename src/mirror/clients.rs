use std::sync::{Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::cause::Cause;
use super::hops::PullHop;
use crate::image::Reference;
use crate::oci::{
    AddressPolicy, Credential, CredentialSource, Endpoint, Http, HttpError, HttpSettings, Identity, Method,
    RegistryClient, RegistryRequest, ServerCheck, TokenServers,
};
use crate::registries::{Auth, Registries, Tls};
use crate::secret::{NOT_RUN, Secret};

/// What containerd says that it takes of a manifest (containerd `core/remotes/docker/resolver.go`).
pub(super) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

/// What a host is shown, and how it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Credentials.
    pub credential: Option<Credential>,
    /// TLS settings.
    pub tls: Option<Tls>,
}

impl Access {
    /// Returns what a node's settings give for a host.
    pub fn of(registries: &Registries, host: &str) -> Self {
        let credential = registries.auth.get(host).and_then(credential);
        Self { credential, tls: registries.tls.get(host).cloned() }
    }

    /// Returns whether a part of it stands in for a secret whose command was not started.
    pub fn has_stand_in(&self) -> bool {
        let is_stand_in = |secret: &Secret<String>| secret.expose() == NOT_RUN;
        let credential = match &self.credential {
            Some(
                Credential::Password { user, password: secret }
                | Credential::Identity { user, token: secret },
            ) => user == NOT_RUN || is_stand_in(secret),
            Some(Credential::Token(secret)) => is_stand_in(secret),
            None => false,
        };
        let identity = self.tls.as_ref().and_then(|tls| tls.client_identity.as_ref());
        credential || identity.is_some_and(|identity| is_stand_in(&identity.key))
    }
}

/// Username and password go before a token, as in containerd.
fn credential(auth: &Auth) -> Option<Credential> {
    let auth = auth.clone().with_plain_pair();
    match (auth.username, auth.password, auth.identity_token) {
        (Some(user), Some(password), _) => Some(Credential::Password { user, password }),
        (user, _, Some(token)) => Some(Credential::Identity { user: user.unwrap_or_default(), token }),
        // Nothing can be asked with it, as `has_stand_in` says.
        (_, _, None) => auth.auth.filter(|auth| auth.expose() == NOT_RUN).map(Credential::Token),
    }
}

/// Clients of the hosts of pulls, each with the host's own TLS settings; connections are shared, tokens are not.
#[derive(Debug)]
pub(super) struct Clients {
    settings: HttpSettings,
    /// The connections of each host with each of the TLS settings that nodes have for it.
    connections: Mutex<Vec<Connections>>,
}

#[derive(Debug)]
struct Connections {
    /// Empty where nodes have no TLS settings for the host: these are shared by all such hosts.
    host: String,
    tls: Option<Tls>,
    http: Http,
}

impl Clients {
    pub(super) fn new(settings: HttpSettings) -> Self {
        Self { settings, connections: Mutex::default() }
    }

    /// Makes a client of a host, at exactly the URL that containerd uses for an image.
    pub(super) fn client(
        &self,
        hop: &PullHop,
        image: &Reference,
        access: &Access,
    ) -> Result<RegistryClient, (Cause, String)> {
        let invalid = |why: &dyn std::fmt::Display| (Cause::AnswerInvalid, format!("`{}`: {why}", hop.url));
        let scheme = if hop.endpoint.is_plain_http() { "http" } else { "https" };
        let url = format!("{scheme}://{}{}", hop.host, hop.endpoint.prefix());
        let url = url.parse().map_err(|error: url::ParseError| invalid(&error))?;
        let endpoint = Endpoint::verbatim(&url).map_err(|error| invalid(&error))?;
        let http = self.http(&hop.host, access.tls.as_ref());
        let http = http.map_err(|error| (Cause::TlsFailed, error.to_string()))?;
        let registry = image.registry().parse().map_err(|error| invalid(&error))?;
        let credential = access.credential.clone().map(CredentialSource::Given);
        Ok(RegistryClient::new(
            http,
            registry,
            endpoint,
            AddressPolicy::Anywhere,
            credential,
            true,
            // As the nodes do, whose pulls this is to foretell.
            TokenServers::AsChallenged,
        ))
    }

    fn http(&self, host: &str, tls: Option<&Tls>) -> Result<Http, HttpError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let host = if tls.is_some() { host } else { "" };
        let same = |known: &&Connections| known.host == host && known.tls.as_ref() == tls;
        if let Some(known) = connections.iter().find(same) {
            return Ok(known.http.clone());
        }
        let mut settings = self.settings.clone();
        if let Some(tls) = tls {
            let ca = tls.ca.as_deref().unwrap_or_default();
            settings.roots.extend(CertificateDer::pem_slice_iter(ca.as_bytes()).filter_map(Result::ok));
            if tls.insecure_skip_verify {
                settings.server_check = ServerCheck::Skip;
            }
            settings.identity = tls
                .client_identity
                .as_ref()
                .map(|identity| Identity { certificate: identity.cert.clone(), key: identity.key.clone() });
        }
        let http = Http::new(&settings)?;
        connections.push(Connections { host: host.to_owned(), tls: tls.cloned(), http: http.clone() });
        Ok(http)
    }
}

/// Makes a request for something of an image's repository, with the `ns` that containerd adds at a mirror.
pub(super) fn request<'a>(
    hop: &PullHop,
    image: &'a Reference,
    method: Method,
    what: &'a str,
) -> RegistryRequest<'a> {
    let request = RegistryRequest::new(method, image.repository(), what);
    match hop.url.split_once("?ns=") {
        Some((_, ns)) => request.with_query("ns", ns),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tls_settings_have_other_connections() {
        let clients = Clients::new(HttpSettings::default());
        let settings = |insecure_skip_verify| Tls { insecure_skip_verify, ..Tls::default() };
        let (checked, unchecked) = (settings(false), settings(true));
        for (host, tls) in [
            ("h", Some(&checked)),
            ("h", Some(&unchecked)),
            ("h", Some(&checked)),
            ("other", Some(&checked)),
            ("h", None),
            ("other", None),
        ] {
            clients.http(host, tls).unwrap();
        }
        assert_eq!(clients.connections.lock().unwrap().len(), 4);
    }
}
