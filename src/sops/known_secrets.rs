use std::ops::Range;

use super::cipher::is_token;
use super::path::{Path, Step};
use crate::yaml::Node;

/// Says of a document and a path in it whether a secret stands there.
pub type IsSecret = fn(&Node, &Path) -> bool;

/// Returns whether a secret stands at a path of a document, whatever file of this field it belongs to: an inventory, a
/// machine config, registry documents, a secrets bundle, a talosconfig, a kubeconfig, a Secret of Kubernetes.
pub fn is_secret(root: &Node, path: &Path) -> bool {
    is_registry_secret(path) || is_machine_secret(path) || is_key_of_tools(path) || is_kubernetes(root, path)
}

/// Returns whether a registry's secret stands at a path: `password`, `identityToken`, `auth` as a value, or the `key` of
/// a `clientIdentity`.
pub fn is_registry_secret(path: &Path) -> bool {
    let keys: Vec<&str> = path.keys().collect();
    matches!(
        keys.as_slice(),
        [.., "password" | "identityToken" | "identity_token" | "identitytoken" | "auth"]
            | [.., "clientIdentity", "key"]
    )
}

/// The selection that seals every secret of registries, whatever file they stand in, and no reference to one.
///
/// It covers what [`is_registry_secret`] names.
pub const REGISTRY_RULE: &str = "^(password|auth|identity_?[tT]oken|key)$";

/// Returns where secrets stand in clear in a document: neither sealed nor a variable such as `${PASSWORD}`.
pub fn clear_secrets(root: &Node) -> Vec<Range<usize>> {
    fn collect(root: &Node, node: &Node, path: &Path, out: &mut Vec<Range<usize>>) {
        let is_clear = |text: &str| !text.is_empty() && !is_token(text) && !text.starts_with("${");
        if node.as_str().is_some_and(is_clear) && is_secret(root, path) {
            out.push(node.span.clone());
        }
        let below = |step: Step| Path(path.0.iter().cloned().chain([step]).collect());
        for entry in node.entries() {
            collect(root, &entry.value, &below(Step::Key(entry.key.clone())), out);
        }
        for (at, item) in node.items().iter().enumerate() {
            collect(root, item, &below(Step::Index(at)), out);
        }
    }
    let mut out = Vec::new();
    collect(root, root, &Path::default(), &mut out);
    out
}

/// The selection that seals every secret of a machine config, for files of which no rule says what to seal.
///
/// It covers what [`is_machine_secret`] names, and what Talos shows to everyone and people put secrets into anyway: files,
/// environments, manifests, settings of system extensions.
pub const SECRET_RULE: &str = "^(token|key|secret|clusterSecret|aescbcEncryptionSecret|secretboxEncryptionSecret|password|auth|\
identityToken|passphrase|privateKey|presharedKey|apiToken|uniqueToken|apiUrl|content|contents|env|environment|variables)$";

/// Returns whether a secret stands at a path of a machine config: what Talos redacts before it shows a config.
///
/// The places are those of every `Redact` in Talos' `pkg/machinery/config/types` (1.9 to 1.14). `apiUrl` is that of a
/// `SideroLinkConfig`, which may hold a join token.
pub fn is_machine_secret(path: &Path) -> bool {
    let keys: Vec<&str> = path.keys().collect();
    let anywhere = [
        "aescbcEncryptionSecret",
        "secretboxEncryptionSecret",
        "passphrase",
        "privateKey",
        "presharedKey",
        "apiToken",
        "uniqueToken",
        "clusterSecret",
    ];
    match keys.as_slice() {
        ["machine" | "cluster", "token"] | ["cluster", "secret"] | ["apiUrl"] => true,
        [.., "ca" | "aggregatorCA" | "issuingCA" | "serviceAccount", "key"] => true,
        // Of an `EncryptionConfiguration` of Kubernetes, which lists its keys.
        [.., "keys", "secret"] => true,
        [.., last] => anywhere.contains(last) || is_registry_secret(path),
        [] => false,
    }
}

