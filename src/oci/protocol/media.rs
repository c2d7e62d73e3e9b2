/// The kinds of manifest that a registry serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestKind {
    /// An OCI image manifest.
    OciManifest,
    /// An OCI image index.
    OciIndex,
    /// A Docker manifest, version 2, schema 2.
    DockerManifest,
    /// A Docker manifest list.
    DockerList,
    /// Docker's schema 1, signed or not: its digest is not that of its bytes, and clients refuse it by now.
    DockerSchema1,
}

/// The `Accept` header for any manifest that can be kept; schema 1 is not asked for.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The media type of a blob whose own is not known.
pub const OCTET_STREAM: &str = "application/octet-stream";

impl ManifestKind {
    /// Returns the kind that a `Content-Type` header or a `mediaType` field names.
    pub fn of(media_type: &str) -> Option<Self> {
        Some(match essence(media_type).to_ascii_lowercase().as_str() {
            "application/vnd.oci.image.manifest.v1+json" => Self::OciManifest,
            "application/vnd.oci.image.index.v1+json" => Self::OciIndex,
            "application/vnd.docker.distribution.manifest.v2+json" => Self::DockerManifest,
            "application/vnd.docker.distribution.manifest.list.v2+json" => Self::DockerList,
            "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Self::DockerSchema1,
            _ => return None,
        })
    }

    /// Returns the media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerSchema1 => "application/vnd.docker.distribution.manifest.v1+prettyjws",
        }
    }

    /// Returns whether it lists manifests rather than layers.
    pub const fn is_index(self) -> bool {
        match self {
            Self::OciIndex | Self::DockerList => true,
            Self::OciManifest | Self::DockerManifest | Self::DockerSchema1 => false,
        }
    }
}

/// Returns a media type without its parameters.
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Returns a `Content-Type` from elsewhere as it may be passed on: without parameters, `None` if it is not a media type.
pub fn passable(content_type: &str) -> Option<&str> {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let media_type = essence(content_type);
    let (kind, subtype) = media_type.split_once('/')?;
    (media_type.len() <= 255 && word(kind) && word(subtype)).then_some(media_type)
}

/// What a client takes, from all its `Accept` headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    range: String,
    refused: bool,
}

impl Accept {
    /// Reads the values of all `Accept` headers of a request; some clients send one for each media type.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let entries = headers.into_iter().flat_map(|header| header.split(','));
        let entries = entries.filter_map(|entry| {
            let range = essence(entry).to_ascii_lowercase();
            let refused = entry.split(';').skip(1).any(|parameter| {
                parameter.split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>() == Ok(0.0)
                })
            });
            (!range.is_empty()).then_some(Entry { range, refused })
        });
        Self(entries.take(64).collect())
    }

    /// Returns whether a media type will do; the most specific entry decides, and no entry at all means anything.
    pub fn allows(&self, media_type: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let exact = essence(media_type).to_ascii_lowercase();
        let family = exact.split_once('/').map(|(kind, _)| format!("{kind}/*")).unwrap_or_default();
        [exact.as_str(), family.as_str(), "*/*"]
            .iter()
            .find_map(|range| self.0.iter().find(|entry| entry.range == *range))
            .is_some_and(|entry| !entry.refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [ManifestKind; 5] = [
        ManifestKind::OciManifest,
        ManifestKind::OciIndex,
        ManifestKind::DockerManifest,
        ManifestKind::DockerList,
        ManifestKind::DockerSchema1,
    ];

    #[test]
    fn kinds_have_names() {
        let asked = Accept::parse([ACCEPT_MANIFESTS]);
        for kind in ALL {
            assert_eq!(ManifestKind::of(kind.media_type()), Some(kind));
            let header = format!("{}; charset=utf-8", kind.media_type().to_uppercase());
            assert_eq!(ManifestKind::of(&header), Some(kind));
            assert_eq!(asked.allows(kind.media_type()), kind != ManifestKind::DockerSchema1);
        }
        for other in ["", "text/plain", "application/json", "application/octet-stream"] {
            assert_eq!(ManifestKind::of(other), None);
        }
    }

    #[test]
    fn clients_say_what_they_take() {
        let (index, manifest) = (ManifestKind::OciIndex.media_type(), ManifestKind::OciManifest.media_type());
        for (headers, takes_index, takes_manifest) in [
            (vec![], true, true),
            (vec!["*/*"], true, true),
            (vec!["application/*;q=0.5"], true, true),
            (vec!["text/*"], false, false),
            (vec![manifest], false, true),
            (vec![manifest, index], true, true),
            (
                vec![
                    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, */*",
                ],
                true,
                true,
            ),
            (vec!["application/vnd.oci.image.index.v1+json;q=0, */*"], false, true),
            (vec!["application/vnd.oci.image.index.v1+json; Q = 0.0 ,*/*;q=0.1"], false, true),
            (vec!["", " , "], true, true),
        ] {
            let accept = Accept::parse(headers.iter().copied());
            assert_eq!(
                (accept.allows(index), accept.allows(manifest)),
                (takes_index, takes_manifest),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn only_media_types_are_passed_on() {
        assert_eq!(passable("application/vnd.x+json; charset=utf-8"), Some("application/vnd.x+json"));
        for bad in ["", "text", "text/", "/x", "a/b/c", "a/b\r\nX: y", "a b/c", "a/\"b\"", "é/x"] {
            assert_eq!(passable(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}", other in "[a-z*/;=q0., ]{0,40}") {
            let accept = Accept::parse([text.as_str(), other.as_str()]);
            let _ = (accept.allows(&other), passable(&text), ManifestKind::of(&text));
        }
    }
}
