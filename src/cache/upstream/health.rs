use std::time::{Duration, Instant};

use super::circuit_breaker::{Admission, CircuitBreaker, PauseReason, Signal};
use crate::cache::backoff::Backoff;
use crate::cache::memory::BoundedMap;
use crate::image::Repository;

/// The pauses of a host that cannot be reached, between two probes.
const PROBES: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(5) };
/// How many repositories that fail at the same time make the host suspect.
const SEVERAL: usize = 3;
/// How many that limit requests at the same time make it the host that does.
const SEVERAL_LIMITED: usize = 2;
/// For how long a repository that failed counts.
const RECENT: Duration = Duration::from_mins(1);
/// How many repositories are remembered that have shown a fault.
const REPOSITORIES: usize = 4096;

/// How one endpoint is: its host, and each of its repositories that has shown a fault.
///
/// One bad thing stays one bad thing. What the host itself shows (no connection, no TLS) pauses the host; what one
/// repository shows (5xx, a late header, 429) pauses that repository. Only when several repositories show it is the
/// host suspected, and then a probe decides. A probe is a request of our own, never one that a client waits for.
#[derive(Debug)]
pub(super) struct Health {
    host: Host,
    repositories: BoundedMap<Repository, CircuitBreaker>,
    /// Repositories that failed lately, and when; no repository has answered well since.
    failing: Vec<(Repository, Instant)>,
    /// Repositories that limit requests, and until when.
    limited: Vec<(Repository, Instant)>,
    /// Since when the host limits requests, and until when.
    host_limited: Option<(Instant, Instant)>,
}

#[derive(Clone, Copy, Debug)]
enum Host {
    Well,
    /// It is not asked until a probe has got an answer.
    Ill {
        since: Instant,
        probes: u32,
        why: PauseReason,
        next: Instant,
    },
}

/// A repository that is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedRepository {
    /// Its name at the registry.
    pub repository: Repository,
    /// Why it is not asked.
    pub why: PauseReason,
    /// For how long that has been so.
    pub paused_for: Duration,
    /// How long it will be so at least.
    pub left: Duration,
}

/// What a probe of a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// None is needed.
    None,
    /// The host is paused until one gets an answer.
    Paused,
    /// It is suspected: if none gets an answer, it is paused.
    Suspected,
}

/// What became of a request: what it says about the host, and about the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The host cannot be reached.
    HostDown,
    /// It says this about the repository.
    Repository(Signal),
}

impl Default for Health {
    fn default() -> Self {
        Self {
            host: Host::Well,
            repositories: BoundedMap::new(REPOSITORIES),
            failing: Vec::new(),
            limited: Vec::new(),
            host_limited: None,
        }
    }
}

impl Health {
    /// Returns whether a request for something of a repository may go out.
    pub(super) fn admit(&mut self, repository: Option<&Repository>, now: Instant) -> Admission {
        if let Some((why, left)) = self.paused(now) {
            return Admission::Wait(why, left);
        }
        let Some(repository) = repository else { return Admission::Go };
        let Some(mut circuit) = self.repositories.get(repository) else { return Admission::Go };
        let admission = circuit.admit(now);
        self.repositories.put(repository.clone(), circuit, 1);
        admission
    }

    /// Takes note of what became of a request; returns whether the host has to be probed.
    pub(super) fn note(
        &mut self,
        repository: Option<&Repository>,
        verdict: Verdict,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        match (verdict, repository) {
            (Verdict::HostDown, _) => self.pause(PauseReason::Unreachable, now),
            (Verdict::Repository(signal), Some(repository)) => {
                self.note_repository(repository, signal, now, jitter)
            }
            (Verdict::Repository(_), None) => Probe::None,
        }
    }

