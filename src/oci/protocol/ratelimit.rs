use std::time::Duration;

use jiff::Timestamp;

/// The longest pause that another server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// What is left of the pulls that a registry grants; Docker Hub says so with every manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many there are in a window.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// How long a window is.
    pub window: Option<Duration>,
}

impl Quota {
    /// Reads `ratelimit-limit` and `ratelimit-remaining`, such as `100;w=21600`.
    ///
    /// `None` where they are missing, which on Docker Hub means that this pull is not counted.
    pub fn parse(limit: Option<&str>, remaining: Option<&str>) -> Option<Self> {
        let (limit, window) = counted(limit?)?;
        let (remaining, other) = counted(remaining?)?;
        Some(Self { limit, remaining, window: window.or(other) })
    }
}

fn counted(header: &str) -> Option<(u64, Option<Duration>)> {
    // Several policies may stand side by side; the first is the one in force.
    let mut parts = header.split(',').next()?.split(';').map(str::trim);
    let count = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok()).map(Duration::from_secs);
    Some((count, window))
}

/// Reads a `Retry-After` header: seconds, or one of the three forms of an HTTP date (RFC 9110 §5.6.7).
///
/// A date in the past is not a pause, and none is longer than a day.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let digits = !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if digits {
        Duration::from_secs(header.parse().unwrap_or(u64::MAX))
    } else {
        Duration::try_from(http_date(header)?.duration_since(now)).unwrap_or_default()
    };
    Some(pause.min(LONGEST_PAUSE))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    forms.iter().find_map(|form| {
        let time = jiff::fmt::strtime::parse(form, text).ok()?.to_datetime().ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn docker_hub_counts() {
        let six_hours = Some(Duration::from_hours(6));
        for (limit, remaining, want) in [
            (Some("100;w=21600"), Some("20;w=21600"), Some((100, 20, six_hours))),
            (Some("100"), Some("0;w=21600"), Some((100, 0, six_hours))),
            (Some("100; w=21600, 1000;w=86400"), Some("20"), Some((100, 20, six_hours))),
            (Some("100;x=1"), Some("20"), Some((100, 20, None))),
            (None, Some("20"), None),
            (Some("100"), None, None),
            (Some(""), Some(""), None),
            (Some("-1"), Some("1"), None),
        ] {
            let want = want.map(|(limit, remaining, window)| Quota { limit, remaining, window });
            assert_eq!(Quota::parse(limit, remaining), want, "{limit:?} {remaining:?}");
        }
    }

    #[test]
    fn pauses_in_both_forms() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (header, want) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(86400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Mon, 06 Nov 2034 08:49:37 GMT", Some(86400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("421.8us", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(header, now), want.map(Duration::from_secs), "{header}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}|[0-9]{0,30}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
            let pause = retry_after(&text, Timestamp::UNIX_EPOCH);
            prop_assert!(pause.is_none_or(|pause| pause <= LONGEST_PAUSE));
            let _ = Quota::parse(Some(&text), Some(&text));
        }
    }
}
