use std::time::{Duration, Instant};

use super::circuit_breaker::{PauseReason, Signal};
use super::circuits::{Circuits, PausedRepository, Permission, RepositoryProbe, Scope};
use crate::cache::backoff::Backoff;
use crate::image::{Repository, Tag};

/// The pauses of a host that cannot be reached, between two probes.
const PROBES: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(4) };
/// How many repositories that fail at the same time make the host suspect.
const SEVERAL: usize = 3;
/// How many that limit requests one after another, while none answers well, make it the host that seems to.
const SEVERAL_LIMITED: usize = 2;
/// The pauses of a host that seems to limit requests, between two probes of other repositories of it.
const LIMIT_PROBES: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(32) };
/// How long a probe of such a repository is waited for.
const LIMIT_PROBE: Duration = Duration::from_secs(4);
/// For how long a repository that failed counts.
const RECENT: Duration = Duration::from_mins(1);

/// How one endpoint is: its host, and whatever of it has shown a fault.
///
/// One bad thing stays one bad thing. What the host itself shows (no connection, no TLS) pauses the host; what a tag or a
/// blob shows (5xx, a late header) pauses that, and its repository only when several of its things show it, or when it
/// limits requests. When several repositories fail, the host is suspected, and then a probe decides. A probe is a request
/// of our own, never one that a client waits for.
#[derive(Debug)]
pub(super) struct Health {
    host: Host,
    circuits: Circuits,
    /// Repositories that failed lately, and when; no repository has answered well since.
    failing: Vec<(Repository, Instant)>,
    /// Repositories that limit requests, and until when; no other one has answered well since.
    limited: Vec<(Repository, Instant)>,
    /// That the host seems to limit requests.
    host_limited: Option<HostLimit>,
    /// How often it was probed when the last such limit ended, and when that was.
    was_limited: Option<(u32, Instant)>,
}

/// How long a host seems to limit requests.
#[derive(Clone, Copy, Debug)]
struct HostLimit {
    since: Instant,
    until: Instant,
    /// When another repository of it is asked, whether it does so, too.
    next_probe: Instant,
    probes: u32,
    /// Since when that is being asked.
    probing: Option<Instant>,
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
            circuits: Circuits::default(),
            failing: Vec::new(),
            limited: Vec::new(),
            host_limited: None,
            was_limited: None,
        }
    }
}

impl Health {
    /// Returns whether a request for something of a repository may go out.
    pub(super) fn admit(&mut self, asked: Option<(&Repository, &str)>, now: Instant) -> Permission {
        let paused = self.paused(now).map(|(why, left)| Permission::Wait(why, left));
        match (asked, paused) {
            (Some((repository, what)), paused) if !self.is_ill() => {
                match self.circuits.admit(repository, what, now) {
                    Permission::Go => {}
                    own => return own,
                }
                self.probe_of_limit(repository, what, now).or(paused).unwrap_or(Permission::Go)
            }
            (_, paused) => paused.unwrap_or(Permission::Go),
        }
    }

