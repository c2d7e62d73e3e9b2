use crate::image::Digest;

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
pub(super) fn tags_of(digest: &Digest) -> [String; 2] {
    let tag = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
    [tag.clone(), format!("{tag}.sig")]
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
