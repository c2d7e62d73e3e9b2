use std::collections::{BTreeMap, BTreeSet};

use super::declared::{Credentials, SecretSource, Tls, is_reference};
use super::mirrors::Mirrors;
use super::place::Located;
use super::readers::{Reading, is_host};
use super::source_file::Findings;
use crate::finding::{Code, Problem, did_you_mean};
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, api_host, is_docker_hub_alias};
use crate::registries::Endpoint;
use crate::secret::without_userinfo;

/// What findings call settings of TLS.
const TLS_SETTINGS: &str = "TLS settings";

/// What a registry's own host needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) url: Option<String>,
    pub(super) credentials: Option<Credentials>,
    pub(super) tls: Option<Tls>,
}

/// The hosts that credentials and TLS settings can be for.
pub(super) struct Hosts<'a> {
    pub(super) mirrors: &'a mut Mirrors,
    /// The registries that have a way.
    pub(super) registries: BTreeSet<String>,
    /// What becomes of registries' own hosts.
    pub(super) upstreams: BTreeMap<String, Upstream>,
    /// Hosts that some endpoint names with https, and those with http.
    pub(super) https: BTreeSet<String>,
    pub(super) http: BTreeSet<String>,
}

/// What one key stands for.
enum Owner {
    Mirror(String),
    Registry(String),
}

