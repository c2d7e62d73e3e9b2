use std::sync::Arc;
use std::time::{Duration, Instant};

use super::circuit_breaker::{Admission, CircuitBreaker, PauseReason, Signal};
use crate::cache::backoff::Backoff;
use crate::cache::memory::BoundedMap;
use crate::image::Repository;

/// The pauses of a host that cannot be reached, between two probes.
const PROBES: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(4) };
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
    repositories: BoundedMap<Repository, RepositoryCircuit>,
    /// Repositories that failed lately, and when; no repository has answered well since.
    failing: Vec<(Repository, Instant)>,
    /// Repositories that limit requests, and until when.
    limited: Vec<(Repository, Instant)>,
    /// Since when the host limits requests, and until when.
    host_limited: Option<(Instant, Instant)>,
}

/// How a repository is that has shown a fault.
#[derive(Clone, Debug)]
struct RepositoryCircuit {
    breaker: CircuitBreaker,
    /// What of it failed last, such as `manifests/latest`: a probe asks for that.
    failed: Arc<str>,
    /// Whether a probe waits for its answer as long as a client's request would.
    has_patient_probe: bool,
}

/// Whether a request may go out to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// It may.
    Go,
    /// It may not, for so long.
    Wait(PauseReason, Duration),
    /// It may not before a probe, which is to be sent now, has found the repository well.
    Probe(PauseReason, RepositoryProbe),
}

