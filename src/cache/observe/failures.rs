#![expect(clippy::disallowed_methods, reason = "says when a request failed")]

use std::collections::VecDeque;
use std::sync::Mutex;

use http::StatusCode;
use jiff::Timestamp;

use super::reason::{Reason, ReasonKind};
use crate::cache::memory::locked;
use crate::http::{End, Exchange};
use crate::image::RegistryHost;

/// How many different failures are remembered.
const KEPT: usize = 32;

/// A request that failed, and how often that happened in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it happened last.
    pub at: Timestamp,
    /// The status of the answer.
    pub status: u16,
    /// The registry that was asked for, where that is known.
    pub upstream: Option<RegistryHost>,
    /// The path that was asked for, where that was kept; it may name a repository.
    pub path: Option<String>,
    /// Why it failed.
    pub why: String,
    /// How often.
    pub times: u64,
}

/// The last requests that failed by a fault of this server or of an upstream.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<VecDeque<Failure>>);

impl Failures {
    /// Notes an answer, if it is one that tells of a fault.
    pub(super) fn note(&self, exchange: &Exchange<'_>) {
        let is_broken = exchange.end == End::Broken;
        let is_fault = exchange.status.is_server_error()
            || matches!(exchange.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
        let (why, upstream) = match exchange.extensions.get::<Reason>().filter(|_| is_fault) {
            // What a client may not have by the configuration is no fault.
            Some(Reason { kind: ReasonKind::Policy, .. }) => return,
            // How long it still does is another text each second.
            Some(Reason { kind: ReasonKind::Limited, upstream, .. }) => {
                ("upstream limits requests".to_owned(), upstream.clone())
            }
            Some(Reason { kind: ReasonKind::Other, text, upstream }) => (text.clone(), upstream.clone()),
            // Why may name a repository, and whose it is, is not known any more: the log tells.
            None if is_broken => ("the body could not be continued".to_owned(), None),
            None => return,
        };
        let path = exchange.request.map(|(line, _)| line.uri.path().to_owned());
        let status = exchange.status.as_u16();
        self.add(Failure { at: Timestamp::now(), status, upstream, path, why, times: 1 });
    }

    fn add(&self, failure: Failure) {
        let mut kept = locked(&self.0);
        let is_same = |other: &Failure| {
            (other.status, &other.upstream, &other.why) == (failure.status, &failure.upstream, &failure.why)
        };
        let times = match kept.iter().position(is_same).and_then(|at| kept.remove(at)) {
            Some(before) => before.times.saturating_add(1),
            None => 1,
        };
        kept.push_front(Failure { times, ..failure });
        kept.truncate(KEPT);
    }

    /// Returns them, the latest first.
    pub(super) fn all(&self) -> Vec<Failure> {
        locked(&self.0).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Extensions;

    use super::*;
    use crate::oci::Refusal;

    fn note(failures: &Failures, status: StatusCode, end: End, reason: Option<Reason>) {
        let mut extensions = Extensions::new();
        if let Some(reason) = reason {
            extensions.insert(reason);
        }
        let exchange = Exchange {
            request: None,
            status,
            extensions: &extensions,
            end,
            sent: 0,
            error: Some("secret/repository"),
        };
        failures.note(&exchange);
    }

    fn refuse(failures: &Failures, refusal: &Refusal) {
        let registry: RegistryHost = "ghcr.io".parse().unwrap();
        let status = StatusCode::from_u16(refusal.status()).unwrap();
        note(failures, status, End::Complete, Some(Reason::of(refusal).at(Some(&registry))));
    }

    #[test]
    fn faults_are_kept_once_and_counted() {
        let failures = Failures::default();
        let registry: RegistryHost = "ghcr.io".parse().unwrap();
        let down = |reason: &str| Refusal::UpstreamDown { registry: registry.clone(), reason: reason.into() };
        note(&failures, StatusCode::OK, End::Complete, None);
        refuse(&failures, &Refusal::ManifestUnknown("1".to_owned()));
        refuse(&failures, &Refusal::Policy("deny: x".to_owned()));
        assert!(failures.all().is_empty());
        refuse(&failures, &down("timed out"));
        refuse(&failures, &Refusal::UpstreamDenied { registry: registry.clone(), hint: "x".to_owned() });
        note(&failures, StatusCode::OK, End::Broken, None);
        for seconds in [30, 29, 1] {
            let retry_after = Duration::from_secs(seconds);
            refuse(&failures, &Refusal::UpstreamBusy { registry: registry.clone(), retry_after });
        }
        refuse(&failures, &down("timed out"));
        let all: Vec<_> = failures.all().into_iter().map(|one| (one.status, one.why, one.times)).collect();
        let wanted = [
            (503, "upstream is not available: timed out", 2),
            (503, "upstream limits requests", 3),
            (200, "the body could not be continued", 1),
            (403, "upstream denied access: x", 1),
        ];
        assert_eq!(all, wanted.map(|(status, why, times)| (status, why.to_owned(), times)));
        for at in 0..100 {
            refuse(&failures, &down(&at.to_string()));
        }
        assert_eq!(failures.all().len(), KEPT);
        assert_eq!(failures.all()[0].why, "upstream is not available: 99");
    }
}
