use std::time::Duration;

/// How long to wait after failures in a row: each time twice as long as before, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) struct Backoff {
    /// The wait after the first failure.
    pub(in crate::cache) first: Duration,
    /// The longest wait.
    pub(in crate::cache) longest: Duration,
}

impl Backoff {
    /// Returns the wait after so many failures in a row; none after none.
    pub(in crate::cache) fn after(self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            failures => self.first.saturating_mul(1 << (failures - 1).min(20)).min(self.longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_millis(6400) };
        let waits: Vec<_> = (0..9).map(|failures| backoff.after(failures).as_millis()).collect();
        assert_eq!(waits, [0, 200, 400, 800, 1600, 3200, 6400, 6400, 6400]);
        assert_eq!(backoff.after(u32::MAX), backoff.longest);
    }
}
