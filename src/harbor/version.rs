use std::fmt;

/// The version of a Harbor, as far as it decides what may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HarborVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

/// A text that is not a version of Harbor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid version of Harbor")]
pub struct VersionError(String);

impl HarborVersion {
    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Returns whether a registry can have a CA of its own (2.15.0; the field is not in the API before).
    pub fn takes_ca(self) -> bool {
        self >= Self::new(2, 15, 0)
    }

    /// Returns whether a project can be told how fast it may ask its upstream (`proxy_speed_kb`, 2.12.0).
    pub fn limits_speed(self) -> bool {
        self >= Self::new(2, 12, 0)
    }

    /// Returns whether a project can be told how many connections it may open (`max_upstream_conn`, 2.14.1).
    pub fn limits_connections(self) -> bool {
        self >= Self::new(2, 14, 1)
    }

    /// Returns whether a project can go on serving a tag that its upstream no longer has
    /// (`proxy_cache_local_on_not_found`, 2.15.1).
    pub fn serves_what_is_gone(self) -> bool {
        self >= Self::new(2, 15, 1)
    }

    /// Returns whether a 404 of the upstream deletes the cached manifest (goharbor/harbor#22428, fixed in 2.15.1).
    pub fn deletes_what_is_gone(self) -> bool {
        self < Self::new(2, 15, 1)
    }

    /// Returns whether a registry of this type can be behind a proxy project (`quay` cannot from 2.14.0 on).
    pub fn proxies(self, adapter: &str) -> bool {
        adapter != "quay" || self < Self::new(2, 14, 0)
    }
}

impl fmt::Display for HarborVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Reads `v2.15.2-1a2b3c4d`, as `harbor_version` has it.
impl std::str::FromStr for HarborVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let failed = || VersionError(text.chars().take(40).collect());
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(failed);
        Ok(Self::new(next()?, next()?, next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> HarborVersion {
        text.parse().unwrap()
    }

    #[test]
    fn what_each_can_do() {
        let can = |text: &str| {
            let version = version(text);
            [
                version.proxies("quay"),
                version.limits_speed(),
                version.limits_connections(),
                version.takes_ca(),
                version.serves_what_is_gone(),
            ]
        };
        assert_eq!(can("v2.9.5-"), [true, false, false, false, false]);
        assert_eq!(can("v2.12.4-1a2b3c"), [true, true, false, false, false]);
        assert_eq!(can("v2.13.3"), [true, true, false, false, false]);
        assert_eq!(can("v2.14.0"), [false, true, false, false, false]);
        assert_eq!(can("2.14.1"), [false, true, true, false, false]);
        assert_eq!(can("v2.15.0"), [false, true, true, true, false]);
        assert_eq!(can("v2.15.2-"), [false, true, true, true, true]);
    }

    #[test]
    fn what_is_not_a_version() {
        for text in ["", "dev", "v2", "v2.15", "v2.x.1"] {
            assert!(text.parse::<HarborVersion>().is_err(), "{text}");
        }
    }
}
