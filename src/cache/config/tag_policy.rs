use std::time::Duration;

use crate::cache::glob::Glob;

/// How long what a tag points to is believed without asking upstream again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPolicy {
    /// The rules, of which the first that fits counts.
    pub rules: Vec<(Glob, Duration)>,
    /// What holds for tags that no rule fits; [`None`] is by the look of the tag, [`by_look`].
    pub ttl: Option<Duration>,
    /// For how long after its last check a tag is served while upstream cannot be asked.
    pub stale: Duration,
}

impl Default for TagPolicy {
    fn default() -> Self {
        Self { rules: Vec::new(), ttl: None, stale: Duration::from_hours(30 * 24) }
    }
}

impl TagPolicy {
    /// Returns how long a tag is believed.
    pub fn ttl(&self, tag: &str) -> Duration {
        let rule = self.rules.iter().find(|(glob, _)| glob.matches(tag)).map(|(_, ttl)| *ttl);
        rule.or(self.ttl).unwrap_or_else(|| by_look(tag))
    }
}

/// Returns how long a tag is believed by the look of it.
///
/// Three numbers, as in `v1.2.3`, are moved by hardly anybody: a day. Names such as `latest` and one or two numbers
/// are meant to move: five minutes. So do tags that stand for a digest, `sha256-<hex>.sig` and the like: signatures come
/// after what they sign. The rest, half an hour; `1.2.3-rolling` is among it on purpose.
pub fn by_look(tag: &str) -> Duration {
    let numbers = |text: &str| {
        let count = text.split('.').count();
        text.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then_some(count)
    };
    let release = tag.strip_prefix('v').and_then(numbers) == Some(3);
    match (tag, numbers(tag)) {
        _ if release => Duration::from_hours(24),
        (_, Some(3)) => Duration::from_hours(24),
        _ if tag.starts_with("sha256-") || tag.starts_with("sha512-") => Duration::from_mins(5),
        ("latest" | "main" | "edge" | "nightly" | "stable", _) | (_, Some(1 | 2)) => Duration::from_mins(5),
        _ => Duration::from_mins(30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_by_their_look() {
        let minutes = |tag: &str| by_look(tag).as_secs() / 60;
        for tag in ["1.2.3", "v1.2.3", "v10.20.30"] {
            assert_eq!(minutes(tag), 24 * 60, "{tag}");
        }
        for tag in ["latest", "main", "edge", "nightly", "stable", "3", "3.22", "2024", "sha256-ab.sig"] {
            assert_eq!(minutes(tag), 5, "{tag}");
        }
        for tag in ["1.2.3-rolling", "v1", "v1.2", "1.2.3.4", "1..2", "bookworm", "1.2.x"] {
            assert_eq!(minutes(tag), 30, "{tag}");
        }
    }

    #[test]
    fn rules_come_first() {
        let seconds = Duration::from_secs;
        let rules = vec![("v*".parse().unwrap(), seconds(1)), ("*-rc*".parse().unwrap(), seconds(2))];
        let policy = TagPolicy { rules, ttl: Some(seconds(3)), ..TagPolicy::default() };
        assert_eq!(
            ["v1.2.3", "v1-rc", "1-rc1", "latest"].map(|tag| policy.ttl(tag)),
            [seconds(1), seconds(1), seconds(2), seconds(3)]
        );
    }
}
