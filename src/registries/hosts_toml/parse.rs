use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::model::{Host, HostsToml};
use crate::secret::without_userinfo;

/// Why a `hosts.toml` is not one that Talos wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// It is not valid TOML: containerd passes the whole file over and asks the upstream, whatever `skipFallback` says. An
    /// endpoint that stands there twice does this.
    #[error("it is not valid TOML, so that containerd asks the upstream only: {0}")]
    Syntax(String),
    /// It has a setting that Talos never writes.
    #[error("it has `{0}`, which Talos does not write")]
    Foreign(String),
}

impl HostsToml {
    /// Reads a file; the order of its hosts is that of the text.
    pub fn parse(text: &str) -> Result<Self, HostsError> {
        let syntax = |error: toml::de::Error| HostsError::Syntax(error.message().to_owned());
        let table: Table = toml::from_str(text).map_err(syntax)?;
        let mut file = Self::default();
        for (key, _) in &table {
            if !matches!(key.as_str(), "host" | "server") && !SETTINGS.contains(&key.as_str()) {
                return Err(HostsError::Foreign(key.clone()));
            }
        }
        let server = table.get("server").and_then(Value::as_str);
        if server.is_some() || table.keys().any(|key| SETTINGS.contains(&key.as_str())) {
            file.server = Some(host(server.unwrap_or_default(), &table)?);
        }
        let Some(hosts) = table.get("host").and_then(Value::as_table) else { return Ok(file) };
        for url in order(text).map_err(syntax)? {
            let settings = hosts.get(&url).and_then(Value::as_table);
            let settings =
                settings.ok_or_else(|| HostsError::Foreign(format!("host.{}", without_userinfo(&url))))?;
            let foreign = settings.keys().find(|key| !SETTINGS.contains(&key.as_str()));
            if let Some(key) = foreign {
                return Err(HostsError::Foreign(format!("host.{}.{key}", without_userinfo(&url))));
            }
            file.hosts.push(host(&url, settings)?);
        }
        Ok(file)
    }

    /// Returns how another file differs from this one, in words; empty where containerd does the same with both.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let urls = |file: &Self| {
            let urls = file.hosts.iter().map(|host| without_userinfo(&host.url));
            urls.collect::<Vec<String>>()
        };
        let (own, other) = (urls(self), urls(found));
        for url in own.iter().filter(|url| !other.contains(url)) {
            out.push(format!("{url} is missing"));
        }
        for url in other.iter().filter(|url| !own.contains(url)) {
            out.push(format!("{url} should not be there"));
        }
        if out.is_empty() && own != other {
            out.push(format!("the order is {}, not {}", other.join(", "), own.join(", ")));
        }
        let last = |file: &Self| {
            let server = file.server.as_ref().map(|server| without_userinfo(&server.url));
            server.unwrap_or_else(|| "the upstream".to_owned())
        };
        if last(self) != last(found) {
            out.push(format!("{} comes last, not {}", last(found), last(self)));
        }
        let pairs = self.hosts.iter().chain(&self.server).filter_map(|host| {
            let mut others = found.hosts.iter().chain(&found.server);
            Some((host, others.find(|other| other.url == host.url)?))
        });
        for (own, other) in pairs {
            let url = without_userinfo(&own.url);
            let settings = [
                ("capabilities", own.capabilities == other.capabilities),
                ("override_path", own.override_path == other.override_path),
                ("ca", own.ca == other.ca),
                ("client", own.client == other.client),
                ("skip_verify", own.skip_verify == other.skip_verify),
            ];
            let wrong = settings.into_iter().filter(|(_, same)| !same);
            out.extend(wrong.map(|(name, _)| format!("{url} has another `{name}`")));
        }
        out
    }
}

/// Every setting of a host that Talos writes.
const SETTINGS: [&str; 5] = ["capabilities", "override_path", "ca", "client", "skip_verify"];

