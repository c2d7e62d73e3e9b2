//! What a version of Talos does, and when it began to.

/// A version, as numbers; a pre-release comes before its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rules {
    minor: u16,
    patch: u16,
    release: bool,
}

impl Rules {
    /// Reads a tag such as `v1.13.9`.
    pub fn of(tag: &str) -> Self {
        let text = tag.trim_start_matches('v');
        let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
        let mut numbers = numbers.split('.').skip(1).map(|number| number.parse().unwrap_or(0));
        let (minor, patch) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { minor, patch, release: pre.is_none() }
    }

    fn from(self, minor: u16, patch: u16) -> bool {
        self >= Self { minor, patch, release: true }
    }

    /// `Registry*Config` documents.
    pub fn documents(self) -> bool {
        self.minor >= 12
    }

    /// `skipFallback`, a puller of Talos' own that falls back, `RegistryConfigs`.
    pub fn falls_back(self) -> bool {
        self.minor >= 9
    }

    /// The id `persistent`.
    pub fn persistent(self) -> bool {
        self.minor >= 10
    }

    /// `ImageService`.
    pub fn image_service(self) -> bool {
        self.minor >= 13
    }

    /// One apply at a time.
    pub fn exclusive(self) -> bool {
        self.minor >= 14 || self.from(13, 3) || self.minor == 12 && self.from(12, 9)
    }

    /// The mode REBOOT, which AUTO may choose, and refusals of `NO_REBOOT`.
    pub fn mode_reboot(self) -> bool {
        self.minor < 14
    }

    /// Any call but a trial ends a trial, before it is even read.
    pub fn cancels_first(self) -> bool {
        !self.from(14, 0)
    }

    /// A change of credentials restarts `cri`.
    pub fn restarts_cri(self) -> bool {
        self.minor >= 14
    }

    /// A failed pull is tried again on the node, unless the image is not there.
    pub fn retries_pulls(self) -> bool {
        self.minor < 14
    }

    /// `RegistryConfigs` are for os:admin only.
    pub fn sensitive_registries(self) -> bool {
        self.minor >= 14 || self.from(13, 4) || self.minor == 12 && self.from(12, 9)
    }

    /// Null entries are refused.
    pub fn refuses_null(self) -> bool {
        self.minor >= 9
    }

    /// One mapping a kind in `RegistryConfigs`, and a YAML spec that is one text.
    pub fn registry_configs_by_kind(self) -> bool {
        self.minor >= 12
    }
}
