use std::fmt;
use std::str::FromStr;

/// The bytes that a request asks for, before anyone knows how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `bytes=5-`: from there to the end.
    From(u64),
    /// `bytes=5-9`: both ends included.
    Between(u64, u64),
    /// `bytes=-5`: that many at the end.
    Last(u64),
}

/// What to answer to a request for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 200 and everything.
    Whole,
    /// 206 and a part.
    Part(Span),
    /// 416: nothing of what was asked for is there.
    Unsatisfiable,
}

/// A part of some content that has at least one byte; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: u64,
    last: u64,
}

impl Range {
    /// Reads a `Range` header; `None` where it is to be ignored and the whole content sent.
    ///
    /// Ignored are other units (RFC 9110 §14.2: MUST), what breaks the grammar (MAY), and several ranges at once (§14.2
    /// allows the whole; no client of a registry asks for them on purpose). One that ends before it begins may be
    /// ignored or refused; the OCI conformance program wants 416, hence it is read, and nothing satisfies it.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, set) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut ranges =
            set.split(',').map(|range| range.trim_matches([' ', '\t'])).filter(|range| !range.is_empty());
        let (range, None) = (ranges.next()?, ranges.next()) else { return None };
        let (first, last) = range.split_once('-')?;
        match (first, last) {
            ("", last) => Some(Self::Last(position(last)?)),
            (first, "") => Some(Self::From(position(first)?)),
            (first, last) => Some(Self::Between(position(first)?, position(last)?)),
        }
    }

    /// Returns what to send of `total` bytes.
    ///
    /// Empty content has no part: the answer is then all of it, as Go's servers answer too, since some clients
    /// put `bytes=0-` on every request.
    pub fn of(self, total: u64) -> Selection {
        let Some(end) = total.checked_sub(1) else { return Selection::Whole };
        let span = match self {
            Self::From(first) => Span::new(first, end),
            Self::Between(first, last) => Span::new(first, last.min(end)),
            Self::Last(0) => None,
            Self::Last(count) => Span::new(total.saturating_sub(count), end),
        };
        span.map_or(Selection::Unsatisfiable, Selection::Part)
    }
}

/// Reads a position; one that no file reaches is as good as the largest.
fn position(digits: &str) -> Option<u64> {
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| digits.parse().unwrap_or(u64::MAX))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::Between(first, last) => write!(f, "bytes={first}-{last}"),
            Self::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

/// Returns what to send of `total` bytes; without a `Range` header that is all.
pub fn select(header: Option<&str>, total: u64) -> Selection {
    header.and_then(Range::parse).map_or(Selection::Whole, |range| range.of(total))
}

impl Span {
    /// Makes a part; `None` if it ends before it begins.
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// Returns the position of the first byte.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// Returns the position of the last byte.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Returns how many bytes there are.
    pub const fn size(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// What a `Content-Range` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes 5-9/100`: a part of as many; `*` where the sender does not know.
    Part(Span, Option<u64>),
    /// `bytes */100`: nothing, but this is how many there are.
    Unsatisfied(u64),
}

/// A text is not a valid `Content-Range`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid content range, such as `bytes 0-99/100`")]
pub struct ContentRangeError(pub String);

impl ContentRange {
    /// Returns whether a part goes on exactly at `from` and to the very end of content of `total` bytes.
    ///
    /// Anything else must not be appended to what is there already.
    pub fn continues(self, from: u64, total: u64) -> bool {
        match self {
            Self::Part(span, size) => {
                span.first == from
                    && span.last.checked_add(1) == Some(total)
                    && size.is_none_or(|size| size == total)
            }
            Self::Unsatisfied(_) => false,
        }
    }
}

impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_content_range(text).ok_or_else(|| ContentRangeError(text.to_owned()))
    }
}

