//! Servers that the examples of some commands ask: the API of Kubernetes, registries, a Harbor.

use crate::fake_harbor::{ADMIN_PASSWORD, Harbor, Version};
use crate::fake_upstream::Upstream;
use crate::run::Place;

/// The servers that one command's examples ask.
pub enum Servers {
    /// The API of Kubernetes, and a registry behind every name.
    Registries { _kubernetes: Upstream, _registry: Upstream },
    /// A Harbor.
    Harbor(Harbor),
}

impl Servers {
    /// Starts what a command's examples ask, and says in a place where it is.
    pub fn of(command: &str, place: &Place) -> Option<Self> {
        match command.split(' ').next() {
            Some("scan" | "verify" | "why" | "warm") => Some(Self::registries(place)),
            Some("harbor") => Some(Self::harbor(command, place)),
            _ => None,
        }
    }

    /// Returns an example with the address that a server has here.
    pub fn found(&self, example: &str) -> String {
        match self {
            Self::Registries { .. } => example.to_owned(),
            Self::Harbor(harbor) => example.replace("https://harbor.example", &harbor.url()),
        }
    }

    fn registries(place: &Place) -> Self {
        let (kubernetes, registry) = (Upstream::start(), Upstream::start());
        crate::scan::api(&kubernetes);
        place.write(".kube/config", crate::scan::kubeconfig(&kubernetes.url(), "", "token: s3cr3t-x"));
        let pods = r#"{"kind": "Pod", "spec": {"containers": [{"image": "quay.io/a/b:1"}]}}"#;
        place.write("clusters/home/pod.yaml", pods).write("pods.json", pods);
        place.write("images.txt", "docker.io/library/alpine:3.22\nquay.io/a/b:1\n");
        let layers = [b"a layer".to_vec()];
        for (repository, tag) in [("library/alpine", "3.22"), ("cilium/cilium", "v1.18.1"), ("a/b", "1")] {
            registry.image(repository, tag, &layers);
        }
        place.run("decrypt --in-place mirrors.yaml").ok();
        // No registry of the network is asked: each is where the inventory says that it is.
        let (before, rest) = place.read("mirrors.yaml").split_once("registries:").map(owned).unwrap();
        let (_, nodes) = rest.split_once("\nverify:").map(owned).unwrap();
        let all = ["docker.io", "ghcr.io", "registry.k8s.io", "quay.io", "factory.talos.dev", "gcr.io"];
        let all = all.map(|name| format!("    {name}: {{upstream: {{url: '{}'}}}}\n", registry.url()));
        let all = all.concat();
        let inventory = format!("{before}registries:\n{all}defaults: {{via: [harbor]}}\nverify:{nodes}");
        place.write("mirrors.yaml", inventory);
        Self::Registries { _kubernetes: kubernetes, _registry: registry }
    }

    fn harbor(command: &str, place: &Place) -> Self {
        let harbor = Harbor::new(Version::V2_15_2);
        let admin = format!("{{username: admin, password: {ADMIN_PASSWORD}}}");
        let url = harbor.url();
        place.write(
            "mirrors.yaml",
            format!(
                "cluster: home\nmirrors:\n    harbor: {{kind: harbor, url: '{url}', admin: {admin}}}\nregistries: \
                 [docker.io, registry.k8s.io]\ndefaults: {{via: [harbor]}}\nverify: {{images: [docker.io/library/alpine:3.22]}}\n"
            ),
        );
        place.run("encrypt --in-place mirrors.yaml").ok();
        if matches!(command, "harbor rotate-robot" | "harbor status" | "harbor export") {
            place.run("harbor apply --yes").ok();
        }
        Self::Harbor(harbor)
    }
}

fn owned((before, after): (&str, &str)) -> (String, String) {
    (before.to_owned(), after.to_owned())
}
