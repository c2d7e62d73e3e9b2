#![expect(clippy::disallowed_methods, reason = "limits how long a client waits")]

use std::time::Duration;

use tokio::time::timeout;

use super::response::Staleness;
use crate::cache::download::FetchError;
use crate::cache::store::TagRecord;
use crate::image::RegistryHost;
use crate::oci::Refusal;

/// How long a client is told to wait where the registry did not say.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// How long a client waits for an upstream: containerd gives up after 30 s, and does not come back to this mirror.
pub(super) const WAIT_BUDGET: Duration = Duration::from_secs(25);

/// Waits for something as long as a client waits; then the client is told to come back, and what it waited for may go
/// on.
pub(super) async fn within_wait_budget<T>(
    registry: &RegistryHost,
    run: impl Future<Output = T>,
) -> Result<T, Refusal> {
    within(WAIT_BUDGET, registry, run).await
}

/// Waits for something for some time; then the client is told to come back.
pub(super) async fn within<T>(
    patience: Duration,
    registry: &RegistryHost,
    run: impl Future<Output = T>,
) -> Result<T, Refusal> {
    timeout(patience, run).await.map_err(|_| Refusal::UpstreamDown {
        registry: registry.clone(),
        reason: "it has not answered yet; it is still being asked, so try again".to_owned(),
    })
}

/// Returns what a client is told that could not be served because of its registry.
pub(super) fn refusal(
    registry: &RegistryHost,
    error: &FetchError,
    absent: impl FnOnce() -> Refusal,
) -> Refusal {
    let registry = registry.clone();
    match error {
        FetchError::NotFound => absent(),
        FetchError::Denied { hint } => Refusal::UpstreamDenied { registry, hint: hint.clone() },
        FetchError::TooMany { retry_after } => {
            Refusal::UpstreamBusy { registry, retry_after: retry_after.unwrap_or(RETRY_AFTER) }
        }
        FetchError::Unavailable { .. }
        | FetchError::Broken(_)
        | FetchError::Changed { .. }
        | FetchError::Mismatch(_)
        | FetchError::Internal(_) => Refusal::UpstreamDown { registry, reason: error.to_string() },
    }
}

/// Returns what is said when a run that others waited for ended in a panic.
pub(super) fn overloaded() -> Refusal {
    Refusal::Overloaded
}

/// Returns what is said about a tag that could not be checked.
pub(super) fn staleness(why: &'static str, record: &TagRecord) -> Staleness {
    Staleness { why, checked: record.checked_at }
}
