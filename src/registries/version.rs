use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A Talos version; `v1.13` means the latest patch of 1.13.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TalosVersion {
    major: u16,
    minor: u16,
    /// `None`: whichever is the latest.
    patch: Option<u16>,
    pre: Option<String>,
}

/// Why a text is not a valid Talos version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid Talos version, such as v1.13 or v1.13.9")]
pub struct VersionError(String);

impl FromStr for TalosVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = || VersionError(text.to_owned());
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let (numbers, pre) = match numbers.split_once('-') {
            Some((numbers, pre)) if !pre.is_empty() => (numbers, Some(pre.to_owned())),
            Some(_) => return Err(failed()),
            None => (numbers, None),
        };
        let mut parts = numbers.split('.').map(str::parse::<u16>);
        let mut part = || parts.next().transpose().map_err(|_| failed());
        let (Some(major), Some(minor), patch) = (part()?, part()?, part()?) else { return Err(failed()) };
        if part()?.is_some() || (pre.is_some() && patch.is_none()) {
            return Err(failed());
        }
        Ok(Self { major, minor, patch, pre })
    }
}

impl fmt::Display for TalosVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)?;
        if let Some(patch) = self.patch {
            write!(f, ".{patch}")?;
        }
        if let Some(pre) = &self.pre {
            write!(f, "-{pre}")?;
        }
        Ok(())
    }
}

impl TalosVersion {
    /// The oldest version that is known.
    pub const OLDEST: Self = Self::minor(1, 8);
    /// The newest version that is known: what later ones do is not.
    pub const NEWEST: Self = Self::minor(1, 14);

    /// Returns whether it is known what this version does: it is none older or newer than those tested.
    pub fn is_known(&self) -> bool {
        let minor = |version: &Self| (version.major, version.minor);
        (minor(&Self::OLDEST)..=minor(&Self::NEWEST)).contains(&minor(self))
    }

    /// Makes a version that stands for the latest patch of a minor version.
    pub const fn minor(major: u16, minor: u16) -> Self {
        Self { major, minor, patch: None, pre: None }
    }

    /// Returns the major and the minor version.
    pub const fn number(&self) -> (u16, u16) {
        (self.major, self.minor)
    }