    fn note_repository(
        &mut self,
        repository: &Repository,
        signal: Signal,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        let mut circuit = match (self.repositories.get(repository), signal) {
            (Some(circuit), _) => circuit,
            (None, Signal::Good | Signal::None) => CircuitBreaker::default(),
            (None, Signal::Failing | Signal::Down | Signal::TooMany(_)) => CircuitBreaker::default(),
        };
        circuit.note(now, signal, jitter);
        if circuit.is_closed() && matches!(signal, Signal::Good) {
            self.repositories.remove(repository);
        } else {
            self.repositories.put(repository.clone(), circuit, 1);
        }
        match signal {
            Signal::Good => {
                self.failing.clear();
                self.limited.retain(|(other, _)| other != repository);
                self.host_limited = None;
                Probe::None
            }
            Signal::None => Probe::None,
            Signal::Failing | Signal::Down => {
                self.failing.retain(|(other, at)| other != repository && now < *at + RECENT);
                self.failing.push((repository.clone(), now));
                if self.failing.len() < SEVERAL {
                    return Probe::None;
                }
                self.failing.clear();
                Probe::Suspected
            }
            Signal::TooMany(_) => {
                let until = circuit.paused(now).map_or(now, |(_, left)| now + left);
                self.limited.retain(|(other, until)| other != repository && now < *until);
                self.limited.push((repository.clone(), until));
                if self.limited.len() >= SEVERAL_LIMITED {
                    let since =
                        self.host_limited.filter(|(_, until)| now < *until).map_or(now, |(since, _)| since);
                    let until = self.limited.iter().map(|(_, until)| *until).min();
                    self.host_limited = until.map(|until| (since, until));
                }
                Probe::None
            }
        }
    }

    fn pause(&mut self, why: PauseReason, now: Instant) -> Probe {
        match self.host {
            Host::Well => {
                self.host = Host::Ill { since: now, probes: 0, why, next: now };
                Probe::Paused
            }
            Host::Ill { .. } => Probe::None,
        }
    }

    /// Takes note that a probe got an answer, whatever it says: the host is there.
    pub(super) fn probe_answered(&mut self) {
        self.host = Host::Well;
        self.failing.clear();
    }

    /// Takes note that a probe got no answer; returns how long to wait before the next.
    pub(super) fn probe_failed(&mut self, why: PauseReason, now: Instant, jitter: f64) -> Duration {
        let (since, probes) = match self.host {
            Host::Well => (now, 0),
            Host::Ill { since, probes, .. } => (since, probes),
        };
        // Replicas that lost a host together should not come back together.
        let wait = PROBES.after(probes + 1).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
        self.host = Host::Ill { since, probes: probes.saturating_add(1), why, next: now + wait };
        wait
    }

    /// Returns why the host is not asked at `now`, and for how long at least; [`None`] where it is.
    pub(super) fn paused(&self, now: Instant) -> Option<(PauseReason, Duration)> {
        let least = Duration::from_secs(1);
        match self.host {
            Host::Ill { why, next, .. } => Some((why, next.saturating_duration_since(now).max(least))),
            Host::Well => {
                let left = self.host_limited?.1.checked_duration_since(now)?;
                (!left.is_zero()).then_some((PauseReason::TooMany, left))
            }
        }
    }

    /// Returns since when the host, as [`Health::paused`] says, is not asked.
    pub(super) fn paused_since(&self) -> Option<Instant> {
        match self.host {
            Host::Ill { since, .. } => Some(since),
            Host::Well => self.host_limited.map(|(since, _)| since),
        }
    }

    /// Returns whether the host is probed until it gives an answer.
    pub(super) fn is_ill(&self) -> bool {
        matches!(self.host, Host::Ill { .. })
    }

    /// Returns the repositories that are not asked at `now`, by name.
    pub(super) fn paused_repositories(&self, now: Instant) -> Vec<PausedRepository> {
        let paused = self.repositories.iter().filter_map(|(repository, circuit)| {
            let (why, left) = circuit.paused(now)?;
            let since = circuit.paused_since().unwrap_or(now);
            let paused_for = now.saturating_duration_since(since);
            Some(PausedRepository { repository: repository.clone(), why, paused_for, left })
        });
        let mut paused: Vec<_> = paused.collect();
        paused.sort_by(|a, b| a.repository.as_str().cmp(b.repository.as_str()));
        paused
    }