/// Returns whether a secret stands at a path of a file that holds keys of tools.
///
/// Sources: Talos `pkg/machinery/config/generate/secrets/bundle.go` and `client/config/config.go`; client-go
/// `tools/clientcmd/api/v1/types.go`.
fn is_key_of_tools(path: &Path) -> bool {
    let keys: Vec<&str> = path.keys().collect();
    match keys.as_slice() {
        // A secrets bundle, as `talosctl gen secrets` and talhelper's `gensecret` write it.
        ["secrets", "bootstraptoken" | "secretboxencryptionsecret" | "aescbcencryptionsecret"]
        | ["trustdinfo", "token"]
        | ["certs", _, "key"] => true,
        // A talosconfig.
        ["contexts", _, "key"] => true,
        // A kubeconfig.
        ["users", "user", "token" | "client-key-data"]
        | [
            "users",
            "user",
            "auth-provider",
            "config",
            "access-token" | "id-token" | "refresh-token" | "client-secret",
        ]
        | ["users", "user", "exec", "env", "value"] => true,
        _ => false,
    }
}

/// Returns whether a path leads into the data of a Kubernetes Secret, alone or in a list.
fn is_kubernetes(root: &Node, path: &Path) -> bool {
    let is_kind = |node: &Node, kind: &str| node.get("kind").and_then(Node::as_str) == Some(kind);
    let in_data = |steps: &[Step]| matches!(steps, [Step::Key(first), _, ..] if first == "data" || first == "stringData");
    match path.0.as_slice() {
        [Step::Key(items), Step::Index(at), rest @ ..] if items == "items" => {
            let item = root.get("items").and_then(|items| items.items().get(*at));
            item.is_some_and(|item| is_kind(item, "Secret")) && in_data(rest)
        }
        steps => is_kind(root, "Secret") && in_data(steps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sops::Rule;
    use crate::yaml::parse_one;

    /// Every place that Talos redacts, by version 1.14.1, and its form before 1.12.
    const PLACES: &[&str] = &[
        "machine.token",
        "machine.ca.key",
        "machine.registries.config.h:5000.auth.password",
        "machine.registries.config.h:5000.auth.auth",
        "machine.registries.config.h:5000.auth.identityToken",
        "machine.registries.config.h:5000.tls.clientIdentity.key",
        "machine.network.interfaces.wireguard.privateKey",
        "machine.network.interfaces.vip.hcloud.apiToken",
        "machine.network.interfaces.vlans.vip.equinixMetal.apiToken",
        "machine.systemDiskEncryption.state.keys.static.passphrase",
        "cluster.secret",
        "cluster.token",
        "cluster.aescbcEncryptionSecret",
        "cluster.secretboxEncryptionSecret",
        "cluster.serviceAccount.key",
        "cluster.ca.key",
        "cluster.aggregatorCA.key",
        "cluster.etcd.ca.key",
        "issuingCA.key",
        "issuer.privateKey",
        "config.resources.providers.secretbox.keys.secret",
        "clusterSecret",
        "apiUrl",
        "uniqueToken",
        "privateKey",
        "peers.presharedKey",
        "apiToken",
        "encryption.keys.static.passphrase",
        "password",
        "auth",
        "identityToken",
        "clientIdentity.key",
    ];

    fn nothing() -> Node {
        parse_one("{}\n").unwrap().root
    }

    #[test]
    fn what_talos_redacts_is_a_secret_and_sealed() {
        let rule = Rule::encrypted_regex(SECRET_RULE).unwrap();
        for place in PLACES {
            let keys: Vec<&str> = place.split('.').collect();
            assert!(is_machine_secret(&Path::of_keys(keys.iter().copied())), "{place}");
            assert!(is_secret(&nothing(), &Path::of_keys(keys.iter().copied())), "{place}");
            assert!(rule.selects_keys(keys), "{place}");
        }
    }

    #[test]
    fn the_rule_for_registries_covers_every_secret_of_theirs() {
        let rule = Rule::encrypted_regex(REGISTRY_RULE).unwrap();
        for place in [
            "mirrors.harbor.credentials.password",
            "mirrors.harbor.credentials.identityToken",
            "registries.ghcr.io.upstream.credentials.auth",
            "machine.registries.config.h:5000.auth.auth",
            "machine.registries.config.h:5000.tls.clientIdentity.key",
            "configs.h:5000.auth.identity_token",
            "auths.h.identitytoken",
        ] {
            let keys: Vec<&str> = place.split('.').collect();
            assert!(is_registry_secret(&Path::of_keys(keys.iter().copied())), "{place}");
            assert!(rule.selects_keys(keys), "{place}");
        }
        for place in ["passwordFrom", "authFrom", "identityTokenFrom", "keyFile", "authority"] {
            assert!(!rule.selects_keys(["credentials", place]), "{place}");
        }
    }

    #[test]
    fn secrets_in_clear_are_found_where_they_stand() {
        let text = "mirrors: {h: {credentials: {username: u, password: p1}}}\nconfigs:\n  - auth: '${AUTH}'\n  - {password: 'ENC[AES256_GCM,x]', identityToken: t2}\n  - password: ''\n";
        let root = parse_one(text).unwrap().root;
        let found: Vec<&str> = clear_secrets(&root).into_iter().map(|span| &text[span]).collect();
        assert_eq!(found, ["p1", "t2"]);
    }

    #[test]
    fn what_talos_shows_is_none() {
        for place in [
            "machine.ca.crt",
            "machine.type",
            "taints.key",
            "machine.systemDiskEncryption.state.keys.slot",
            "machine.network.interfaces.wireguard.peers.publicKey",
            "machine.registries.config.h.auth.username",
            "machine.nodeLabels.secret",
            "contexts.home.ca",
            "certs.etcd.crt",
            "cluster.id",
            "users.user.client-certificate-data",
            "data.settings",
        ] {
            assert!(!is_secret(&nothing(), &Path::of_keys(place.split('.'))), "{place}");
        }
    }

    #[test]
    fn keys_of_tools_are_secrets() {
        for place in [
            "secrets.bootstraptoken",
            "secrets.secretboxencryptionsecret",
            "secrets.aescbcencryptionsecret",
            "trustdinfo.token",
            "certs.k8saggregator.key",
            "certs.k8sserviceaccount.key",
            "contexts.home.key",
            "users.user.token",
            "users.user.client-key-data",
            "users.user.password",
            "users.user.auth-provider.config.refresh-token",
            "users.user.exec.env.value",
        ] {
            assert!(is_secret(&nothing(), &Path::of_keys(place.split('.'))), "{place}");
        }
    }

    #[test]
    fn data_is_secret_in_a_secret_of_kubernetes_only() {
        let secret = parse_one("kind: Secret\ndata: {a: eA==}\nstringData: {b: x}\n").unwrap().root;
        let map = parse_one("kind: ConfigMap\ndata: {a: x}\n").unwrap().root;
        let list = parse_one(
            "kind: List\nitems: [{kind: ConfigMap, data: {a: x}}, {kind: Secret, data: {a: eA==}}]\n",
        );
        let list = list.unwrap().root;
        let data: Path = "[\"data\"][\"a\"]".parse().unwrap();
        assert!(is_secret(&secret, &data) && !is_secret(&map, &data));
        assert!(is_secret(&secret, &"[\"stringData\"][\"b\"]".parse().unwrap()));
        assert!(is_secret(&list, &"[\"items\"][1][\"data\"][\"a\"]".parse().unwrap()));
        assert!(!is_secret(&list, &"[\"items\"][0][\"data\"][\"a\"]".parse().unwrap()));
    }
}
