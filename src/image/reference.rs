use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};
use super::registry::{DOCKER_HUB, RegistryHost};
use super::repository::{Repository, RepositoryError};
use super::tag::{Tag, TagError};

/// An image reference in full: Docker Hub's shorthand is spelled out, and a tag is there unless a digest is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// What a manifest is asked for by: the specification's `<reference>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagOrDigest {
    /// A name that may come to mean something else.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing is there.
    #[error("the reference is empty")]
    Empty,
    /// A scheme stands before it.
    #[error("an image reference has no scheme")]
    Scheme,
    /// The repository breaks the grammar.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The tag breaks the grammar.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The digest breaks the grammar.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The name is longer than 255 characters.
    #[error("the name is longer than 255 characters")]
    TooLong,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads as `distribution/reference` does (`ParseNormalizedNamed`, then `TagNameOnly`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains("://") {
            return Err(ReferenceError::Scheme);
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        let digest = digest.map(str::parse::<Digest>).transpose()?;
        let (registry, rest) = split_registry(named);
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let tag = tag.map(str::parse::<Tag>).transpose()?;
        let repository: Repository = repository.parse()?;
        let repository = if registry == DOCKER_HUB { repository.on_docker_hub()? } else { repository };
        if registry.len() + 1 + repository.as_str().len() > 255 {
            return Err(ReferenceError::TooLong);
        }
        let tag = tag.or(if digest.is_none() { Some(Tag::latest()) } else { None });
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn split_registry(named: &str) -> (&str, &str) {
    let Some((first, rest)) = named.split_once('/') else { return (DOCKER_HUB, named) };
    let is_host = first.parse::<RegistryHost>().is_ok_and(|host| host.can_start_a_reference());
    match first {
        "index.docker.io" | DOCKER_HUB => (DOCKER_HUB, rest),
        host if is_host => (host, rest),
        _ => (DOCKER_HUB, named),
    }
}

impl Reference {
    /// Returns the registry, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository, without the registry.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns what a manifest request names: the digest if there is one, else the tag.
    pub fn manifest(&self) -> TagOrDigest {
        match (self.digest, &self.tag) {
            (Some(digest), _) => TagOrDigest::Digest(digest),
            (None, Some(tag)) => TagOrDigest::Tag(tag.clone()),
            (None, None) => TagOrDigest::Tag(Tag::latest()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shorthand_is_spelled_out() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, want) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("rook/ceph:v1", "docker.io/rook/ceph:v1"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
            ("localhost/x", "localhost/x:latest"),
            ("h:5000/x", "h:5000/x:latest"),
            ("ghcr/x", "docker.io/ghcr/x:latest"),
            ("ab__c--d/e.f", "docker.io/ab__c--d/e.f:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), want, "{text}");
        }
        let pinned: Reference = format!("quay.io/x/y:1@{digest}").parse().unwrap();
        assert_eq!(pinned.manifest().to_string(), digest);
        assert_eq!(pinned.to_string(), format!("quay.io/x/y:1@{digest}"));
    }

    #[test]
    fn what_breaks_the_grammar_is_named() {
        let error = |text: &str| text.parse::<Reference>().unwrap_err();
        assert_eq!(error(""), ReferenceError::Empty);
        assert_eq!(error("https://ghcr.io/x"), ReferenceError::Scheme);
        assert_eq!(error("ghcr.io/X"), RepositoryError::Grammar("X".into()).into());
        assert_eq!(error("ghcr.io/x:-1"), TagError("-1".into()).into());
        assert_eq!(error("x@sha256:12"), DigestError("sha256:12".into()).into());
        assert_eq!(error("ghcr.io/"), RepositoryError::Grammar(String::new()).into());
    }

    proptest! {
        #[test]
        fn printing_reads_back(text in "([a-z]{1,6}(\\.[a-z]{2,3})?(:[0-9]{1,4})?/)?[a-z0-9._/-]{1,30}(:[A-Za-z0-9._-]{1,20})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Reference>().is_ok();
            let _ = text.parse::<RegistryHost>().is_ok();
        }
    }
}
