use std::fmt;
use std::str::FromStr;

/// The longest repository name that is taken, in bytes.
const LONGEST: usize = 255;

/// A repository's name within its registry, such as `library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

/// Why a text is not a valid repository name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// The grammar is broken.
    #[error(
        "`{0}` is not a valid repository name: lower case letters and digits, parted by `.`, `_`, `__`, `-` or `/`"
    )]
    Grammar(String),
    /// The name is longer than 255 bytes.
    #[error("the repository name is longer than 255 characters")]
    TooLong,
}

impl Repository {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as Docker Hub has it: a short one is in `library/`.
    pub fn on_docker_hub(self) -> Result<Self, RepositoryError> {
        if self.0.contains('/') { Ok(self) } else { format!("library/{}", self.0).parse() }
    }
}

impl FromStr for Repository {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST {
            return Err(RepositoryError::TooLong);
        }
        if !text.split('/').all(is_path_component) {
            return Err(RepositoryError::Grammar(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Returns whether a part between slashes fits `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
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

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_that_of_the_specification() {
        for good in ["a", "library/alpine", "a/b/c/d", "a.b", "a_b", "a__b", "a---b", "0", &"a".repeat(255)] {
            assert_eq!(good.parse::<Repository>().unwrap().to_string(), good);
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "A", "a___b", "a..b", "a._b", "-a", "a-",
            "a%2fb", "a\\b", "a\0b", "é", "a b", "a:1",
        ] {
            assert_eq!(bad.parse::<Repository>(), Err(RepositoryError::Grammar(bad.to_owned())));
        }
        assert_eq!("a".repeat(256).parse::<Repository>(), Err(RepositoryError::TooLong));
    }

    #[test]
    fn docker_hub_has_a_library() {
        let on_hub = |text: &str| text.parse::<Repository>().unwrap().on_docker_hub().unwrap().to_string();
        assert_eq!(on_hub("alpine"), "library/alpine");
        assert_eq!(on_hub("rook/ceph"), "rook/ceph");
        let long: Repository = "a".repeat(255).parse().unwrap();
        assert_eq!(long.on_docker_hub(), Err(RepositoryError::TooLong));
    }

    proptest! {
        #[test]
        fn agrees_with_the_regular_expression(text in "[a-c0./_-]{0,12}") {
            let spec = regex::Regex::new(r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$").unwrap();
            prop_assert_eq!(text.parse::<Repository>().is_ok(), spec.is_match(&text));
        }
    }
}
