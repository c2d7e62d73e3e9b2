use std::fmt;
use std::str::FromStr;

/// What an image runs on: `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The operating system, as Go names it.
    pub os: String,
    /// The processor, as Go names it.
    pub architecture: String,
    /// Which kind of the processor.
    pub variant: Option<String>,
}

/// A text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid platform, such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError(pub String);

impl Platform {
    /// Returns whether an image for `self` is the right one where `wanted` is asked for.
    ///
    /// `arm64` is `arm64/v8`, and `amd64` is `amd64/v1` (containerd `platforms/database.go`, `normalizeArch`).
    pub fn suits(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && self.effective_variant() == wanted.effective_variant()
    }

    fn effective_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None) => Some("v8"),
            ("amd64", None) => Some("v1"),
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        }
    }

    /// Returns whether nothing runs on it: builders hang attestations into an index as `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &&str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        let failed = || PlatformError(text.to_owned());
        let mut parts = text.split('/');
        let os = parts.next().filter(word).ok_or_else(failed)?;
        let architecture = parts.next().filter(word).ok_or_else(failed)?;
        let variant = match parts.next() {
            Some(part) => Some(word(&part).then_some(part).ok_or_else(failed)?),
            None => None,
        };
        if parts.next().is_some() {
            return Err(failed());
        }
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn variants_have_defaults() {
        for (image, wanted, suits) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/amd64/v3", "linux/amd64", false),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm", "linux/arm/v7", true),
            ("windows/amd64", "linux/amd64", false),
        ] {
            assert_eq!(platform(image).suits(&platform(wanted)), suits, "{image} {wanted}");
        }
        assert!(platform("unknown/unknown").is_unknown());
    }

    #[test]
    fn texts_read_and_print() {
        for good in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(platform(good).to_string(), good);
        }
        for bad in ["", "linux", "linux/", "linux/arm/", "linux/arm/v7/x", "linux/a b"] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError(bad.to_owned())));
        }
    }
}
