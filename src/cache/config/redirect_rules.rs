use std::net::IpAddr;

use super::model::{Authenticate, Config, UpstreamConfig};
use crate::image::RegistryHost;

impl UpstreamConfig {
    /// Returns whether it is asked with something that others do not have, so that what it gives may not be for everyone.
    pub fn takes_credentials(&self) -> bool {
        let connection = &self.connection;
        self.credentials.is_some()
            || connection.identity.is_some()
            || !connection.headers.is_empty()
            || connection.header_file.is_some()
    }
}

impl Config {
    /// Returns why no client is sent to the bucket for what comes from an upstream, whatever else is configured; [`None`]
    /// where nothing speaks against it.
    ///
    /// An address in the bucket is good for whoever has it, also for those whom this cache gives nothing. `anonymous` says
    /// that content may go to all who reach the cache, not to all who reach the bucket.
    pub fn keeps_from_bucket(&self, upstream: &UpstreamConfig) -> Option<&'static str> {
        if upstream.takes_credentials() {
            Some("it takes credentials to get it")
        } else if self.htpasswd.is_some() && self.authenticate == Authenticate::All {
            Some("everyone has to say who they are")
        } else if self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
            Some("clients have to show a certificate")
        } else {
            None
        }
    }

    /// Returns whether a client is sent to the bucket for the blobs of a registry that are there.
    pub fn sends_to_bucket(&self, registry: &RegistryHost, client: IpAddr) -> bool {
        self.upstreams.get(registry).is_some_and(|upstream| {
            upstream.redirect.is_for(client) && self.keeps_from_bucket(upstream).is_none()
        })
    }

    /// Returns the registries for whose blobs clients are sent to the bucket.
    pub fn redirected(&self) -> impl Iterator<Item = &RegistryHost> {
        let is_redirected = |upstream: &UpstreamConfig| {
            upstream.redirect.is_wanted() && self.keeps_from_bucket(upstream).is_none()
        };
        self.upstreams.iter().filter(move |(_, upstream)| is_redirected(upstream)).map(|(host, _)| host)
    }

    /// Returns the registries for whose blobs clients are to be sent to the bucket, and never are; and why.
    pub fn never_redirected(&self) -> impl Iterator<Item = (&RegistryHost, &'static str)> {
        let wanted = self.upstreams.iter().filter(|(_, upstream)| upstream.redirect.is_wanted());
        wanted.filter_map(|(host, upstream)| Some((host, self.keeps_from_bucket(upstream)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::overlay::{Overlay, redirected};
    use super::super::read::{Parsed, parse};
    use super::*;

    const BUCKET: &str = "bucket: {url: 's3://images'}\n";

    fn read(text: &str) -> Parsed {
        parse(&format!("apiVersion: talmirror/v1\nkind: Cache\n{text}\n"), "f", Path::new("/etc"))
    }

    fn found(text: &str) -> Vec<String> {
        read(text).problems.iter().map(ToString::to_string).collect()
    }

    fn sends(config: &Config, registry: &str, client: &str) -> bool {
        config.sends_to_bucket(&registry.parse().unwrap(), client.parse().unwrap())
    }

    #[test]
    fn by_upstream_and_by_network() {
        let text = "upstreams: {ghcr.io: {redirect: true}, quay.io: {redirect: {clients: [10.0.0.0/8, 'fd00::/8', 192.0.2.7]}}, \
                    gcr.io: {redirect: false}, lscr.io: {}}";
        let config = read(&format!("{BUCKET}{text}")).config.unwrap();
        for (registry, client, want) in [
            ("ghcr.io", "203.0.113.1", true),
            ("quay.io", "10.1.2.3", true),
            ("quay.io", "::ffff:10.1.2.3", true),
            ("quay.io", "fd00::1", true),
            ("quay.io", "192.0.2.7", true),
            ("quay.io", "192.0.2.8", false),
            ("quay.io", "2001:db8::1", false),
            ("gcr.io", "10.1.2.3", false),
            ("lscr.io", "10.1.2.3", false),
            ("docker.io", "10.1.2.3", false),
        ] {
            assert_eq!(sends(&config, registry, client), want, "{registry} {client}");
        }
        let names: Vec<&str> = config.redirected().map(RegistryHost::as_str).collect();
        assert_eq!(names, ["ghcr.io", "quay.io"]);
    }

    #[test]
    fn what_is_not_for_everyone_never_leads_to_the_bucket() {
        for own in [
            "credentials: f",
            "credentials: f, anonymous: true",
            "headers: {X-Token: x}",
            "tls: {cert: c, key: k}",
        ] {
            let text = format!("{BUCKET}upstreams: {{ghcr.io: {{redirect: true, {own}}}}}");
            let config = read(&text).config.unwrap();
            assert!(!sends(&config, "ghcr.io", "10.0.0.1"), "{own}");
            assert_eq!(config.redirected().count(), 0);
            let found = found(&text);
            assert!(found.iter().any(|found| found.contains("W242")), "{own}: {found:?}");
        }
        for all in
            ["htpasswd: f\nauthenticate: all\ntls: {cert: c, key: k}", "tls: {cert: c, key: k, clientCa: ca}"]
        {
            let text = format!("{BUCKET}upstreams: {{ghcr.io: {{redirect: true}}}}\n{all}");
            assert!(!sends(&read(&text).config.unwrap(), "ghcr.io", "10.0.0.1"), "{all}");
            assert!(found(&text).iter().any(|found| found.contains("W242")), "{all}");
        }
        // Users are asked who they are for what takes credentials only.
        let users = "htpasswd: f\ntls: {cert: c, key: k}\nupstreams: {ghcr.io: {redirect: true}}";
        assert!(sends(&read(&format!("{BUCKET}{users}")).config.unwrap(), "ghcr.io", "10.0.0.1"));
    }

    #[test]
    fn what_is_no_redirect() {
        for (own, want) in [
            ("redirect: 1.2.3.4", "true or false"),
            ("redirect: {}", "clients"),
            ("redirect: {clients: []}", "names no network"),
            ("redirect: {clients: [10.0.0.0/33]}", "is not a valid address or network"),
            ("redirect: {client: [10.0.0.0/8]}", "did you mean `clients`"),
        ] {
            let found = found(&format!("{BUCKET}upstreams: {{ghcr.io: {{{own}}}}}"));
            assert!(found.iter().any(|found| found.contains(want)), "{own}: {found:?}");
        }
        let bucket = |own: &str| found(&format!("bucket: {{url: 's3://images', {own}}}"));
        assert!(bucket("redirectExpiry: 2h")[0].contains("1m to 1h"));
        assert!(bucket("redirectEndpoint: s3.example")[0].contains("is not a valid URL"));
        assert!(bucket("redirectExpiry: 5m, redirectEndpoint: 'https://s3.example'").is_empty());
        let plain =
            "bucket: {url: 's3://images', endpoint: 'http://rgw'}\nupstreams: {ghcr.io: {redirect: true}}";
        let found = found(plain);
        assert!(
            found.iter().any(|found| found.contains("W204") && found.contains("plain http")),
            "{found:?}"
        );
    }

    #[test]
    fn flags_over_a_file() {
        let config =
            read(&format!("{BUCKET}upstreams: {{ghcr.io: {{redirect: true}}, quay.io: {{}}}}")).config;
        let redirects =
            ["ghcr.io=10.0.0.0/8", "ghcr.io=192.0.2.7", "quay.io"].map(|text| redirected(text).unwrap());
        let overlay = Overlay { redirects: redirects.to_vec(), ..Overlay::default() };
        let config = overlay.over(config).unwrap();
        assert!(sends(&config, "ghcr.io", "10.0.0.1") && sends(&config, "ghcr.io", "192.0.2.7"));
        assert!(!sends(&config, "ghcr.io", "192.0.2.8") && sends(&config, "quay.io", "192.0.2.8"));
        let error = overlay.over(None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--redirect names `ghcr.io`, and there is no bucket that clients could be sent to"
        );
        let file = read("upstreams: {ghcr.io: {redirect: true}}").config;
        assert!(Overlay::default().over(file).unwrap_err().help.contains("--bucket s3://NAME/PREFIX"));
        assert!(
            redirected("*").is_err()
                && redirected("ghcr.io=10.0.0.0/33").is_err()
                && redirected("ghcr.io=").is_err()
        );
    }
}
