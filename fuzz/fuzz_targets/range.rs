//! A part lies within the content, and what is printed reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::oci::{ContentRange, Range, Selection, select};

fuzz_target!(|input: (&str, u64)| {
    let (header, total) = input;
    if let Selection::Part(span) = select(Some(header), total) {
        assert!(span.first() <= span.last() && span.last() < total && span.size() <= total);
        let printed = ContentRange::Part(span, Some(total));
        assert_eq!(printed.to_string().parse(), Ok(printed));
    }
    if let Some(range) = Range::parse(header) {
        assert_eq!(Range::parse(&range.to_string()), Some(range));
    }
    if let Ok(range) = header.parse::<ContentRange>() {
        assert_eq!(range.to_string().parse(), Ok(range));
    }
});
