use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;
use url::Url;

use super::bucket::BucketOverlay;
use super::connection::proxy;
use super::model::{Config, LogFormat, OwnLimits, StatusPage, UpstreamConfig, UpstreamProxy};
use super::peer::{Incomplete, PeerOverlay};
use super::redirect::Redirect;
use super::size::ByteSize;
use super::value::{network, upstream_url};
use crate::cache::glob::Glob;
use crate::finding::did_you_mean;
use crate::http::TlsFiles;
use crate::image::{RegistryHost, is_docker_hub_alias};

/// What flags and variables say, which overrides what the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay {
    /// Where it listens, in place of what the file says.
    pub listen: Vec<SocketAddr>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Whether the status page is served.
    pub status_page: Option<StatusPage>,
    /// The folder that content is kept in.
    pub root: Option<PathBuf>,
    /// The most that content may take up.
    pub size_cap: Option<ByteSize>,
    /// What of the disk is left free.
    pub reserve: Option<ByteSize>,
    /// The bucket behind the folder, and how it is reached.
    pub bucket: BucketOverlay,
    /// How the caches on that bucket ask each other.
    pub peers: PeerOverlay,
    /// Repositories whose content is never evicted, besides those of the file.
    pub pins: Vec<Glob>,
    /// How long every tag is believed, before any rule.
    pub tag_ttl: Option<Duration>,
    /// Registries and where they are asked; several of one name are tried in order.
    pub upstreams: Vec<(RegistryHost, Url)>,
    /// Files of credentials.
    pub credentials: Vec<(RegistryHost, PathBuf)>,
    /// Registries whose content goes to anyone although it takes credentials to get it.
    pub anonymous: Vec<RegistryHost>,
    /// Registries that may lead to addresses that are not of the internet.
    pub private: Vec<RegistryHost>,
    /// Token servers that are meant besides those that are the registries' by their name.
    pub token_servers: Vec<(RegistryHost, String)>,
    /// Files of authorities that are trusted for one upstream.
    pub authorities: Vec<(RegistryHost, PathBuf)>,
    /// Files of the certificates that are shown to upstreams.
    pub certificates: Vec<(RegistryHost, PathBuf)>,
    /// Files of their keys.
    pub keys: Vec<(RegistryHost, PathBuf)>,
    /// Through which proxy upstreams are reached.
    pub proxies: Vec<(RegistryHost, UpstreamProxy)>,
    /// Files of headers that requests to upstreams have.
    pub header_files: Vec<(RegistryHost, PathBuf)>,
    /// For whose blobs clients are sent to the bucket: all clients ([`None`]), or those of a network.
    pub redirects: Vec<(RegistryHost, Option<IpNet>)>,
    /// What is limited for all upstreams ([`None`]), or for one.
    pub limits: Vec<(Option<RegistryHost>, OwnLimits)>,
    /// A file of users and passwords.
    pub htpasswd: Option<PathBuf>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How requests are logged.
    pub log_format: Option<LogFormat>,
    /// Which events are logged.
    pub log_filter: Option<String>,
    /// How long transfers may take to end once the server is told to stop.
    pub drain_timeout: Option<Duration>,
    /// Proxies whose `X-Forwarded-For` is believed, besides those of the file.
    pub trusted_proxies: Vec<IpNet>,
}

/// A flag that does not fit the rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} names `{name}`, {problem}")]
pub struct OverlayError {
    /// The flag.
    pub flag: &'static str,
    /// What it names.
    pub name: String,
    /// What is wrong with that.
    pub problem: &'static str,
    /// What to do about it.
    pub help: String,
}

