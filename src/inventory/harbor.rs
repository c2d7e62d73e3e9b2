use super::fields::{HARBOR, HARBOR_PROJECT};
use crate::finding::Code;
use crate::finding::{Decoder, Fields};

/// The registry types that Harbor takes for proxy projects, before what a version leaves out.
///
/// Source: `PERMITTED_REGISTRY_TYPES_FOR_PROXY_CACHE` of Harbor up to 2.13; 2.14 drops `quay`.
pub const ADAPTERS: &[&str] = &[
    "docker-hub",
    "docker-registry",
    "github-ghcr",
    "harbor",
    "quay",
    "google-gcr",
    "aws-ecr",
    "azure-acr",
    "ali-acr",
    "jfrog-artifactory",
];

/// How `talmirror harbor` sets a Harbor up, where Harbor's own defaults are not what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HarborSettings {
    /// The robot's name without Harbor's prefix; [`None`]: that of the mirror's credentials.
    pub robot: Option<String>,
    /// What is kept in the projects; [`None`]: whatever Harbor has.
    pub retention: Option<Retention>,
    /// How large a project may grow; [`None`]: whatever Harbor has.
    pub quota: Option<Quota>,
    /// When garbage is collected, as a cron line of six fields; [`None`]: whenever Harbor does.
    pub gc: Option<String>,
    /// Whether the projects can be read without a login.
    pub public: bool,
    /// The most kilobits a second between Harbor and an upstream.
    pub speed_kbps: Option<u32>,
    /// The most connections to an upstream for one artifact.
    pub max_connections: Option<u32>,
}

/// What of it is another for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HarborProject {
    /// Harbor's type for the registry; [`None`]: the one that fits.
    pub adapter: Option<String>,
    /// What is kept.
    pub retention: Option<Retention>,
    /// How large the project may grow.
    pub quota: Option<Quota>,
    /// The most kilobits a second from the upstream.
    pub speed_kbps: Option<u32>,
    /// The most connections to the upstream for one artifact.
    pub max_connections: Option<u32>,
}

/// What of a project's images is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// What was pulled within so many days.
    Days(u32),
    /// Everything.
    Forever,
}

impl std::fmt::Display for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{days}d"),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl std::str::FromStr for Retention {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        days.filter(|days| (1..=36_500).contains(days)).map(Self::Days).ok_or(())
    }
}

/// How large a project may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// So many bytes.
    Bytes(u64),
    /// Without a limit.
    Unlimited,
}

impl Quota {
    /// Returns the number that Harbor's API has for it: bytes, or -1.
    pub fn as_storage(self) -> i64 {
        match self {
            Self::Bytes(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
            Self::Unlimited => -1,
        }
    }

    /// Reads the number of Harbor's API.
    pub fn from_storage(storage: i64) -> Self {
        u64::try_from(storage).map_or(Self::Unlimited, Self::Bytes)
    }
}

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Bytes(bytes) => match UNITS.iter().find(|(_, unit)| *bytes >= *unit && bytes % unit == 0) {
                Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
                None => write!(f, "{bytes}B"),
            },
        }
    }
}

impl std::str::FromStr for Quota {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let unit = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
        let (number, unit) = unit.or(text.strip_suffix('B').map(|number| (number, 1))).ok_or(())?;
        let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        bytes.filter(|bytes| *bytes > 0 && i64::try_from(*bytes).is_ok()).map(Self::Bytes).ok_or(())
    }
}

/// Returns whether Harbor takes a name for a robot or a project.
pub(super) fn is_harbor_name(name: &str) -> bool {
    let good = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= 255 && name.split(['.', '_', '-']).all(good)
}

