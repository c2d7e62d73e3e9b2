use prometheus_client::metrics::counter::Counter;

/// Brings a counter to a total that is counted elsewhere.
pub(super) fn advance(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Returns a number for a gauge, which is signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