impl Overlay {
    /// Returns the configuration that holds: that of a file, or what holds without one, and this over it.
    ///
    /// Without a file, upstreams that are named here are the only ones: nothing else is to be dialled.
    pub fn over(&self, file: Option<Config>) -> Result<Config, OverlayError> {
        let has_file = file.is_some();
        let mut config = file.unwrap_or_default();
        if !has_file && !self.upstreams.is_empty() {
            config.upstreams = IndexMap::new();
        }
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        config.metrics = self.metrics.or(config.metrics);
        config.status_page = self.status_page.unwrap_or(config.status_page);
        config.root = self.root.clone().or(config.root);
        config.size_cap = self.size_cap.or(config.size_cap);
        config.reserve = self.reserve.or(config.reserve);
        self.bucket.over(&mut config.bucket).map_err(|(flag, name)| OverlayError {
            flag,
            name,
            problem: "and there is no bucket",
            help: "name it: --bucket s3://NAME/PREFIX".to_owned(),
        })?;
        let incomplete = |Incomplete { flag, name, problem, missing }| OverlayError {
            flag,
            name,
            problem,
            help: format!("add {missing}"),
        };
        self.peers.over(&mut config.peers).map_err(incomplete)?;
        if let (Some(peers), None) = (&config.peers, &config.bucket) {
            return Err(incomplete(Incomplete {
                flag: "--peer-listen",
                name: peers.listen.to_string(),
                problem: "and there is no bucket that caches share",
                missing: "--bucket s3://NAME/PREFIX",
            }));
        }
        config.pins.extend(self.pins.iter().cloned());
        config.htpasswd = self.htpasswd.clone().or(config.htpasswd);
        config.log.filter = self.log_filter.clone().or(config.log.filter);
        config.clients.drain_timeout = self.drain_timeout.unwrap_or(config.clients.drain_timeout);
        config.trusted_proxies.extend(&self.trusted_proxies);
        config.log.format = self.log_format.unwrap_or(config.log.format);
        if let Some((certificate, key)) = self.tls.clone() {
            let client_ca = config.tls.and_then(|tls| tls.client_ca);
            config.tls = Some(TlsFiles { certificate, key, client_ca });
        }
        for (name, _) in &self.upstreams {
            config.upstreams.entry(name.clone()).or_default().endpoints.clear();
        }
        for (name, url) in &self.upstreams {
            if let Some(upstream) = config.upstreams.get_mut(name) {
                upstream.endpoints.push(url.clone());
            }
        }
        for (name, file) in &self.credentials {
            named(&mut config, "--credentials", name)?.credentials = Some(file.clone());
        }
        for name in &self.anonymous {
            named(&mut config, "--anonymous", name)?.anonymous = true;
        }
        for name in &self.private {
            named(&mut config, "--private", name)?.private = true;
        }
        for (name, host) in &self.token_servers {
            named(&mut config, "--token-server", name)?.token_servers.push(host.clone());
        }
        self.connections(&mut config)?;
        self.redirects(&mut config)?;
        for (name, limits) in &self.limits {
            match name {
                Some(name) => limits.over_own(&mut named(&mut config, "a limit", name)?.limits),
                None => limits.over(&mut config.limits),
            }
        }
        if let Some(ttl) = self.tag_ttl {
            config.tags.rules.clear();
            config.tags.ttl = Some(ttl);
            for upstream in config.upstreams.values_mut() {
                upstream.tag_ttl = None;
            }
        }
        Ok(config)
    }
}

