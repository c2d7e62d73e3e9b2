use crate::sops::{Path, is_registry_secret};

/// The selection that seals every secret of a machine config, for files of which no rule says what to seal.
///
/// It covers what [`is_secret`] names, and what Talos shows to everyone and people put secrets into all the same: files,
/// environments, manifests, settings of system extensions.
pub const SECRET_RULE: &str = "^(token|key|secret|clusterSecret|aescbcEncryptionSecret|secretboxEncryptionSecret|password|auth|\
identityToken|passphrase|privateKey|presharedKey|apiToken|uniqueToken|apiUrl|content|contents|env|environment|variables)$";

/// Returns whether a secret stands at a path of a machine config: what Talos redacts before it shows a config.
///
/// The places are those of every `Redact` in Talos' `pkg/machinery/config/types` (1.9 to 1.14). `apiUrl` is that of a
/// `SideroLinkConfig`, which may hold a join token.
pub fn is_secret(path: &Path) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sops::Rule;

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

    #[test]
    fn what_talos_redacts_is_a_secret_and_sealed() {
        let rule = Rule::encrypted_regex(SECRET_RULE).unwrap();
        for place in PLACES {
            let keys: Vec<&str> = place.split('.').collect();
            assert!(is_secret(&Path::of_keys(keys.iter().copied())), "{place}");
            assert!(rule.selects_keys(keys), "{place}");
        }
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
        ] {
            assert!(!is_secret(&Path::of_keys(place.split('.'))), "{place}");
        }
    }
}
