use crate::image::{Digest, Reference, TagOrDigest};

/// The artifact type of signatures that Talos looks for (Talos 1.14.1, `internal/pkg/containers/image/verify`).
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Which of the places that Talos looks at hold a signature of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// The referrers API lists a sigstore bundle.
    pub referrers: bool,
    /// The tag `sha256-HEX` is there.
    pub fallback_tag: bool,
    /// The tag `sha256-HEX.sig` is there.
    pub sig_tag: bool,
}

impl Signatures {
    /// Returns the look-ups that find something at `origin` and nothing here.
    pub fn lost_from(self, origin: Self) -> Vec<&'static str> {
        let lost = |here: bool, there: bool, name| (there && !here).then_some(name);
        [
            lost(self.referrers, origin.referrers, "referrers"),
            lost(self.fallback_tag, origin.fallback_tag, "the tag sha256-…"),
            lost(self.sig_tag, origin.sig_tag, "the tag sha256-….sig"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Returns the tag that stands for the referrers of a digest, and that of cosign's signature.
pub(in crate::mirror) fn tags_of(digest: &Digest) -> [String; 2] {
    let tag = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
    [tag.clone(), format!("{tag}.sig")]
}

/// Returns the URLs at which Talos looks for signatures of an image at a host, in order, by the URL of its manifest there.
///
/// `sha256:DIGEST` stands for the digest where the image's name does not say it.
pub fn signature_lookups(manifest_url: &str, image: &Reference) -> Vec<String> {
    let (path, query) =
        manifest_url.split_once('?').map_or((manifest_url, None), |(path, query)| (path, Some(query)));
    let Some((base, _)) = path.rsplit_once("/manifests/") else { return Vec::new() };
    let digest = match image.manifest() {
        TagOrDigest::Digest(digest) => digest.to_string(),
        TagOrDigest::Tag(_) => "sha256:DIGEST".to_owned(),
    };
    let tag = digest.replace(':', "-");
    let and = |first: Option<String>| {
        let parts: Vec<String> = query.map(str::to_owned).into_iter().chain(first).collect();
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    };
    vec![
        format!("{base}/referrers/{digest}{}", and(Some(format!("artifactType={BUNDLE}")))),
        format!("{base}/manifests/{tag}{}", and(None)),
        format!("{base}/manifests/{tag}.sig{}", and(None)),
    ]
}

/// Returns whether an index of referrers lists a sigstore bundle.
pub(super) fn lists_bundle(index: &[u8]) -> bool {
    let index = crate::oci::filter_referrers(index, BUNDLE);
    let index = index.and_then(|index| serde_json::from_slice::<serde_json::Value>(&index).ok());
    let manifests = index.as_ref().and_then(|index| index.get("manifests")?.as_array());
    manifests.is_some_and(|manifests| !manifests.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_signatures_are_looked_for() {
        let of = |url: &str, image: &str| signature_lookups(url, &image.parse().unwrap());
        assert_eq!(
            of("https://h/v2/hub/a/manifests/1?ns=docker.io", "a:1"),
            [
                "https://h/v2/hub/a/referrers/sha256:DIGEST?ns=docker.io&artifactType=application/vnd.dev.sigstore.bundle.v0.3+json",
                "https://h/v2/hub/a/manifests/sha256-DIGEST?ns=docker.io",
                "https://h/v2/hub/a/manifests/sha256-DIGEST.sig?ns=docker.io",
            ]
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = of(&format!("https://h/v2/a/manifests/{digest}"), &format!("a@{digest}"));
        assert!(pinned[2].ends_with(&format!("/manifests/sha256-{}.sig", "a".repeat(64))), "{pinned:?}");
    }

    #[test]
    fn what_is_lost_on_the_way() {
        let all = Signatures { referrers: true, fallback_tag: false, sig_tag: true };
        assert_eq!(Signatures::default().lost_from(all), ["referrers", "the tag sha256-….sig"]);
        assert_eq!(all.lost_from(Signatures::default()), [""; 0]);
        let index = format!(r#"{{"manifests":[{{"artifactType":"{BUNDLE}"}}]}}"#);
        assert!(lists_bundle(index.as_bytes()));
        assert!(!lists_bundle(br#"{"manifests":[{"artifactType":"a/b"}]}"#));
        assert!(!lists_bundle(b"<html>"));
    }
}
