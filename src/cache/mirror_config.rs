//! Configuration of clients that points them at the cache: Talos, containerd, podman.

use url::Url;

use crate::image::{RegistryHost, api_host};
use crate::patch::{Choice, FormatError, Parts, Patch, Versions, choose, plain};
use crate::registries::{Endpoint, HostsToml, Mirror, Registries, TalosVersion, Tls, hosts_directory};

/// How clients reach the cache, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The cache's URL: a scheme, a host, perhaps a port.
    pub url: Url,
    /// The registries that go through it.
    pub registries: Vec<RegistryHost>,
    /// Whether the registries themselves are asked when the cache fails.
    pub fallback: bool,
    /// The certificate of the cache's authority, PEM, where clients would not know it.
    pub ca: Option<String>,
}

impl Reached {
    /// Returns the URL of a registry: its name in the path, so that clients of every kind and age say which they mean.
    fn endpoint(&self, registry: &RegistryHost) -> String {
        format!("{}/v2/{registry}", self.base())
    }

    fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Returns host and port as image references have them.
    fn host(&self) -> &str {
        self.base().split_once("://").map_or(self.base(), |(_, host)| host)
    }

    fn registries(&self) -> Registries {
        let mirror = |registry: &RegistryHost| Mirror {
            endpoints: vec![Endpoint::new(self.endpoint(registry), true)],
            skip_fallback: !self.fallback,
        };
        let tls = self.ca.clone().map(|ca| Tls { ca: Some(ca), ..Tls::default() });
        Registries {
            mirrors: self.registries.iter().map(|host| (host.to_string(), mirror(host))).collect(),
            tls: tls.into_iter().map(|tls| (self.host().to_owned(), tls)).collect(),
            ..Registries::default()
        }
    }
}

/// Returns what a Talos machine config is patched with: what an inventory of the same registries gives, in the form that
/// can be applied twice on that version, or on all where none is named.
pub fn talos(reached: &Reached, version: Option<&TalosVersion>) -> Result<Patch, FormatError> {
    let mut registries = reached.registries();
    if version.is_some_and(|version| !version.has_skip_fallback()) {
        registries.mirrors.values_mut().for_each(|mirror| mirror.skip_fallback = false);
    }
    // Talos' own puller asks nothing behind the mirrors there, so that the registry is one of them.
    if reached.fallback && version.is_some_and(|version| !version.puller_falls_back()) {
        for (name, mirror) in &mut registries.mirrors {
            mirror.endpoints.push(Endpoint::new(format!("https://{}/v2", api_host(name)), true));
        }
    }
    let versions = Versions { talos: version.cloned(), talosctl: None };
    Ok(plain(choose(Choice::Auto, &versions)?, &Parts::whole(registries), &versions).0)
}

/// Returns the files of containerd's `certs.d`, by their path in it.
///
/// `ca` is the path that the authority's certificate will have on the host.
pub fn containerd(reached: &Reached, ca: Option<&str>) -> Vec<(String, String)> {
    let registries = Registries { tls: std::collections::BTreeMap::new(), ..reached.registries() };
    let version = TalosVersion::minor(1, 14);
    let file = |registry: &RegistryHost| {
        let mut hosts = HostsToml::of(&registries, registry.as_str(), &version, false)?;
        for host in hosts.hosts.iter_mut().chain(&mut hosts.server) {
            host.ca = ca.map(str::to_owned);
        }
        Some((format!("{}/hosts.toml", hosts_directory(registry.as_str())), hosts.render()))
    };
    reached.registries.iter().filter_map(file).collect()
}

