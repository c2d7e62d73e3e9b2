#![expect(clippy::disallowed_methods, reason = "measures hosts, and asks whether they are there again")]

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::endpoint::Endpoint;
use super::error::{RequestError, Wait};

/// The hosts to which redirects and challenges lead, as far as they cannot be reached or limit requests. One that cannot
/// be reached is not asked until it answers to a request of our own, so that those who wait for it do not keep others
/// away; one that limits requests is not asked until its pause is over.
#[derive(Clone, Debug, Default)]
pub(super) struct OtherHosts(Arc<Mutex<HashMap<String, Paused>>>);

/// A host to which a registry leads, and that is not asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedHost {
    /// Its scheme, name and port.
    pub host: String,
    /// Why it is not asked.
    pub why: HostPause,
    /// For how long that has been so.
    pub paused_for: Duration,
    /// How long it will be so at least.
    pub left: Duration,
}

/// Why a host is not asked to which a registry leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPause {
    /// It cannot be reached.
    Unreachable,
    /// It limits requests.
    Limited,
}

impl HostPause {
    /// Returns the words for tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Limited => "limits requests",
        }
    }
}

#[derive(Clone, Debug)]
struct Paused {
    why: HostPause,
    since: Instant,
    /// When it is asked next, by a request of our own or by any.
    until: Instant,
    /// How many pauses there were in a row.
    pauses: u32,
    /// When a request for it came last.
    wanted_at: Instant,
    /// The endpoints that led to it meanwhile.
    led_by: BTreeSet<String>,
}

