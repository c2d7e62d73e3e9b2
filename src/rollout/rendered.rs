use std::collections::BTreeMap;

use crate::machineconfig::diff;
use crate::registries::{
    Auth, HostsToml, IMAGE_CACHE_ENDPOINT, Registries, TalosVersion, containerd_auth,
    containerd_auth_differences, hosts_registries, read_containerd_auth,
};
use crate::secret::Secret;

/// What Talos made of a config, read from the node.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// What both pullers derive from, since Talos 1.9; [`None`] where it is not there.
    pub registries: Option<Registries>,
    /// Whether the node's own image cache stands before every mirror.
    pub image_cache: bool,
    /// Each registry's `hosts.toml`; [`None`] where it is not there.
    pub hosts: BTreeMap<String, Option<Secret<String>>>,
    /// Containerd's own file; [`None`] where it is not there.
    pub cri: Option<Secret<String>>,
    /// The credentials that other parts of containerd's config give it, which count more than those of registries.
    pub customized: BTreeMap<String, Auth>,
}

/// Returns the registries whose `hosts.toml` has to be looked at: those that have one now, and those that had one.
pub fn hosts_to_read(before: &Registries, now: &Registries, image_cache: bool) -> Vec<String> {
    let mut names = hosts_registries(now, image_cache);
    names.extend(hosts_registries(before, image_cache));
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns how what Talos made of a config differs from what it should have made; nothing: it is all there.
///
/// `config` are the registries as the config that runs says them, `before` those of the config before it: what they alone have
/// must be gone. What neither has was not made of a machine config's registries, and stays.
pub fn rendering_flaws(
    before: &Registries,
    config: &Registries,
    version: &TalosVersion,
    rendered: &Rendered,
) -> Vec<String> {
    let mut flaws = Vec::new();
    if version.has_image_cache() {
        match &rendered.registries {
            None if config.is_empty() => {}
            None => flaws.push("Talos has no RegistryConfigs".to_owned()),
            Some(found) => {
                let changes = diff(config, &without_cache(found, config));
                flaws.extend(changes.iter().map(|change| format!("RegistryConfigs: {change}")));
            }
        }
    }
    for (registry, text) in &rendered.hosts {
        let wanted = HostsToml::of(config, registry, version, rendered.image_cache);
        let file = format!("hosts.toml of {registry}");
        match (wanted, text) {
            (None, None) => {}
            (None, Some(_)) => flaws.push(format!("{file} is still there")),
            (Some(_), None) => flaws.push(format!("{file} is not there")),
            (Some(wanted), Some(text)) => match HostsToml::parse(text.expose()) {
                Err(error) => flaws.push(format!("{file}: {error}")),
                Ok(found) => {
                    let differences = wanted.differences(&found);
                    flaws.extend(differences.into_iter().map(|flaw| format!("{file}: {flaw}")));
                }
            },
        }
    }
    let wanted = containerd_auth(config, version);
    match &rendered.cri {
        None if wanted.is_empty() => {}
        None => flaws.push("cri.toml is not there".to_owned()),
        Some(text) => match read_containerd_auth(text.expose()) {
            Err(error) => flaws.push(format!("cri.toml: {error}")),
            Ok(found) => {
                let before = containerd_auth(before, version);
                let differences = containerd_auth_differences(&before, &wanted, &rendered.customized, &found);
                flaws.extend(differences.into_iter().map(|flaw| format!("cri.toml: {flaw}")));
            }
        },
    }
    flaws
}

/// Takes the image cache out again, which Talos puts before every mirror and behind `*`.
fn without_cache(found: &Registries, config: &Registries) -> Registries {
    let mut out = found.clone();
    for (name, mirror) in &mut out.mirrors {
        let own = config.mirrors.get(name);
        let is_own = own.is_some_and(|own| own.endpoints.iter().any(|own| own.url == IMAGE_CACHE_ENDPOINT));
        if !is_own {
            mirror.endpoints.retain(|endpoint| endpoint.url != IMAGE_CACHE_ENDPOINT);
        }
    }
    out.mirrors.retain(|name, mirror| !mirror.endpoints.is_empty() || config.mirrors.contains_key(name));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::{Endpoint, Mirror};

    fn config() -> Registries {
        let mut out = Registries::default();
        let endpoints = vec![Endpoint::new("https://h/v2/hub", true), Endpoint::new("https://g", false)];
        out.mirrors.insert("docker.io".to_owned(), Mirror { endpoints, skip_fallback: true });
        let auth =
            Auth { username: Some("u".to_owned()), password: Some("s3cr3t-p".into()), ..Auth::default() };
        out.auth.insert("h".to_owned(), auth);
        out
    }

    fn rendered(config: &Registries, version: &TalosVersion, image_cache: bool) -> Rendered {
        let names = hosts_to_read(&Registries::default(), config, image_cache).into_iter();
        let hosts = names.map(|name| {
            let file = HostsToml::of(config, &name, version, image_cache).unwrap().render();
            (name, Some(Secret::new(file)))
        });
        let mut registries = config.clone();
        if image_cache {
            registries.mirrors.entry("*".to_owned()).or_default();
            for mirror in registries.mirrors.values_mut() {
                mirror.endpoints.insert(0, Endpoint::new(IMAGE_CACHE_ENDPOINT, false));
            }
        }
        let cri = "[plugins.'io.containerd.cri.v1.images'.registry.configs.'h'.auth]\nusername = 'u'\npassword = 's3cr3t-p'\n";
        Rendered {
            registries: Some(registries),
            image_cache,
            hosts: hosts.collect(),
            cri: Some(cri.into()),
            customized: BTreeMap::new(),
        }
    }

    #[test]
    fn what_talos_renders_is_compared() {
        let version = TalosVersion::minor(1, 13);
        for image_cache in [false, true] {
            let well = rendered(&config(), &version, image_cache);
            assert_eq!(rendering_flaws(&config(), &config(), &version, &well), Vec::<String>::new());
        }
        let well = rendered(&config(), &version, false);
        let old = Registries::default();
        let flaws = rendering_flaws(&config(), &old, &version, &well).join("\n");
        assert!(flaws.contains("hosts.toml of docker.io is still there"), "{flaws}");
        assert!(flaws.contains("cri.toml: credentials for h should not be there"), "{flaws}");
        assert!(!flaws.contains("s3cr3t-"), "{flaws}");
        // Nothing rendered yet.
        let none = Rendered {
            registries: Some(old.clone()),
            hosts: BTreeMap::from([("docker.io".to_owned(), None)]),
            cri: Some("".into()),
            image_cache: false,
            customized: BTreeMap::new(),
        };
        let flaws = rendering_flaws(&old, &config(), &version, &none).join("\n");
        for flaw in [
            "RegistryConfigs: - docker.io",
            "hosts.toml of docker.io is not there",
            "credentials for h are missing",
        ] {
            assert!(flaws.contains(flaw), "{flaws}");
        }
        // An endpoint that stands there twice: containerd passes the file over (facts of containerd 2's TOML).
        let twice = "[host.'https://a']\n[host.'https://a']\n";
        let broken =
            Rendered { hosts: BTreeMap::from([("docker.io".to_owned(), Some(twice.into()))]), ..well };
        let flaws = rendering_flaws(&old, &config(), &version, &broken).join("\n");
        assert!(flaws.contains("containerd asks the upstream only"), "{flaws}");
    }
}
