use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::images::{Certainty, Images};

/// Finds the images of an object, or of all objects of a list, without keeping the object.
///
/// Any shape will do: wherever containers, image volumes or keys called `image` stand in it, they are found. So pods,
/// templates of workloads, custom resources, Helm values and machine configs need no code of their own.
pub(super) struct Objects<'a> {
    pub(super) images: &'a mut Images,
    /// What the objects were read from: the user of images in objects without a name.
    pub(super) source: &'a str,
}

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut object = Object::default();
        Walk {
            sink: &mut Sink { images: self.images, source: self.source },
            object: &mut object,
            at: At::Root,
        }
        .deserialize(deserializer)?;
        Ok(())
    }
}

struct Sink<'a> {
    images: &'a mut Images,
    source: &'a str,
}

/// An object while it is read.
#[derive(Default)]
struct Object {
    kind: String,
    namespace: String,
    name: String,
    owner_kind: String,
    owner_name: String,
    template_hash: String,
    found: Vec<(String, Certainty)>,
}

impl Object {
    /// Returns what uses the images: the workload, where the object is a pod of one.
    fn user(&self, source: &str) -> String {
        if self.kind.is_empty() || self.name.is_empty() {
            return source.to_owned();
        }
        let (kind, name) = match self.owner_kind.as_str() {
            // A ReplicaSet is named for its Deployment and the hash of its template.
            "ReplicaSet" => match self.owner_name.strip_suffix(&format!("-{}", self.template_hash)) {
                Some(name) if !self.template_hash.is_empty() => ("Deployment", name),
                Some(_) | None => ("ReplicaSet", self.owner_name.as_str()),
            },
            // A Job of a CronJob is named for it and the minute.
            "Job" => match self.owner_name.rsplit_once('-') {
                Some((name, minute)) if minute.len() >= 8 && minute.bytes().all(|b| b.is_ascii_digit()) => {
                    ("CronJob", name)
                }
                Some(_) | None => ("Job", self.owner_name.as_str()),
            },
            // Pods of static manifests belong to their node.
            "" | "Node" => (self.kind.as_str(), self.name.as_str()),
            kind => (kind, self.owner_name.as_str()),
        };
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        format!("{kind} {}{slash}{name}", self.namespace)
    }

    fn give(&self, sink: &mut Sink<'_>) {
        // What its rules name are patterns.
        if self.found.is_empty() || self.kind == "ImageVerificationConfig" {
            return;
        }
        let user = self.user(sink.source);
        for (text, certainty) in &self.found {
            sink.images.add(text, &user, *certainty);
        }
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// An object, or a list of them.
    Root,
    /// The metadata of the object.
    Metadata,
    /// Labels of the object.
    Labels,
    /// Owners of the object.
    Owners,
    /// A list of containers, or a container.
    Containers,
    /// Under a key that says image.
    Image,
    /// Under a key that says images, such as `verify.images` of an inventory.
    Images,
    /// Under a key whose scalar is wanted.
    Word,
    /// Anywhere else.
    Inside,
}

/// A key, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Kind,
    Metadata,
    Items,
    Name,
    Namespace,
    Labels,
    TemplateHash,
    Owners,
    Containers,
    Image,
    PerhapsImage,
    Images,
    Registry,
    Repository,
    Tag,
    Digest,
    Reference,
    /// Large, and never with an image of its own.
    Skipped,
    Other,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "kind" => Key::Kind,
            "metadata" => Key::Metadata,
            "items" => Key::Items,
            "name" => Key::Name,
            "namespace" => Key::Namespace,
            "labels" => Key::Labels,
            "pod-template-hash" => Key::TemplateHash,
            "ownerReferences" => Key::Owners,
            "containers" | "initContainers" | "ephemeralContainers" => Key::Containers,
            "image" => Key::Image,
            "images" => Key::Images,
            "registry" => Key::Registry,
            "repository" => Key::Repository,
            "tag" => Key::Tag,
            "digest" => Key::Digest,
            "reference" => Key::Reference,
            "managedFields" | "annotations" | "status" | "data" | "stringData" | "binaryData"
            | "imageVerification" => Key::Skipped,
            "imageName" => Key::PerhapsImage,
            other if other.ends_with("Image") => Key::PerhapsImage,
            _ => Key::Other,
        })
    }
}

