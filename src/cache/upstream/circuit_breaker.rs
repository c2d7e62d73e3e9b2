use std::time::{Duration, Instant};

use crate::cache::backoff::Backoff;

/// The pauses after failures in a row, where none is asked for: with the time of a probe, less than ten seconds.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(4) };
/// How many answers of 5xx in a row are too many: one by itself says little.
const PATIENCE: u32 = 3;
/// For how long a probe keeps others away whose end was not told.
const PROBE: Duration = Duration::from_secs(30);

/// Whether an endpoint is asked for something: not for a while after that has failed, and then not before a probe, which is
/// a request of our own, has found it well.
#[derive(Clone, Copy, Debug)]
pub struct CircuitBreaker {
    state: State,
    /// How many pauses there were in a row.
    pauses: u32,
    /// When the first of them began.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, why: PauseReason },
    HalfOpen { since: Instant, why: PauseReason },
}

/// Why an endpoint is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// It could not be reached.
    Unreachable,
    /// It answered with errors of its own.
    Failing,
    /// It limits requests.
    TooMany,
}

impl PauseReason {
    /// Returns the words for an answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::TooMany => "limits requests",
        }
    }
}

/// Whether a request may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// It may not: a probe is due, and what becomes of that decides.
    Probe(PauseReason),
    /// It may not, for so long.
    Wait(PauseReason, Duration),
}

/// What became of a request, as far as it says something about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It answered.
    Good,
    /// It answered with an error of its own.
    Failing,
    /// It did not answer.
    Down,
    /// It limits requests, and perhaps takes none for so long.
    TooMany(Option<Duration>),
    /// Nothing can be said.
    None,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, pauses: 0, since: None }
    }
}

