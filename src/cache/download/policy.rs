use std::time::Duration;

use crate::cache::backoff::Backoff;

/// How downloads behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a body may give nothing before it counts as broken.
    pub idle: Duration,
    /// How long an upstream may take to open an object, over all its endpoints.
    pub open: Duration,
    /// How often in a row a transfer is resumed without a byte of progress.
    pub tries: u32,
    /// How many objects are fetched at the same time.
    pub fills: usize,
    /// Whether a download goes on when no reader waits for it any more.
    pub finish: Finish,
    /// Larger objects are passed on without being kept, in bytes.
    pub largest: u64,
}

/// Whether a download goes on when no reader waits for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It does.
    Always,
    /// It does if so many percent are there; otherwise it is given up after ten seconds, in which clients come back.
    Over(u8),
}

/// How much at the end of an object is withheld until its digest has proved right, at most.
pub(super) const TAIL: u64 = 64 << 10;
/// How long to wait before a transfer is resumed that gave no byte since the last time.
pub(super) const RESUME: Backoff =
    Backoff { first: Duration::from_millis(200), longest: Duration::from_millis(6400) };
/// For how long what cannot be kept is there for the next reader.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// How long the transfer that it was found out by waits for the reader that it is for.
pub(super) const FIRST_FOR: Duration = Duration::from_secs(30);
/// How long those who come share what cannot be kept for want of room.
pub(super) const SHARED_FOR: Duration = Duration::from_secs(30);
/// How long clients have to come back.
pub(super) const GRACE: Duration = Duration::from_secs(10);

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(1),
            open: Duration::from_mins(30),
            tries: 5,
            fills: 256,
            finish: Finish::Always,
            largest: 64 << 30,
        }
    }
}

/// Returns how much may be read of an object that is not verified yet: never its last 64 KiB, so never its last byte.
///
/// A client that gets all of a body with `Content-Length` therefore has what the digest says; any other client sees a
/// body that broke off.
pub(super) fn readable(total: Option<u64>, written: u64) -> u64 {
    match total {
        Some(total) => written.min(total.saturating_sub(TAIL)),
        None => written.saturating_sub(TAIL),
    }
}

impl Finish {
    /// Returns whether a fetch is worth finishing without a reader.
    pub(super) fn is_worth(self, written: u64, total: Option<u64>) -> bool {
        match (self, total) {
            (Self::Always, _) | (Self::Over(_), None) => true,
            (Self::Over(percent), Some(total)) => written / 100 >= total / 10_000 * u64::from(percent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_is_never_readable_before_the_end() {
        for total in [1, 2, TAIL - 1, TAIL, TAIL + 1, 10 * TAIL] {
            assert!(readable(Some(total), total) < total);
            assert_eq!(readable(Some(total), total), total.saturating_sub(TAIL));
            assert_eq!(readable(None, total), total.saturating_sub(TAIL));
        }
        assert_eq!(readable(Some(10 * TAIL), TAIL), TAIL);
        assert_eq!(readable(Some(0), 0), 0);
    }

    #[test]
    fn what_is_worth_finishing() {
        assert!(Finish::Always.is_worth(0, Some(u64::MAX)));
        assert!(Finish::Over(50).is_worth(500_000, Some(1_000_000)));
        assert!(!Finish::Over(50).is_worth(499_000, Some(1_000_000)));
        assert!(Finish::Over(50).is_worth(0, None));
    }
}
