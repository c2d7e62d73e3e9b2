use serde_json::{Value, json};

use super::error::ReplaceError;
use super::resource::json;
use crate::yaml::{
    Document, Edit, Entry, Indent, LineIndex, Node, Style, Value as Yaml, block_end, emit, line_start,
};

/// A text and its habits: where block values can be set or taken away, and how they are indented.
pub(super) struct SourceText<'a> {
    pub(super) text: &'a str,
    eol: &'static str,
    step: usize,
}

impl<'a> SourceText<'a> {
    /// Takes the habits from the text: its first line break, and the indentation below `machine`.
    pub(super) fn new(text: &'a str, machine: Option<&Node>) -> Self {
        let crlf = text.find('\n').is_some_and(|at| text.get(..at).is_some_and(|line| line.ends_with('\r')));
        let first = machine.filter(|node| is_block(node)).and_then(|node| node.entries().first());
        let step =
            first.map(|entry| column(text, entry.key_span.start)).filter(|step| (2..=9).contains(step));
        Self { text, eol: if crlf { "\r\n" } else { "\n" }, step: step.unwrap_or(4) }
    }

    /// Writes a tree at a column, in the text's own steps and line breaks; the last break is left out.
    pub(super) fn block(&self, value: &Value, column: usize) -> String {
        let text = emit(value, Indent::new(self.step));
        // Only line breaks at the very end go; a kept block scalar (`|+`) cannot come from PEM or base64.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let pad = " ".repeat(column);
        let lines = text.split('\n').map(|line| match line {
            "" => String::new(),
            line => format!("{pad}{line}"),
        });
        lines.collect::<Vec<_>>().join(self.eol)
    }

    /// Sets `machine.registries`.
    pub(super) fn set(&self, document: &Document, value: &Value) -> Result<Vec<Edit>, ReplaceError> {
        let root = &document.root;
        let Some(machine) = root.entry("machine") else {
            if is_flow(root) {
                return Ok(vec![self.insert_in_braces(root, "machine", &json!({"registries": value}))]);
            }
            self.editable(root, "the document")?;
            return Ok(vec![self.insert(document, root, &json!({"machine": {"registries": value}}))]);
        };
        let node = &machine.value;
        if node.shared {
            return Err(ReplaceError::Alias { path: "machine", line: self.line(node) });
        }
        if is_flow(root) && !is_flow(node) {
            return Ok(vec![self.replace_in_braces(root, machine, &json!({"registries": value}))]);
        }
        if is_flow(node) && (is_flow(root) || !node.entries().is_empty()) {
            return Ok(vec![match node.entry("registries") {
                None => self.insert_in_braces(node, "registries", value),
                Some(entry) => {
                    self.reachable(entry)?;
                    self.replace_in_braces(node, entry, value)
                }
            }]);
        }
        if node.is_null() || (node.is_mapping() && node.entries().is_empty()) {
            return Ok(self.set_value(document, machine, &json!({"registries": value})));
        }
        self.editable(node, "machine")?;
        match node.entry("registries") {
            None => Ok(vec![self.insert(document, node, &json!({"registries": value}))]),
            Some(entry) => {
                self.reachable(entry)?;
                Ok(self.set_value(document, entry, value))
            }
        }
    }

    /// Takes `machine.registries` away; where it is all of `machine`, an empty one stays.
    pub(super) fn unset(&self, document: &Document) -> Result<Vec<Edit>, ReplaceError> {
        let Some(node) = document.root.get("machine") else { return Ok(Vec::new()) };
        let Some(entry) = node.entry("registries") else { return Ok(Vec::new()) };
        if node.shared {
            return Err(ReplaceError::Alias { path: "machine", line: self.line(node) });
        }
        if is_flow(node) {
            self.reachable(entry)?;
            return Ok(vec![Self::remove_in_braces(node, entry)]);
        }
        self.editable(node, "machine")?;
        self.reachable(entry)?;
        if node.entries().len() == 1 {
            return Ok(self.set_value(document, entry, &json!({})));
        }
        let start = line_start(self.text, entry.key_span.start);
        let end = self.end(document, &entry.value, column(self.text, entry.key_span.start));
        Ok(vec![Edit::remove(start..end)])
    }

    fn set_value(&self, document: &Document, entry: &Entry, value: &Value) -> Vec<Edit> {
        let own_column = column(self.text, entry.key_span.start);
        let colon = self.after_colon(entry);
        let old = &entry.value;
        let key_line_end = self.line_end(colon);
        let below = old.span.start >= key_line_end;
        let end = if below { self.end(document, old, own_column) } else { old.span.end };
        let end = if below { self.without_break(end) } else { end };
        if value.as_object().is_some_and(serde_json::Map::is_empty) {
            return vec![Edit::new(colon..end, " {}")];
        }
        let block = format!("{}{}", self.eol, self.block(value, own_column + self.step));
        if below {
            // What stands on the key's line, a comment perhaps, is about the key.
            vec![Edit::new(key_line_end..end, block)]
        } else {
            vec![Edit::remove(colon..end), Edit::insert(self.line_end(end), block)]
        }
    }

