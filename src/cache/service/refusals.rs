use std::time::Duration;

use super::headers::Staleness;
use crate::cache::flight::SourceError;
use crate::cache::store::TagRecord;
use crate::cache::upstream::UpstreamError;
use crate::image::{Digest, RegistryHost};
use crate::oci::Refusal;

/// How long a client is told to wait where the registry did not say.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Returns what a client is told that could not be served because of its registry.
pub(super) fn of_upstream(
    registry: &RegistryHost,
    error: &UpstreamError,
    absent: impl FnOnce() -> Refusal,
) -> Refusal {
    match error {
        UpstreamError::NotFound => absent(),
        UpstreamError::Denied { hint, .. } => {
            Refusal::UpstreamDenied { registry: registry.clone(), hint: hint.clone() }
        }
        UpstreamError::TooMany { retry_after } => busy(registry, *retry_after),
        UpstreamError::Unavailable { .. } | UpstreamError::Mismatch(_) => down(registry, &error.to_string()),
    }
}

/// Returns what a client is told that could not be given a blob.
pub(super) fn of_source(registry: &RegistryHost, digest: &Digest, error: &SourceError) -> Refusal {
    match error {
        SourceError::NotFound => Refusal::BlobUnknown(digest.to_string()),
        SourceError::Denied(hint) => {
            Refusal::UpstreamDenied { registry: registry.clone(), hint: hint.clone() }
        }
        SourceError::TooMany(retry_after) => busy(registry, *retry_after),
        SourceError::Unavailable(_)
        | SourceError::Broken(_)
        | SourceError::Changed { .. }
        | SourceError::Mismatch(_)
        | SourceError::Internal(_) => down(registry, &error.to_string()),
    }
}

fn busy(registry: &RegistryHost, retry_after: Option<Duration>) -> Refusal {
    Refusal::UpstreamBusy { registry: registry.clone(), retry_after: retry_after.unwrap_or(RETRY_AFTER) }
}

fn down(registry: &RegistryHost, reason: &str) -> Refusal {
    Refusal::UpstreamDown { registry: registry.clone(), reason: reason.to_owned() }
}

/// Returns what is said when a run that others waited for ended in a panic.
pub(super) fn overloaded() -> Refusal {
    Refusal::Overloaded
}

/// Returns what is said about a tag that could not be checked.
pub(super) fn staleness(why: &'static str, record: &TagRecord) -> Staleness {
    Staleness { why, checked: record.checked_at }
}
