use super::pattern::{Pattern, PatternError};

/// Which values of a file are sealed: a test on every key of the way to a value.
///
/// One key that passes decides for all below it: `^auth$` takes the user name in `auth:` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All but those below a key with this ending.
    UnencryptedSuffix(String),
    /// Those below a key with this ending.
    EncryptedSuffix(String),
    /// All but those below a key that matches.
    UnencryptedRegex(Pattern),
    /// Those below a key that matches.
    EncryptedRegex(Pattern),
}

/// What sops assumes where nothing is said.
impl Default for Rule {
    fn default() -> Self {
        Self::UnencryptedSuffix("_unencrypted".to_owned())
    }
}

/// Why a file's or a configuration's selection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// More than one kind of selection is there.
    #[error("`{0}` and `{1}` exclude each other")]
    Two(&'static str, &'static str),
    /// A selection by comments.
    #[error("`{0}` selects by comments, which talmirror cannot follow")]
    ByComment(&'static str),
    /// The pattern is wrong.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Rule {
    /// The keys that select, in `.sops.yaml` as in a file.
    pub(super) const KEYS: [&str; 6] = [
        "unencrypted_suffix",
        "encrypted_suffix",
        "unencrypted_regex",
        "encrypted_regex",
        "unencrypted_comment_regex",
        "encrypted_comment_regex",
    ];

    /// Seals what lies below keys that match `pattern`.
    pub fn encrypted_regex(pattern: &str) -> Result<Self, RuleError> {
        Ok(Self::EncryptedRegex(Pattern::new(pattern)?))
    }

    /// Seals all but what lies below keys that match `pattern`.
    pub fn unencrypted_regex(pattern: &str) -> Result<Self, RuleError> {
        Ok(Self::UnencryptedRegex(Pattern::new(pattern)?))
    }

    /// Reads the one selection among some keys and their texts; [`None`] if there is none.
    pub(super) fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Self>, RuleError> {
        let mut found =
            Self::KEYS.into_iter().filter_map(|key| Some((key, get(key).filter(|text| !text.is_empty())?)));
        let Some((key, text)) = found.next() else { return Ok(None) };
        if let Some((second, _)) = found.next() {
            return Err(RuleError::Two(key, second));
        }
        Ok(Some(match key {
            "unencrypted_suffix" => Self::UnencryptedSuffix(text.to_owned()),
            "encrypted_suffix" => Self::EncryptedSuffix(text.to_owned()),
            "unencrypted_regex" => Self::unencrypted_regex(text)?,
            "encrypted_regex" => Self::encrypted_regex(text)?,
            other => return Err(RuleError::ByComment(other)),
        }))
    }

    /// Returns the key of the rule, as files and `.sops.yaml` name it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::UnencryptedSuffix(_) => "unencrypted_suffix",
            Self::EncryptedSuffix(_) => "encrypted_suffix",
            Self::UnencryptedRegex(_) => "unencrypted_regex",
            Self::EncryptedRegex(_) => "encrypted_regex",
        }
    }

    /// Returns the ending or pattern.
    pub fn text(&self) -> &str {
        match self {
            Self::UnencryptedSuffix(suffix) | Self::EncryptedSuffix(suffix) => suffix,
            Self::UnencryptedRegex(pattern) | Self::EncryptedRegex(pattern) => pattern.as_str(),
        }
    }

    /// Returns whether a key passes the test.
    pub(super) fn hits(&self, key: &str) -> bool {
        match self {
            Self::UnencryptedSuffix(suffix) | Self::EncryptedSuffix(suffix) => key.ends_with(suffix.as_str()),
            Self::UnencryptedRegex(pattern) | Self::EncryptedRegex(pattern) => pattern.is_match(key),
        }
    }

    /// Returns whether a value is sealed, given whether any key on its way passed the test.
    pub(super) fn selects(&self, hit: bool) -> bool {
        match self {
            Self::UnencryptedSuffix(_) | Self::UnencryptedRegex(_) => !hit,
            Self::EncryptedSuffix(_) | Self::EncryptedRegex(_) => hit,
        }
    }

    /// Returns whether the value at the end of these keys is sealed.
    pub fn selects_keys<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> bool {
        self.selects(keys.into_iter().any(|key| self.hits(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_on_the_way_decides() {
        let rule = Rule::encrypted_regex("^(password|auth)$").unwrap();
        assert!(rule.selects_keys(["config", "auth", "username"]));
        assert!(!rule.selects_keys(["config", "zot:5000", "username"]));
        assert!(Rule::default().selects_keys(["a"]) && !Rule::default().selects_keys(["a_unencrypted", "b"]));
        assert!(!Rule::encrypted_regex("x").unwrap().selects_keys([]));
    }

    #[test]
    fn one_selection_only() {
        let read = |pairs: &[(&str, &'static str)]| {
            Rule::read(|key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
                .map_err(|e| e.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("encrypted_suffix", "")]), Ok(None));
        assert_eq!(
            read(&[("encrypted_regex", "a"), ("unencrypted_suffix", "b")]),
            Err("`unencrypted_suffix` and `encrypted_regex` exclude each other".into())
        );
        assert!(read(&[("encrypted_comment_regex", "a")]).is_err());
        assert!(read(&[("encrypted_regex", "^(password$")]).is_err());
    }
}