    /// Returns whether this version is `major.minor.patch` or later; pre-releases come before their release.
    fn at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        let own = (self.major, self.minor, self.patch.unwrap_or(u16::MAX));
        match own.cmp(&(major, minor, patch)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => self.pre.is_none(),
        }
    }

    /// Returns whether `Registry*Config` documents are known: 1.12 and its pre-releases (82ac1119e).
    pub fn has_documents(&self) -> bool {
        (self.major, self.minor) >= (1, 12)
    }

    /// Returns whether a node shows the config on its disk beside the one it runs with (siderolabs/talos d4aacb0d8).
    pub fn shows_persistent_config(&self) -> bool {
        (self.major, self.minor) >= (1, 10)
    }

    /// Returns whether `skipFallback` is known: 1.9 (30f8b5a9f); earlier it makes Talos refuse the config.
    pub fn has_skip_fallback(&self) -> bool {
        (self.major, self.minor) >= (1, 9)
    }

    /// Returns whether Talos' own puller goes on to the upstream by itself: 1.9; pods' pulls do so in every version.
    pub fn puller_falls_back(&self) -> bool {
        self.has_skip_fallback()
    }

    /// Returns whether there is an image cache on nodes: 1.9.
    pub fn has_image_cache(&self) -> bool {
        (self.major, self.minor) >= (1, 9)
    }

    /// Returns whether each endpoint has an `overridePath` of its own where Talos keeps them: 1.10 (372c62b72).
    pub fn has_override_by_endpoint(&self) -> bool {
        (self.major, self.minor) >= (1, 10)
    }

    /// Returns whether pods' puller gets credentials of `docker.io` under the host that asks for them: 1.9.6 and 1.10.0
    /// (757a369cf, 063fca6e0).
    pub fn maps_hub_auth(&self) -> bool {
        self.at_least(1, 10, 0) || self.at_least(1, 9, 6)
    }

    /// Returns whether there is an id `persistent` beside the active config: 1.10 (d4aacb0d8).
    pub fn has_persistent_config(&self) -> bool {
        (self.major, self.minor) >= (1, 10)
    }

    /// Returns whether a `ContainerConfig` makes it run containers of its own: 1.14.
    pub fn runs_containers(&self) -> bool {
        (self.major, self.minor) >= (1, 14)
    }

    /// Returns whether the image service is there: 1.13 (8b245b8f2).
    pub fn has_image_service(&self) -> bool {
        (self.major, self.minor) >= (1, 13)
    }

    /// Returns what rules for the verification of images call Docker Hub: `index.docker.io` before 1.14 (seen with 1.13.9),
    /// then as image references do.
    pub fn docker_hub_in_rules(&self) -> &'static str {
        if (self.major, self.minor) >= (1, 14) { "docker.io" } else { "index.docker.io" }
    }

    /// Returns whether a TLS document without client identity is safe; 1.12.0 and 1.12.1 panic on it (#12571).
    pub fn has_safe_tls_documents(&self) -> bool {
        self.at_least(1, 12, 2)
    }

    /// Returns whether patches can delete at all: talosctl 1.8 (899f1b900).
    pub fn has_patch_delete(&self) -> bool {
        (self.major, self.minor) >= (1, 8)
    }

    /// Returns whether a delete selector of a document that is not there is skipped: talosctl 1.14 (c3052e845).
    ///
    /// Patches are applied by talosctl, so its version decides. Earlier ones panic or refuse the patch.
    pub fn skips_missing_deletes(&self) -> bool {
        self.at_least(1, 14, 0)
    }

    /// Returns whether `talosctl gen config` gives one document only, so that JSON patches apply: before 1.12.
    pub fn generates_one_document(&self) -> bool {
        (self.major, self.minor) < (1, 12)
    }

    /// Returns whether pods' pulls see changed credentials without a reboot: 1.14 restarts `cri` (#12725).
    pub fn reloads_auth(&self) -> bool {
        self.at_least(1, 14, 0)
    }

    /// Returns whether CA and client certificate paths reach containerd relative, which breaks every pull:
    /// 1.14.0-alpha.2 to beta.1 (#14021).
    pub fn breaks_tls_paths(&self) -> bool {
        let pre = self.pre.as_deref().unwrap_or_default();
        (self.major, self.minor, self.patch) == (1, 14, Some(0))
            && (pre.starts_with("alpha.") && pre != "alpha.0" && pre != "alpha.1"
                || pre == "beta.0"
                || pre == "beta.1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> TalosVersion {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_prints() {
        for text in ["v1.13", "v1.13.9", "v1.14.0-rc.1"] {
            assert_eq!(version(text).to_string(), text);
        }
        assert_eq!(version("1.9.0").to_string(), "v1.9.0");
        for text in ["", "v1", "latest", "v1.x", "v1.13.9.1", "v1.13-rc.1", "v1.13.0-"] {
            assert!(text.parse::<TalosVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_rule_begins_where_it_should() {
        assert!(!version("v1.11.6").has_documents() && version("v1.12.0-alpha.2").has_documents());
        assert!(!version("v1.8.4").has_skip_fallback() && version("v1.9.0").has_skip_fallback());
        assert!(!version("v1.9.5").maps_hub_auth() && version("v1.9.6").maps_hub_auth());
        assert!(!version("v1.9.6").has_override_by_endpoint() && version("v1.10.0").has_persistent_config());
        assert!(!version("v1.12.9").has_image_service() && version("v1.13.0").has_image_service());
        assert!(!version("v1.13.9").runs_containers() && version("v1.14.0").runs_containers());
        assert!(!version("v1.8.4").has_image_cache() && version("v1.9.0").has_image_cache());
        assert!(!version("v1.12.1").has_safe_tls_documents() && version("v1.12.2").has_safe_tls_documents());
        assert!(version("v1.12").has_safe_tls_documents());
        assert!(!version("v1.13.9").skips_missing_deletes() && version("v1.14").skips_missing_deletes());
        assert!(!version("v1.14.0-rc.1").skips_missing_deletes());
        assert!(version("v1.14.0-beta.1").breaks_tls_paths() && !version("v1.14.0-rc.1").breaks_tls_paths());
    }
}
