use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;

use super::fields::{LIMITS, LOG, OWN_LIMITS, ROOT, TAG_RULE, TAGS, TLS, UPSTREAM};
use super::model::{
    Authenticate, Config, Limits, Log, LogFormat, OwnLimits, StatusPage, UpstreamConfig, builtin,
};
use super::tag_policy::TagPolicy;
use super::value;
use crate::cache::glob::Glob;
use crate::finding::{Code, Problem, Problems, did_you_mean};
use crate::finding::{Decoder, Fields, join};
use crate::http::{self, TlsFiles};
use crate::image::RegistryHost;
use crate::yaml::{self, Entry, Node};

/// A configuration, if it holds no error, and everything that was found.
#[derive(Debug)]
pub struct Parsed {
    /// The configuration; [`None`] where one of the findings is an error.
    pub config: Option<Config>,
    /// The findings, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads a configuration and checks it; `file` is what findings call it, and paths in it start at `base`.
pub fn parse(text: &str, file: &str, base: &Path) -> Parsed {
    let mut problems = Problems::new(file, text);
    let document = match yaml::parse_one(text) {
        Ok(document) => document,
        Err(error) => {
            problems.add_syntax(&error);
            return Parsed { config: None, problems: problems.into_sorted() };
        }
    };
    let decoder = Decoder { problems, env: &|_| None, names: Vec::new(), noun: "the configuration" };
    let mut reader = Reader { decoder, base };
    let config = reader.config(&document.root);
    let problems = reader.decoder.problems;
    let failed = problems.any_error();
    Parsed { config: (!failed).then_some(config), problems: problems.into_sorted() }
}

pub(super) struct Reader<'a, 'e> {
    pub(super) decoder: Decoder<'a, 'e>,
    base: &'e Path,
}

impl Reader<'_, '_> {
    fn config(&mut self, root: &Node) -> Config {
        let fields = self.decoder.fields(root, "", ROOT);
        self.version(&fields);
        let defaults = Config::default();
        let upstreams = self.upstreams(&fields);
        let default = self.default(&fields, &upstreams, defaults.default);
        let listen = self.listen(&fields).unwrap_or(defaults.listen);
        let (clients, limits) = self.limits(&fields);
        let config = Config {
            metrics: self.parsed(&fields, "metricsListen", value::address),
            status_page: match self.decoder.boolean(&fields, "statusPage") {
                Some(false) => StatusPage::Hidden,
                Some(true) | None => StatusPage::Shown,
            },
            root: self.path(&fields, "root"),
            size_cap: self.parsed(&fields, "sizeCap", text_of),
            reserve: self.parsed(&fields, "reserve", text_of),
            bucket: self.bucket(&fields),
            peers: self.peers(&fields),
            pins: self.globs(&fields, "pins"),
            default,
            upstreams,
            tags: self.tags(&fields),
            tls: self.tls(&fields),
            htpasswd: self.path(&fields, "htpasswd"),
            authenticate: match self.decoder.word(&fields, "authenticate", &["private", "all"]).as_deref() {
                Some("all") => Authenticate::All,
                _ => Authenticate::Private,
            },
            log: self.log(&fields),
            trusted_proxies: self.trusted_proxies(&fields),
            clients,
            limits,
            listen,
        };
        self.check(&config, &fields);
        config
    }

    fn version(&mut self, fields: &Fields<'_>) {
        self.decoder.word(fields, "apiVersion", &["talmirror/v1"]);
        self.decoder.word(fields, "kind", &["Cache"]);
        for (key, what) in [("apiVersion", "talmirror/v1"), ("kind", "Cache")] {
            if fields.get(key).is_none() {
                self.decoder.missing(fields, key, what);
            }
        }
    }

