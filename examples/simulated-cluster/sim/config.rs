//! Machine configs as `talosctl gen config` makes them, as far as registries go; their secrets begin with `s3cr3t-`.

use super::rules::Rules;

/// Makes a node's machine config. The registries are those of an operator who began by hand.
pub fn machine_config(name: &str, role: &str, version: &str, registries: &str) -> String {
    let cluster = if role == "controlplane" {
        "    ca:\n        crt: c2ltdWxhdGVk\n        key: s3cr3t-cluster-key # keep it\n"
    } else {
        ""
    };
    let mut text = format!(
        "version: v1alpha1 # Indicates the schema used to decode the contents.\ndebug: false\npersist: true\nmachine:\n    \
         type: {role}\n    token: s3cr3t-machine-token\n    ca:\n        crt: c2ltdWxhdGVk\n        key: \
         s3cr3t-machine-key\n    kubelet:\n        image: ghcr.io/siderolabs/kubelet:v1.34.1\n    install:\n        disk: \
         /dev/sda\n{registries}    features:\n        kubePrism:\n            enabled: true\n            port: 7445\ncluster:\n    \
         controlPlane:\n        endpoint: https://10.5.0.1:6443\n    clusterName: simulated\n    token: \
         s3cr3t-cluster-token\n{cluster}"
    );
    // A name of the node's own: part of the document before 1.12, a document since.
    if Rules::of(version).documents() {
        text.push_str(&format!("---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: {name}\n"));
    }
    text
}

/// What stands in `machine.registries` before anything is rolled out: Docker Hub behind a URL that is not a registry.
pub fn old_registries() -> &'static str {
    "    # A first try by hand.\n    registries:\n        mirrors:\n            docker.io:\n                endpoints:\n                    \
     - https://registry-1.docker.io\n"
}
