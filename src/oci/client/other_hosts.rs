#![expect(clippy::disallowed_methods, reason = "measures hosts, and asks whether they are there again")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::error::{RequestError, RequestErrorKind, Wait};

/// The hosts to which redirects and challenges lead, as far as they cannot be reached: one that cannot is not asked
/// until it answers to a request of our own, so that those who wait for it do not keep others away.
#[derive(Clone, Debug, Default)]
pub(super) struct OtherHosts(Arc<Mutex<HashMap<String, Unreachable>>>);

#[derive(Clone, Debug)]
struct Unreachable {
    why: RequestErrorKind,
    /// When a request for it came last.
    wanted_at: Instant,
}

/// How many hosts are remembered.
const HOSTS: usize = 1024;
/// How long to wait between two requests of our own, the first of which is sent at once.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);
/// A host that no request wants for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(2);
/// How long the answer to a request of our own may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl OtherHosts {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Unreachable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a request to a host that cannot be reached.
    pub(super) fn admit(&self, url: &Url) -> Result<(), RequestError> {
        let key = origin(url);
        match self.all().get_mut(&key) {
            Some(unreachable) => {
                unreachable.wanted_at = Instant::now();
                Err(RequestError::NotAsked(key))
            }
            None => Ok(()),
        }
    }

    /// Takes note of what became of a request to a host; where that could not be reached, asks from now on, by
    /// `is_there`, whether it can.
    pub(super) fn note<F>(
        &self,
        url: &Url,
        error: &RequestError,
        is_there: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = bool> + Send + 'static,
    {
        if !is_of_the_host(error) {
            return;
        }
        let key = origin(url);
        {
            let mut all = self.all();
            if all.len() >= HOSTS || all.contains_key(&key) {
                return;
            }
            all.insert(key.clone(), Unreachable { why: error.kind(), wanted_at: Instant::now() });
        }
        let what = "a host that a registry leads to cannot be reached, and is left alone until it can";
        tracing::warn!(host = key, %error, "{what}");
        tokio::spawn(self.clone().ask(key, is_there));
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
            tokio::time::sleep(wait).await;
            wait = (wait * 2).clamp(FIRST, LONGEST);
            let wanted = self.all().get(&key).map(|unreachable| unreachable.wanted_at);
            if wanted.is_none_or(|at| at.elapsed() > FORGOTTEN_AFTER) {
                self.all().remove(&key);
                return;
            }
            // A host that takes its time for an answer is there: a connection would have failed by now.
            if tokio::time::timeout(PATIENCE, is_there()).await.unwrap_or(true) {
                if let Some(unreachable) = self.all().remove(&key) {
                    let was = unreachable.why.as_str();
                    tracing::info!(host = key, was, "a host that a registry leads to answers again");
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
