use std::time::Duration;

use jiff::Timestamp;

/// What is done about a tag that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It is served, and upstream is left alone.
    Fresh,
    /// It is served, and upstream is asked meanwhile: it would not be fresh for long.
    FreshAskMeanwhile,
    /// Upstream is asked first, for a short time.
    Ask,
    /// Upstream cannot be asked; it is served, and the answer says so.
    Stale,
    /// Upstream cannot be asked, and a tag this old is not served.
    TooOld,
}

/// For how long a client waits while upstream is asked about a tag that could be served.
pub(super) const BUDGET: Duration = Duration::from_secs(2);

/// Tells what is done about a tag that was last checked at `checked`.
///
/// `ttl` is how long it is believed, `stale` how long after its check it is served for want of anything better, and
/// `askable` whether upstream can be asked at all. In the last fifth of its time a tag that a client asks for is checked
/// ahead, so that a tag in use never makes its users wait, and yet none is ever served past its time for convenience.
pub(super) fn freshness(
    checked: Timestamp,
    now: Timestamp,
    ttl: Duration,
    stale: Duration,
    askable: bool,
) -> Freshness {
    // A check in the future is of a clock that was set back; nothing can be said about its age.
    let age = Duration::try_from(now.duration_since(checked)).ok();
    match age {
        Some(age) if age < unasked(ttl) => Freshness::Fresh,
        Some(age) if age < ttl && askable => Freshness::FreshAskMeanwhile,
        Some(age) if age < ttl => Freshness::Fresh,
        _ if askable => Freshness::Ask,
        Some(_) | None if servable_stale(checked, now, stale) => Freshness::Stale,
        Some(_) | None => Freshness::TooOld,
    }
}

/// Returns until when a tag that was last checked at `checked` is fresh.
pub(super) fn fresh_until(checked: Timestamp, ttl: Duration) -> Option<Timestamp> {
    checked.checked_add(unasked(ttl)).ok()
}

/// Returns for how long upstream is left alone.
fn unasked(ttl: Duration) -> Duration {
    ttl.saturating_sub(ttl / 5)
}

/// Tells whether what was last checked at `checked` may be served for want of anything better.
pub(super) fn servable_stale(checked: Timestamp, now: Timestamp, stale: Duration) -> bool {
    // A check in the future is of a clock that was set back; nothing can be said about its age.
    Duration::try_from(now.duration_since(checked)).is_ok_and(|age| age <= stale)
        || (now < checked && !stale.is_zero())
}

/// Returns how long ago something was, in the largest unit that fits: `2h`, `3d`.
pub(in crate::cache) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn after(seconds: i64, askable: bool) -> Freshness {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100_000);
        let checked = now - SignedDuration::from_secs(seconds);
        freshness(checked, now, Duration::from_secs(100), Duration::from_secs(1000), askable)
    }

    #[test]
    fn a_tag_grows_old() {
        for (seconds, up, down) in [
            (0, Freshness::Fresh, Freshness::Fresh),
            (79, Freshness::Fresh, Freshness::Fresh),
            (80, Freshness::FreshAskMeanwhile, Freshness::Fresh),
            (99, Freshness::FreshAskMeanwhile, Freshness::Fresh),
            (100, Freshness::Ask, Freshness::Stale),
            (1000, Freshness::Ask, Freshness::Stale),
            (1001, Freshness::Ask, Freshness::TooOld),
            (-5, Freshness::Ask, Freshness::Stale),
        ] {
            assert_eq!((after(seconds, true), after(seconds, false)), (up, down), "{seconds}");
        }
        let now = Timestamp::UNIX_EPOCH;
        let zero = freshness(now, now, Duration::ZERO, Duration::ZERO, true);
        assert_eq!(zero, Freshness::Ask, "a time of nothing means that upstream is always asked");
    }

    #[test]
    fn ages_for_people() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000);
        for (seconds, want) in [(0, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (90_000, "1d"), (-5, "0s")]
        {
            assert_eq!(ago(now - SignedDuration::from_secs(seconds), now), want);
        }
    }

    proptest! {
        #[test]
        fn never_fresh_past_its_time(age in 0i64..100_000, ttl in 0u64..100_000, askable: bool) {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000);
            let checked = now - SignedDuration::from_secs(age);
            let verdict = freshness(checked, now, Duration::from_secs(ttl), Duration::MAX, askable);
            let fresh = matches!(verdict, Freshness::Fresh | Freshness::FreshAskMeanwhile);
            prop_assert_eq!(fresh, age.unsigned_abs() < ttl);
        }
    }
}
