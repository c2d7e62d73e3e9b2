use crate::image::Platform;
use crate::oci::Descriptor;

/// Which images of an index are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// Those for these platforms.
    Only(Vec<Platform>),
    /// All, attestations too.
    All,
}

/// How a pull names its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    Tag,
    Digest,
}

impl Platforms {
    /// Returns the children of an index that are fetched.
    ///
    /// All of an index that is named by its digest: a mirror such as Harbor stores an index by the children that it has,
    /// and the digest is that of the whole (Harbor `src/controller/proxy/manifestcache.go`). All of one that has none for
    /// these platforms, too: what a node takes of it is not known.
    pub(super) fn choose<'a>(&self, children: &'a [Descriptor], named: NamedBy) -> Vec<&'a Descriptor> {
        let Self::Only(platforms) = self else { return children.iter().collect() };
        let suits = |child: &&Descriptor| {
            child.platform.as_ref().is_some_and(|own| platforms.iter().any(|wanted| own.suits(wanted)))
        };
        let fitting: Vec<&Descriptor> = children.iter().filter(suits).collect();
        if named == NamedBy::Digest || fitting.is_empty() { children.iter().collect() } else { fitting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Algorithm;
    use crate::oci::digest_of;

    #[test]
    fn children_of_an_index() {
        let child = |platform: &str| Descriptor {
            media_type: String::new(),
            digest: digest_of(Algorithm::Sha256, platform.as_bytes()),
            size: 1,
            platform: platform.parse().ok(),
            urls: Vec::new(),
        };
        let children = ["linux/amd64", "linux/arm64/v8", "unknown/unknown", ""].map(child);
        let only = |name: &str| Platforms::Only(vec![name.parse().unwrap()]);
        let count = |platforms: &Platforms, named| platforms.choose(&children, named).len();
        assert_eq!(count(&only("linux/amd64"), NamedBy::Tag), 1);
        assert_eq!(only("linux/arm64").choose(&children, NamedBy::Tag), [&children[1]]);
        assert_eq!(count(&only("linux/amd64"), NamedBy::Digest), 4);
        assert_eq!(count(&only("linux/s390x"), NamedBy::Tag), 4);
        assert_eq!(count(&Platforms::All, NamedBy::Tag), 4);
    }
}