/// How many hosts are remembered.
const HOSTS: usize = 1024;
/// How long to wait between two requests of our own, the first of which is sent at once.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(3);
/// How long a host is left alone that limits requests and does not say for how long.
const LIMITED: Duration = Duration::from_secs(1);
const LONGEST_LIMITED: Duration = Duration::from_secs(30);
/// A host that no request wants for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(2);
/// How long the answer to a request of our own may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl OtherHosts {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Paused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a request to a host that cannot be reached, or limits requests.
    pub(super) fn admit(&self, url: &Url, from: &Endpoint) -> Result<(), RequestError> {
        let mut all = self.all();
        if all.is_empty() {
            return Ok(());
        }
        let (key, now) = (origin(url), Instant::now());
        let Some(paused) = all.get_mut(&key) else { return Ok(()) };
        paused.wanted_at = now;
        paused.led_by.insert(from.to_string());
        match paused.why {
            HostPause::Unreachable => Err(RequestError::NotAsked(key)),
            HostPause::Limited if paused.until > now => Err(RequestError::TooMany(Some(paused.until - now))),
            HostPause::Limited => Ok(()),
        }
    }

    /// Takes note of what became of a request to a host; where that could not be reached, asks from now on, by
    /// `is_there`, whether it can.
    pub(super) fn note<F>(
        &self,
        url: &Url,
        from: &Endpoint,
        error: &RequestError,
        is_there: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = bool> + Send + 'static,
    {
        if !is_of_the_host(error) {
            return;
        }
        let key = origin(url);
        if !self.pause(&key, from, HostPause::Unreachable, Duration::ZERO) {
            return;
        }
        let what = "a host that a registry leads to cannot be reached, and is left alone until it can";
        tracing::warn!(host = key, %error, "{what}");
        tokio::spawn(self.clone().ask(key, is_there));
    }

    /// Takes note that a host limits requests, for how long if it said so; never for longer than `longest`.
    pub(super) fn limits(&self, url: &Url, from: &Endpoint, asked: Option<Duration>, longest: Duration) {
        let key = origin(url);
        let pauses = self.all().get(&key).map_or(0, |paused| paused.pauses);
        // Each time twice as long, where it does not say.
        let usual = LIMITED.saturating_mul(1 << pauses.min(10)).min(LONGEST_LIMITED);
        let pause = asked.unwrap_or(usual).min(longest);
        if self.pause(&key, from, HostPause::Limited, pause) {
            let seconds = pause.as_secs_f64();
            tracing::warn!(host = key, seconds, "a host that a registry leads to limits requests");
        }
    }

    /// Takes note that a host has answered, and does not limit requests.
    pub(super) fn answered(&self, url: &Url) {
        let mut all = self.all();
        if all.is_empty() {
            return;
        }
        let (key, now) = (origin(url), Instant::now());
        // What was under way when it began to limit requests says nothing of what comes.
        if all.get(&key).is_some_and(|paused| paused.why == HostPause::Limited && paused.until <= now) {
            all.remove(&key);
        }
    }

    /// Leaves a host alone for a while; returns whether it was not left alone before.
    fn pause(&self, key: &str, from: &Endpoint, why: HostPause, pause: Duration) -> bool {
        let (mut all, now) = (self.all(), Instant::now());
        if let Some(paused) = all.get_mut(key) {
            paused.led_by.insert(from.to_string());
            // One that cannot be reached is asked by us already, until it can.
            if paused.why == HostPause::Unreachable {
                return false;
            }
            let is_new = paused.until <= now;
            if why == HostPause::Unreachable || is_new {
                paused.since = now;
                paused.pauses = paused.pauses.saturating_add(1);
            }
            (paused.why, paused.until) = (why, paused.until.max(now + pause));
            return is_new || why == HostPause::Unreachable;
        }
        if all.len() >= HOSTS {
            all.retain(|_, paused| paused.why == HostPause::Unreachable || paused.until > now);
        }
        if all.len() >= HOSTS {
            return false;
        }
        let led_by = BTreeSet::from([from.to_string()]);
        let paused = Paused { why, since: now, until: now + pause, pauses: 1, wanted_at: now, led_by };
        all.insert(key.to_owned(), paused);
        true
    }

    /// Returns the hosts that are not asked now and to which the registry at an endpoint led, by name.
    pub(super) fn paused(&self, from: &Endpoint) -> Vec<PausedHost> {
        let (now, from) = (Instant::now(), from.to_string());
        let mut paused: Vec<PausedHost> = self
            .all()
            .iter()
            .filter(|(_, paused)| paused.why == HostPause::Unreachable || paused.until > now)
            .filter(|(_, paused)| paused.led_by.contains(&from))
            .map(|(host, paused)| PausedHost {
                host: host.clone(),
                why: paused.why,
                paused_for: now.saturating_duration_since(paused.since),
                left: paused.until.saturating_duration_since(now),
            })
            .collect();
        paused.sort_by(|a, b| a.host.cmp(&b.host));
        paused
    }

    /// Ends all pauses.
    pub(super) fn end_pauses(&self) {
        self.all().clear();
    }

    /// Asks a host until it answers, whatever that is, or until no request wants it any more.
    async fn ask<F: Future<Output = bool> + Send>(
        self,
        key: String,
        is_there: impl Fn() -> F + Send + Sync + 'static,
    ) {
        let mut wait = Duration::ZERO;
        loop {
            if let Some(paused) = self.all().get_mut(&key) {
                paused.until = Instant::now() + wait;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).clamp(FIRST, LONGEST);
            let wanted = self.all().get(&key).map(|paused| paused.wanted_at);
            if wanted.is_none_or(|at| at.elapsed() > FORGOTTEN_AFTER) {
                self.all().remove(&key);
                return;
            }
            // A host that takes its time for an answer is there: a connection would have failed by now.
            if tokio::time::timeout(PATIENCE, is_there()).await.unwrap_or(true) {
                if self.all().remove(&key).is_some() {
                    tracing::info!(host = key, "a host that a registry leads to answers again");
                }
                return;
            }
        }
    }
}

/// Returns whether an error is the host's, whatever was asked: no connection to it.
pub(super) fn is_of_the_host(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Resolve { .. }
            | RequestError::Connect(_)
            | RequestError::Tls(_)
            | RequestError::TimedOut { waited: Wait::Connection, .. }
    )
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