    /// Reads a string and what it means; what it does not mean is a problem at its place.
    pub(super) fn parsed<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = fields.get(key)?;
        let path = fields.at(key);
        // A number of bytes needs no quotes.
        let text = match node.resolved() {
            Some(yaml::Resolved::Int(number)) if ["sizeCap", "reserve", "maxSize"].contains(&key) => {
                number.to_string()
            }
            _ => self.decoder.text(node, &path)?,
        };
        match read(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.decoder.problems.add(Code::WrongType, &node.span, path, message);
                None
            }
        }
    }

    pub(super) fn path(&mut self, fields: &Fields<'_>, key: &str) -> Option<PathBuf> {
        self.decoder.string(fields, key).map(|path| self.base.join(path))
    }

    fn listen(&mut self, fields: &Fields<'_>) -> Option<Vec<SocketAddr>> {
        let node = fields.get("listen")?;
        if !node.is_sequence() {
            return self.parsed(fields, "listen", value::address).map(|address| vec![address]);
        }
        let texts = self.decoder.strings(fields, "listen")?;
        if texts.is_empty() {
            self.decoder.problems.add(Code::WrongType, &node.span, "listen", "`listen` names no address");
        }
        Some(self.each(texts, &fields.at("listen"), value::address))
    }

    pub(super) fn each<T>(
        &mut self,
        texts: Vec<(String, &Node)>,
        path: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut out = Vec::new();
        for (at, (text, node)) in texts.into_iter().enumerate() {
            match read(&text) {
                Ok(value) => out.push(value),
                Err(message) => {
                    let path = format!("{path}[{at}]");
                    self.decoder.problems.add(Code::WrongType, &node.span, path, message);
                }
            }
        }
        out
    }

    fn trusted_proxies(&mut self, fields: &Fields<'_>) -> Vec<IpNet> {
        let texts = self.decoder.strings(fields, "trustedProxies").unwrap_or_default();
        self.each(texts, &fields.at("trustedProxies"), value::network)
    }

    fn globs(&mut self, fields: &Fields<'_>, key: &str) -> Vec<Glob> {
        let texts = self.decoder.strings(fields, key).unwrap_or_default();
        self.each(texts, &fields.at(key), text_of)
    }

    fn upstreams(&mut self, fields: &Fields<'_>) -> IndexMap<RegistryHost, UpstreamConfig> {
        let with_builtin =
            self.decoder.boolean(fields, "builtin").unwrap_or(fields.get("upstreams").is_none());
        let mut all = if with_builtin { builtin() } else { IndexMap::new() };
        let Some(node) = fields.get("upstreams") else { return all };
        if !node.is_mapping() {
            self.decoder.wrong_type(node, "upstreams", "a mapping of registries");
        }
        for entry in node.entries() {
            match self.upstream(entry, &join("upstreams", &entry.key)) {
                Some((host, Some(upstream))) => all.insert(host, upstream),
                Some((host, None)) => all.shift_remove(&host),
                None => None,
            };
        }
        if all.is_empty() && !self.decoder.problems.any_error() {
            let message = "no registry is left that could be served";
            self.decoder.problems.add(Code::MissingField, &node.span, "upstreams", message).help =
                Some("name one, or write `builtin: true`".to_owned());
        }
        all
    }

    /// Reads a registry; `null` takes a well-known one away.
    fn upstream(&mut self, entry: &Entry, path: &str) -> Option<(RegistryHost, Option<UpstreamConfig>)> {
        let host = match entry.key.parse::<RegistryHost>() {
            Ok(host) if crate::image::is_docker_hub_alias(&entry.key) => {
                let message = format!("`{host}` is Docker Hub, which is named docker.io");
                self.decoder.problems.add(Code::RegistryName, &entry.key_span, path, message);
                return None;
            }
            Ok(host) => host,
            Err(error) => {
                let problem = self.decoder.problems.add(
                    Code::RegistryName,
                    &entry.key_span,
                    path,
                    format!("`{}` is not a valid registry: {error}", entry.key),
                );
                if entry.key == "*" {
                    problem.help = Some("what is not named is never dialled: name each registry".to_owned());
                }
                return None;
            }
        };
        if entry.value.is_null() && !entry.value.span.is_empty() {
            return Some((host, None));
        }
        let fields = self.decoder.fields(&entry.value, path, UPSTREAM).named_at(&entry.key_span);
        let named = UpstreamConfig::named(&host);
        let url = self.parsed(&fields, "url", value::upstream_url);
        let endpoints = self.decoder.strings(&fields, "endpoints");
        if let (Some(node), Some(_)) = (fields.get("endpoints"), fields.get("url")) {
            let message = "`url` and `endpoints` are both there";
            self.decoder.problems.add(Code::WrongType, &node.span, fields.at("endpoints"), message).help =
                Some("keep one".to_owned());
        }
        let endpoints = match (url, endpoints) {
            (Some(url), _) => vec![url],
            (None, Some(texts)) => self.each(texts, &fields.at("endpoints"), value::upstream_url),
            (None, None) => named.endpoints,
        };
        if let (Some(node), true) = (fields.get("endpoints"), endpoints.is_empty()) {
            let message = format!("`{path}` has no endpoint");
            self.decoder.problems.add(Code::WrongType, &node.span, fields.at("endpoints"), message);
        }
        let upstream = UpstreamConfig {
            credentials: self.path(&fields, "credentials"),
            anonymous: self.decoder.boolean(&fields, "anonymous").unwrap_or(false),
            private: self.decoder.boolean(&fields, "private").unwrap_or(false),
            token_servers: self.token_servers(&fields),
            allow: self.globs(&fields, "allow"),
            deny: self.globs(&fields, "deny"),
            tag_ttl: self.decoder.duration(&fields, "tagTtl"),
            limits: self.own_limits(&fields, path),
            connection: self.connection(&fields, path),
            redirect: self.redirect(&fields, path),
            endpoints,
        };
        let http = upstream.endpoints.iter().any(|url| url.scheme() == "http");
        if upstream.credentials.is_some() && http {
            let message = format!("the credentials of {host} go over plain http");
            self.decoder.problems.add(Code::PlainHttpCredentials, &fields.span, path, message);
        }
        Some((host, Some(upstream)))
    }

    fn token_servers(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let texts = self.decoder.strings(fields, "tokenServers").unwrap_or_default();
        self.each(texts, &fields.at("tokenServers"), value::host)
    }

    /// Returns the registry that is meant where a request names none; the word `none` is none.
    fn default(
        &mut self,
        fields: &Fields<'_>,
        upstreams: &IndexMap<RegistryHost, UpstreamConfig>,
        otherwise: Option<RegistryHost>,
    ) -> Option<RegistryHost> {
        let Some(node) = fields.get("default") else { return otherwise };
        let text = self.decoder.text(node, "default")?;
        if text == "none" {
            return None;
        }
        if let Some((host, _)) = upstreams.iter().find(|(host, _)| host.as_str() == text) {
            return Some(host.clone());
        }
        let near = did_you_mean(&text, upstreams.keys().map(RegistryHost::as_str));
        let help = near.map_or_else(
            || "name one of `upstreams`, or `none`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let message = format!("no upstream is named `{text}`");
        self.decoder.problems.add(Code::UnknownUpstream, &node.span, "default", message).help = Some(help);
        None
    }

    fn tags(&mut self, fields: &Fields<'_>) -> TagPolicy {
        let Some(node) = fields.get("tags") else { return TagPolicy::default() };
        let fields = self.decoder.fields(node, "tags", TAGS);
        let mut policy = TagPolicy { ttl: self.decoder.duration(&fields, "ttl"), ..TagPolicy::default() };
        if let Some(stale) = self.decoder.duration(&fields, "stale") {
            policy.stale = stale;
        }
        let Some(rules) = fields.get("rules") else { return policy };
        if !rules.is_sequence() {
            self.decoder.wrong_type(rules, "tags.rules", "a list");
        }
        for (at, item) in rules.items().iter().enumerate() {
            let rule = self.decoder.fields(item, &format!("tags.rules[{at}]"), TAG_RULE);
            for (key, what) in [("match", "a pattern of tags"), ("ttl", "a duration such as 5m")] {
                if rule.get(key).is_none() {
                    self.decoder.missing(&rule, key, what);
                }
            }
            let glob = self.parsed(&rule, "match", text_of);
            let ttl: Option<Duration> = self.decoder.duration(&rule, "ttl");
            policy.rules.extend(glob.zip(ttl));
        }
        policy
    }

    fn tls(&mut self, fields: &Fields<'_>) -> Option<TlsFiles> {
        let node = fields.get("tls")?;
        let fields = self.decoder.fields(node, "tls", TLS);
        for (key, what) in [("cert", "a file of certificates, PEM"), ("key", "the file of its key, PEM")] {
            if fields.get(key).is_none() {
                self.decoder.missing(&fields, key, what);
            }
        }
        Some(TlsFiles {
            certificate: self.path(&fields, "cert")?,
            key: self.path(&fields, "key")?,
            client_ca: self.path(&fields, "clientCa"),
        })
    }

    fn log(&mut self, fields: &Fields<'_>) -> Log {
        let Some(node) = fields.get("log") else { return Log::default() };
        let fields = self.decoder.fields(node, "log", LOG);
        let format = match self.decoder.word(&fields, "format", &["text", "json"]).as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        };
        Log { format, filter: self.decoder.string(&fields, "filter") }
    }

    fn limits(&mut self, fields: &Fields<'_>) -> (http::Limits, Limits) {
        let (clients, downloads) = (http::Limits::default(), Limits::default());
        let Some(node) = fields.get("limits") else { return (clients, downloads) };
        let fields = self.decoder.fields(node, "limits", LIMITS);
        let own = self.shared_limits(&fields);
        let clients = http::Limits {
            connections: self.count(&fields, "connections").unwrap_or(clients.connections),
            per_address: self.count(&fields, "perClient").or(clients.per_address),
            ..clients
        };
        let downloads = Limits {
            fills: self.count(&fields, "fills").unwrap_or(downloads.fills),
            per_upstream: own.bodies.unwrap_or(downloads.per_upstream),
            header: own.header.unwrap_or(downloads.header),
            queue: own.queue.unwrap_or(downloads.queue),
            pause: own.pause.unwrap_or(downloads.pause),
            retries: own.retries.unwrap_or(downloads.retries),
        };
        let drain_timeout = self.decoder.duration(&fields, "drainTimeout").unwrap_or(clients.drain_timeout);
        (http::Limits { drain_timeout, ..clients }, downloads)
    }

    /// Reads what one upstream has otherwise.
    fn own_limits(&mut self, fields: &Fields<'_>, path: &str) -> OwnLimits {
        let Some(node) = fields.get("limits") else { return OwnLimits::default() };
        let fields = self.decoder.fields(node, &join(path, "limits"), OWN_LIMITS);
        self.shared_limits(&fields)
    }

    /// Reads what is limited for all upstreams, and may be for one.
    fn shared_limits(&mut self, fields: &Fields<'_>) -> OwnLimits {
        let retries = self.decoder.count(fields, "retries");
        OwnLimits {
            header: self.decoder.duration(fields, "headerTimeout"),
            bodies: self.count(fields, "perUpstream"),
            queue: self.decoder.duration(fields, "queueTimeout"),
            pause: self.decoder.duration(fields, "longestPause"),
            retries: retries.map(|retries| u32::try_from(retries).unwrap_or(u32::MAX)),
        }
    }

    /// Reads a number above 0.
    fn count(&mut self, fields: &Fields<'_>, key: &str) -> Option<usize> {
        let value = self.decoder.count(fields, key);
        if value == Some(0)
            && let Some(node) = fields.get(key)
        {
            self.decoder.wrong_type(node, &fields.at(key), "a number above 0");
        }
        value.filter(|value| *value > 0)
    }

    /// Finds what each part alone does not show.
    fn check(&mut self, config: &Config, fields: &Fields<'_>) {
        for host in config.unreadable() {
            let entry = fields.get("upstreams").and_then(|upstreams| upstreams.entry(host.as_str()));
            let span = entry.map_or_else(|| fields.span.clone(), |entry| entry.key_span.clone());
            let message = format!("no client may read what comes from {host}");
            let path = join("upstreams", host.as_str());
            let problem = self.decoder.problems.add(Code::NoClientMayRead, &span, path, message);
            problem.reason = Some("it takes credentials to get it, and there are no users here".to_owned());
            problem.help =
                Some("write `htpasswd: FILE`, or `anonymous: true` if it may go to anyone".to_owned());
        }
        self.check_redirects(config, fields);
        let open = config.listen.iter().any(|address| !address.ip().is_loopback());
        if let (Some(node), None, true) = (fields.get("htpasswd"), &config.tls, open) {
            let message = "users send their passwords over plain http";
            self.decoder.problems.add(Code::PlainHttpCredentials, &node.span, "htpasswd", message).help =
                Some("write `tls: {cert: FILE, key: FILE}`".to_owned());
        }
        if let (Some(node), None) = (fields.get("authenticate"), &config.htpasswd)
            && config.authenticate == Authenticate::All
        {
            let message = "everyone has to say who they are, and there are no users";
            self.decoder.problems.add(Code::MissingField, &node.span, "authenticate", message).help =
                Some("write `htpasswd: FILE`".to_owned());
        }
    }
}

