use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a cache keeps things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cache) enum TierName {
    /// In its folder.
    #[default]
    Local,
    /// In the bucket behind it.
    Bucket,
}

impl TierName {
    /// Returns whether it is the folder, which requests are about that say nothing of it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
    pub(super) const fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }

    /// Returns the folder: all that servers of older versions tell of.
    pub(super) fn only_local() -> Vec<Self> {
        vec![Self::Local]
    }

    /// Returns the word for flags, JSON and tables.
    pub(in crate::cache) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Bucket => "bucket",
        }
    }
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