    /// Returns how entries of a mapping in braces are written: each on a line of its own from a column on, or on one line.
    fn lines(&self, mapping: &Node) -> Option<(usize, usize, &'a str)> {
        let first = mapping.entries().first()?;
        let before = self.text.get(mapping.span.start..first.key_span.start)?;
        let column = column(self.text, first.key_span.start);
        before.contains('\n').then_some((column, self.brace_step(mapping, column), self.eol))
    }

    /// Returns the step of indentation in braces: from the line of the brace to its entries.
    fn brace_step(&self, mapping: &Node, column: usize) -> usize {
        let line = self.text.get(line_start(self.text, mapping.span.start)..).unwrap_or_default();
        let outer = line.len() - line.trim_start_matches(' ').len();
        column.checked_sub(outer).filter(|step| (1..=9).contains(step)).unwrap_or(self.step)
    }

    /// Puts another value behind a key in braces.
    fn replace_in_braces(&self, mapping: &Node, entry: &Entry, value: &Value) -> Edit {
        let text = json(value, self.lines(mapping));
        if entry.value.span.is_empty() {
            return Edit::insert(self.after_colon(entry), format!(" {text}"));
        }
        Edit::new(entry.value.span.clone(), text)
    }

    /// Adds an entry behind the last one of a mapping in braces.
    fn insert_in_braces(&self, mapping: &Node, key: &str, value: &Value) -> Edit {
        let lines = self.lines(mapping);
        let entry = format!("{}: {}", Value::from(key), json(value, lines));
        let Some(last) = mapping.entries().last() else {
            return Edit::insert(mapping.span.start + 1, entry);
        };
        let at = last.value.span.end.max(last.key_span.end);
        let tail = self.text.get(at..mapping.span.end).unwrap_or_default();
        // A comma may stand at the end already.
        let (at, comma) = match tail.find(',') {
            Some(comma) => (at + comma + 1, ""),
            None => (at, ","),
        };
        let gap =
            lines.map_or_else(|| " ".to_owned(), |(column, _, eol)| format!("{eol}{}", " ".repeat(column)));
        Edit::insert(at, format!("{comma}{gap}{entry}"))
    }

    /// Takes an entry out of a mapping in braces, and the comma that parted it from its neighbour.
    fn remove_in_braces(mapping: &Node, entry: &Entry) -> Edit {
        let at = mapping.entries().iter().position(|other| other.key_span == entry.key_span).unwrap_or(0);
        let end = entry.value.span.end.max(entry.key_span.end);
        if let Some(next) = mapping.entries().get(at + 1) {
            return Edit::remove(entry.key_span.start..next.key_span.start);
        }
        let before = at.checked_sub(1).and_then(|at| mapping.entries().get(at));
        let start =
            before.map_or(entry.key_span.start, |before| before.value.span.end.max(before.key_span.end));
        Edit::remove(start..end)
    }

    /// Adds an entry behind the last one of a block mapping, and behind the comments that belong to that.
    fn insert(&self, document: &Document, mapping: &Node, entry: &Value) -> Edit {
        let own_column = mapping.entries().first().map_or(0, |first| column(self.text, first.key_span.start));
        let at = self.end(document, mapping, own_column);
        let block = self.block(entry, own_column);
        if self.text.get(..at).is_some_and(|before| before.ends_with('\n')) {
            Edit::insert(at, format!("{block}{}", self.eol))
        } else {
            Edit::insert(at, format!("{}{block}", self.eol))
        }
    }

    /// Returns the end of a value's last line, and of the deeper comment lines that follow it.
    fn end(&self, document: &Document, node: &Node, column_of_key: usize) -> usize {
        let mut at = block_end(self.text, node.span.end);
        if self.keeps_blank_lines(node) {
            let rest = self.text.get(at..).unwrap_or_default();
            let blank = rest.split_inclusive('\n').take_while(|line| line.trim().is_empty());
            at += blank.map(str::len).sum::<usize>();
        }
        for comment in document.comments.iter().filter(|comment| comment.own_line) {
            if comment.span.start < at {
                continue;
            }
            let gap = self.text.get(at..comment.span.start).unwrap_or_default();
            if !gap.trim().is_empty() || column(self.text, comment.span.start) <= column_of_key {
                break;
            }
            at = block_end(self.text, comment.span.end);
        }
        at
    }

    /// Tells whether the blank lines behind a value are part of it: it ends with a `|+` or `>+`.
    fn keeps_blank_lines(&self, node: &Node) -> bool {
        let leaf = last_leaf(node);
        let header = self.text.get(leaf.span.clone()).and_then(|text| text.lines().next());
        is_block_scalar(leaf) && header.is_some_and(|header| header.contains('+'))
    }

