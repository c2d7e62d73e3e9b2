use crate::registries::{IMAGE_CACHE_ENDPOINT, Mirror};

/// Returns the hosts of a `hosts.toml` that no config of the node put there, such as Spegel's.
///
/// `registry` is whose file it is (`*`: `_default`), `mirror` what the node's config says about it.
pub fn foreign_hosts(text: &str, registry: &str, mirror: Option<&Mirror>) -> Vec<String> {
    let Ok(table) = text.parse::<toml::Table>() else { return vec!["(not TOML)".to_owned()] };
    let hosts = table.get("host").and_then(toml::Value::as_table);
    let hosts = hosts.into_iter().flat_map(|hosts| hosts.keys().map(String::as_str));
    let server = table.get("server").and_then(toml::Value::as_str);
    let upstream = match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        registry => format!("https://{registry}"),
    };
    let own = |url: &str| {
        url == IMAGE_CACHE_ENDPOINT
            || url == upstream
            || mirror.is_some_and(|mirror| mirror.endpoints.iter().any(|endpoint| endpoint.url == url))
    };
    hosts.chain(server).filter(|url| !own(url)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::Endpoint;

    #[test]
    fn what_the_config_did_not_write_is_foreign() {
        let endpoint = Endpoint { url: "https://h.example/v2/hub".to_owned(), override_path: true };
        let mirror = Mirror { endpoints: vec![endpoint], skip_fallback: false };
        let text = "[host]\n  [host.'http://127.0.0.1:3172']\n  [host.'https://h.example/v2/hub']\n    override_path = true\n";
        assert!(foreign_hosts(text, "docker.io", Some(&mirror)).is_empty());
        assert_eq!(foreign_hosts(text, "docker.io", None), ["https://h.example/v2/hub"]);
        let spegel = "server = 'https://registry-1.docker.io'\n[host.'http://10.0.0.1:30021']\n";
        assert_eq!(foreign_hosts(spegel, "docker.io", Some(&mirror)), ["http://10.0.0.1:30021"]);
        assert_eq!(foreign_hosts("[host.a]\n[host.a]\n", "*", None), ["(not TOML)"]);
    }
}
