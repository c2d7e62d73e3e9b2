use serde::Deserialize;
use serde::de::IgnoredAny;

use super::media::ManifestKind;
use crate::image::{Digest, Platform};

/// The largest manifest that is read: what the specification says a registry should take at least.
pub const MAX_MANIFEST_SIZE: usize = 4 * 1024 * 1024;
/// How deep a manifest may nest.
const MAX_DEPTH: usize = 64;

/// What a manifest says about other content.
///
/// It is read for that only and cannot be written: the bytes that came are the manifest, and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it is.
    pub kind: ManifestKind,
    /// The manifests or the blobs that it consists of.
    pub content: Content,
    /// The manifest that it says something about, such as the signed one of a signature.
    pub subject: Option<Descriptor>,
    /// What it is, where it is not an image.
    pub artifact_type: Option<String>,
}

/// What a manifest consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One manifest for each platform.
    Index(Vec<Descriptor>),
    /// An image.
    Image {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, from the lowest to the topmost.
        layers: Vec<Descriptor>,
    },
}

/// A piece of content as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type; any text, and sometimes none.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// What it is for.
    pub platform: Option<Platform>,
    /// Where else it is to be had. It is never fetched from there: the author of a manifest would choose what we dial.
    pub urls: Vec<String>,
}

/// Why bytes are not a manifest that can be kept.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It has more than [`MAX_MANIFEST_SIZE`] bytes.
    #[error("a manifest of {0} bytes is too large")]
    TooLarge(usize),
    /// It nests deeper than any manifest does.
    #[error("the manifest nests too deep")]
    TooDeep,
    /// It is not JSON, or a field is of a wrong type.
    #[error("the manifest cannot be read")]
    Json(#[from] serde_json::Error),
    /// It is of Docker's schema 1.
    #[error("the manifest is of schema 1, which cannot be verified by its bytes")]
    Schema1,
    /// `schemaVersion` is another one.
    #[error("the manifest has the schema version {0:?}, not 2")]
    SchemaVersion(Option<u64>),
    /// The header and the manifest itself disagree.
    #[error("the manifest calls itself `{field}`, and its header says `{header}`")]
    MediaType {
        /// What the header says.
        header: &'static str,
        /// What the manifest says.
        field: String,
    },
    /// Neither the header, nor a field, nor its contents say what it is.
    #[error("nothing says what kind of manifest it is")]
    Unknown,
    /// It has the fields of an index and those of an image: two readers might see two images (CVE-2021-41190).
    #[error("the manifest is an image and an index at once")]
    Ambiguous,
    /// It lacks the fields of its kind.
    #[error("the manifest has no `{0}`")]
    Missing(&'static str),
    /// A digest in it is malformed.
    #[error("the manifest names content by `{0}`, which is not a valid digest")]
    Digest(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    /// Only schema 1 has it.
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Manifest {
    /// Reads a manifest that came with this `Content-Type`, if it came with any.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        if depth(bytes) > MAX_DEPTH {
            return Err(ManifestError::TooDeep);
        }
        let raw: Raw = serde_json::from_slice(bytes)?;
        let kind = raw.kind(content_type)?;
        let content = match (kind.is_index(), raw.config, raw.layers, raw.manifests) {
            (_, Some(_), _, Some(_)) | (_, _, Some(_), Some(_)) => return Err(ManifestError::Ambiguous),
            (true, None, None, Some(manifests)) => Content::Index(descriptors(manifests)?),
            (true, _, _, None) => return Err(ManifestError::Missing("manifests")),
            (false, Some(config), Some(layers), None) => {
                Content::Image { config: config.try_into()?, layers: descriptors(layers)? }
            }
            (false, None, _, _) => return Err(ManifestError::Missing("config")),
            (false, Some(_), None, None) => return Err(ManifestError::Missing("layers")),
        };
        let subject = raw.subject.map(Descriptor::try_from).transpose()?;
        Ok(Self { kind, content, subject, artifact_type: raw.artifact_type.filter(|text| !text.is_empty()) })
    }

    /// Returns the manifests that belong to it.
    pub fn children(&self) -> &[Descriptor] {
        match &self.content {
            Content::Index(manifests) => manifests,
            Content::Image { .. } => &[],
        }
    }

    /// Returns the blobs that belong to it: the configuration, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.content {
            Content::Index(_) => (None, [].as_slice()),
            Content::Image { config, layers } => (Some(config), layers.as_slice()),
        };
        config.into_iter().chain(layers)
    }
}

