#![expect(clippy::disallowed_methods, reason = "says what time it is")]

use std::cell::{Cell, RefCell};
use std::time::SystemTime;

thread_local! {
    /// The second that [`DATE`] is of.
    static SECOND: Cell<u64> = const { Cell::new(0) };
    static DATE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lends the date of now, as RFC 9110 §5.6.7 writes it.
pub(super) fn with_date<T>(take: impl FnOnce(&[u8]) -> T) -> T {
    let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    DATE.with_borrow_mut(|date| {
        if SECOND.replace(second) != second || date.is_empty() {
            *date = http_date(second);
        }
        take(date.as_bytes())
    })
}

fn http_date(second: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(0)).unwrap_or_default();
    // Only a year past 9999 cannot be written, and no timestamp is of one.
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        with_date(|date| assert_eq!(date.len(), 29));
        with_date(|date| assert_eq!(date.len(), 29));
    }
}
