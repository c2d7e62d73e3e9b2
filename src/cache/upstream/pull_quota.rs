use std::time::{Duration, Instant};

use crate::oci::Quota;

/// For how long a registry is believed that nothing is left: its window slides, so that some may be left soon.
const SPENT: Duration = Duration::from_mins(1);

/// What is left of the pulls that a registry grants, as it said last.
#[derive(Clone, Copy, Debug, Default)]
pub struct PullQuota {
    said: Option<(Quota, Instant)>,
}

impl PullQuota {
    /// Takes note of what an answer says.
    pub fn note(&mut self, quota: Quota, now: Instant) {
        self.said = Some((quota, now));
    }

    /// Returns what was said last.
    pub fn quota(&self) -> Option<Quota> {
        self.said.map(|(quota, _)| quota)
    }

    /// Returns when that was.
    pub fn said_at(&self) -> Option<Instant> {
        self.said.map(|(_, at)| at)
    }

    /// Returns for how long nothing is asked for that is counted: to ask with nothing left would be refused, and
    /// Docker Hub counts that against a client that does it again and again.
    pub fn spent(&self, now: Instant) -> Option<Duration> {
        let (quota, at) = self.said?;
        let left = (at + SPENT).checked_duration_since(now).filter(|left| !left.is_zero());
        if quota.remaining == 0 { left } else { None }
    }

    /// Returns whether less than a tenth is left, which is kept for what clients wait for.
    pub fn is_scarce(&self) -> bool {
        self.said.is_some_and(|(quota, _)| quota.remaining < quota.limit.div_ceil(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_left_alone() {
        let (mut budget, t) = (PullQuota::default(), Instant::now());
        assert!(budget.spent(t).is_none() && !budget.is_scarce());
        for (remaining, scarce, spent) in
            [(100, false, false), (10, false, false), (9, true, false), (0, true, true)]
        {
            budget.note(Quota { limit: 100, remaining, window: None }, t);
            assert_eq!((budget.is_scarce(), budget.spent(t).is_some()), (scarce, spent), "{remaining}");
        }
        assert_eq!(budget.spent(t + Duration::from_secs(59)), Some(Duration::from_secs(1)));
        assert_eq!(budget.spent(t + SPENT), None);
    }
}