impl Hosts<'_> {
    /// Gives credentials and TLS settings to the mirrors and registries whose hosts they are for.
    pub(super) fn assign(&mut self, reading: &mut Reading) {
        let declared = std::mem::take(&mut reading.declared);
        let (either, findings) = (reading.either_hub_name, &mut reading.findings);
        // The key that is looked up comes before the one that is not.
        let exact = |key: &str| key != DOCKER_HUB && !key.contains("://");
        for exactly in [true, false] {
            for (_, declared) in &declared {
                for (key, value) in declared.credentials.iter().filter(|(key, _)| exact(key) == exactly) {
                    self.credentials(key, value, either, findings);
                }
                for (key, value) in declared.tls.iter().filter(|(key, _)| exact(key) == exactly) {
                    self.tls(key, value, either, findings);
                }
            }
        }
        reading.declared = declared;
    }

    fn credentials(
        &mut self,
        key: &str,
        value: &Located<Credentials>,
        either: bool,
        findings: &mut Findings,
    ) {
        if key == "*" {
            findings.add(Code::UnusedKey, &value.at, "credentials for `*` are left out").reason =
                Some("Talos looks them up by the host of an endpoint".to_owned());
            return;
        }
        let Some(owner) = self.owner(key, value, "credentials", either, findings) else { return };
        let (slot, name, url) = match &owner {
            Owner::Mirror(host) => match self.mirrors.on(host) {
                Some(mirror) => (&mut mirror.credentials, host.as_str(), mirror.url.clone()),
                None => return,
            },
            Owner::Registry(name) => {
                let upstream = self.upstreams.entry(name.clone()).or_default();
                let url = upstream.url.clone().unwrap_or_default();
                (&mut upstream.credentials, name.as_str(), url)
            }
        };
        if url.starts_with("http://") {
            let message = format!("credentials for {name} go over plain http");
            findings.add(Code::PlainHttpCredentials, &value.at, message);
        }
        match slot {
            None => *slot = Some(value.value.clone()),
            Some(known) if *known == value.value => {}
            Some(_) => {
                let message = format!("other credentials for {name} are there already; these are left out");
                findings.lose(Code::Dropped, &value.at, message);
            }
        }
    }

    fn tls(&mut self, key: &str, value: &Located<Tls>, either: bool, findings: &mut Findings) {
        if value.value == Tls::default() {
            // What cannot be read is told where it stands.
            let is_told = |problem: &Problem| {
                matches!(
                    problem.code,
                    Code::BadPem | Code::ClientIdentity | Code::WrongType | Code::UnknownField
                ) && problem.path.starts_with(&value.at.path)
            };
            if findings.list.iter().any(is_told) {
                return;
            }
            let message = format!("the TLS settings of {key} set nothing, and are left out");
            findings.add(Code::EmptyTls, &value.at, message);
            return;
        }
        if key == "*" {
            findings.add(Code::Dropped, &value.at, "TLS settings for `*` are left out").reason =
                Some("Talos refuses them: `wildcard host TLS configuration is not supported`".to_owned());
            return;
        }
        let mut files: Vec<String> = Vec::new();
        for file in [&value.value.ca, &value.value.cert, &value.value.key] {
            if let Some(SecretSource::File(path)) = file
                && path.starts_with('/')
                && !files.contains(&format!("`{path}`"))
            {
                files.push(format!("`{path}`"));
            }
        }
        match files.as_slice() {
            [] => {}
            [only] => {
                findings.add(Code::NodeFile, &value.at, format!("{only} is a file of the node")).help =
                    Some("copy it beside the inventory, and name the copy".to_owned());
            }
            all => {
                let message = format!("{} are files of the node", all.join(", "));
                findings.add(Code::NodeFile, &value.at, message).help =
                    Some("copy them beside the inventory, and name the copies".to_owned());
            }
        }
        let Some(owner) = self.owner(key, value, TLS_SETTINGS, either, findings) else { return };
        let host = match &owner {
            Owner::Mirror(host) => host.clone(),
            Owner::Registry(name) => api_host(name).to_owned(),
        };
        if self.http.contains(&host) {
            let message = format!("TLS settings for {host}, which an endpoint names with http://");
            let problem = findings.add(Code::TlsOnHttp, &value.at, message);
            if !self.https.contains(&host) {
                problem.help = Some("they are left out".to_owned());
                return;
            }
            problem.help = Some("name the host with https:// in every endpoint".to_owned());
        }
        let (slot, credentials) = match &owner {
            Owner::Mirror(host) => match self.mirrors.on(host) {
                Some(mirror) => (&mut mirror.tls, mirror.credentials.is_some()),
                None => return,
            },
            Owner::Registry(name) => {
                let upstream = self.upstreams.entry(name.clone()).or_default();
                (&mut upstream.tls, upstream.credentials.is_some())
            }
        };
        if value.value.insecure && credentials {
            let message = format!("{host} gets credentials, and its certificate is not checked");
            findings.add(Code::UnverifiedCredentials, &value.at, message).help =
                Some("give its CA in place of insecureSkipVerify".to_owned());
        }
        match slot {
            None => *slot = Some(value.value.clone()),
            Some(known) if *known == value.value => {}
            Some(_) => {
                let message = format!("other TLS settings for {host} are there already; these are left out");
                findings.lose(Code::Dropped, &value.at, message);
            }
        }
    }

    /// Finds out whose host a key is, and says what is wrong with the key.
    fn owner<T>(
        &mut self,
        key: &str,
        value: &Located<T>,
        what: &str,
        either: bool,
        findings: &mut Findings,
    ) -> Option<Owner> {
        let bare = Endpoint::new(key, true).host().to_owned();
        if bare != key {
            let message = format!("{what} under `{}`, which is never looked up", without_userinfo(key));
            findings.add(Code::UnusedKey, &value.at, message).help =
                Some(format!("the key is host and port alone: taken as `{bare}`"));
        }
        if self.mirrors.on(&bare).is_some() {
            return Some(Owner::Mirror(bare));
        }
        if bare == DOCKER_HUB_API {
            return Some(Owner::Registry(DOCKER_HUB.to_owned()));
        }
        if bare == DOCKER_HUB || is_docker_hub_alias(&bare) {
            if !either {
                let message = format!("{what} under `{bare}`, where Talos does not look for them");
                findings.add(Code::AliasCredentials, &value.at, message).help =
                    Some(format!("they are taken as those of Docker Hub's API, `{DOCKER_HUB_API}`"));
            }
            return Some(Owner::Registry(DOCKER_HUB.to_owned()));
        }
        if self.registries.contains(&bare) {
            return Some(Owner::Registry(bare));
        }
        if is_reference(&bare) {
            // Nothing of them is kept.
            let path = &value.at.path;
            findings.list.retain(|known| known.code != Code::Reference || known.path != *path);
            let message = format!("{what} under `{bare}`, which holds a variable, are left out");
            findings.lose(Code::Reference, &value.at, message).help =
                Some("write the host in its place".to_owned());
            return None;
        }
        if !is_host(&bare) {
            let message = format!("{what} under `{bare}`, which is not a valid host, are left out");
            findings.lose(Code::UnusedKey, &value.at, message);
            return None;
        }
        self.near(&bare, value, what, findings);
        Some(Owner::Registry(bare))
    }

    /// Asks whether a key was meant for a mirror: the same host, with another port or with none. It stays what it is:
    /// Talos finds settings by host and port, exactly as the URL has them.
    fn near<T>(&self, key: &str, value: &Located<T>, what: &str, findings: &mut Findings) {
        let mut hosts: Vec<String> = self
            .mirrors
            .list
            .iter()
            .map(|mirror| Endpoint::new(&mirror.url, true).host().to_owned())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        let name = |host: &str| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
        let same: Vec<String> =
            hosts.iter().filter(|host| name(host) == name(key)).map(|host| format!("`{host}`")).collect();
        if !same.is_empty() {
            let names = same.join(", ");
            let message = format!("{what} under `{key}`, and the endpoints name {names}");
            let http =
                hosts.iter().filter(|host| name(host) == name(key)).all(|host| self.http.contains(host));
            let help = if what == TLS_SETTINGS && http {
                "the endpoints are plain http, where they have no effect".to_owned()
            } else {
                format!("they stay as they are; for pulls through {names} write that host and port")
            };
            findings.add(Code::UnusedKey, &value.at, message).help = Some(help);
            return;
        }
        if let Some(near) = did_you_mean(key, hosts.iter().map(String::as_str)) {
            let message = format!("{what} under `{key}`, which no endpoint names");
            findings.add(Code::UnusedKey, &value.at, message).help = Some(format!("did you mean `{near}`?"));
        }
    }
}
