#![expect(clippy::disallowed_methods, reason = "measures how long ago something was said")]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cache::memory::locked;

/// Something that is said, and said again only after a while: each request may be a reason for it.
#[derive(Debug)]
pub struct Seldom {
    pause: Duration,
    said: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Makes something that is said again after `pause`.
    pub const fn new(pause: Duration) -> Self {
        Self { pause, said: Mutex::new(None) }
    }

    /// Returns whether it is to be said now, and takes note that it is.
    pub fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let mut said = locked(&self.said);
        let is_due = said.is_none_or(|at| now.saturating_duration_since(at) >= self.pause);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_a_while() {
        let (seldom, start) = (Seldom::new(Duration::from_secs(10)), Instant::now());
        let due = [0, 1, 9, 10, 11, 19, 20].map(|at| seldom.is_due_at(start + Duration::from_secs(at)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
