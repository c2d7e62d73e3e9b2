use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::image::{Algorithm, Digest};
use crate::oci::{DigestMismatch, Manifest, ManifestError, ManifestKind, OCTET_STREAM, digest_of, passable};

/// A manifest that an upstream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The bytes, as they came.
    pub bytes: Bytes,
    /// Its media type, as it may be passed on.
    pub media_type: String,
    /// The digest of the bytes; [`None`] where the manifest cannot be kept under one, and only goes to the client that asked.
    ///
    /// That is Docker's schema 1, whose digest is not that of its bytes.
    pub digest: Option<Digest>,
}

/// Why what came is not a manifest that may be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidManifest {
    /// It is another one than was asked for, or than its header says.
    #[error("the manifest has the digest {}, not {}", .0.found, .0.wanted)]
    Digest(Box<DigestMismatch>),
    /// It is not a manifest; a web page, perhaps.
    #[error("what came is not a manifest: {0}")]
    Content(String),
}

/// Verifies what came for a manifest: under `Content-Type` and `Docker-Content-Digest`, if there were such headers.
///
/// What has the digest that was asked for is what was asked for, and need not be of a kind that is known here.
pub(super) fn verify(
    bytes: Bytes,
    content_type: Option<&str>,
    announced: Option<&str>,
    wanted: Option<&Digest>,
) -> Result<FetchedManifest, InvalidManifest> {
    let parsed = Manifest::parse(&bytes, content_type);
    let header = content_type.and_then(passable);
    // Signed ones hash to their payload, not to their bytes: by digest, those cannot be told from others.
    let is_schema1 = matches!(parsed, Err(ManifestError::Schema1));
    if is_schema1 && wanted.is_none_or(|wanted| digest_of(wanted.algorithm(), &bytes) == *wanted) {
        let media_type = header.unwrap_or(ManifestKind::DockerSchema1.media_type()).to_owned();
        return Ok(FetchedManifest { bytes, media_type, digest: None });
    }
    let announced = announced.and_then(|text| text.trim().parse::<Digest>().ok());
    let algorithm = wanted.or(announced.as_ref()).map_or(Algorithm::Sha256, Digest::algorithm);
    let found = digest_of(algorithm, &bytes);
    for expected in wanted.into_iter().chain(&announced) {
        let found = digest_of(expected.algorithm(), &bytes);
        if found != *expected {
            let size = bytes.len() as u64;
            return Err(InvalidManifest::Digest(Box::new(DigestMismatch { wanted: *expected, found, size })));
        }
    }
    let media_type = match (&parsed, header) {
        (Ok(manifest), _) => manifest.kind.media_type(),
        // A kind that is not known here is a manifest anyway if its type says so; a web page has another type. What no
        // digest vouches for may have been cut off, or is nothing at all.
        (Err(_), Some(header))
            if wanted.is_some()
                || announced.is_some()
                || header.starts_with("application/vnd.") && is_object(&bytes) =>
        {
            header
        }
        (Err(_), None) if wanted.is_some() => OCTET_STREAM,
        (Err(error), _) => return Err(InvalidManifest::Content(error.to_string())),
    };
    Ok(FetchedManifest { media_type: media_type.to_owned(), digest: Some(found), bytes })
}

/// Returns whether bytes are a JSON object from beginning to end.
fn is_object(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii();
    text.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = r#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

    #[test]
    fn what_came_is_what_was_meant() {
        let digest = digest_of(Algorithm::Sha256, IMAGE.as_bytes());
        let long = digest_of(Algorithm::Sha512, IMAGE.as_bytes());
        let other = digest_of(Algorithm::Sha256, b"other");
        let announced = |digest: &Digest| Some(digest.to_string());
        let oci = ManifestKind::OciManifest.media_type();
        let schema1 = r#"{"schemaVersion":1,"fsLayers":[]}"#;
        let odd = r#"{"of":"its own kind"}"#;
        let odd_digest = digest_of(Algorithm::Sha256, odd.as_bytes());
        let wrong = |wanted: &Digest| Err(format!("the manifest has the digest {digest}, not {wanted}"));
        for (text, content_type, header, wanted, want) in [
            (IMAGE, Some(oci), announced(&digest), None, Ok((oci, Some(digest)))),
            (IMAGE, Some("application/json"), None, None, Ok((oci, Some(digest)))),
            (IMAGE, None, None, Some(&digest), Ok((oci, Some(digest)))),
            (IMAGE, None, announced(&digest), Some(&long), Ok((oci, Some(long)))),
            (IMAGE, None, announced(&long), None, Ok((oci, Some(long)))),
            (IMAGE, None, Some("nonsense".into()), None, Ok((oci, Some(digest)))),
            (IMAGE, None, announced(&other), None, wrong(&other)),
            (IMAGE, None, announced(&digest), Some(&other), wrong(&other)),
            (schema1, None, announced(&other), None, Ok((ManifestKind::DockerSchema1.media_type(), None))),
            (schema1, Some("text/plain; charset=utf-8"), None, None, Ok(("text/plain", None))),
            (schema1, None, None, Some(&other), {
                let found = digest_of(Algorithm::Sha256, schema1.as_bytes());
                Err(format!("the manifest has the digest {found}, not {other}"))
            }),
            (odd, Some("x/y"), None, Some(&odd_digest), Ok(("x/y", Some(odd_digest)))),
            (odd, Some("x/y"), announced(&odd_digest), None, Ok(("x/y", Some(odd_digest)))),
            (
                odd,
                Some("application/vnd.x.y+json"),
                None,
                None,
                Ok(("application/vnd.x.y+json", Some(odd_digest))),
            ),
            (
                odd,
                Some("x/y"),
                None,
                None,
                Err("what came is not a manifest: the manifest has the schema version None, not 2".into()),
            ),
            (
                "\u{feff}{} ",
                Some(oci),
                None,
                None,
                Ok((oci, Some(digest_of(Algorithm::Sha256, "\u{feff}{} ".as_bytes())))),
            ),
            (
                "",
                Some(oci),
                None,
                None,
                Err("what came is not a manifest: the manifest cannot be read".into()),
            ),
            (
                "[]",
                Some(oci),
                None,
                None,
                Err("what came is not a manifest: the manifest cannot be read".into()),
            ),
            (
                &IMAGE[..90],
                Some(oci),
                None,
                None,
                Err("what came is not a manifest: the manifest cannot be read".into()),
            ),
            (
                "\x1f\u{8}",
                Some(oci),
                None,
                None,
                Err("what came is not a manifest: the manifest cannot be read".into()),
            ),
            (
                "<html>",
                Some("text/html"),
                None,
                None,
                Err("what came is not a manifest: the manifest cannot be read".into()),
            ),
        ] {
            let verified = verify(Bytes::from(text), content_type, header.as_deref(), wanted);
            let verified = verified.as_ref().map(|fetched| (fetched.media_type.as_str(), fetched.digest));
            assert_eq!(verified.map_err(ToString::to_string), want, "{text} {content_type:?} {header:?}");
        }
    }
}
