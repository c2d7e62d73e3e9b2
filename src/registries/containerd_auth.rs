use std::collections::BTreeMap;

use toml::{Table, Value};

use super::model::{Auth, Registries};
use super::version::TalosVersion;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API};
use crate::secret::Secret;

/// The file in which pods' puller finds its credentials.
pub const CRI_TOML: &str = "/etc/cri/conf.d/cri.toml";
/// containerd's plugins that hold them: containerd 2, and 1 (Talos up to 1.7).
const PLUGINS: [&str; 2] = ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"];

/// Returns the credentials that Talos gives to pods' puller, by host.
///
/// Source: Talos `internal/pkg/containers/cri/containerd/containerd.go`; keys in order, so that of `docker.io` and
/// `registry-1.docker.io` the latter stays.
pub fn containerd_auth(registries: &Registries, version: &TalosVersion) -> BTreeMap<String, Auth> {
    let host = |key: &String| {
        if key == DOCKER_HUB && version.maps_hub_auth() { DOCKER_HUB_API.to_owned() } else { key.clone() }
    };
    registries.auth.iter().map(|(key, auth)| (host(key), auth.clone())).collect()
}

/// Reads the credentials of a `cri.toml`, by host; what is empty there is not there.
///
/// The error names the place only: the text holds secrets.
pub fn read_containerd_auth(text: &str) -> Result<BTreeMap<String, Auth>, String> {
    let table: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count());
        format!("it is not valid TOML at line {line}")
    })?;
    let mut found = BTreeMap::new();
    let plugins = table.get("plugins").and_then(Value::as_table);
    for plugin in PLUGINS.iter().filter_map(|name| plugins?.get(*name)) {
        let configs = plugin.get("registry").and_then(|registry| registry.get("configs"));
        for (host, config) in configs.and_then(Value::as_table).into_iter().flatten() {
            let Some(auth) = config.get("auth") else { continue };
            let text = |key: &str| {
                let text = auth.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
                text.map(str::to_owned)
            };
            let auth = Auth {
                username: text("username"),
                password: text("password").map(Secret::new),
                auth: text("auth").map(Secret::new),
                identity_token: text("identitytoken").map(Secret::new),
            };
            found.insert(host.clone(), auth);
        }
    }
    Ok(found)
}

/// Returns how the credentials found differ from those wanted, in words and without them.
///
/// Of others, those of `before` are to be gone; what else is there was not made of a machine config's registries, such as what
/// `/etc/cri/conf.d/20-customization.part` holds, and stays.
pub fn containerd_auth_differences(
    before: &BTreeMap<String, Auth>,
    wanted: &BTreeMap<String, Auth>,
    customized: &BTreeMap<String, Auth>,
    found: &BTreeMap<String, Auth>,
) -> Vec<String> {
    let is_customized = |host: &String, auth: &Auth| {
        customized.get(host).is_some_and(|own| without_empty(own) == without_empty(auth))
    };
    let mut out = Vec::new();
    for (host, auth) in wanted {
        match found.get(host) {
            None => out.push(format!("credentials for {host} are missing")),
            Some(other) if is_customized(host, other) => {}
            Some(other) if without_empty(auth) != without_empty(other) => {
                out.push(format!("credentials for {host} are others"));
            }
            Some(_) => {}
        }
    }
    let gone = |host: &String| !wanted.contains_key(host) && before.contains_key(host);
    let more = found.iter().filter(|(host, auth)| gone(host) && !is_customized(host, auth));
    out.extend(more.map(|(host, _)| format!("credentials for {host} should not be there")));
    out
}

fn without_empty(auth: &Auth) -> Auth {
    let secret = |text: &Option<Secret<String>>| text.clone().filter(|text| !text.expose().is_empty());
    Auth {
        username: auth.username.clone().filter(|text| !text.is_empty()),
        password: secret(&auth.password),
        auth: secret(&auth.auth),
        identity_token: secret(&auth.identity_token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(password: &str) -> Auth {
        Auth { username: Some("u".to_owned()), password: Some(password.into()), ..Auth::default() }
    }

    /// As Talos 1.13.9 and 1.14.1 write it.
    const FILE: &str = "## /etc/cri/conf.d/00-base.part (sha256:1)\n## in-memory registries (sha256:2)\n\nversion = 3\n\n\
        [plugins]\n[plugins.'io.containerd.cri.v1.images']\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path \
        = '/etc/cri/conf.d/hosts'\n\n[plugins.'io.containerd.cri.v1.images'.registry.configs]\n\
        [plugins.'io.containerd.cri.v1.images'.registry.configs.'registry-1.docker.io']\n\
        [plugins.'io.containerd.cri.v1.images'.registry.configs.'registry-1.docker.io'.auth]\nusername = 'u'\npassword = \
        's3cr3t-1'\nauth = ''\nidentitytoken = ''\n";

    #[test]
    fn credentials_are_compared_and_not_shown() {
        let version = |text: &str| text.parse::<TalosVersion>().unwrap();
        let mut registries = Registries::default();
        registries.auth.insert("docker.io".to_owned(), pair("s3cr3t-1"));
        let wanted = containerd_auth(&registries, &version("v1.13.9"));
        let found = read_containerd_auth(FILE).unwrap();
        assert_eq!(found, wanted);
        let none = BTreeMap::new();
        assert!(containerd_auth_differences(&none, &wanted, &none, &found).is_empty());
        assert!(containerd_auth(&registries, &version("v1.9.5")).contains_key("docker.io"));
        registries.auth.insert("registry-1.docker.io".to_owned(), pair("s3cr3t-2"));
        let wanted = containerd_auth(&registries, &version("v1.9.6"));
        assert_eq!(wanted.len(), 1);
        assert_eq!(
            containerd_auth_differences(&none, &wanted, &none, &found),
            ["credentials for registry-1.docker.io are others"]
        );
        let other = BTreeMap::from([("h".to_owned(), pair("s3cr3t-3"))]);
        assert_eq!(
            containerd_auth_differences(&wanted, &other, &none, &found),
            ["credentials for h are missing", "credentials for registry-1.docker.io should not be there"]
        );
        assert_eq!(
            containerd_auth_differences(&other, &other, &none, &found),
            ["credentials for h are missing"],
            "what the config never had is not its own"
        );
        // What a part of containerd's own config has wins over registries, and stays when they lose it.
        assert_eq!(
            containerd_auth_differences(&wanted, &other, &found, &found),
            ["credentials for h are missing"]
        );
        assert!(containerd_auth_differences(&none, &wanted, &found, &found).is_empty());
        assert_eq!(
            read_containerd_auth("a = 1\nb = s3cr3t-x").unwrap_err(),
            "it is not valid TOML at line 2"
        );
    }
}
