//! The files below `/etc/cri/conf.d` that Talos writes.

use std::collections::BTreeMap;

use talmirror::registries::{
    Auth, CRI_TOML, HostsToml, Registries, TalosVersion, containerd_auth, hosts_path, hosts_registries,
};

use super::rules::Rules;

/// Returns the files by path.
pub fn render(registries: &Registries, version: &str, image_cache: bool) -> BTreeMap<String, String> {
    let rules = Rules::of(version);
    let version: TalosVersion = version.parse().expect("a version");
    let mut files = BTreeMap::new();
    for registry in hosts_registries(registries, image_cache && rules.falls_back()) {
        if let Some(hosts) = HostsToml::of(registries, &registry, &version, image_cache) {
            files.insert(hosts_path(&registry), hosts.render());
        }
    }
    let part = auth_part(&containerd_auth(registries, &version));
    // Up to 1.13 the part is a file of its own.
    let origin = if rules.restarts_cri() {
        "in-memory registries".to_owned()
    } else {
        let path = "/etc/cri/conf.d/01-registries.part";
        files.insert(path.to_owned(), part.clone());
        path.to_owned()
    };
    files.insert(
        CRI_TOML.to_owned(),
        format!(
            "## /etc/cri/conf.d/00-base.part (sha256:0)\n## {origin} (sha256:0)\n\nversion = 3\n\n{part}"
        ),
    );
    files
}

fn auth_part(auth: &BTreeMap<String, Auth>) -> String {
    const REGISTRY: &str = "plugins.'io.containerd.cri.v1.images'.registry";
    let mut text = format!(
        "[plugins]\n[plugins.'io.containerd.cri.v1.images']\n[{REGISTRY}]\nconfig_path = '/etc/cri/conf.d/hosts'\n\n[{REGISTRY}.configs]\n"
    );
    for (host, auth) in auth {
        let secret = |value: &Option<talmirror::secret::Secret<String>>| {
            value.as_ref().map_or(String::new(), |value| value.expose().clone())
        };
        text.push_str(&format!("[{REGISTRY}.configs.'{host}']\n[{REGISTRY}.configs.'{host}'.auth]\n"));
        let fields = [
            ("username", auth.username.clone().unwrap_or_default()),
            ("password", secret(&auth.password)),
            ("auth", secret(&auth.auth)),
            ("identitytoken", secret(&auth.identity_token)),
        ];
        for (name, value) in fields {
            text.push_str(&format!("{name} = {}\n", serde_json::Value::from(value)));
        }
    }
    text
}
