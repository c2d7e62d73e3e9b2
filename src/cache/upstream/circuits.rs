use std::sync::Arc;
use std::time::{Duration, Instant};

use super::circuit_breaker::{Admission, CircuitBreaker, PauseReason, Signal};
use crate::cache::memory::BoundedMap;
use crate::image::{Repository, Tag};

/// How many things of a repository that fail at the same time make it the repository that fails.
const SEVERAL: usize = 3;
/// For how long what failed counts.
const RECENT: Duration = Duration::from_mins(1);
/// How many things are remembered that have shown a fault.
const MOST: usize = 8192;

/// Circuits of repositories, and of what is in them: tags, blobs, lists.
#[derive(Debug)]
pub(super) struct Circuits {
    all: BoundedMap<Scope, Circuit>,
}

/// What has shown a fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    /// A repository.
    pub(super) repository: Repository,
    /// The one thing of it, such as `manifests/latest`; [`None`]: all of it.
    pub(super) only: Option<Arc<str>>,
}

impl Scope {
    pub(super) fn repository(repository: &Repository) -> Self {
        Self { repository: repository.clone(), only: None }
    }

    fn only(repository: &Repository, what: &str) -> Self {
        Self { repository: repository.clone(), only: Some(what.into()) }
    }

    /// Returns the scopes that hold for something of a repository.
    fn both(repository: &Repository, what: &str) -> [Self; 2] {
        [Self::repository(repository), Self::only(repository, what)]
    }
}

/// How something is that has shown a fault.
#[derive(Clone, Debug, Default)]
struct Circuit {
    breaker: CircuitBreaker,
    /// What of a repository failed lately, and when.
    failed: Vec<(Arc<str>, Instant)>,
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
    /// It may not before a probe, which is to be sent now, has found well what is paused.
    Probe(PauseReason, RepositoryProbe),
}

/// A request of our own that tells whether a repository, or something of it, is well again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RepositoryProbe {
    /// What is paused.
    pub(super) scope: Scope,
    /// What of the repository is asked for.
    pub(super) what: Arc<str>,
    /// Whether it waits for its answer as long as a client's request would, or only for a moment; of the first kind
    /// there is one at a time.
    pub(super) is_patient: bool,
}

/// A repository that is not asked, or not for something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedRepository {
    /// Its name at the registry.
    pub repository: Repository,
    /// The one thing that it is not asked for, such as `manifests/latest`; [`None`] where it is asked for nothing.
    pub only: Option<String>,
    /// Why it is not asked.
    pub why: PauseReason,
    /// For how long that has been so.
    pub paused_for: Duration,
    /// How long it will be so at least.
    pub left: Duration,
}

impl Default for Circuits {
    fn default() -> Self {
        Self { all: BoundedMap::new(MOST) }
    }
}

impl Circuits {
    /// Returns whether a request for something of a repository may go out.
    pub(super) fn admit(&mut self, repository: &Repository, what: &str, now: Instant) -> Permission {
        if self.all.is_empty() {
            return Permission::Go;
        }
        for scope in Scope::both(repository, what) {
            let Some(mut circuit) = self.all.get(&scope) else { continue };
            match circuit.breaker.admit(now) {
                Admission::Go => {}
                Admission::Wait(why, left) => return Permission::Wait(why, left),
                Admission::Probe(why) => {
                    // Of a repository, what is wanted: what failed may be all that is broken.
                    let (what, is_patient) = (what.into(), !circuit.has_patient_probe);
                    circuit.has_patient_probe = true;
                    self.all.put(scope.clone(), circuit, 1);
                    return Permission::Probe(why, RepositoryProbe { scope, what, is_patient });
                }
            }
        }
        Permission::Go
    }

