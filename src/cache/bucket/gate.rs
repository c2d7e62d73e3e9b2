use std::time::{Duration, Instant};

use super::fault::Fault;
use crate::cache::upstream::{Admission, CircuitBreaker, Signal};

/// Whether a bucket is asked, or written to: not for a while after that has failed.
#[derive(Debug, Default)]
pub(super) struct Gate {
    breaker: CircuitBreaker,
    /// What failed last.
    why: Option<Fault>,
}

/// Why a bucket is left alone, since when, and for how much longer at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) why: String,
    pub(super) since: Option<Duration>,
    pub(super) left: Duration,
}

impl Gate {
    /// Returns whether nothing is wrong.
    pub(super) fn is_open(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Returns for how long what may fail is not to be tried at `now`; [`None`] is that it may, and that its result decides.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        match self.breaker.admit(now) {
            Admission::Go | Admission::Probe(_) => None,
            Admission::Wait(_, wait) => Some(wait),
        }
    }

    /// Takes note of an answer; `jitter` is a number between 0 and 1 that chance has given. Returns whether the gate has
    /// opened or closed by it.
    pub(super) fn note(&mut self, now: Instant, fault: Option<Fault>, jitter: f64) -> bool {
        let was_open = self.is_open();
        let signal = fault.as_ref().map_or(Signal::Good, Fault::signal);
        self.breaker.note(now, signal, jitter);
        self.why = fault.or(self.why.take()).filter(|_| !self.is_open());
        was_open != self.is_open()
    }

    /// Takes note that what was to find out how it is has found nothing out: others may try, and the first that fails
    /// closes it again.
    pub(super) fn undecided(&mut self, now: Instant) {
        if self.breaker.is_probing(now) {
            self.breaker.found_well(now);
        }
    }

    /// Returns why it is closed, if it is.
    pub(super) fn closed(&self, now: Instant) -> Option<Closed> {
        if self.is_open() {
            return None;
        }
        let why = self.why.as_ref().map_or_else(|| "it has failed".to_owned(), Fault::to_string);
        let since = self.breaker.paused_since().map(|since| now.saturating_duration_since(since));
        Some(Closed { why, since, left: self.breaker.paused(now).map_or(Duration::ZERO, |(_, left)| left) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_at_a_fault_and_opens_within_ten_seconds_of_the_end_of_it() {
        let (mut gate, mut now) = (Gate::default(), Instant::now());
        assert!(gate.is_open() && gate.wait(now).is_none());
        assert!(gate.note(now, Some(Fault::Slow), 0.5) && !gate.is_open());
        assert!(gate.closed(now).unwrap().why.contains("in time"));
        for _ in 0..20 {
            let wait = gate.wait(now).unwrap();
            assert!(wait < Duration::from_secs(6), "{wait:?}");
            now += wait;
            assert_eq!(gate.wait(now), None);
            assert!(!gate.note(now, Some(Fault::Unreachable("refused".to_owned())), 1.0));
        }
        assert!(gate.closed(now).unwrap().why.contains("refused"));
        now += gate.wait(now).unwrap();
        assert_eq!(gate.wait(now), None);
        assert!(gate.note(now, None, 0.5) && gate.is_open());
        assert_eq!(gate.closed(now), None);
    }

    #[test]
    fn what_finds_nothing_out_holds_nobody_up() {
        let (mut gate, mut now) = (Gate::default(), Instant::now());
        gate.note(now, Some(Fault::Slow), 0.5);
        now += gate.wait(now).unwrap();
        assert_eq!(gate.wait(now), None);
        assert!(gate.wait(now).is_some(), "one at a time");
        gate.undecided(now);
        assert_eq!(gate.wait(now), None);
        assert!(gate.note(now, Some(Fault::Slow), 0.5) && gate.wait(now).is_some());
    }

    #[test]
    fn one_error_of_its_own_says_little() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let failing = || Some(Fault::Failing("500".to_owned()));
        assert!(!gate.note(now, failing(), 0.5) && !gate.note(now, failing(), 0.5) && gate.is_open());
        assert!(gate.note(now, failing(), 0.5));
    }
}