/// Walks one value; gives it back where it is a scalar that is wanted.
struct Walk<'a, 's> {
    sink: &'a mut Sink<'s>,
    object: &'a mut Object,
    at: At,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok((self.at == At::Word).then(|| number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok((self.at == At::Word).then(|| number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok((self.at == At::Word).then(|| number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(match self.at {
            At::Image | At::Word => Some(text.to_owned()),
            // A list of nothing but names, such as `-o json` of other tools prints.
            At::Root => {
                self.sink.images.add(text, self.sink.source, Certainty::Image);
                None
            }
            At::Images => {
                self.object.found.push((text.to_owned(), Certainty::Perhaps));
                None
            }
            At::Metadata | At::Labels | At::Owners | At::Containers | At::Inside => None,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Self { sink, object, at } = self;
        loop {
            let more = match at {
                At::Root => {
                    // The API server leaves the kind out of a list's items: it is in the list's own.
                    let kind = object.kind.strip_suffix("List").unwrap_or_default().to_owned();
                    let mut object = Object { kind, ..Object::default() };
                    items.next_element_seed(Walk { sink, object: &mut object, at })?
                }
                _ => items.next_element_seed(Walk { sink, object, at })?,
            };
            if more.is_none() {
                return Ok(None);
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Self { sink, object, at } = self;
        let mut parts = Parts::default();
        while let Some(key) = entries.next_key_seed(KeySeed)? {
            let below = below(at, key);
            let Some(below) = below else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let word = entries.next_value_seed(Walk { sink, object, at: below })?;
            let Some(word) = word else { continue };
            match (at, key) {
                (At::Root, Key::Kind) => object.kind = word,
                (At::Metadata, Key::Name) => object.name = word,
                (At::Metadata, Key::Namespace) => object.namespace = word,
                (At::Labels, Key::TemplateHash) => object.template_hash = word,
                (At::Owners, Key::Kind) => object.owner_kind = word,
                (At::Owners, Key::Name) => object.owner_name = word,
                (At::Containers, Key::Image) | (At::Image, Key::Reference) => {
                    object.found.push((word, Certainty::Image));
                }
                (_, Key::Image | Key::PerhapsImage) => object.found.push((word, Certainty::Perhaps)),
                (_, Key::Registry) => parts.registry = Some(word),
                (_, Key::Repository) => parts.repository = Some(word),
                (_, Key::Tag) => parts.tag = Some(word),
                (_, Key::Digest) => parts.digest = Some(word),
                _ => {}
            }
        }
        object.found.extend(parts.image().map(|image| (image, Certainty::Perhaps)));
        if at == At::Root {
            object.give(sink);
        }
        Ok(None)
    }
}

/// Returns how the value under a key is read; [`None`] where it is passed over.
fn below(at: At, key: Key) -> Option<At> {
    Some(match (at, key) {
        (_, Key::Skipped) => return None,
        (At::Root, Key::Items) => At::Root,
        (At::Root, Key::Metadata) => At::Metadata,
        (At::Metadata, Key::Labels) => At::Labels,
        (At::Metadata, Key::Owners) => At::Owners,
        (At::Root, Key::Kind)
        | (At::Metadata, Key::Name | Key::Namespace)
        | (At::Labels, Key::TemplateHash)
        | (At::Owners, Key::Kind | Key::Name) => At::Word,
        (At::Metadata | At::Labels | At::Owners, _) => return None,
        (_, Key::Containers) => At::Containers,
        (_, Key::Image | Key::PerhapsImage) => At::Image,
        (_, Key::Images) => At::Images,
        (_, Key::Registry | Key::Repository | Key::Tag | Key::Digest) => At::Word,
        (At::Image, Key::Reference) => At::Word,
        _ => At::Inside,
    })
}

/// An image in pieces, as Helm values have it.
#[derive(Default)]
struct Parts {
    registry: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
}

impl Parts {
    /// Returns the image, where its version is there too; without, it is the chart that knows it.
    fn image(self) -> Option<String> {
        let some = |part: Option<String>| part.filter(|part| !part.is_empty());
        let mut image = some(self.repository)?;
        let (tag, digest) = (some(self.tag), some(self.digest));
        if tag.is_none() && digest.is_none() {
            return None;
        }
        if let Some(registry) = some(self.registry) {
            image = format!("{registry}/{image}");
        }
        if let Some(tag) = tag {
            image = format!("{image}:{tag}");
        }
        if let Some(digest) = digest {
            image = format!("{image}@{digest}");
        }
        Some(image)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(value: &Value) -> Vec<String> {
        let mut images = Images::default();
        Objects { images: &mut images, source: "file" }.deserialize(value).unwrap();
        let line = |(image, uses): (&crate::image::Reference, &super::super::images::ImageUse)| {
            format!("{image} <- {}", uses.users.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        images.iter().map(line).chain(images.notes().iter().map(ToString::to_string)).collect()
    }

    #[test]
    fn everything_that_runs_in_a_pod() {
        let pod = json!({
            "kind": "Pod",
            "metadata": {
                "name": "web-5d4f8c7b9d-x2x4z", "namespace": "shop",
                "labels": {"pod-template-hash": "5d4f8c7b9d", "image": "not/this:1"},
                "annotations": {"image": "quay.io/nor/this:1"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f8c7b9d"}],
            },
            "spec": {
                "containers": [{"name": "web", "image": "nginx"}, {"image": "ghcr.io/a/b:1"}],
                "initContainers": [{"image": "busybox:1"}],
                "ephemeralContainers": [{"image": "quay.io/debug/tools:2"}],
                "volumes": [{"name": "models", "image": {"reference": "quay.io/models/llm:3"}}],
            },
            "status": {"containerStatuses": [{"image": "quay.io/not/this:1"}]},
        });
        let want = [
            "docker.io/library/busybox:1 <- Deployment shop/web",
            "docker.io/library/nginx:latest <- Deployment shop/web",
            "ghcr.io/a/b:1 <- Deployment shop/web",
            "quay.io/debug/tools:2 <- Deployment shop/web",
            "quay.io/models/llm:3 <- Deployment shop/web",
        ];
        assert_eq!(found(&pod), want);
        assert_eq!(found(&json!({"kind": "List", "items": [pod, pod]})), want);
        let mut bare = pod.clone();
        bare.as_object_mut().unwrap().remove("kind");
        assert_eq!(found(&json!({"kind": "PodList", "metadata": {}, "items": [bare]})), want);
    }

    #[test]
    fn owners_of_pods() {
        for (owner, name, hash, want) in [
            ("ReplicaSet", "web-abc", "abc", "Deployment n/web"),
            ("ReplicaSet", "web", "", "ReplicaSet n/web"),
            ("DaemonSet", "agent", "", "DaemonSet n/agent"),
            ("Job", "backup-29123456", "", "CronJob n/backup"),
            ("Job", "migrate", "", "Job n/migrate"),
            ("Node", "n1", "", "Pod n/p"),
            ("", "", "", "Pod n/p"),
        ] {
            let pod = json!({
                "metadata": {
                    "name": "p", "namespace": "n", "labels": {"pod-template-hash": hash},
                    "ownerReferences": [{"kind": owner, "name": name}],
                },
                "spec": {"containers": [{"image": "a:1"}]},
                "kind": "Pod",
            });
            assert_eq!(found(&pod), [format!("docker.io/library/a:1 <- {want}")]);
        }
    }

    #[test]
    fn templates_and_values() {
        let cron = json!({
            "kind": "CronJob", "metadata": {"name": "c", "namespace": "n"},
            "spec": {"jobTemplate": {"spec": {"template": {
                "metadata": {"name": "other"},
                "spec": {"containers": [{"image": "a:1"}]},
            }}}},
        });
        assert_eq!(found(&cron), ["docker.io/library/a:1 <- CronJob n/c"]);
        let release = json!({
            "kind": "HelmRelease", "metadata": {"name": "r"},
            "spec": {
                "values": {
                    "image": {"registry": "quay.io", "repository": "a/b", "tag": 1.5},
                    "sidecar": {"image": {"repository": "ghcr.io/c/d"}},
                    "cephVersion": {"image": "quay.io/ceph/ceph:v19"},
                    "operatorImage": "ghcr.io/e/f:2",
                },
                "chart": {"repository": "https://charts.example"},
            },
        });
        let want = ["ghcr.io/e/f:2", "quay.io/a/b:1.5", "quay.io/ceph/ceph:v19"];
        assert_eq!(found(&release), want.map(|image| format!("{image} <- HelmRelease r")));
        let config = json!({"machine": {
            "kubelet": {"image": "ghcr.io/siderolabs/kubelet:v1.36.3"},
            "install": {"image": "factory.talos.dev/metal-installer/abc:v1.14.1"},
        }});
        assert_eq!(found(&config).len(), 2);
        for (document, want) in [
            (
                json!({"apiVersion": "v1alpha1", "kind": "UnattendedInstallConfig", "image": "factory.talos.dev/metal-installer/abc:v1.14.1"}),
                1,
            ),
            (
                json!({"kind": "ContainerConfig", "name": "vpn", "image": "ghcr.io/own/vpn:2", "command": ["image"]}),
                1,
            ),
            (
                json!({"kind": "ImageVerificationConfig", "rules": [{"image": "ghcr.io/own/app", "skip": true}]}),
                0,
            ),
            (json!({"imageVerification": [{"image": "ghcr.io/own/app", "skip": true}]}), 0),
        ] {
            assert_eq!(found(&document).len(), want, "{document}");
        }
    }

    #[test]
    fn names_that_are_not_valid_are_told_where_an_image_must_be() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"image": "Bad Name"}]}});
        let notes = found(&pod);
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("Pod p: `Bad Name` is not a valid image name: "), "{notes:?}");
        assert_eq!(found(&json!(["a:1", "quay.io/b/c"])).len(), 2);
        assert_eq!(
            found(&json!({"kind": "Service", "spec": {"image": "word", "n": [1, 1.5, -1, null, true]}})),
            [""; 0]
        );
    }
}