impl CircuitBreaker {
    /// Returns whether a request may go out at `now`; one that may is followed by [`CircuitBreaker::note`], and a probe
    /// that is due by that or by [`CircuitBreaker::found_well`].
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Go,
            State::Open { until, why } if now < until => Admission::Wait(why, until - now),
            State::HalfOpen { since, why } if now < since + PROBE => Admission::Wait(why, PAUSES.first),
            State::Open { why, .. } | State::HalfOpen { why, .. } => {
                self.state = State::HalfOpen { since: now, why };
                Admission::Probe(why)
            }
        }
    }

    /// Takes note that a probe has found it well: requests go out again, and the first that fails ends that.
    pub fn found_well(&mut self, now: Instant) {
        match self.state {
            // It has said meanwhile for how long it takes no more.
            State::Open { until, why: PauseReason::TooMany } if now < until => {}
            State::Closed { .. } => {}
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::Closed { failures: PATIENCE - 1 };
                self.since = None;
            }
        }
    }

    /// Takes note of what became of a request; `jitter` is a number between 0 and 1 that chance has given.
    pub fn note(&mut self, now: Instant, signal: Signal, jitter: f64) {
        let failures = match self.state {
            State::Closed { failures } => failures,
            State::Open { .. } | State::HalfOpen { .. } => PATIENCE,
        };
        match signal {
            Signal::Good => *self = Self::default(),
            Signal::None => {}
            Signal::Failing if failures + 1 < PATIENCE => {
                self.state = State::Closed { failures: failures + 1 }
            }
            Signal::Failing => self.pause(now, PauseReason::Failing, None, jitter),
            Signal::Down => self.pause(now, PauseReason::Unreachable, None, jitter),
            Signal::TooMany(asked) => self.pause(now, PauseReason::TooMany, asked, jitter),
        }
    }

    /// Opens it because of what is known from elsewhere.
    pub fn open(&mut self, now: Instant, why: PauseReason, jitter: f64) {
        self.pause(now, why, None, jitter);
    }

    fn pause(&mut self, now: Instant, why: PauseReason, asked: Option<Duration>, jitter: f64) {
        if let (State::Open { until, why: PauseReason::TooMany }, None) = (self.state, asked)
            && now < until
        {
            return; // a request that was under way says nothing new
        }
        if !matches!(self.state, State::Open { until, .. } if now < until) {
            self.pauses = self.pauses.saturating_add(1);
        }
        self.since.get_or_insert(now);
        let usual = PAUSES.after(self.pauses.max(1));
        // Replicas that failed together should not come back together.
        let usual = usual.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
        let pause = asked.map_or(usual, |asked| asked.max(PAUSES.first) + usual.mul_f64(0.1));
        self.state = State::Open { until: now + pause, why };
    }

    /// Returns why the endpoint is not asked at `now`, and for how long; [`None`] where it is.
    pub fn paused(&self, now: Instant) -> Option<(PauseReason, Duration)> {
        match self.state {
            State::Open { until, why } if now < until => Some((why, until - now)),
            State::HalfOpen { since, why } if now < since + PROBE => Some((why, PAUSES.first)),
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Returns since when it has been failing.
    pub fn paused_since(&self) -> Option<Instant> {
        self.since
    }

    /// Returns whether a probe is under way.
    pub fn is_probing(&self, now: Instant) -> bool {
        matches!(self.state, State::HalfOpen { since, .. } if now < since + PROBE)
    }

    /// Returns whether nothing is wrong.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn it_opens_tries_and_closes() {
        let (mut circuit, t) = (CircuitBreaker::default(), Instant::now());
        assert_eq!(circuit.admit(t), Admission::Go);
        circuit.note(t, Signal::Down, 0.5);
        assert_eq!(circuit.admit(t), Admission::Wait(PauseReason::Unreachable, seconds(1.0)));
        assert_eq!(circuit.paused(t + seconds(0.5)), Some((PauseReason::Unreachable, seconds(0.5))));
        // Those that were under way when it opened make no longer pause.
        circuit.note(t, Signal::Down, 0.5);
        assert_eq!(circuit.admit(t), Admission::Wait(PauseReason::Unreachable, seconds(1.0)));
        let t = t + seconds(1.0);
        assert_eq!(circuit.paused(t), None);
        assert_eq!(circuit.admit(t), Admission::Probe(PauseReason::Unreachable));
        assert!(matches!(circuit.admit(t), Admission::Wait(PauseReason::Unreachable, _)), "one at a time");
        circuit.note(t, Signal::Down, 0.5);
        assert_eq!(circuit.admit(t), Admission::Wait(PauseReason::Unreachable, seconds(2.0)));
        assert_eq!(circuit.paused_since(), t.checked_sub(seconds(1.0)), "it has not been well meanwhile");
        let t = t + seconds(2.0);
        assert_eq!(circuit.admit(t), Admission::Probe(PauseReason::Unreachable));
        circuit.note(t, Signal::Good, 0.5);
        assert!(circuit.is_closed() && circuit.admit(t) == Admission::Go);
        circuit.note(t, Signal::Down, 0.5);
        assert_eq!(
            circuit.admit(t),
            Admission::Wait(PauseReason::Unreachable, seconds(1.0)),
            "it begins again"
        );
    }

    #[test]
    fn an_error_by_itself_says_little() {
        let (mut circuit, t) = (CircuitBreaker::default(), Instant::now());
        circuit.note(t, Signal::Failing, 0.5);
        circuit.note(t, Signal::Failing, 0.5);
        assert_eq!(circuit.admit(t), Admission::Go);
        circuit.note(t, Signal::Good, 0.5);
        for _ in 0..3 {
            circuit.note(t, Signal::Failing, 0.5);
        }
        assert_eq!(circuit.admit(t), Admission::Wait(PauseReason::Failing, seconds(1.0)));
        // One that tries and fails is enough.
        assert_eq!(circuit.admit(t + seconds(1.0)), Admission::Probe(PauseReason::Failing));
        circuit.note(t + seconds(1.0), Signal::Failing, 0.5);
        assert!(matches!(circuit.admit(t + seconds(1.0)), Admission::Wait(PauseReason::Failing, _)));
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept() {
        let (mut circuit, t) = (CircuitBreaker::default(), Instant::now());
        circuit.note(t, Signal::TooMany(Some(seconds(30.0))), 0.5);
        circuit.note(t, Signal::TooMany(None), 0.5);
        assert_eq!(circuit.admit(t + seconds(29.0)), Admission::Wait(PauseReason::TooMany, seconds(1.1)));
        assert_eq!(circuit.admit(t + seconds(30.2)), Admission::Probe(PauseReason::TooMany));
        // Nor is it cut short by a probe that was under way.
        circuit.note(t, Signal::TooMany(Some(seconds(30.0))), 0.5);
        circuit.found_well(t + seconds(1.0));
        assert!(matches!(circuit.admit(t + seconds(29.0)), Admission::Wait(PauseReason::TooMany, _)));
    }

    #[test]
    fn what_a_probe_has_found_well_is_asked_until_it_fails_once() {
        let (mut circuit, t) = (CircuitBreaker::default(), Instant::now());
        circuit.note(t, Signal::Down, 0.5);
        let t = t + seconds(1.0);
        assert_eq!(circuit.admit(t), Admission::Probe(PauseReason::Unreachable));
        circuit.found_well(t);
        assert_eq!((circuit.admit(t), circuit.paused_since()), (Admission::Go, None));
        circuit.note(t, Signal::Failing, 0.5);
        assert_eq!(circuit.admit(t), Admission::Wait(PauseReason::Failing, seconds(2.0)));
    }

    #[test]
    fn a_probe_that_is_lost_makes_way() {
        let (mut circuit, t) = (CircuitBreaker::default(), Instant::now());
        circuit.note(t, Signal::Down, 0.0);
        let t = t + seconds(1.0);
        assert_eq!(circuit.admit(t), Admission::Probe(PauseReason::Unreachable));
        circuit.note(t, Signal::None, 0.0);
        assert!(
            circuit.is_probing(t) && !circuit.is_probing(t + PROBE),
            "what others end says nothing of it"
        );
        assert_eq!(circuit.admit(t + PROBE), Admission::Probe(PauseReason::Unreachable));
    }

    proptest! {
        #[test]
        fn no_pause_is_for_ever(signs in proptest::collection::vec((0u8..5, 0u64..100, 0.0f64..1.0), 0..60)) {
            let (mut circuit, mut t) = (CircuitBreaker::default(), Instant::now());
            for (signal, step, jitter) in signs {
                t += Duration::from_secs(step);
                let admission = circuit.admit(t);
                if let Admission::Wait(_, left) = admission {
                    prop_assert!(left <= Duration::from_secs(130), "{left:?}");
                } else if matches!(admission, Admission::Probe(_)) && signal == 0 {
                    circuit.found_well(t);
                } else {
                    circuit.note(t, [Signal::Good, Signal::Failing, Signal::Down, Signal::None, Signal::TooMany(Some(Duration::from_secs(step)))][usize::from(signal)], jitter);
                }
            }
            prop_assert!(!matches!(circuit.admit(t + Duration::from_secs(130)), Admission::Wait(..)));
        }
    }
}
