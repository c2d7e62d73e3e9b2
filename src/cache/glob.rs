use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::{Reference, glob_matches};

/// A pattern of names: `*` stands for any text, slashes included, `?` for one character, the rest for itself.
///
/// A slash is not a border because repositories of one owner lie at different depths: `siderolabs/*` means all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(String);

/// A text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid pattern: it may have the characters of names, `*` and `?`")]
pub struct GlobError(pub String);

impl Glob {
    /// Reads a pattern of images: the name of one as people say it, such as `nginx:1`, stands for its whole name.
    pub fn of_images(text: &str) -> Result<Self, GlobError> {
        let pattern: Self = text.parse()?;
        let Some(named) = text.parse::<Reference>().ok().filter(|_| !text.contains(['*', '?'])) else {
            return Ok(pattern);
        };
        let last = text.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map_or(String::new(), |(_, tag)| format!(":{tag}"));
        format!("{}/{}{tag}", named.registry(), named.repository()).parse()
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
        let allowed = |c: char| c.is_ascii_alphanumeric() || "*?/._-:".contains(c);
        let good = !text.is_empty() && text.len() <= 512 && text.chars().all(allowed);
        if good { Ok(Self(text.to_owned())) } else { Err(GlobError(text.to_owned())) }
    }
}

impl TryFrom<String> for Glob {
    type Error = GlobError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
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
        assert!(Glob::of_images("a b").is_err());
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
