use std::time::Duration;

/// How often files are looked at that may change.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// Warns of what cannot be read again, once while it stays the same.
pub(super) fn once(said: &mut String, error: &dyn std::error::Error, what: &str) {
    let text = error.to_string();
    if *said != text {
        tracing::warn!(error = text, "{what}");
        *said = text;
    }
}