/// Reads a value by its own grammar.
fn text_of<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::model::BUILTIN;
    use super::*;

    const HEAD: &str = "apiVersion: talmirror/v1\nkind: Cache\n";

    fn read(text: &str) -> Parsed {
        parse(&format!("{HEAD}{text}"), "cache.yaml", Path::new("/etc/cache"))
    }

    fn good(text: &str) -> Config {
        let parsed = read(text);
        parsed.config.unwrap_or_else(|| panic!("{:#?}", parsed.problems))
    }

    fn findings(text: &str) -> Vec<String> {
        read(text)
            .problems
            .iter()
            .map(|problem| {
                let place = format!("{}:{}", problem.position.line, problem.position.column);
                let help = problem.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
                format!("{} {place} {}{help}", problem.code.as_str(), problem.message)
            })
            .collect()
    }

    #[test]
    fn nothing_but_the_head_is_what_holds_without_a_file() {
        assert_eq!(good(""), Config::default());
        assert_eq!(Config::default().upstreams.len(), BUILTIN.len());
        assert_eq!(Config::default().default_registry().map(RegistryHost::as_str), Some("docker.io"));
        let hub = &Config::default().upstreams[&"docker.io".parse::<RegistryHost>().unwrap()];
        assert_eq!(hub.endpoints[0].as_str(), "https://registry-1.docker.io/");
    }

    #[test]
    fn limits_of_all_and_of_one() {
        let config = good(
            "limits: {headerTimeout: 30s, retries: 0}\nupstreams:\n  ghcr.io:\n    tokenServers: [Auth.example.com:8443]\n    limits: {headerTimeout: 2m, perUpstream: 4, queueTimeout: 1m, longestPause: 10s}\n  quay.io: {}\n",
        );
        let of = |name: &str| config.limits.of(&config.upstreams[&name.parse::<RegistryHost>().unwrap()]);
        assert_eq!((of("quay.io").header, of("quay.io").retries), (None, 0));
        assert_eq!(config.limits.header, Duration::from_secs(30));
        let ghcr = of("ghcr.io");
        assert_eq!((ghcr.header, ghcr.bodies, ghcr.retries), (Some(Duration::from_mins(2)), 4, 0));
        assert_eq!((ghcr.queue, ghcr.pause), (Duration::from_mins(1), Duration::from_secs(10)));
        assert_eq!(config.upstreams[0].token_servers, ["auth.example.com:8443"]);
        let bad = findings("upstreams: {ghcr.io: {tokenServers: ['https://x/y'], limits: {perUpstream: 0}}}");
        assert_eq!(bad.len(), 2, "{bad:?}");
    }

    #[test]
    fn everything_is_read() {
        let config = good(
            "\
listen: [':5000', 127.0.0.1:5001]
metricsListen: 127.0.0.1:9090
root: data
sizeCap: 10GiB
reserve: 1073741824
pins: [ghcr.io/siderolabs/*]
default: none
upstreams:
  docker.io: {credentials: hub.json, anonymous: true, tagTtl: 1m}
  reg.example.com:5000: {url: 'http://10.0.0.1/v2/hub', private: true, allow: [a/*], deny: [a/b]}
  quay.io: {endpoints: [https://a.example, https://quay.io]}
tags: {ttl: 10m, stale: 1h, rules: [{match: v*, ttl: 24h}]}
tls: {cert: tls.crt, key: tls.key, clientCa: ca.crt}
htpasswd: users
authenticate: all
log: {format: json, filter: debug}
trustedProxies: [10.0.0.0/8, '::1']
limits: {connections: 10, perClient: 5, drainTimeout: 5m, fills: 4, perUpstream: 3}
",
        );
        let names: Vec<&str> = config.upstreams.keys().map(RegistryHost::as_str).collect();
        assert_eq!(names, ["docker.io", "reg.example.com:5000", "quay.io"]);
        let (hub, reg) = (&config.upstreams[0], &config.upstreams[1]);
        assert_eq!(hub.credentials.as_deref(), Some(Path::new("/etc/cache/hub.json")));
        assert!(!hub.is_private() && reg.private);
        assert_eq!(reg.endpoints[0].as_str(), "http://10.0.0.1/v2/hub");
        assert_eq!(config.upstreams[2].endpoints.len(), 2);
        assert_eq!(config.listen[0].to_string(), "[::]:5000");
        assert_eq!(config.root.as_deref(), Some(Path::new("/etc/cache/data")));
        assert_eq!(config.default, None);
        assert_eq!((config.clients.connections, config.clients.per_address), (10, Some(5)));
        assert_eq!(config.clients.drain_timeout, Duration::from_mins(5));
        assert_eq!(config.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert_eq!(config.limits, Limits { fills: 4, per_upstream: 3, ..Limits::default() });
        assert_eq!(config.tag_ttl(config.upstreams.keys().next().unwrap(), "v1"), Duration::from_mins(1));
        assert_eq!(
            config.tag_ttl(config.upstreams.keys().next_back().unwrap(), "v1"),
            Duration::from_hours(24)
        );
    }

    #[test]
    fn well_known_registries_can_be_kept_and_taken_away() {
        let names = |text: &str| good(text).upstreams.len();
        assert_eq!(names("builtin: true\nupstreams: {reg.example.com: {}}"), BUILTIN.len() + 1);
        assert_eq!(names("builtin: true\nupstreams: {quay.io: null}"), BUILTIN.len() - 1);
        assert_eq!(names("upstreams: {reg.example.com: {}}"), 1);
    }

    #[test]
    fn findings_have_their_line() {
        for (text, want) in [
            (
                "sizecap: 1GiB",
                "E101 3:1 unknown field `sizecap` in the configuration (did you mean `sizeCap`?)",
            ),
            (
                "upstreams:\n  docker.io: {anonimous: true}",
                "E101 4:15 unknown field `anonimous` in `upstreams.\"docker.io\"` (did you mean `anonymous`?)",
            ),
            (
                "upstreams: {'*': {}}",
                "E113 3:13 `*` is not a valid registry: `*` cannot stand in a registry name (what is not named is never dialled: name each registry)",
            ),
            (
                "upstreams: {index.docker.io: {}}",
                "E113 3:13 `index.docker.io` is Docker Hub, which is named docker.io",
            ),
            (
                "sizeCap: 10 Gigs",
                "E128 3:10 `10 Gigs` is not a valid size: a number of bytes, or one with KiB, MiB, GiB, TiB, kB, MB, GB or TB",
            ),
            (
                "listen: nowhere",
                "E128 3:9 `nowhere` is not a valid address to listen on, such as 127.0.0.1:5000 or :5000",
            ),
            ("default: dockre.io", "E140 3:10 no upstream is named `dockre.io` (did you mean `docker.io`?)"),
            ("limits: {fills: 0}", "E128 3:17 `limits.fills` takes a number above 0, not a number"),
            (
                "tags: {rules: [{match: v*}]}",
                "E129 3:16 `tags.rules[0].ttl` is missing: a duration such as 5m",
            ),
            ("tls: {cert: c}", "E129 3:6 `tls.key` is missing: the file of its key, PEM"),
            (
                "authenticate: all",
                "E129 3:15 everyone has to say who they are, and there are no users (write `htpasswd: FILE`)",
            ),
            (
                "upstreams: {ghcr.io: {credentials: f}}",
                "W240 3:13 no client may read what comes from ghcr.io (write `htpasswd: FILE`, or `anonymous: true` if it may go to anyone)",
            ),
            (
                "htpasswd: f\nlisten: ':1'",
                "W204 3:11 users send their passwords over plain http (write `tls: {cert: FILE, key: FILE}`)",
            ),
            (
                "upstreams: {a.example: {url: 'https://u:s3cr3t-x@h'}}",
                "E128 3:30 a URL holds no credentials: put them into a file, and name it",
            ),
        ] {
            assert_eq!(findings(text), [want], "{text}");
        }
        let bare = parse("root: x\n", "f", Path::new("."));
        assert_eq!(bare.problems.len(), 2, "{:#?}", bare.problems);
        assert_eq!(parse("a: [", "f", Path::new(".")).problems.len(), 1);
    }
}