    /// Returns the probe that tells whether a host limits requests, or only repositories of it, if that is due.
    fn probe_of_limit(&mut self, repository: &Repository, what: &str, now: Instant) -> Option<Permission> {
        let limit =
            self.host_limited.as_mut().filter(|limit| limit.next_probe <= now && now < limit.until)?;
        limit.probes = limit.probes.saturating_add(1);
        limit.next_probe = now + LIMIT_PROBES.after(limit.probes);
        limit.probing = Some(now);
        let scope = Scope::repository(repository);
        let probe = RepositoryProbe { scope, what: what.into(), is_patient: false };
        Some(Permission::Probe(PauseReason::TooMany, probe))
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

    /// Takes note of what a probe gave, or that it gave nothing within a moment; returns whether the host has to be
    /// probed.
    pub(super) fn note_probe(
        &mut self,
        probe: &RepositoryProbe,
        verdict: Option<Verdict>,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        let (repository, what) = (&probe.scope.repository, &*probe.what);
        if let Some(limit) = &mut self.host_limited {
            limit.probing = None;
        }
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
                self.circuits.found_well(probe, now);
                self.failing.clear();
                self.no_limit(now);
                Probe::None
            }
            Signal::Failing | Signal::Down | Signal::TooMany(_) => {
                self.note_repository(repository, what, signal, now, jitter)
            }
        }
    }

    /// Returns whether a moment's patience may tell that something of a repository, or its host, is well.
    pub(super) fn is_probing(&mut self, asked: (&Repository, &str), now: Instant) -> bool {
        let is_limit_probed = self.host_limited.and_then(|limit| limit.probing);
        self.is_first_probe()
            || is_limit_probed.is_some_and(|since| now < since + LIMIT_PROBE)
            || self.circuits.is_probing(asked, now)
    }

    /// Takes note that the host takes requests.
    fn no_limit(&mut self, now: Instant) {
        self.limited.clear();
        if let Some(limit) = self.host_limited.take() {
            self.was_limited = Some((limit.probes, now));
        }
    }

    /// Takes note that no probe of something waits any more as long as a client's request would.
    pub(super) fn patient_probe_ended(&mut self, scope: &Scope) {
        self.circuits.patient_probe_ended(scope);
    }

    fn note_repository(
        &mut self,
        repository: &Repository,
        what: &str,
        signal: Signal,
        now: Instant,
        jitter: f64,
    ) -> Probe {
        let until = self.circuits.note(repository, what, signal, now, jitter);
        match signal {
            Signal::Good => {
                self.failing.clear();
                self.no_limit(now);
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
                    let until = self.limited.iter().map(|(_, until)| *until).min().unwrap_or(now);
                    let known = self.host_limited.filter(|limit| now < limit.until);
                    let limit = known.unwrap_or_else(|| {
                        // Some limit what others ask for, and take what a probe asks: those are not probed more often for it.
                        let before = self.was_limited.filter(|(_, at)| now < *at + RECENT);
                        let probes = before.map_or(0, |(probes, _)| probes);
                        let wait = if probes == 0 { Duration::ZERO } else { LIMIT_PROBES.after(probes) };
                        HostLimit { since: now, until, next_probe: now + wait, probes, probing: None }
                    });
                    self.host_limited = Some(HostLimit { until, ..limit });
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
                let left = self.host_limited?.until.checked_duration_since(now)?;
                (!left.is_zero()).then_some((PauseReason::TooMany, left))
            }
        }
    }

    /// Returns since when the host, as [`Health::paused`] says, is not asked.
    pub(super) fn paused_since(&self) -> Option<Instant> {
        match self.host {
            Host::Ill { since, .. } => Some(since),
            Host::Well => self.host_limited.map(|limit| limit.since),
        }
    }

    /// Returns whether the host is probed until it gives an answer.
    pub(super) fn is_ill(&self) -> bool {
        matches!(self.host, Host::Ill { .. })
    }

    /// Returns the repositories that are not asked at `now`, or not for something of them, by name.
    pub(super) fn paused_repositories(&self, now: Instant) -> Vec<PausedRepository> {
        self.circuits.paused(now)
    }

    /// Returns whether no probe of a paused host has ended yet: a moment's patience may tell that it is well.
    pub(super) fn is_first_probe(&self) -> bool {
        matches!(self.host, Host::Ill { probes: 0, .. })
    }

    /// Returns why a repository is not asked at `now` for a tag, and for how long; [`None`] where it is.
    pub(super) fn paused_for(
        &mut self,
        repository: &Repository,
        tag: &Tag,
        now: Instant,
    ) -> Option<(PauseReason, Duration)> {
        // What a probe is due for is asked, so that it is sent.
        let is_due = !self.is_ill() && self.host_limited.is_some_and(|limit| limit.next_probe <= now);
        self.paused(now).filter(|_| !is_due).or_else(|| self.circuits.pause_of(repository, tag, now))
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
        note_of(health, name, "manifests/1", signal, now)
    }

    fn note_of(health: &mut Health, name: &str, what: &str, signal: Signal, now: Instant) -> Probe {
        health.note(Some((&repository(name), what)), Verdict::Repository(signal), now, 0.5)
    }

    fn admit(health: &mut Health, name: &str, now: Instant) -> Permission {
        health.admit(Some((&repository(name), "manifests/1")), now)
    }

    #[test]
    fn one_repository_takes_no_other_away() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..50 {
            assert_eq!(failing(&mut health, "broken", now), Probe::None);
        }
        assert!(matches!(admit(&mut health, "broken", now), Permission::Wait(..)));
        assert_eq!(admit(&mut health, "good", now), Permission::Go);
        assert_eq!(health.paused(now), None);
    }

    #[test]
    fn one_tag_takes_no_other_away_until_several_fail() {
        let (mut health, now) = (Health::default(), Instant::now());
        let a = repository("a");
        let is_asked = |health: &mut Health, what| health.admit(Some((&a, what)), now) == Permission::Go;
        for _ in 0..50 {
            note_of(&mut health, "a", "manifests/bad", Signal::Failing, now);
        }
        assert!(!is_asked(&mut health, "manifests/bad") && is_asked(&mut health, "manifests/1"));
        let tag = |name: &str| name.parse().unwrap();
        assert!(health.paused_for(&a, &tag("bad"), now).is_some());
        assert_eq!(health.paused_for(&a, &tag("1"), now), None);
        let paused = health.paused_repositories(now);
        assert_eq!((paused.len(), paused[0].only.as_deref()), (1, Some("manifests/bad")));
        // What is good shows that the repository is, and not that what failed is.
        note_of(&mut health, "a", "manifests/1", Signal::Good, now);
        assert!(!is_asked(&mut health, "manifests/bad"));
        for what in ["manifests/bad", "manifests/2", "manifests/2", "referrers/3", "tags/list"] {
            note_of(&mut health, "a", what, Signal::Failing, now);
            assert!(is_asked(&mut health, "manifests/1"), "{what}");
        }
        note_of(&mut health, "a", "blobs/3", Signal::Failing, now);
        assert!(!is_asked(&mut health, "manifests/1"));
        assert_eq!(health.paused_repositories(now).len(), 1, "the repository stands for what is of it");
        // What is wanted tells whether it is well, not what is broken for ever.
        let later = now + Duration::from_secs(5);
        let Permission::Probe(_, probe) = health.admit(Some((&a, "manifests/1")), later) else { panic!() };
        assert_eq!((&probe.scope, &*probe.what), (&Scope::repository(&a), "manifests/1"));
        health.note_probe(&probe, Some(Verdict::Repository(Signal::Good)), later, 0.5);
        assert_eq!(health.admit(Some((&a, "manifests/1")), later), Permission::Go);
    }

    #[test]
    fn several_make_the_host_suspect_and_a_probe_decides() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(failing(&mut health, "a", now), Probe::None);
        assert_eq!(failing(&mut health, "b", now), Probe::None);
        assert_eq!(failing(&mut health, "c", now), Probe::Suspected);
        assert_eq!(admit(&mut health, "d", now), Permission::Go, "nothing is known yet");
        health.probe_failed(PauseReason::Failing, now, 0.5);
        assert!(matches!(admit(&mut health, "d", now), Permission::Wait(PauseReason::Failing, _)));
        health.probe_answered();
        assert_eq!(admit(&mut health, "d", now), Permission::Go);
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
        assert!(matches!(admit(&mut health, "a", now), Permission::Wait(PauseReason::TooMany, _)));
        assert_eq!(admit(&mut health, "b", now), Permission::Go);
        note(&mut health, "b", limit, now);
        // Whether it is the host that limits requests, another repository tells, and those who want it wait for that.
        let Permission::Probe(PauseReason::TooMany, probe) = admit(&mut health, "c", now) else { panic!() };
        assert_eq!((&probe.scope, &*probe.what), (&Scope::repository(&repository("c")), "manifests/1"));
        assert!(health.is_probing((&repository("d"), "manifests/1"), now));
        assert!(matches!(admit(&mut health, "d", now), Permission::Wait(PauseReason::TooMany, _)));
        health.note_probe(&probe, Some(Verdict::Repository(limit)), now, 0.5);
        assert!(!health.is_probing((&repository("d"), "manifests/1"), now));
        assert!(matches!(admit(&mut health, "d", now), Permission::Wait(PauseReason::TooMany, _)));
        let probes = (0..60).filter(|seconds| {
            let (name, at) = (format!("e{seconds}"), now + Duration::from_secs(*seconds));
            let Permission::Probe(_, probe) = admit(&mut health, &name, at) else { return false };
            health.note_probe(&probe, Some(Verdict::Repository(limit)), at, 0.5);
            true
        });
        assert_eq!(probes.count(), 4, "a host that limits all is seldom asked");
        assert_eq!(admit(&mut health, "d", now + Duration::from_secs(170)), Permission::Go);
    }

    #[test]
    fn a_host_of_which_two_repositories_limit_requests_gives_the_others() {
        let (mut health, now) = (Health::default(), Instant::now());
        let limit = Signal::TooMany(Some(Duration::from_mins(1)));
        note(&mut health, "a", limit, now);
        note(&mut health, "b", limit, now);
        let (c, one) = (repository("c"), "1".parse().unwrap());
        assert_eq!(health.paused_for(&c, &one, now), None, "the first who wants it has it probed");
        let Permission::Probe(_, probe) = admit(&mut health, "c", now) else { panic!() };
        assert!(health.paused_for(&c, &one, now).is_some());
        health.note_probe(&probe, Some(Verdict::Repository(Signal::Good)), now, 0.5);
        assert_eq!(admit(&mut health, "c", now), Permission::Go);
        assert_eq!(admit(&mut health, "d", now), Permission::Go);
        assert!(matches!(admit(&mut health, "a", now), Permission::Wait(PauseReason::TooMany, _)));
        // One that answers in between shows that the host is not limited.
        note(&mut health, "c", Signal::Good, now);
        note(&mut health, "e", limit, now);
        assert_eq!(admit(&mut health, "d", now), Permission::Go);
        note(&mut health, "b", limit, now);
        health.end_pauses();
        assert_eq!(admit(&mut health, "b", now), Permission::Go);
    }

    #[test]
    fn a_repository_that_failed_is_tried_by_a_probe_of_what_failed() {
        let (mut health, now) = (Health::default(), Instant::now());
        let a = repository("a");
        for _ in 0..3 {
            failing(&mut health, "a", now);
        }
        let after = |seconds| now + Duration::from_secs(seconds);
        let Permission::Probe(PauseReason::Failing, probe) = admit(&mut health, "a", after(2)) else {
            panic!()
        };
        assert_eq!((&*probe.what, probe.is_patient), ("manifests/1", true));
        assert!(health.is_probing((&a, "manifests/1"), after(2)));
        assert!(!health.is_probing((&repository("b"), "manifests/1"), after(2)));
        assert!(!health.is_probing((&a, "manifests/2"), after(2)));
        assert!(matches!(admit(&mut health, "a", after(2)), Permission::Wait(PauseReason::Failing, _)));
        // It gives nothing within a moment: it may yet, and another one is sent that does not wait so long.
        health.note_probe(&probe, None, after(6), 0.5);
        assert!(matches!(admit(&mut health, "a", after(6)), Permission::Wait(PauseReason::Failing, _)));
        let Permission::Probe(_, second) = admit(&mut health, "a", after(20)) else { panic!() };
        assert!(!second.is_patient);
        health.note_probe(&probe, Some(Verdict::Repository(Signal::Good)), after(20), 0.5);
        health.patient_probe_ended(&probe.scope);
        assert_eq!(admit(&mut health, "a", after(20)), Permission::Go);
        // What a client asks for has the last word.
        note(&mut health, "a", Signal::Failing, after(20));
        assert!(matches!(admit(&mut health, "a", after(20)), Permission::Wait(PauseReason::Failing, _)));
        let Permission::Probe(_, third) = admit(&mut health, "a", after(40)) else { panic!() };
        assert!(third.is_patient);
        assert_eq!(health.note_probe(&third, Some(Verdict::HostDown), after(40), 0.5), Probe::Paused);
        // The host is back: whatever is wanted tells whether the repository is, and what failed has a probe of its own.
        health.probe_answered();
        let other = Some((&a, "manifests/2"));
        let Permission::Probe(_, fourth) = health.admit(other, after(50)) else { panic!() };
        health.note_probe(&fourth, Some(Verdict::Repository(Signal::Good)), after(50), 0.5);
        assert_eq!(health.admit(other, after(50)), Permission::Go);
        assert!(matches!(admit(&mut health, "a", after(50)), Permission::Probe(..)));
    }
}
