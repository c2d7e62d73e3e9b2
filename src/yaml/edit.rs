use std::ops::Range;

/// A replacement of some bytes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go.
    pub span: Range<usize>,
    /// What stands there instead.
    pub text: String,
}

impl Edit {
    /// Makes an edit.
    pub fn new(span: Range<usize>, text: impl Into<String>) -> Self {
        Self { span, text: text.into() }
    }

    /// Makes an edit that only adds.
    pub fn insert(at: usize, text: impl Into<String>) -> Self {
        Self::new(at..at, text)
    }

    /// Makes an edit that only removes.
    pub fn remove(span: Range<usize>) -> Self {
        Self::new(span, "")
    }
}

/// Applies edits to a text; every byte outside their spans is copied.
///
/// Edits may come in any order; of two that overlap, the later one in the text is dropped.
pub fn apply(source: &str, edits: &[Edit]) -> String {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = String::with_capacity(source.len() + added);
    let mut at = 0;
    for edit in sorted {
        let Some(kept) = source.get(at..edit.span.start) else { continue };
        out.push_str(kept);
        out.push_str(&edit.text);
        at = edit.span.end;
    }
    out.push_str(source.get(at..).unwrap_or_default());
    out
}

/// Returns the offset at which the line of `at` begins.
pub fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Returns the end of the line of `at`, its line break included.
pub fn block_end(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |newline| at + newline + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edits_apply_in_text_order() {
        let edits = [Edit::new(4..5, "two"), Edit::remove(0..1), Edit::insert(6, "!")];
        assert_eq!(apply("1 + 2 = 3", &edits), " + two != 3");
    }

    proptest! {
        #[test]
        fn bytes_outside_the_spans_are_copied(source in "\\PC{0,60}", cut in 0usize..60, len in 0usize..20, text in "\\PC{0,9}") {
            prop_assert_eq!(apply(&source, &[]), source.clone());
            let start = source.floor_char_boundary(cut);
            let end = source.floor_char_boundary(start + len);
            let out = apply(&source, &[Edit::new(start..end, text.clone())]);
            prop_assert!(out.starts_with(&source[..start]));
            prop_assert!(out.ends_with(&source[end..]));
            prop_assert_eq!(out.len(), source.len() - (end - start) + text.len());
        }
    }
}
