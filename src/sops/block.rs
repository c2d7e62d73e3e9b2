use std::ops::Range;

use super::walk::{METADATA, column};
use crate::yaml::{Document, Edit, Node, apply, block_end, line_start};

/// The `sops:` of one document in its text.
#[derive(Clone, Debug)]
pub(super) struct Block<'a> {
    text: &'a str,
    /// What goes when the document is decrypted.
    pub(super) cut: Range<usize>,
    /// The `sops:` itself.
    body: Range<usize>,
    node: &'a Node,
    /// Whether it stands in `{…}`.
    flow: bool,
}

/// A `sops:` to be added to a document.
#[derive(Clone, Debug)]
pub(super) struct Addition {
    text: String,
    flow: bool,
}

impl<'a> Block<'a> {
    /// Finds the `sops:` of a document.
    pub(super) fn of(text: &'a str, document: &'a Document) -> Option<Self> {
        let entries = document.root.entries();
        let index = entries.iter().position(|entry| entry.key == METADATA)?;
        let entry = entries.get(index)?;
        let (start, end) = (entry.key_span.start, entry.value.span.end);
        let flow = matches!(document.root.value, crate::yaml::Value::Mapping { flow: true, .. });
        let (cut, body) = if flow {
            let before =
                index.checked_sub(1).and_then(|index| entries.get(index)).map(|entry| entry.value.span.end);
            let after = entries.get(index + 1).map_or(end, |entry| entry.key_span.start);
            (before.map_or(start..after, |before| before..end), before.unwrap_or(start)..end)
        } else {
            let lines = line_start(text, start)..block_end(text, end);
            (lines.clone(), lines)
        };
        Some(Self { text, cut, body, node: &entry.value, flow })
    }

    pub(super) fn is_flow(&self) -> bool {
        self.flow
    }

    /// Returns the column of the fields, which is the step of indentation of the whole file.
    pub(super) fn column(&self) -> usize {
        column(self.text, self.node.span.start)
    }

    /// Returns whether the recipient stands before what is sealed for it.
    pub(super) fn recipient_first(&self) -> bool {
        let entry =
            self.node.get("age").and_then(|age| age.items().first()).and_then(|item| item.entries().first());
        entry.is_some_and(|entry| entry.key == "recipient")
    }

    /// Returns the edit that gives `age:` other lines, which stand at column 0 in `lines`.
    pub(super) fn age(&self, lines: &str) -> Option<Edit> {
        if self.flow || matches!(self.node.value, crate::yaml::Value::Mapping { flow: true, .. }) {
            return None;
        }
        let pad = " ".repeat(self.column());
        let text: String = lines.lines().flat_map(|line| [&pad, line, "\n"]).collect();
        Some(match self.node.entry("age") {
            Some(age) => Edit::new(
                line_start(self.text, age.key_span.start)..block_end(self.text, age.value.span.end),
                text,
            ),
            None => Edit::insert(line_start(self.text, self.node.entries().first()?.key_span.start), text),
        })
    }

    /// Returns the block with another MAC and time, and some edits more; everything else in it stays.
    pub(super) fn renewed(&self, mac: &str, time: &str, mut edits: Vec<Edit>) -> Addition {
        let quote = |text: &str| format!("\"{text}\"");
        let mac_field = |plain: &str| if self.is_plain("mac") { plain.to_owned() } else { quote(plain) };
        for (key, text) in [("mac", mac_field(mac)), ("lastmodified", quote(time))] {
            edits.extend(self.node.get(key).map(|node| Edit::new(node.span.clone(), text)));
        }
        for edit in &mut edits {
            edit.span = edit.span.start - self.body.start..edit.span.end - self.body.start;
        }
        let mut text = apply(self.text.get(self.body.clone()).unwrap_or_default(), &edits);
        if !self.flow && !text.ends_with('\n') {
            text.push('\n');
        }
        Addition { text, flow: self.flow }
    }

    fn is_plain(&self, key: &str) -> bool {
        self.node.get(key).is_some_and(|node| {
            matches!(&node.value, crate::yaml::Value::Scalar(scalar) if scalar.style == crate::yaml::Style::Plain)
        })
    }
}

impl Addition {
    /// Makes a block in block style.
    pub(super) fn new(text: String) -> Self {
        Self { text, flow: false }
    }

    /// Makes the edits that add the block to a document: behind its last line, or behind its last entry in `{…}`.
    pub(super) fn edits(&self, text: &str, document: &Document) -> Vec<Edit> {
        let entries = document.root.entries();
        if self.flow {
            let (at, lead) = match entries.last() {
                Some(last) => {
                    (last.value.span.end, if self.text.trim_start().starts_with(',') { "" } else { ", " })
                }
                None => (document.root.span.start + 1, ""),
            };
            let body =
                if entries.is_empty() { self.text.trim_start().trim_start_matches(',') } else { &self.text };
            return vec![Edit::insert(at, format!("{lead}{body}"))];
        }
        let mut edits = Vec::new();
        if entries.is_empty() {
            // `{}` and a block cannot both stand there.
            edits.push(Edit::remove(document.root.span.clone()));
        }
        let end = document_end(text, document);
        let column = if entries.is_empty() { 0 } else { column(text, document.root.span.start) };
        let body = indented(&self.text, column);
        let open_line = end > 0 && !text.get(..end).is_some_and(|before| before.ends_with('\n'));
        edits.push(Edit::insert(end, format!("{}{}", if open_line { "\n" } else { "" }, body)));
        edits
    }
}

/// Moves a block so that its first line stands at a column.
fn indented(block: &str, column: usize) -> String {
    let old = block.len() - block.trim_start_matches(' ').len();
    if old == column {
        return block.to_owned();
    }
    let pad = " ".repeat(column);
    let lines = block.split_inclusive('\n').map(|line| line.get(old..).unwrap_or(line));
    lines.flat_map(|line| [if line.trim().is_empty() { "" } else { &pad }, line]).collect()
}

/// Returns where a line can be added to a document: before its `...`, if it ends with one.
fn document_end(text: &str, document: &Document) -> usize {
    let mut at = block_end(text, document.root.span.end).min(document.span.end);
    while at < document.span.end {
        let line = text.get(at..).unwrap_or_default();
        if line.starts_with("...") {
            break;
        }
        at = block_end(text, at).min(document.span.end);
    }
    at
}