impl Overlay {
    /// Writes over which clients are sent to the bucket, and sees to it that there is one.
    fn redirects(&self, config: &mut Config) -> Result<(), OverlayError> {
        for (name, _) in &self.redirects {
            named(config, "--redirect", name)?.redirect = Redirect::Never;
        }
        for (name, clients) in &self.redirects {
            let redirect = &mut named(config, "--redirect", name)?.redirect;
            match (redirect, clients) {
                (Redirect::Everyone, _) => {}
                (Redirect::Clients(networks), Some(clients)) => networks.push(*clients),
                (redirect, Some(clients)) => *redirect = Redirect::Clients(vec![*clients]),
                (redirect, None) => *redirect = Redirect::Everyone,
            }
        }
        match config.upstreams.iter().find(|(_, upstream)| upstream.redirect.is_wanted()) {
            Some((name, _)) if config.bucket.is_none() => Err(OverlayError {
                flag: "--redirect",
                name: name.to_string(),
                problem: "and there is no bucket that clients could be sent to",
                help: "name it: --bucket s3://NAME/PREFIX".to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Writes over how upstreams are reached.
    fn connections(&self, config: &mut Config) -> Result<(), OverlayError> {
        for (name, file) in &self.authorities {
            named(config, "--upstream-ca", name)?.connection.ca = Some(file.clone());
        }
        for (name, proxy) in &self.proxies {
            named(config, "--upstream-proxy", name)?.connection.proxy = Some(proxy.clone());
        }
        for (name, file) in &self.header_files {
            named(config, "--upstream-headers", name)?.connection.header_file = Some(file.clone());
        }
        let find = |files: &[(RegistryHost, PathBuf)], name: &RegistryHost| {
            files.iter().rfind(|(other, _)| other == name).map(|(_, file)| file.clone())
        };
        let halves = [("--upstream-cert", &self.certificates), ("--upstream-key", &self.keys)];
        for (flag, files) in halves {
            for (name, _) in files {
                let connection = &mut named(config, flag, name)?.connection;
                let (certificate, key) = connection.identity.clone().unzip();
                let certificate = find(&self.certificates, name).or(certificate);
                let Some(identity) = certificate.zip(find(&self.keys, name).or(key)) else {
                    return Err(OverlayError {
                        flag,
                        name: name.to_string(),
                        problem: "of which the other half is missing",
                        help: format!("--upstream-cert {name}=FILE --upstream-key {name}=FILE"),
                    });
                };
                connection.identity = Some(identity);
            }
        }
        Ok(())
    }
}

fn named<'a>(
    config: &'a mut Config,
    flag: &'static str,
    name: &RegistryHost,
) -> Result<&'a mut UpstreamConfig, OverlayError> {
    if !config.upstreams.contains_key(name) {
        let near = did_you_mean(name.as_str(), config.upstreams.keys().map(RegistryHost::as_str));
        let help = near.map_or_else(
            || format!("serve it: --upstream {name}=URL"),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(OverlayError { flag, name: name.to_string(), problem: "which is not served", help });
    }
    // The entry is there.
    Ok(config.upstreams.entry(name.clone()).or_default())
}

/// Reads the name of a registry as image references have it.
pub fn registry(text: &str) -> Result<RegistryHost, String> {
    if text == "*" {
        return Err("what is not named is never dialled: name each registry".to_owned());
    }
    if is_docker_hub_alias(text) {
        return Err("Docker Hub is named docker.io, as image references name it".to_owned());
    }
    text.parse().map_err(|error| format!("`{text}` is not a valid registry: {error}"))
}

/// Reads `NAME=URL`.
pub fn named_url(text: &str) -> Result<(RegistryHost, Url), String> {
    let (name, url) =
        text.split_once('=').ok_or("it is written NAME=URL, such as ghcr.io=https://ghcr.io")?;
    Ok((registry(name)?, upstream_url(url)?))
}

/// Reads `[NAME=]VALUE`: a limit for all upstreams, or for one.
pub fn limit<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<(Option<RegistryHost>, T), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((Some(registry(name)?), read(value)?)),
        None => Ok((None, read(text)?)),
    }
}

/// Reads `NAME=HOST`.
pub fn named_host(text: &str) -> Result<(RegistryHost, String), String> {
    let (name, host) =
        text.split_once('=').ok_or("it is written NAME=HOST, such as ghcr.io=auth.example.com")?;
    Ok((registry(name)?, super::value::host(host)?))
}

/// Reads `NAME` or `NAME=NETWORK`: whose blobs, and which clients are sent to the bucket for them.
pub fn redirected(text: &str) -> Result<(RegistryHost, Option<IpNet>), String> {
    match text.split_once('=') {
        Some((name, clients)) => Ok((registry(name)?, Some(network(clients)?))),
        None => Ok((registry(text)?, None)),
    }
}

/// Reads several `NAME=URL` of proxies, or `NAME=none`, between which there is white space.
pub fn named_proxies(text: &str) -> Result<Vec<(RegistryHost, UpstreamProxy)>, String> {
    let each = text.split_whitespace().map(named_proxy);
    each.map(|one| one.map_err(|error| format!("{error}; several are separated by spaces"))).collect()
}

fn named_proxy(text: &str) -> Result<(RegistryHost, UpstreamProxy), String> {
    let (name, url) = text
        .split_once('=')
        .ok_or("it is written NAME=URL, such as ghcr.io=http://proxy.example.com:3128, or NAME=none")?;
    Ok((registry(name)?, proxy(url)?))
}

/// Reads `NAME=FILE`.
pub fn named_file(text: &str) -> Result<(RegistryHost, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is written NAME=FILE, such as ghcr.io=ghcr.json")?;
    if file.is_empty() {
        return Err(format!("no file is named for {name}"));
    }
    Ok((registry(name)?, file.into()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::model::Connection;
    use super::*;

    fn names(config: &Config) -> Vec<String> {
        config.upstreams.iter().map(|(name, up)| format!("{name} {}", up.endpoints.len())).collect()
    }

    #[test]
    fn named_upstreams_are_the_only_ones() {
        let upstreams: Vec<_> = ["docker.io=http://127.0.0.1:1", "a.example=http://h", "docker.io=https://m"]
            .iter()
            .map(|text| named_url(text).unwrap())
            .collect();
        let overlay = Overlay { upstreams, ..Overlay::default() };
        assert_eq!(names(&overlay.over(None).unwrap()), ["docker.io 2", "a.example 1"]);
        let file = super::super::parse(
            "apiVersion: talmirror/v1\nkind: Cache\nupstreams: {docker.io: {anonymous: true}, quay.io: {}}\n",
            "f",
            Path::new("."),
        );
        let config = overlay.over(file.config).unwrap();
        assert_eq!(names(&config), ["docker.io 2", "quay.io 1", "a.example 1"]);
        assert!(config.upstreams[0].anonymous);
        assert_eq!(Overlay::default().over(None).unwrap(), Config::default());
    }

    #[test]
    fn flags_name_what_is_served() {
        let credentials = vec![named_file("ghrc.io=f").unwrap()];
        let error = Overlay { credentials, ..Overlay::default() }.over(None).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.help.as_str()),
            ("--credentials names `ghrc.io`, which is not served", "did you mean `ghcr.io`?")
        );
        let credentials = vec![named_file("ghcr.io=f").unwrap()];
        let config = Overlay { credentials, ..Overlay::default() }.over(None).unwrap();
        assert_eq!(config.unreadable().map(RegistryHost::as_str).collect::<Vec<_>>(), ["ghcr.io"]);
    }

    #[test]
    fn one_upstream_is_reached_as_flags_say() {
        let file = |text: &str| vec![named_file(text).unwrap()];
        let overlay = Overlay {
            authorities: file("ghcr.io=ca.pem"),
            certificates: file("ghcr.io=c.pem"),
            keys: file("ghcr.io=k.pem"),
            proxies: vec![
                named_proxy("ghcr.io=http://u:hunter2@p:1").unwrap(),
                named_proxy("quay.io=none").unwrap(),
            ],
            header_files: file("ghcr.io=h"),
            ..Overlay::default()
        };
        let config = overlay.over(None).unwrap();
        let own = |name: &str| config.upstreams[&name.parse::<RegistryHost>().unwrap()].connection.clone();
        let connection = own("ghcr.io");
        assert_eq!(connection.ca.as_deref(), Some(Path::new("ca.pem")));
        assert_eq!(connection.identity, Some(("c.pem".into(), "k.pem".into())));
        assert_eq!(connection.header_file.as_deref(), Some(Path::new("h")));
        assert_eq!(connection.proxy, Some(UpstreamProxy::At("http://u:hunter2@p:1".into())));
        assert!(!format!("{overlay:?} {config:?}").contains("hunter2"));
        assert_eq!(own("quay.io").proxy, Some(UpstreamProxy::Direct));
        assert_eq!(own("docker.io"), Connection::default());

        let error = Overlay { keys: file("ghcr.io=k"), ..Overlay::default() }.over(None).unwrap_err();
        assert_eq!(error.to_string(), "--upstream-key names `ghcr.io`, of which the other half is missing");
        assert!(named_proxy("ghcr.io").is_err() && named_proxy("ghcr.io=p.example").is_err());
        let named = |text: &str| named_proxies(text).map(|all| all.len());
        assert_eq!((named(""), named(" a.example=none\n b.example=none ")), (Ok(0), Ok(2)));
        let error = named("a.example=none,b.example").unwrap_err();
        assert!(error.ends_with("several are separated by spaces"), "{error}");
    }

    #[test]
    fn one_ttl_for_all() {
        let overlay = Overlay { tag_ttl: Some(Duration::from_secs(1)), ..Overlay::default() };
        let config = overlay.over(None).unwrap();
        assert_eq!(config.tag_ttl(&"ghcr.io".parse().unwrap(), "v1.2.3"), Duration::from_secs(1));
    }

    #[test]
    fn what_is_no_upstream() {
        for bad in
            ["*=http://h", "docker.io", "index.docker.io=https://h", "A=https://h", "a=ftp://h", "=http://h"]
        {
            assert!(named_url(bad).is_err(), "{bad}");
        }
        assert!(named_file("a.example=").is_err());
    }
}