    /// Returns the end of a line without its break.
    pub(super) fn line_end(&self, at: usize) -> usize {
        self.without_break(block_end(self.text, at))
    }

    fn without_break(&self, end: usize) -> usize {
        let line = self.text.get(..end).unwrap_or_default();
        let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        line.len()
    }

    fn after_colon(&self, entry: &Entry) -> usize {
        let rest = self.text.get(entry.key_span.end..).unwrap_or_default();
        entry.key_span.end + rest.find(':').map_or(0, |at| at + 1)
    }

    fn editable(&self, node: &Node, path: &'static str) -> Result<(), ReplaceError> {
        let first = node.entries().first();
        let alone = first.is_none_or(|entry| {
            let start = line_start(self.text, entry.key_span.start);
            let before = self.text.get(start..entry.key_span.start).unwrap_or_default();
            before.trim_start_matches('\u{feff}').trim().is_empty()
        });
        if is_block(node) && alone {
            Ok(())
        } else {
            Err(ReplaceError::NotOnItsOwnLine { path, line: self.line(node) })
        }
    }

    /// Refuses a value that stands elsewhere and is only merged in here; an alias itself can be replaced.
    fn reachable(&self, entry: &Entry) -> Result<(), ReplaceError> {
        let alias = self.text.get(entry.value.span.clone()).is_some_and(|text| text.starts_with('*'));
        if entry.value.shared && !alias {
            return Err(ReplaceError::Alias { path: "machine.registries", line: self.line(&entry.value) });
        }
        Ok(())
    }

    fn line(&self, node: &Node) -> usize {
        LineIndex::new(self.text).position(node.span.start).line
    }

    /// Writes a registry document in place of another.
    pub(super) fn rewrite(&self, document: &Document, value: &Value) -> Edit {
        let span = &document.root.span;
        let start = line_start(self.text, span.start);
        let before = self.text.get(start..span.start).unwrap_or_default();
        let lead = if before.trim_start_matches('\u{feff}').trim().is_empty() { "" } else { self.eol };
        let end = self.without_break(self.end(document, &document.root, 0));
        let block = self.block(value, 0);
        // A block scalar needs its last line break to keep its own.
        let tail = if end == self.text.len() && block.contains(": |") { self.eol } else { "" };
        Edit::new(span.start..end, format!("{lead}{block}{tail}"))
    }

    /// Takes a document away, with all that stands between its `---` and the next.
    pub(super) fn remove(&self, document: &Document) -> Edit {
        let mut start = document.span.start;
        if start == 0 {
            // The first document begins with the file: what stands before its `---`, or before it, is the file's.
            let head = self.text.get(..document.root.span.start).unwrap_or_default();
            let marker = if head.trim_start_matches('\u{feff}').starts_with("---") {
                Some(head.find("---").unwrap_or(0))
            } else {
                head.rfind("\n---").map(|at| at + 1)
            };
            start = marker.unwrap_or(document.root.span.start);
        }
        Edit::remove(start..document.span.end)
    }

    /// Adds documents behind the last one; a `---` that nothing follows is used.
    pub(super) fn append(&self, last: Option<&Document>, values: &[&Value]) -> Option<Edit> {
        if values.is_empty() {
            return None;
        }
        let separator = format!("{0}---{0}", self.eol);
        let blocks: Vec<String> = values.iter().map(|value| self.block(value, 0)).collect();
        let open = last.is_none_or(|document| document.root.is_null() && document.root.span.is_empty())
            && !self.text.trim_end().ends_with("...");
        let broken = self.text.is_empty() || self.text.ends_with('\n') || self.text == "\u{feff}";
        let lead = if broken { "" } else { self.eol };
        let first = if open { String::new() } else { format!("---{}", self.eol) };
        Some(Edit::insert(self.text.len(), format!("{lead}{first}{}{}", blocks.join(&separator), self.eol)))
    }
}

/// Returns the value that stands last in a tree.
pub(super) fn last_leaf(node: &Node) -> &Node {
    let entry = node.entries().last().map(|entry| &entry.value);
    entry.or(node.items().last()).map_or(node, last_leaf)
}

pub(super) fn is_block_scalar(node: &Node) -> bool {
    match &node.value {
        Yaml::Scalar(scalar) => matches!(scalar.style, Style::Literal | Style::Folded),
        Yaml::Sequence { .. } | Yaml::Mapping { .. } => false,
    }
}

fn is_flow(node: &Node) -> bool {
    matches!(&node.value, Yaml::Mapping { flow: true, .. })
}

fn is_block(node: &Node) -> bool {
    matches!(&node.value, Yaml::Mapping { flow: false, .. })
}

fn column(text: &str, at: usize) -> usize {
    let before = text.get(line_start(text, at)..at).unwrap_or_default();
    before.trim_start_matches('\u{feff}').chars().count()
}