/// A request of our own that tells whether a repository is well again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RepositoryProbe {
    /// Which one.
    pub(super) repository: Repository,
    /// What of it is asked for.
    pub(super) what: Arc<str>,
    /// Whether it waits for its answer as long as a client's request would, or only for a moment; of the first kind
    /// there is one at a time.
    pub(super) is_patient: bool,
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
    pub(super) fn admit(&mut self, repository: Option<&Repository>, now: Instant) -> Permission {
        if let Some((why, left)) = self.paused(now) {
            return Permission::Wait(why, left);
        }
        let Some(repository) = repository else { return Permission::Go };
        let Some(mut circuit) = self.repositories.get(repository) else { return Permission::Go };
        match circuit.breaker.admit(now) {
            Admission::Go => Permission::Go,
            Admission::Wait(why, left) => Permission::Wait(why, left),
            Admission::Probe(why) => {
                let (what, is_patient) = (Arc::clone(&circuit.failed), !circuit.has_patient_probe);
                circuit.has_patient_probe = true;
                self.repositories.put(repository.clone(), circuit, 1);
                Permission::Probe(why, RepositoryProbe { repository: repository.clone(), what, is_patient })
            }
        }
    }

    /// Takes note of what became of a request for something of a repository; returns whether the host has to be probed.
    pub(super) fn note(
        &mut self,
        asked: Option<(&Repository, &str)>,
        verdict: Verdict,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        match (verdict, asked) {
            (Verdict::HostDown, _) => self.pause(PauseReason::Unreachable, now),
            (Verdict::Repository(signal), Some((repository, what))) => {
                self.note_repository(repository, what, signal, now, jitter)
            }
            (Verdict::Repository(_), None) => Probe::None,
        }
    }

    /// Takes note of what a probe of a repository gave, or that it gave nothing within a moment; returns whether the
    /// host has to be probed.
    pub(super) fn note_probe(
        &mut self,
        probe: &RepositoryProbe,
        verdict: Option<Verdict>,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        let (repository, what) = (&probe.repository, &*probe.what);
        let signal = match verdict {
            // What is seldom asked for may take its time, and others of the repository may not.
            None => Signal::Failing,
            Some(Verdict::Repository(signal)) => signal,
            Some(Verdict::HostDown) => {
                self.note_repository(repository, what, Signal::Down, now, jitter);
                return self.pause(PauseReason::Unreachable, now);
            }
        };
        match signal {
            // Where it failed elsewhere, it was this one that led there.
            Signal::Good | Signal::None => {
                if let Some(mut circuit) = self.repositories.get(repository) {
                    circuit.breaker.found_well(now);
                    self.repositories.put(repository.clone(), circuit, 1);
                }
                self.failing.clear();
                Probe::None
            }
            Signal::Failing | Signal::Down | Signal::TooMany(_) => {
                self.note_repository(repository, what, signal, now, jitter)
            }
        }
    }

    /// Takes note that no probe of a repository waits any more as long as a client's request would.
    pub(super) fn patient_probe_ended(&mut self, repository: &Repository) {
        if let Some(mut circuit) = self.repositories.get(repository) {
            circuit.has_patient_probe = false;
            self.repositories.put(repository.clone(), circuit, 1);
        }
    }

    /// Returns whether a moment's patience may tell that a repository, or its host, is well.
    pub(super) fn is_probing(&mut self, repository: &Repository, now: Instant) -> bool {
        self.is_first_probe()
            || self.repositories.get(repository).is_some_and(|circuit| circuit.breaker.is_probing(now))
    }

    fn note_repository(
        &mut self,
        repository: &Repository,
        what: &str,
        signal: Signal,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        let known = self.repositories.get(repository);
        let until = match (known, signal) {
            (None, Signal::Good | Signal::None) | (Some(_), Signal::None) => now,
            (Some(_), Signal::Good) => {
                self.repositories.remove(repository);
                now
            }
            (known, Signal::Failing | Signal::Down | Signal::TooMany(_)) => {
                let mut circuit = known.unwrap_or_else(|| RepositoryCircuit {
                    breaker: CircuitBreaker::default(),
                    failed: Arc::default(),
                    has_patient_probe: false,
                });
                circuit.breaker.note(now, signal, jitter);
                if *circuit.failed != *what {
                    circuit.failed = what.into();
                }
                let until = circuit.breaker.paused(now).map_or(now, |(_, left)| now + left);
                self.repositories.put(repository.clone(), circuit, 1);
                until
            }
        };
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
            let (why, left) = circuit.breaker.paused(now)?;
            let since = circuit.breaker.paused_since().unwrap_or(now);
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
        self.paused(now).or_else(|| self.repositories.get(repository)?.breaker.paused(now))
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
        note(health, name, Signal::Failing, now)
    }

    fn note(health: &mut Health, name: &str, signal: Signal, now: Instant) -> Probe {
        health.note(Some((&repository(name), "manifests/1")), Verdict::Repository(signal), now, 0.5)
    }

    #[test]
    fn one_repository_takes_no_other_away() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..50 {
            assert_eq!(failing(&mut health, "broken", now), Probe::None);
        }
        assert!(matches!(health.admit(Some(&repository("broken")), now), Permission::Wait(..)));
        assert_eq!(health.admit(Some(&repository("good")), now), Permission::Go);
        assert_eq!(health.paused(now), None);
    }

    #[test]
    fn several_make_the_host_suspect_and_a_probe_decides() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(failing(&mut health, "a", now), Probe::None);
        assert_eq!(failing(&mut health, "b", now), Probe::None);
        assert_eq!(failing(&mut health, "c", now), Probe::Suspected);
        assert_eq!(health.admit(Some(&repository("d")), now), Permission::Go, "nothing is known yet");
        health.probe_failed(PauseReason::Failing, now, 0.5);
        assert!(matches!(
            health.admit(Some(&repository("d")), now),
            Permission::Wait(PauseReason::Failing, _)
        ));
        health.probe_answered();
        assert_eq!(health.admit(Some(&repository("d")), now), Permission::Go);
        // One that answers in between shows that the host is well.
        failing(&mut health, "a", now);
        failing(&mut health, "b", now);
        note(&mut health, "d", Signal::Good, now);
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
            assert!(matches!(health.admit(None, now), Permission::Wait(PauseReason::Unreachable, _)));
        }
        health.probe_answered();
        assert_eq!(health.admit(None, now), Permission::Go);
    }

    #[test]
    fn a_limit_is_the_repositorys_until_a_second_one_has_it_too() {
        let (mut health, now) = (Health::default(), Instant::now());
        let limit = Signal::TooMany(Some(Duration::from_mins(1)));
        note(&mut health, "a", limit, now);
        assert!(matches!(
            health.admit(Some(&repository("a")), now),
            Permission::Wait(PauseReason::TooMany, _)
        ));
        assert_eq!(health.admit(Some(&repository("b")), now), Permission::Go);
        note(&mut health, "b", limit, now);
        assert!(matches!(
            health.admit(Some(&repository("c")), now),
            Permission::Wait(PauseReason::TooMany, _)
        ));
        assert_eq!(health.admit(Some(&repository("c")), now + Duration::from_secs(70)), Permission::Go);
        note(&mut health, "b", limit, now);
        health.end_pauses();
        assert_eq!(health.admit(Some(&repository("b")), now), Permission::Go);
    }

    #[test]
    fn a_repository_that_failed_is_tried_by_a_probe_of_what_failed() {
        let (mut health, now) = (Health::default(), Instant::now());
        let a = repository("a");
        for _ in 0..3 {
            failing(&mut health, "a", now);
        }
        let after = |seconds| now + Duration::from_secs(seconds);
        let Permission::Probe(PauseReason::Failing, probe) = health.admit(Some(&a), after(2)) else {
            panic!()
        };
        assert_eq!((&*probe.what, probe.is_patient), ("manifests/1", true));
        assert!(health.is_probing(&a, after(2)) && !health.is_probing(&repository("b"), after(2)));
        assert!(matches!(health.admit(Some(&a), after(2)), Permission::Wait(PauseReason::Failing, _)));
        // It gives nothing within a moment: it may yet, and another one is sent that does not wait so long.
        health.note_probe(&probe, None, after(6), 0.5);
        assert!(matches!(health.admit(Some(&a), after(6)), Permission::Wait(PauseReason::Failing, _)));
        let Permission::Probe(_, second) = health.admit(Some(&a), after(20)) else { panic!() };
        assert!(!second.is_patient);
        health.note_probe(&probe, Some(Verdict::Repository(Signal::Good)), after(20), 0.5);
        health.patient_probe_ended(&a);
        assert_eq!(health.admit(Some(&a), after(20)), Permission::Go);
        // What a client asks for has the last word.
        note(&mut health, "a", Signal::Failing, after(20));
        assert!(matches!(health.admit(Some(&a), after(20)), Permission::Wait(PauseReason::Failing, _)));
        let Permission::Probe(_, third) = health.admit(Some(&a), after(40)) else { panic!() };
        assert!(third.is_patient);
        assert_eq!(health.note_probe(&third, Some(Verdict::HostDown), after(40), 0.5), Probe::Paused);
    }
}