/// What `talmirror harbor` needs to know.
impl Decoder<'_, '_> {
    pub(super) fn harbor_settings(&mut self, fields: &Fields<'_>) -> HarborSettings {
        let Some(node) = fields.get("harbor") else { return HarborSettings::default() };
        let fields = self.fields(node, &fields.at("harbor"), HARBOR);
        let robot = self.string(&fields, "robot");
        if let (Some(name), Some(node)) = (&robot, fields.get("robot"))
            && !is_harbor_name(name)
        {
            let message = format!("`{name}` is not a valid name of a robot");
            self.problems.add(Code::HarborSetting, &node.span, fields.at("robot"), message).help =
                Some("lower case letters and digits, parted by `.`, `_` or `-`; without `robot$`".to_owned());
        }
        let gc = self.string(&fields, "gc");
        if let (Some(cron), Some(node)) = (&gc, fields.get("gc"))
            && !is_cron(cron)
        {
            let message = format!("`{cron}` is not a valid cron line of Harbor");
            self.problems.add(Code::HarborSetting, &node.span, fields.at("gc"), message).help =
                Some("six fields, seconds first: `0 0 3 * * *` is every night at three".to_owned());
        }
        HarborSettings {
            robot,
            retention: self.retention(&fields),
            quota: self.quota(&fields),
            gc,
            public: self.boolean(&fields, "public").unwrap_or(false),
            speed_kbps: self.number(&fields, "speedKbps"),
            max_connections: self.number(&fields, "maxConnections"),
        }
    }

    pub(super) fn harbor_project(&mut self, fields: &Fields<'_>) -> HarborProject {
        let Some(node) = fields.get("harbor") else { return HarborProject::default() };
        let fields = self.fields(node, &fields.at("harbor"), HARBOR_PROJECT);
        HarborProject {
            adapter: self.word(&fields, "adapter", ADAPTERS),
            retention: self.retention(&fields),
            quota: self.quota(&fields),
            speed_kbps: self.number(&fields, "speedKbps"),
            max_connections: self.number(&fields, "maxConnections"),
        }
    }

    fn retention(&mut self, fields: &Fields<'_>) -> Option<Retention> {
        self.parsed(fields, "retention", "a number of days such as 90d, or forever")
    }

    fn quota(&mut self, fields: &Fields<'_>) -> Option<Quota> {
        self.parsed(fields, "quota", "a size such as 50GiB, or unlimited")
    }

    fn parsed<T: std::str::FromStr>(&mut self, fields: &Fields<'_>, key: &str, wanted: &str) -> Option<T> {
        let node = fields.get(key)?;
        let parsed = node.as_str().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.wrong_type(node, &fields.at(key), wanted);
        }
        parsed
    }

    fn number(&mut self, fields: &Fields<'_>, key: &str) -> Option<u32> {
        let number = self.count(fields, key)?;
        let fits = u32::try_from(number).ok().filter(|number| (1..=i32::MAX.unsigned_abs()).contains(number));
        if let (None, Some(node)) = (fits, fields.get(key)) {
            self.wrong_type(node, &fields.at(key), "a whole number above zero");
        }
        fits
    }
}

/// Returns whether a text looks like a cron line of six fields; Harbor itself reads it in full.
fn is_cron(text: &str) -> bool {
    let field =
        |field: &str| field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*/,-?#".contains(&byte));
    text.split_whitespace().count() == 6 && text.split_whitespace().all(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_days() {
        for (text, want) in [
            ("50GiB", Some(Quota::Bytes(50 << 30))),
            ("1 MiB", Some(Quota::Bytes(1 << 20))),
            ("12B", Some(Quota::Bytes(12))),
            ("unlimited", Some(Quota::Unlimited)),
            ("0GiB", None),
            ("50GB", None),
            ("-1", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(text.parse().ok(), want, "{text}");
        }
        for (text, want) in [
            ("90d", Some(Retention::Days(90))),
            ("forever", Some(Retention::Forever)),
            ("0d", None),
            ("90", None),
            ("12w", None),
        ] {
            assert_eq!(text.parse().ok(), want, "{text}");
        }
    }

    #[test]
    fn names_and_schedules() {
        for good in ["talos-pull", "docker.io", "a", "registry.k8s.io", "a_b"] {
            assert!(is_harbor_name(good), "{good}");
        }
        for bad in ["", "robot$x", "A", "a--b", "-a", "h:5000"] {
            assert!(!is_harbor_name(bad), "{bad}");
        }
        assert!(is_cron("0 0 3 * * *") && is_cron("0 */30 3 * * MON-FRI"));
        assert!(!is_cron("0 3 * * *") && !is_cron("0 0 3 * * $(x)"));
    }

    proptest! {
        #[test]
        fn quotas_read_back(bytes in 1..i64::MAX.unsigned_abs()) {
            let quota = Quota::Bytes(bytes);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
            prop_assert_eq!(Quota::from_storage(quota.as_storage()), quota);
        }
    }
}
