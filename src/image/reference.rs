use std::fmt;
use std::str::FromStr;

use super::registry::{DOCKER_HUB, RegistryHost};

/// An image reference in full: Docker Hub's shorthand is spelled out, and a tag is there unless a digest is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing is there.
    #[error("the reference is empty")]
    Empty,
    /// A scheme stands before it.
    #[error("an image reference has no scheme")]
    Scheme,
    /// The repository breaks the grammar.
    #[error(
        "`{0}` is no repository name: lower case letters and digits, parted by `.`, `_`, `__`, `-` or `/`"
    )]
    Repository(String),
    /// The tag breaks the grammar.
    #[error("`{0}` is no tag: letters, digits, `_`, `.` and `-`, at most 128")]
    Tag(String),
    /// The digest breaks the grammar.
    #[error("`{0}` is no digest: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128")]
    Digest(String),
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
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(ReferenceError::Digest(digest.to_owned()));
        }
        let (registry, rest) = split_registry(named);
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        let library = registry == DOCKER_HUB && !repository.contains('/');
        let repository = if library { format!("library/{repository}") } else { repository.to_owned() };
        if !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository(rest.to_owned()));
        }
        if registry.len() + 1 + repository.len() > 255 {
            return Err(ReferenceError::TooLong);
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
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

fn is_path_component(component: &str) -> bool {
    let mut rest = component;
    loop {
        let word = rest.len()
            - rest.trim_start_matches(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).len();
        if word == 0 {
            return false;
        }
        rest = rest.get(word..).unwrap_or_default();
        if rest.is_empty() {
            return true;
        }
        let dashes = rest.len() - rest.trim_start_matches('-').len();
        let separator = match rest {
            _ if dashes > 0 => dashes,
            _ if rest.starts_with("__") => 2,
            _ if rest.starts_with(['.', '_']) => 1,
            _ => return false,
        };
        rest = rest.get(separator..).unwrap_or_default();
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    let hex =
        |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match digest.split_once(':') {
        Some(("sha256", text)) => hex(text, 64),
        Some(("sha512", text)) => hex(text, 128),
        Some(_) | None => false,
    }
}

impl Reference {
    /// Returns the registry, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository, without the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns what a manifest request names: the digest if there is one, else the tag.
    pub fn manifest(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
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
        assert_eq!(pinned.manifest(), digest);
        assert_eq!(pinned.to_string(), format!("quay.io/x/y:1@{digest}"));
    }

    #[test]
    fn what_breaks_the_grammar_is_named() {
        let error = |text: &str| text.parse::<Reference>().unwrap_err();
        assert_eq!(error(""), ReferenceError::Empty);
        assert_eq!(error("https://ghcr.io/x"), ReferenceError::Scheme);
        assert_eq!(error("ghcr.io/X"), ReferenceError::Repository("X".into()));
        assert_eq!(error("ghcr.io/x:-1"), ReferenceError::Tag("-1".into()));
        assert_eq!(error("x@sha256:12"), ReferenceError::Digest("sha256:12".into()));
        assert_eq!(error("ghcr.io/"), ReferenceError::Repository(String::new()));
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