impl Raw {
    fn kind(&self, content_type: Option<&str>) -> Result<ManifestKind, ManifestError> {
        let header = content_type.and_then(ManifestKind::of);
        let field = self.media_type.as_deref().filter(|text| !text.is_empty());
        let own = field.and_then(ManifestKind::of);
        let schema1 = Some(ManifestKind::DockerSchema1);
        if header == schema1 || own == schema1 || self.schema_version == Some(1) || self.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        if self.schema_version != Some(2) {
            return Err(ManifestError::SchemaVersion(self.schema_version));
        }
        match (header, own, field) {
            (Some(header), own, Some(field)) if own != Some(header) => {
                Err(ManifestError::MediaType { header: header.media_type(), field: field.to_owned() })
            }
            (Some(kind), _, _) | (None, Some(kind), _) => Ok(kind),
            (None, None, None) if self.manifests.is_some() => Ok(ManifestKind::OciIndex),
            (None, None, None) if self.config.is_some() => Ok(ManifestKind::OciManifest),
            (None, None, _) => Err(ManifestError::Unknown),
        }
    }
}

fn descriptors(raw: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, ManifestError> {
    raw.into_iter().map(Descriptor::try_from).collect()
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = ManifestError;

    fn try_from(raw: RawDescriptor) -> Result<Self, Self::Error> {
        let platform = raw.platform.map(|platform| Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant.filter(|variant| !variant.is_empty()),
        });
        Ok(Self {
            media_type: raw.media_type.unwrap_or_default(),
            digest: raw.digest.parse().map_err(|_| ManifestError::Digest(raw.digest))?,
            size: raw.size,
            platform,
            urls: raw.urls.unwrap_or_default(),
        })
    }
}

