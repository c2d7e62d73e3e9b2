use console::{Key, measure_text_width};

/// A line that is being typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    text: Vec<char>,
    /// Where the cursor is, in characters.
    at: usize,
}

/// Whether a line is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    More,
    Done,
    /// No answer is given.
    Ended,
}

impl Line {
    /// Takes a key, as shells do: Ctrl-U takes away what is before the cursor, Ctrl-K what is behind it, Ctrl-W a word; Ctrl-D
    /// ends an empty line.
    pub(super) fn take(&mut self, key: &Key) -> Typed {
        match key {
            Key::Enter | Key::Char('\r' | '\n') => return Typed::Done,
            Key::Char('\u{4}') if self.text.is_empty() => return Typed::Ended,
            Key::Backspace | Key::Char('\u{7f}' | '\u{8}') if self.at > 0 => self.remove(self.at - 1),
            Key::Del if self.at < self.text.len() => {
                self.text.remove(self.at);
            }
            Key::ArrowLeft => self.at = self.at.saturating_sub(1),
            Key::ArrowRight => self.at = self.text.len().min(self.at + 1),
            Key::Home | Key::Char('\u{1}') => self.at = 0,
            Key::End | Key::Char('\u{5}') => self.at = self.text.len(),
            Key::Char('\u{15}') => self.remove(0),
            Key::Char('\u{b}') => self.text.truncate(self.at),
            Key::Char('\u{17}') => {
                let before = self.text.get(..self.at).unwrap_or_default();
                let word = before.iter().rposition(|c| !c.is_whitespace()).unwrap_or(0);
                let blank =
                    before.get(..word).and_then(|before| before.iter().rposition(|c| c.is_whitespace()));
                self.remove(blank.map_or(0, |blank| blank + 1));
            }
            Key::Char(c) if !c.is_control() => {
                self.text.insert(self.at, *c);
                self.at += 1;
            }
            _ => {}
        }
        Typed::More
    }

    /// Takes away what is between a place and the cursor.
    fn remove(&mut self, from: usize) {
        self.text.drain(from..self.at);
        self.at = from;
    }

    /// Returns what was typed.
    pub(super) fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// Returns the part that is around the cursor where no more than `room` columns are free, and how many of its columns
    /// are before the cursor. The last column stays free for the cursor itself, so that no terminal begins a new line.
    pub(super) fn window(&self, room: usize) -> (String, usize) {
        let width = |from: usize, to: usize| {
            measure_text_width(&self.text.get(from..to).unwrap_or_default().iter().collect::<String>())
        };
        let room = room.saturating_sub(1);
        let first = (0..=self.at).find(|first| width(*first, self.at) <= room).unwrap_or(self.at);
        let last =
            (self.at..=self.text.len()).rev().find(|last| width(first, *last) <= room).unwrap_or(self.at);
        let shown = self.text.get(first..last).unwrap_or_default().iter().collect();
        (shown, width(first, self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[Key]) -> Line {
        let mut line = Line::default();
        for key in keys {
            assert_eq!(line.take(key), Typed::More);
        }
        line
    }

    fn chars(text: &str) -> Vec<Key> {
        text.chars().map(Key::Char).collect()
    }

    #[test]
    fn keys_edit_as_in_a_shell() {
        let after = |text: &str, keys: &[Key]| typed(&[chars(text), keys.to_vec()].concat()).text();
        assert_eq!(after("wrong", &chars("\u{15}right")), "right");
        assert_eq!(after("one two", &chars("\u{17}2")), "one 2");
        assert_eq!(after("one two  ", &chars("\u{17}2")), "one 2");
        assert_eq!(after("ab", &[Key::ArrowLeft, Key::Char('x')]), "axb");
        assert_eq!(after("ab", &[Key::Home, Key::Del, Key::End, Key::Char('c'), Key::Backspace]), "b");
        assert_eq!(after("abcd", &[Key::ArrowLeft, Key::ArrowLeft, Key::Char('\u{b}')]), "ab");
        assert_eq!(after("abcd", &[Key::ArrowLeft, Key::Char('\u{15}')]), "d");
        assert_eq!(after("", &[Key::Backspace, Key::Del, Key::ArrowLeft]), "");
        assert_eq!(
            (typed(&[]).take(&Key::Char('\u{4}')), after("a", &chars("\u{4}"))),
            (Typed::Ended, "a".to_owned())
        );
        assert_eq!(typed(&[]).take(&Key::Enter), Typed::Done);
    }

    #[test]
    fn a_long_line_is_shown_around_the_cursor() {
        let mut line = typed(&chars("abcdefghij"));
        assert_eq!(line.window(20), ("abcdefghij".to_owned(), 10));
        assert_eq!(line.window(5), ("ghij".to_owned(), 4));
        line.take(&Key::Home);
        assert_eq!(line.window(5), ("abcd".to_owned(), 0));
        let wide = typed(&chars("日本語"));
        assert_eq!(wide.window(5), ("本語".to_owned(), 4));
        assert_eq!(wide.window(0), (String::new(), 0));
    }
}