    /// Takes note of what an answer says about what was asked for, and about its repository; returns until when that is
    /// paused.
    pub(super) fn note(
        &mut self,
        repository: &Repository,
        what: &str,
        signal: Signal,
        now: Instant,
        jitter: f64,
    ) -> Instant {
        let (all, only) = (Scope::repository(repository), Scope::only(repository, what));
        match signal {
            Signal::None => {}
            Signal::Good => {
                self.all.remove(&all);
                self.all.remove(&only);
            }
            Signal::Down | Signal::TooMany(_) => {
                // A probe of it that was under way has ended.
                if let Some(mut circuit) = self.all.get(&only).filter(|only| !only.breaker.is_closed()) {
                    circuit.breaker.note(now, signal, jitter);
                    self.all.put(only, circuit, 1);
                }
                let mut circuit = self.all.get(&all).unwrap_or_default();
                circuit.breaker.note(now, signal, jitter);
                let until = circuit.breaker.paused(now).map_or(now, |(_, left)| now + left);
                self.all.put(all, circuit, 1);
                return until;
            }
            Signal::Failing => {
                let mut circuit = self.all.get(&only).unwrap_or_default();
                circuit.breaker.note(now, signal, jitter);
                self.all.put(only, circuit, 1);
                let mut circuit = self.all.get(&all).unwrap_or_default();
                // That an API is missing or broken, such as that of referrers, says nothing of what there is.
                let is_content = what.starts_with("manifests/") || what.starts_with("blobs/");
                if is_content {
                    circuit.failed.retain(|(other, at)| **other != *what && now < *at + RECENT);
                    circuit.failed.push((what.into(), now));
                }
                if circuit.failed.len() > SEVERAL {
                    circuit.failed.remove(0);
                }
                if is_content && circuit.failed.len() == SEVERAL || !circuit.breaker.is_closed() {
                    circuit.breaker.open(now, PauseReason::Failing, jitter);
                }
                self.all.put(all, circuit, 1);
            }
        }
        now
    }

    /// Takes note that a probe has found well what it asked for, and with that its repository, if that was paused.
    pub(super) fn found_well(&mut self, probe: &RepositoryProbe, now: Instant) {
        for scope in [&probe.scope, &Scope::only(&probe.scope.repository, &probe.what)] {
            if let Some(mut circuit) = self.all.get(scope) {
                circuit.breaker.found_well(now);
                self.all.put(scope.clone(), circuit, 1);
            }
        }
    }

    /// Takes note that no probe of something waits any more as long as a client's request would.
    pub(super) fn patient_probe_ended(&mut self, scope: &Scope) {
        if let Some(mut circuit) = self.all.get(scope) {
            circuit.has_patient_probe = false;
            self.all.put(scope.clone(), circuit, 1);
        }
    }

    /// Returns whether something of a repository, or the repository, is being probed.
    pub(super) fn is_probing(&mut self, asked: (&Repository, &str), now: Instant) -> bool {
        let mut scopes = Scope::both(asked.0, asked.1).into_iter();
        scopes.any(|scope| self.all.get(&scope).is_some_and(|circuit| circuit.breaker.is_probing(now)))
    }

    /// Returns why a repository is not asked at `now` for a tag, and for how long; [`None`] where it is.
    pub(super) fn pause_of(
        &mut self,
        repository: &Repository,
        tag: &Tag,
        now: Instant,
    ) -> Option<(PauseReason, Duration)> {
        if self.all.is_empty() {
            return None;
        }
        let mut scopes = Scope::both(repository, &format!("manifests/{tag}")).into_iter();
        scopes.find_map(|scope| self.all.get(&scope)?.breaker.paused(now))
    }

    /// Returns the repositories that are not asked at `now`, or not for something of them, by name.
    pub(super) fn paused(&self, now: Instant) -> Vec<PausedRepository> {
        let paused = self.all.iter().filter_map(|(scope, circuit)| {
            let (why, left) = circuit.breaker.paused(now)?;
            let since = circuit.breaker.paused_since().unwrap_or(now);
            let (repository, only) = (scope.repository.clone(), scope.only.as_deref().map(str::to_owned));
            let paused_for = now.saturating_duration_since(since);
            Some(PausedRepository { repository, only, why, paused_for, left })
        });
        let mut paused: Vec<_> = paused.collect();
        // The repository before what is of it.
        paused.sort_by(|a, b| (a.repository.as_str(), &a.only).cmp(&(b.repository.as_str(), &b.only)));
        paused.dedup_by(|next, before| next.repository == before.repository && before.only.is_none());
        paused
    }
}