    /// Returns whether no probe of a paused host has ended yet: a moment's patience may tell that it is well.
    pub(super) fn is_first_probe(&self) -> bool {
        matches!(self.host, Host::Ill { probes: 0, .. })
    }

    /// Returns why a repository is not asked at `now`, and for how long; [`None`] where it is.
    pub(super) fn paused_for(
        &mut self,
        repository: &Repository,
        now: Instant,
    ) -> Option<(PauseReason, Duration)> {
        self.paused(now).or_else(|| self.repositories.get(repository)?.paused(now))
    }

    /// Ends all pauses: the operator says that it is well.
    pub(super) fn end_pauses(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        name.parse().unwrap()
    }

    fn failing(health: &mut Health, name: &str, now: Instant) -> Probe {
        health.note(Some(&repository(name)), Verdict::Repository(Signal::Failing), now, 0.5)
    }

    #[test]
    fn one_repository_takes_no_other_away() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..50 {
            assert_eq!(failing(&mut health, "broken", now), Probe::None);
        }
        assert!(matches!(health.admit(Some(&repository("broken")), now), Admission::Wait(..)));
        assert_eq!(health.admit(Some(&repository("good")), now), Admission::Go);
        assert_eq!(health.paused(now), None);
    }

    #[test]
    fn several_make_the_host_suspect_and_a_probe_decides() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(failing(&mut health, "a", now), Probe::None);
        assert_eq!(failing(&mut health, "b", now), Probe::None);
        assert_eq!(failing(&mut health, "c", now), Probe::Suspected);
        assert_eq!(health.admit(Some(&repository("d")), now), Admission::Go, "nothing is known yet");
        health.probe_failed(PauseReason::Failing, now, 0.5);
        assert!(matches!(
            health.admit(Some(&repository("d")), now),
            Admission::Wait(PauseReason::Failing, _)
        ));
        health.probe_answered();
        assert_eq!(health.admit(Some(&repository("d")), now), Admission::Go);
        // One that answers in between shows that the host is well.
        failing(&mut health, "a", now);
        failing(&mut health, "b", now);
        health.note(Some(&repository("d")), Verdict::Repository(Signal::Good), now, 0.5);
        assert_eq!(failing(&mut health, "c", now), Probe::None);
    }

    #[test]
    fn a_host_that_is_down_is_paused_until_a_probe_gets_an_answer() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(health.note(None, Verdict::HostDown, now, 0.5), Probe::Paused);
        assert!(health.is_first_probe());
        assert_eq!(health.note(None, Verdict::HostDown, now, 0.5), Probe::None, "one probe is enough");
        let mut now = now;
        for _ in 0..20 {
            let wait = health.probe_failed(PauseReason::Unreachable, now, 1.0);
            assert!(wait <= Duration::from_secs(6), "{wait:?}");
            now += wait;
            assert!(matches!(health.admit(None, now), Admission::Wait(PauseReason::Unreachable, _)));
        }
        health.probe_answered();
        assert_eq!(health.admit(None, now), Admission::Go);
    }

    #[test]
    fn a_limit_is_the_repositorys_until_a_second_one_has_it_too() {
        let (mut health, now) = (Health::default(), Instant::now());
        let limit = Verdict::Repository(Signal::TooMany(Some(Duration::from_mins(1))));
        health.note(Some(&repository("a")), limit, now, 0.5);
        assert!(matches!(
            health.admit(Some(&repository("a")), now),
            Admission::Wait(PauseReason::TooMany, _)
        ));
        assert_eq!(health.admit(Some(&repository("b")), now), Admission::Go);
        health.note(Some(&repository("b")), limit, now, 0.5);
        assert!(matches!(
            health.admit(Some(&repository("c")), now),
            Admission::Wait(PauseReason::TooMany, _)
        ));
        assert_eq!(health.admit(Some(&repository("c")), now + Duration::from_secs(70)), Admission::Go);
        health.note(Some(&repository("b")), limit, now, 0.5);
        health.end_pauses();
        assert_eq!(health.admit(Some(&repository("b")), now), Admission::Go);
    }
}
