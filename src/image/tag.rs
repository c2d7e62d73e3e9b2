use std::fmt;
use std::str::FromStr;

/// A tag: a letter, digit or `_`, then at most 127 of those, `.` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// A text is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid tag: letters, digits, `_`, `.` and `-`, at most 128")]
pub struct TagError(pub String);

impl Tag {
    /// Returns the tag that a reference without one means.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good = text.len() <= 128
            && text.starts_with(word)
            && text.chars().all(|c| word(c) || matches!(c, '.' | '-'));
        if good { Ok(Self(text.to_owned())) } else { Err(TagError(text.to_owned())) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_that_of_the_specification() {
        for good in ["latest", "_", "1.2.3-rc.1", "A_b", &"a".repeat(128), "sha256-abc.sig"] {
            assert_eq!(good.parse::<Tag>().unwrap().to_string(), good);
        }
        for bad in ["", "-a", ".a", "a b", "a:b", "a/b", "é", "a%20", "a\0", &"a".repeat(129)] {
            assert_eq!(bad.parse::<Tag>(), Err(TagError(bad.to_owned())));
        }
    }
}
