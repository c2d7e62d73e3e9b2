use crate::registries::{Auth, ClientIdentity, Endpoint, Mirror, Registries, Tls};
use crate::secret::Secret;
use crate::yaml::Node;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Reads a `RegistryConfigs` resource: registries as both of a node's pullers see them, of any version since 1.9.
///
/// The image cache's endpoint is among them where it is ready. Source: Talos
/// `pkg/machinery/resources/cri/registries_config.go`.
pub fn read_registry_configs(spec: &Node) -> Result<Registries, String> {
    let mut registries = Registries::default();
    for entry in entries(spec, "mirrors") {
        registries.mirrors.insert(entry.key.clone(), mirror(&entry.value)?);
    }
    // Since 1.12 there is one mapping for each kind, before there was one a host.
    for entry in entries(spec, "auths") {
        registries.auth.insert(entry.key.clone(), auth(&entry.value));
    }
    for entry in entries(spec, "tls") {
        registries.tls.insert(entry.key.clone(), tls(&entry.value)?);
    }
    for entry in entries(spec, "config") {
        if let Some(node) = entry.value.get("auth").filter(|node| !node.is_null()) {
            registries.auth.insert(entry.key.clone(), auth(node));
        }
        if let Some(node) = entry.value.get("tls").filter(|node| !node.is_null()) {
            registries.tls.insert(entry.key.clone(), tls(node)?);
        }
    }
    Ok(registries)
}

fn entries<'n>(node: &'n Node, key: &str) -> &'n [crate::yaml::Entry] {
    node.get(key).map_or(&[], Node::entries)
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn flag(node: &Node, key: &str) -> bool {
    node.get(key).and_then(Node::as_bool).unwrap_or(false)
}

fn mirror(node: &Node) -> Result<Mirror, String> {
    let mut endpoints = Vec::new();
    for item in node.get("endpoints").map_or(&[][..], Node::items) {
        let endpoint = match (item.as_str(), item.get("endpoint").and_then(Node::as_str)) {
            (_, Some(url)) => Endpoint::new(url, flag(item, "overridePath")),
            // 1.9 has texts, and one overridePath for all of them.
            (Some(url), None) => Endpoint::new(url, flag(node, "overridePath")),
            (None, None) => return Err("has an endpoint without a URL".to_owned()),
        };
        endpoints.push(endpoint);
    }
    Ok(Mirror { endpoints, skip_fallback: flag(node, "skipFallback") })
}

fn auth(node: &Node) -> Auth {
    Auth {
        username: text(node, "username"),
        password: text(node, "password").map(Secret::new),
        auth: text(node, "auth").map(Secret::new),
        identity_token: text(node, "identityToken").map(Secret::new),
    }
}

fn tls(node: &Node) -> Result<Tls, String> {
    let pem = |node: &Node, key: &str| -> Result<Option<String>, String> {
        let Some(text) = text(node, key) else { return Ok(None) };
        let bytes = BASE64.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        bytes.map(Some).ok_or_else(|| format!("has a `{key}` that is not base64 of a text"))
    };
    let identity = node.get("clientIdentity").filter(|node| !node.is_null());
    let identity = match identity {
        Some(node) => match (pem(node, "crt")?, pem(node, "key")?) {
            (Some(cert), Some(key)) => Some(ClientIdentity { cert, key: Secret::new(key) }),
            _ => None,
        },
        None => None,
    };
    Ok(Tls {
        ca: pem(node, "ca")?,
        client_identity: identity,
        insecure_skip_verify: flag(node, "insecureSkipVerify"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Registries, String> {
        read_registry_configs(&crate::yaml::parse_one(text).unwrap().root)
    }

    #[test]
    fn every_version_says_the_same_in_its_way() {
        let new = "mirrors:\n    docker.io:\n        endpoints:\n            - endpoint: https://h/v2/p\n              overridePath: true\n        skipFallback: true\nauths:\n    h:\n        username: u\n        password: s3cr3t-p\ntls:\n    h:\n        clientIdentity:\n            crt: Y3J0\n            key: a2V5\n        ca: Y2E=\n        insecureSkipVerify: true\n";
        let wanted = read(new).unwrap();
        assert_eq!(wanted.mirrors["docker.io"].endpoints, [Endpoint::new("https://h/v2/p", true)]);
        assert!(wanted.mirrors["docker.io"].skip_fallback);
        assert_eq!(wanted.auth["h"].password, Some("s3cr3t-p".into()));
        assert_eq!(wanted.tls["h"].ca.as_deref(), Some("ca"));
        assert_eq!(wanted.tls["h"].client_identity.as_ref().unwrap().cert, "crt");
        // 1.10 and 1.11 have one mapping a host, 1.9 has texts as endpoints.
        let host = "config: {h: {auth: {username: u, password: s3cr3t-p}, tls: {clientIdentity: {crt: Y3J0, key: a2V5}, ca: Y2E=, insecureSkipVerify: true}}}";
        for mirrors in [
            "mirrors: {docker.io: {endpoints: [{endpoint: https://h/v2/p, overridePath: true}], skipFallback: true}}",
            "mirrors: {docker.io: {endpoints: [https://h/v2/p], overridePath: true, skipFallback: true}}",
        ] {
            assert_eq!(read(&format!("{mirrors}\n{host}\n")).unwrap(), wanted);
        }
        assert_eq!(read("{}").unwrap(), Registries::default());
        assert_eq!(read("mirrors: {a: {endpoints: [{}]}}").unwrap_err(), "has an endpoint without a URL");
        assert_eq!(read("tls: {a: {ca: '-'}}").unwrap_err(), "has a `ca` that is not base64 of a text");
    }
}
