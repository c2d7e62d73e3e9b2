use std::sync::Arc;

use tokio::time::Instant;

use super::config::Limits;
use super::observer::Observer;
use super::proxies::TrustedProxies;

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Shared<H> {
    pub(super) handler: Arc<H>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) limits: Limits,
    pub(super) proxies: TrustedProxies,
    pub(super) started: Instant,
}

impl<H> Shared<H> {
    /// Returns the milliseconds since the server started.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}