fn read_content_range(text: &str) -> Option<ContentRange> {
    let exact =
        |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, size) = rest.split_once('/')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    if range == "*" {
        return Some(ContentRange::Unsatisfied(exact(size)?));
    }
    let (first, last) = range.split_once('-')?;
    let span = Span::new(exact(first)?, exact(last)?)?;
    let size = if size == "*" { None } else { Some(exact(size)?) };
    // RFC 9110 §14.4: a last position at or past the size makes the whole field invalid.
    size.is_none_or(|size| span.last < size).then_some(ContentRange::Part(span, size))
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(Span { first, last }, Some(size)) => write!(f, "bytes {first}-{last}/{size}"),
            Self::Part(Span { first, last }, None) => write!(f, "bytes {first}-{last}/*"),
            Self::Unsatisfied(size) => write!(f, "bytes */{size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(first: u64, last: u64) -> Selection {
        Selection::Part(Span::new(first, last).unwrap())
    }

    #[test]
    fn answers_to_headers() {
        let huge = "bytes=0-99999999999999999999999";
        for (header, want) in [
            ("bytes=0-", part(0, 99)),
            ("bytes=7-", part(7, 99)),
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-99", part(0, 99)),
            ("bytes=0-100", part(0, 99)),
            (huge, part(0, 99)),
            ("bytes=99-", part(99, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-100", part(0, 99)),
            ("bytes=-101", part(0, 99)),
            ("BYTES=5-9", part(5, 9)),
            ("bytes= 5-9 ", part(5, 9)),
            ("bytes=,5-9,", part(5, 9)),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=100-200", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=9-5", Selection::Unsatisfiable),
            ("bytes=0-0,5-9", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=--1", Selection::Whole),
            ("bytes=+1-", Selection::Whole),
            ("bytes=1 - 2", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes 0-9", Selection::Whole),
            ("items=0-9", Selection::Whole),
            ("", Selection::Whole),
        ] {
            assert_eq!(select(Some(header), 100), want, "{header}");
        }
        assert_eq!(select(None, 100), Selection::Whole);
        for header in ["bytes=0-", "bytes=-5", "bytes=7-"] {
            assert_eq!(select(Some(header), 0), Selection::Whole, "{header}");
        }
        assert_eq!(select(Some("bytes=0-"), u64::MAX), part(0, u64::MAX - 1));
    }

    #[test]
    fn content_ranges_read_strictly() {
        for bad in [
            "",
            "bytes",
            "bytes ",
            "bytes 0-9",
            "bytes 9-0/10",
            "bytes 0-9/9",
            "bytes 0-10/10",
            "bytes -/1",
            "bytes */",
            "bytes */*",
            "items 0-9/10",
            "bytes +0-9/10",
            "bytes 0-9/10/11",
            "bytes=0-9/10",
            "bytes 0-9/99999999999999999999999",
        ] {
            assert_eq!(bad.parse::<ContentRange>(), Err(ContentRangeError(bad.to_owned())));
        }
        assert_eq!(ContentRange::Unsatisfied(100).to_string(), "bytes */100");
    }

    #[test]
    fn a_resumed_transfer_must_fit_exactly() {
        for (text, fits) in [
            ("bytes 5-99/100", true),
            ("bytes 5-99/*", true),
            ("bytes 0-99/100", false),
            ("bytes 6-99/100", false),
            ("bytes 5-98/100", false),
            ("bytes 5-99/101", false),
            ("bytes */100", false),
        ] {
            assert_eq!(text.parse::<ContentRange>().unwrap().continues(5, 100), fits, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within(first in 0u64..300, last in 0u64..300, total in 0u64..300, kind in 0..3) {
            let range = match kind {
                0 => Range::From(first),
                1 => Range::Between(first, last),
                _ => Range::Last(first),
            };
            prop_assert_eq!(Range::parse(&range.to_string()), Some(range));
            let asked = |at: u64| match range {
                Range::From(first) => at >= first,
                Range::Between(first, last) => (first..=last).contains(&at),
                Range::Last(count) => at + count >= total,
            };
            let wanted: Vec<u64> = (0..total).filter(|at| asked(*at)).collect();
            match range.of(total) {
                Selection::Whole => prop_assert_eq!(total, 0),
                Selection::Unsatisfiable => prop_assert!(wanted.is_empty() && total > 0),
                Selection::Part(span) => {
                    prop_assert_eq!(wanted, (span.first()..=span.last()).collect::<Vec<_>>());
                    prop_assert_eq!(span.size(), span.last() - span.first() + 1);
                    let header = ContentRange::Part(span, Some(total));
                    prop_assert_eq!(header.to_string().parse::<ContentRange>(), Ok(header));
                    prop_assert_eq!(header.continues(span.first(), total), span.last() + 1 == total);
                }
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}|bytes[= ][0-9*,/ -]{0,50}", total in any::<u64>()) {
            let _ = select(Some(&text), total);
            if let Ok(range) = text.parse::<ContentRange>() {
                prop_assert_eq!(range.to_string().parse::<ContentRange>(), Ok(range));
            }
        }
    }
}