/// Returns how deep brackets nest outside of strings, without reading what they hold.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most) = (0usize, 0usize);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::sha256([byte; 32])
    }

    fn descriptor(byte: u8) -> String {
        format!(r#"{{"mediaType":"t/{byte}","digest":"{}","size":{byte},"x":[]}}"#, digest(byte))
    }

    fn image(more: &str) -> String {
        let (config, layers) = (descriptor(1), [descriptor(2), descriptor(3)].join(","));
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{more}}}"#)
    }

    fn index(more: &str) -> String {
        let amd = format!(
            r#"{{"digest":"{}","size":7,"platform":{{"os":"linux","architecture":"amd64","variant":""}}}}"#,
            digest(7)
        );
        format!(r#"{{"schemaVersion":2,"manifests":[{amd},{}]{more}}}"#, descriptor(8))
    }

    fn parse(text: &str, content_type: Option<&str>) -> Result<Manifest, String> {
        Manifest::parse(text.as_bytes(), content_type).map_err(|error| error.to_string())
    }

    #[test]
    fn what_belongs_to_a_manifest() {
        let manifest =
            parse(&image(&format!(r#","artifactType":"a/b","subject":{}"#, descriptor(9))), None).unwrap();
        assert_eq!(manifest.kind, ManifestKind::OciManifest);
        assert_eq!(
            manifest.blobs().map(|blob| (blob.digest, blob.size)).collect::<Vec<_>>(),
            [(digest(1), 1), (digest(2), 2), (digest(3), 3)]
        );
        assert_eq!(manifest.children(), []);
        assert_eq!(manifest.subject.map(|subject| subject.digest), Some(digest(9)));
        assert_eq!(manifest.artifact_type.as_deref(), Some("a/b"));

        let list = parse(&index(""), Some(ManifestKind::DockerList.media_type())).unwrap();
        assert_eq!(list.kind, ManifestKind::DockerList);
        let platforms: Vec<_> =
            list.children().iter().map(|child| child.platform.as_ref().map(ToString::to_string)).collect();
        assert_eq!(platforms, [Some("linux/amd64".to_owned()), None]);
        assert_eq!(list.blobs().count(), 0);
    }

    #[test]
    fn what_kind_it_is() {
        let (oci, docker) =
            (ManifestKind::OciManifest.media_type(), ManifestKind::DockerManifest.media_type());
        let named = |kind: &str| image(&format!(r#","mediaType":"{kind}""#));
        for (text, header, want) in [
            (image(""), None, Ok(ManifestKind::OciManifest)),
            (image(""), Some("application/json"), Ok(ManifestKind::OciManifest)),
            (image(""), Some(docker), Ok(ManifestKind::DockerManifest)),
            (named(docker), None, Ok(ManifestKind::DockerManifest)),
            (named(docker), Some("application/octet-stream"), Ok(ManifestKind::DockerManifest)),
            (named(oci), Some(oci), Ok(ManifestKind::OciManifest)),
            (index(""), None, Ok(ManifestKind::OciIndex)),
            (
                named(docker),
                Some(oci),
                Err(format!("the manifest calls itself `{docker}`, and its header says `{oci}`")),
            ),
            (
                named("x/y"),
                Some(oci),
                Err(format!("the manifest calls itself `x/y`, and its header says `{oci}`")),
            ),
            (named("x/y"), None, Err("nothing says what kind of manifest it is".into())),
            (r#"{"schemaVersion":2}"#.into(), None, Err("nothing says what kind of manifest it is".into())),
        ] {
            assert_eq!(parse(&text, header).map(|manifest| manifest.kind), want, "{text} {header:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let oci = ManifestKind::OciManifest.media_type();
        let schema1 = "the manifest is of schema 1, which cannot be verified by its bytes";
        let bad = image("").replace(&digest(2).to_string(), "sha384:00");
        for (text, header, want) in [
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), Some("text/plain"), schema1),
            (image(""), Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), schema1),
            (r#"{"schemaVersion":3}"#.to_owned(), None, "the manifest has the schema version Some(3), not 2"),
            ("{}".to_owned(), None, "the manifest has the schema version None, not 2"),
            (image(r#","manifests":[]"#), None, "the manifest is an image and an index at once"),
            (image(r#","manifests":[]"#), Some(oci), "the manifest is an image and an index at once"),
            (index(""), Some(oci), "the manifest has no `config`"),
            (image(""), Some(ManifestKind::OciIndex.media_type()), "the manifest has no `manifests`"),
            (bad, None, "the manifest names content by `sha384:00`, which is not a valid digest"),
            (image(r#","config":null"#), None, "the manifest cannot be read"),
            (image("").replace(r#""size":2"#, r#""size":-2"#), None, "the manifest cannot be read"),
            (format!("{} x", image("")), None, "the manifest cannot be read"),
            ("[".repeat(100_000), None, "the manifest nests too deep"),
            (
                image(&format!(r#","x":{}{}"#, "[".repeat(64), "]".repeat(64))),
                None,
                "the manifest nests too deep",
            ),
            (" ".repeat(MAX_MANIFEST_SIZE + 1), None, "a manifest of 4194305 bytes is too large"),
            (String::new(), None, "the manifest cannot be read"),
        ] {
            assert_eq!(parse(&text, header).unwrap_err(), want);
        }
        let brackets = image(&format!(r#","x":"\"{}""#, "[".repeat(100)));
        assert!(parse(&brackets, None).is_ok(), "brackets in strings nest nothing");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[{}\\[\\]\",:a2\\\\]{0,60}", at in 0usize..400) {
            let _ = Manifest::parse(&bytes, None).is_ok();
            let _ = Manifest::parse(text.as_bytes(), None).is_ok();
            let mut cut = image("").into_bytes();
            cut.truncate(at);
            let _ = Manifest::parse(&cut, None).is_ok();
        }
    }
}
