use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::{Digest, Reference, glob_matches};

/// A pattern of names: `*` stands for any text, slashes included, `?` for one character, the rest for itself.
///
/// A slash is not a border because repositories of one owner lie at different depths: `siderolabs/*` means all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(String);

/// A text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid pattern: it may have the characters of names, `*` and `?`, or be NAME@DIGEST")]
pub struct GlobError(pub String);

impl Glob {
    /// Reads a pattern of images: the name of one as people say it, such as `nginx:1`, stands for its whole name. With a
    /// digest, the tag beside it says nothing more.
    pub fn of_images(text: &str) -> Result<Self, GlobError> {
        if let Some((name, digest)) = text.split_once('@') {
            let is_digest = digest.parse::<Digest>().is_ok();
            let name = Self::of_images(name).ok().filter(|_| is_digest && !name.contains(['*', '?']));
            let name = name.ok_or_else(|| GlobError(text.to_owned()))?;
            let border = name.0.rfind('/').map_or(0, |slash| slash + 1);
            let (before, last) = name.0.split_at(border);
            let repository = last.split_once(':').map_or(last, |(repository, _)| repository);
            return Self::read(&format!("{before}{repository}@{digest}"), "@");
        }
        let pattern: Self = text.parse()?;
        let Some(named) = text.parse::<Reference>().ok().filter(|_| !text.contains(['*', '?'])) else {
            return Ok(pattern);
        };
        let last = text.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map_or(String::new(), |(_, tag)| format!(":{tag}"));
        format!("{}/{}{tag}", named.registry(), named.repository()).parse()
    }

    fn read(text: &str, more: &str) -> Result<Self, GlobError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "*?/._-:".contains(c) || more.contains(c);
        let good = !text.is_empty() && text.len() <= 512 && text.chars().all(allowed);
        if good { Ok(Self(text.to_owned())) } else { Err(GlobError(text.to_owned())) }
    }

    /// Returns whether a whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        glob_matches(&self.0, name)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text, "")
    }
}

impl TryFrom<String> for Glob {
    type Error = GlobError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::read(&text, "@")
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.0
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_images_are_whole() {
        for (text, whole) in [
            ("nginx:1", "docker.io/library/nginx:1"),
            ("nginx", "docker.io/library/nginx"),
            ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("cilium/cilium:v1", "docker.io/cilium/cilium:v1"),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
            ("reg.example:5000/a/b", "reg.example:5000/a/b"),
            ("*/nginx:1", "*/nginx:1"),
            ("nginx:?", "nginx:?"),
            ("A/b", "A/b"),
        ] {
            assert_eq!(Glob::of_images(text).unwrap().as_str(), whole, "{text}");
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, whole) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1", "docker.io/library/nginx"),
            ("reg.example:5000/a/b:1", "reg.example:5000/a/b"),
        ] {
            let named = Glob::of_images(&format!("{text}@{digest}")).unwrap();
            assert_eq!(named.as_str(), format!("{whole}@{digest}"));
        }
        for bad in ["a b", "a@b", "@sha256:0", "a@", "*/a@sha256:0", "a@b@c"] {
            assert!(Glob::of_images(bad).is_err(), "{bad}");
        }
        assert!(format!("a@{digest}").parse::<Glob>().is_err(), "a pattern of repositories has no digest");
    }

    #[test]
    fn stars_cross_slashes() {
        for (pattern, name, fits) in [
            ("*", "library/alpine", true),
            ("siderolabs/*", "siderolabs/talos", true),
            ("siderolabs/*", "siderolabs/a/b", true),
            ("siderolabs/*", "siderolabs", false),
            ("*/alpine", "library/alpine", true),
            ("v?.*", "v1.2.3", true),
            ("v?.*", "v10.2", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("latest", "latest", true),
            ("latest", "latest2", false),
        ] {
            assert_eq!(pattern.parse::<Glob>().unwrap().matches(name), fits, "{pattern} {name}");
        }
        for bad in ["", "a b", "[ab]", "é", "{a,b}"] {
            assert_eq!(bad.parse::<Glob>(), Err(GlobError(bad.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_regular_expression(pattern in "[ab*?/]{1,8}", name in "[ab/]{0,10}") {
            let regex = format!("^{}$", pattern.replace('*', ".*").replace('?', "."));
            prop_assert_eq!(
                pattern.parse::<Glob>().unwrap().matches(&name),
                regex::Regex::new(&regex).unwrap().is_match(&name)
            );
        }
    }
}
