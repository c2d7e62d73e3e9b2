use std::fmt;
use std::ops::Range;

use serde_json::{Value, json};

use super::code::{Code, Severity};
use super::excerpt::Excerpt;
use crate::yaml::{LineIndex, ParseError, Position};

/// Something wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which rule found it.
    pub code: Code,
    /// The file, as the user named it.
    pub file: String,
    /// Where in the file.
    pub position: Position,
    /// The place in the tree, such as `mirrors.harbor.url`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, as a fragment.
    pub message: String,
    /// Why it is wrong, as a sentence without its full stop.
    pub reason: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// The line that it is about, where that can be shown.
    pub excerpt: Option<Excerpt>,
}

impl Problem {
    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns the finding as an object for scripts.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code.as_str(),
            "severity": self.code.severity().as_str(),
            "file": self.file,
            "line": self.position.line,
            "column": self.position.column,
            "path": self.path,
            "message": self.message,
            "reason": self.reason,
            "help": self.help,
        })
    }
}

/// Prints a finding for people, in up to four lines.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.code.severity().as_str(), self.code.as_str(), self.message)?;
        write!(f, "  --> {}:{}:{}", self.file, self.position.line, self.position.column)?;
        if !self.path.is_empty() {
            write!(f, "  {}", self.path)?;
        }
        if let Some(reason) = &self.reason {
            write!(f, "\n   |  {reason}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

/// Collects the findings of one file.
#[derive(Debug)]
pub struct Problems<'a> {
    file: String,
    text: &'a str,
    lines: LineIndex<'a>,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    /// Starts with none; `file` is shown to the user.
    pub fn new(file: impl Into<String>, text: &'a str) -> Self {
        Self { file: file.into(), text, lines: LineIndex::new(text), found: Vec::new() }
    }

    /// Adds a finding at a span; the result takes reason and help.
    pub fn add(
        &mut self,
        code: Code,
        span: &Range<usize>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Problem {
        let path = path.into();
        self.found.push_mut(Problem {
            code,
            file: self.file.clone(),
            position: self.lines.position(span.start),
            excerpt: Excerpt::of(self.text, span, &path),
            path,
            message: message.into(),
            reason: None,
            help: None,
        })
    }

    /// Adds a text that is not YAML.
    pub fn add_syntax(&mut self, error: &ParseError) {
        let problem = self.add(Code::Syntax, &(error.offset..error.offset), "", error.message.clone());
        problem.help.clone_from(&error.help);
    }

    /// Returns how many were added.
    #[expect(clippy::len_without_is_empty, reason = "it is compared with what it was before")]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Returns whether one of the findings is an error.
    pub fn any_error(&self) -> bool {
        self.found.iter().any(|problem| problem.code.severity() == Severity::Error)
    }

    /// Returns the findings in the order of the file.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by(|a, b| {
            (a.position, a.code.as_str(), &a.path).cmp(&(b.position, b.code.as_str(), &b.path))
        });
        self.found.dedup();
        self.found
    }
}

/// Returns the known word nearest to an unknown one, if it is near enough to be meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut cost =
                (at(&previous, j) + usize::from(x != y)).min(at(&previous, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let known = ["overridePath", "url", "kind", "harbor"];
        assert_eq!(did_you_mean("overidePath", known), Some("overridePath"));
        assert_eq!(did_you_mean("habor", known), Some("harbor"));
        assert_eq!(did_you_mean("ulr", known), Some("url"));
        assert_eq!(did_you_mean("password", known), None);
    }
}
