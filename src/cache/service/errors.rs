use std::time::Duration;

use super::response::Staleness;
use crate::cache::download::FetchError;
use crate::cache::store::TagRecord;
use crate::image::RegistryHost;
use crate::oci::Refusal;

/// How long a client is told to wait where the registry did not say.
const RETRY_AFTER: Duration = Duration::from_mins(1);

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