/// Returns a file for `/etc/containers/registries.conf.d`: podman, CRI-O, skopeo, buildah.
///
/// Source: containers-registries.conf(5). A mirror has no way to be the last one, so that without a fallback the
/// registry itself is said to be at the cache.
pub fn podman(reached: &Reached) -> String {
    let insecure = if reached.url.scheme() == "http" { "insecure = true\n" } else { "" };
    let blocks = reached.registries.iter().map(|registry| {
        let location = format!("{}/{registry}", reached.host());
        if reached.fallback {
            format!(
                "[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n\
                 [[registry.mirror]]\nlocation = \"{location}\"\n{insecure}"
            )
        } else {
            format!("[[registry]]\nprefix = \"{registry}\"\nlocation = \"{location}\"\n{insecure}")
        }
    });
    blocks.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Indent, emit_stream};

    fn reached(url: &str, fallback: bool, ca: Option<&str>) -> Reached {
        let registries = ["docker.io", "reg.example.com:5000"].map(|name| name.parse().unwrap()).to_vec();
        Reached { url: url.parse().unwrap(), registries, fallback, ca: ca.map(str::to_owned) }
    }

    fn yaml(reached: &Reached, minor: u16) -> String {
        let patch = talos(reached, Some(&TalosVersion::minor(1, minor))).unwrap();
        emit_stream(patch.files.first().unwrap(), Indent::default())
    }

    #[test]
    fn talos_of_every_age() {
        let plain = reached("http://10.0.0.5:5000", true, None);
        insta::assert_snapshot!(yaml(&plain, 14), @r"
        machine:
            registries:
                $patch: delete
        ---
        apiVersion: v1alpha1
        kind: RegistryMirrorConfig
        name: docker.io
        $patch: delete
        ---
        apiVersion: v1alpha1
        kind: RegistryMirrorConfig
        name: docker.io
        endpoints:
            - url: http://10.0.0.5:5000/v2/docker.io
              overridePath: true
        ---
        apiVersion: v1alpha1
        kind: RegistryMirrorConfig
        name: reg.example.com:5000
        $patch: delete
        ---
        apiVersion: v1alpha1
        kind: RegistryMirrorConfig
        name: reg.example.com:5000
        endpoints:
            - url: http://10.0.0.5:5000/v2/reg.example.com:5000
              overridePath: true
        ");
        insta::assert_snapshot!(yaml(&plain, 11), @r"
        - op: add
          path: /machine/registries
          value:
            mirrors:
                docker.io:
                    endpoints:
                        - http://10.0.0.5:5000/v2/docker.io
                    overridePath: true
                reg.example.com:5000:
                    endpoints:
                        - http://10.0.0.5:5000/v2/reg.example.com:5000
                    overridePath: true
        ");
        let tls = reached("https://cache.example", false, Some("PEM\n"));
        insta::assert_snapshot!(yaml(&tls, 13), @r"
        machine:
            registries:
                $patch: delete
        ---
        machine:
            registries:
                mirrors:
                    docker.io:
                        endpoints:
                            - https://cache.example/v2/docker.io
                        overridePath: true
                        skipFallback: true
                    reg.example.com:5000:
                        endpoints:
                            - https://cache.example/v2/reg.example.com:5000
                        overridePath: true
                        skipFallback: true
                config:
                    cache.example:
                        tls:
                            ca: UEVNCg==
        ");
    }

    #[test]
    fn containerd_and_podman() {
        let files = containerd(&reached("https://cache.example", false, None), Some("/etc/ca.crt"));
        let files: String = files.iter().map(|(path, text)| format!("# {path}\n{text}")).collect();
        insta::assert_snapshot!(files, @r"
        # docker.io/hosts.toml
        server = 'https://cache.example/v2/docker.io'
        capabilities = ['pull', 'resolve']
        override_path = true
        ca = '/etc/ca.crt'
        # reg.example.com_5000_/hosts.toml
        server = 'https://cache.example/v2/reg.example.com:5000'
        capabilities = ['pull', 'resolve']
        override_path = true
        ca = '/etc/ca.crt'
        ");
        insta::assert_snapshot!(podman(&reached("http://10.0.0.5:5000", true, None)), @r#"
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"

        [[registry.mirror]]
        location = "10.0.0.5:5000/docker.io"
        insecure = true

        [[registry]]
        prefix = "reg.example.com:5000"
        location = "reg.example.com:5000"

        [[registry.mirror]]
        location = "10.0.0.5:5000/reg.example.com:5000"
        insecure = true
        "#);
        insta::assert_snapshot!(podman(&reached("https://cache.example", false, None)), @r#"
        [[registry]]
        prefix = "docker.io"
        location = "cache.example/docker.io"

        [[registry]]
        prefix = "reg.example.com:5000"
        location = "cache.example/reg.example.com:5000"
        "#);
    }
}
