use std::fmt::{Display, Write as _};

/// A page that is being written. Only texts of the program itself go in as they are; every value is escaped.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Writes markup of the program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Writes a value, as text or inside a quoted attribute.
    pub(super) fn text(&mut self, value: impl Display) -> &mut Self {
        // Writing into a string does not fail.
        let _ = write!(Escaped(&mut self.0), "{value}");
        self
    }

    /// Returns the page.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Marks that turn the direction of what follows would make one text look like another.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                c if c.is_control() && !matches!(c, '\n' | '\t') => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
