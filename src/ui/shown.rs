use std::borrow::Cow;

/// Writes control characters and marks of writing direction as `\u{1b}`: a terminal would act on them.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let write = |c: char| if acts(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(write).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_of_foreign_text_is_shown() {
        assert_eq!(shown("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(shown("x\u{1b}[2J\u{7}\r\u{9b}\u{202e}"), "x\\u{1b}[2J\\u{7}\\u{d}\\u{9b}\\u{202e}");
    }
}