fn host(url: &str, table: &Table) -> Result<Host, HostsError> {
    let foreign = |key: &str| HostsError::Foreign(key.to_owned());
    let text = |key: &str, value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| foreign(key));
    let texts = |key: &str, value: &Value| -> Result<Vec<String>, HostsError> {
        value.as_array().ok_or_else(|| foreign(key))?.iter().map(|value| text(key, value)).collect()
    };
    let flag = |key: &str| match table.get(key) {
        Some(value) => value.as_bool().ok_or_else(|| foreign(key)),
        None => Ok(false),
    };
    let client = match table.get("client") {
        Some(value) => match value.as_array().map(Vec::as_slice) {
            Some([pair]) => match texts("client", pair)?.as_slice() {
                [crt, key] => Some((crt.clone(), key.clone())),
                _ => return Err(foreign("client")),
            },
            _ => return Err(foreign("client")),
        },
        None => None,
    };
    Ok(Host {
        url: url.to_owned(),
        capabilities: table
            .get("capabilities")
            .map_or(Ok(Vec::new()), |value| texts("capabilities", value))?,
        override_path: flag("override_path")?,
        ca: table.get("ca").map(|value| text("ca", value)).transpose()?,
        client,
        skip_verify: flag("skip_verify")?,
    })
}

/// Returns the hosts in the order of the text, which a table does not keep.
fn order(text: &str) -> Result<Vec<String>, toml::de::Error> {
    let root = DeTable::parse(text)?;
    let hosts = root.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "host");
    let Some(DeValue::Table(hosts)) = hosts.map(|(_, value)| value.get_ref()) else { return Ok(Vec::new()) };
    let mut hosts: Vec<(usize, String)> =
        hosts.keys().map(|key| (key.span().start, key.get_ref().to_string())).collect();
    hosts.sort_unstable();
    Ok(hosts.into_iter().map(|(_, url)| url).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::{
        ClientIdentity, Endpoint, Mirror, Registries, TalosVersion, Tls, hosts_directory, hosts_registries,
    };

    type GivenFields<'t> = (&'t str, &'t [(&'t str, bool)], bool);

    fn registries(mirrors: &[GivenFields<'_>], tls: &[(&str, Tls)]) -> Registries {
        let mirror = |(name, endpoints, skip): &GivenFields<'_>| {
            let endpoints = endpoints.iter().map(|(url, path)| Endpoint::new(*url, *path)).collect();
            ((*name).to_owned(), Mirror { endpoints, skip_fallback: *skip })
        };
        Registries {
            mirrors: mirrors.iter().map(mirror).collect(),
            tls: tls.iter().map(|(host, tls)| ((*host).to_owned(), tls.clone())).collect(),
            ..Registries::default()
        }
    }

    fn tls(ca: bool, client: bool, skip: bool) -> Tls {
        Tls {
            ca: ca.then(|| "ca".to_owned()),
            client_identity: client
                .then(|| ClientIdentity { cert: "crt".to_owned(), key: "s3cr3t-k".into() }),
            insecure_skip_verify: skip,
        }
    }

    fn of(registries: &Registries, registry: &str, version: &str, cache: bool) -> HostsToml {
        HostsToml::of(registries, registry, &version.parse::<TalosVersion>().unwrap(), cache).unwrap()
    }

    /// The texts of Talos' own `hosts_test.go`, and of its renderer where that has no test.
    #[test]
    fn files_are_written_as_talos_writes_them() {
        let all = registries(
            &[
                ("docker.io", &[("https://harbor/v2/mirrors/proxy.docker.io", true)], false),
                ("ghcr.io", &[("http://127.0.0.1:5000", false), ("http://127.0.0.1:5001/v2/", false)], true),
                ("one", &[("https://h", false)], true),
                ("odd", &[("mirror", false), ("https://it's", false), ("", false)], false),
                ("none", &[], true),
            ],
            &[
                ("harbor", tls(true, true, true)),
                ("docker.io", tls(false, false, true)),
                ("lone:5000", tls(true, false, false)),
                ("empty", tls(false, false, false)),
            ],
        );
        let text = |registry: &str| of(&all, registry, "v1.13.9", false).render();
        assert_eq!(
            text("docker.io"),
            "[host]\n  [host.'https://harbor/v2/mirrors/proxy.docker.io']\n    capabilities = ['pull', 'resolve']\n    \
             override_path = true\n    ca = '/etc/cri/conf.d/hosts/docker.io/harbor-ca.crt'\n    client = \
             [['/etc/cri/conf.d/hosts/docker.io/harbor-client.crt', '/etc/cri/conf.d/hosts/docker.io/harbor-client.key']]\n    \
             skip_verify = true\n"
        );
        assert_eq!(
            text("ghcr.io"),
            "server = 'http://127.0.0.1:5001/v2/'\ncapabilities = ['pull', 'resolve']\n[host]\n  \
             [host.'http://127.0.0.1:5000']\n    capabilities = ['pull', 'resolve']\n"
        );
        assert_eq!(text("one"), "server = 'https://h'\ncapabilities = ['pull', 'resolve']\n");
        assert_eq!(
            text("odd"),
            "[host]\n  [host.mirror]\n    capabilities = ['pull', 'resolve']\n  [host.\"https://it's\"]\n    capabilities \
             = ['pull', 'resolve']\n  [host.'']\n    capabilities = ['pull', 'resolve']\n"
        );
        assert_eq!(text("none"), "");
        assert_eq!(
            text("lone:5000"),
            "server = 'https://lone:5000'\nca = '/etc/cri/conf.d/hosts/lone_5000_/lone:5000-ca.crt'\n"
        );
        assert_eq!(
            hosts_registries(&all, false),
            ["docker.io", "ghcr.io", "harbor", "lone:5000", "none", "odd", "one"]
        );
        for name in ["docker.io", "ghcr.io", "one", "odd", "lone:5000", "none"] {
            let written = of(&all, name, "v1.13.9", false);
            assert_eq!(HostsToml::parse(&written.render()).unwrap(), written, "{name}");
        }
    }

    #[test]
    fn the_image_cache_comes_first() {
        let one = registries(&[("docker.io", &[("https://h/v2/p", true)], true)], &[]);
        let cached = of(&one, "docker.io", "v1.13.9", true);
        assert_eq!(
            (cached.hosts[0].url.as_str(), cached.hosts[0].override_path),
            ("http://127.0.0.1:3172", false)
        );
        assert_eq!(cached.server.unwrap().url, "https://h/v2/p");
        // 1.9 has one overridePath for all of a mirror's endpoints.
        assert!(of(&one, "docker.io", "v1.9.5", true).hosts[0].override_path);
        assert_eq!(of(&one, "*", "v1.13.9", true).hosts.len(), 1);
        assert_eq!(hosts_registries(&one, true), ["*", "docker.io"]);
        // 1.8 has neither.
        let old = of(&one, "docker.io", "v1.8.4", true);
        assert_eq!((old.hosts.len(), old.server), (1, None));
    }

    #[test]
    fn directories_are_containerds() {
        for (registry, want) in [
            ("*", "_default"),
            ("docker.io", "docker.io"),
            ("h:5000", "h_5000_"),
            ("[fd00::1]:5000", "[fd00::1]_5000_"),
            ("[fd00::1]", "[fd00:_1]_"),
        ] {
            assert_eq!(hosts_directory(registry), want);
        }
    }

    #[test]
    fn differences_have_words() {
        let two = [("https://u:s3cr3t-p@a", false), ("https://b", true)];
        let wanted = of(&registries(&[("r", &two, false)], &[]), "r", "v1.14.1", false);
        let differs = |text: &str| wanted.differences(&HostsToml::parse(text).unwrap());
        let swapped = "[host.'https://b']\ncapabilities = ['resolve', 'pull']\n[host.'https://u:s3cr3t-p@a']\ncapabilities = ['pull', 'resolve']\n";
        assert_eq!(
            differs(swapped),
            [
                "the order is https://b, https://a, not https://a, https://b",
                "https://b has another `capabilities`",
                "https://b has another `override_path`"
            ]
        );
        assert_eq!(
            differs("server = 'https://b'\n[host.'http://c']\n"),
            [
                "https://a is missing",
                "https://b is missing",
                "http://c should not be there",
                "https://b comes last, not the upstream",
                "https://b has another `capabilities`",
                "https://b has another `override_path`"
            ]
        );
        assert!(differs(&wanted.render()).is_empty());
        let twice = "[host]\n[host.'https://a']\n[host.'https://a']\n";
        assert!(matches!(HostsToml::parse(twice), Err(HostsError::Syntax(_))));
        for (text, key) in
            [("x = 1", "x"), ("[host.a.header]\nx = 'y'\n", "host.a.header"), ("client = 'x'", "client")]
        {
            assert_eq!(HostsToml::parse(text), Err(HostsError::Foreign(key.to_owned())));
        }
    }
}
