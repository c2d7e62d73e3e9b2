use std::collections::HashMap;
use std::iter::Peekable;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag};

use super::node::{Comment, Document, Entry, Node, Stream, Value};
use super::position::{LineIndex, Position};
use super::scalar::{Scalar, Style};

/// Nodes a text may come to, aliases expanded; far above any machine config, far below an alias bomb.
const MAX_NODES: usize = 2_000_000;
/// Collections that may stand inside each other.
const MAX_DEPTH: usize = 128;

/// What keeps a text from being read as YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {}, column {}", position.line, position.column)]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// The offset in bytes.
    pub offset: usize,
    /// What, as a fragment.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
}

/// Parses a text of any number of documents; duplicate keys, tabs in indentation and alias bombs are errors.
pub fn parse(text: &str) -> Result<Stream, ParseError> {
    let failed = |offset: usize, message: &str, help: Option<&str>| ParseError {
        position: LineIndex::new(text).position(offset),
        offset,
        message: message.to_owned(),
        help: help.map(str::to_owned),
    };
    if let Some(at) = text.find('\0') {
        return Err(failed(at, "found a NUL byte: this is not text", None));
    }
    let mut options = Options::default();
    options.max_buffered_comment_events = usize::MAX; // generated machine configs have pages of comments
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text, options).peekable(),
        anchors: HashMap::new(),
        comments: Vec::new(),
        cursor: 0,
        nodes: 0,
    };
    builder.stream().map_err(|error| match error {
        Failure::Scan(offset, message) => {
            let line = text.get(super::edit::line_start(text, offset)..).unwrap_or_default();
            let blank = line.get(..line.len() - line.trim_start_matches([' ', '\t']).len()).unwrap_or("");
            if blank.contains('\t') {
                let offset = super::edit::line_start(text, offset) + blank.find('\t').unwrap_or(0);
                failed(offset, "found a tab in the indentation", Some("indent with spaces"))
            } else {
                failed(offset, &message, None)
            }
        }
        Failure::Duplicate { key, first, second } => {
            let line = LineIndex::new(text).position(first).line;
            failed(
                second,
                &format!("key `{key}` is there twice, first on line {line}"),
                Some("keep one of the two"),
            )
        }
        Failure::TooLarge(offset) => failed(
            offset,
            &format!("expands to more than {MAX_NODES} values"),
            Some("an alias that repeats itself? write the values out"),
        ),
        Failure::Recursive(offset) => failed(offset, "an alias stands inside what it names", None),
        Failure::ComplexKey(offset) => {
            failed(offset, "found a list or mapping as a key", Some("keys are plain words"))
        }
    })
}

/// Parses a text that holds one document; a text of none is an error, and so is a second document.
pub fn parse_one(text: &str) -> Result<Document, ParseError> {
    let mut documents = parse(text)?.documents;
    let index = LineIndex::new(text);
    let failed = |offset: usize, message: &str| ParseError {
        position: index.position(offset),
        offset,
        message: message.to_owned(),
        help: None,
    };
    if let Some(second) = documents.get(1) {
        return Err(failed(second.span.start, "found a second document"));
    }
    documents.pop().ok_or_else(|| failed(0, "found nothing: the text is empty"))
}

enum Failure {
    Scan(usize, String),
    Duplicate { key: String, first: usize, second: usize },
    TooLarge(usize),
    Recursive(usize),
    ComplexKey(usize),
}

struct Builder<'a> {
    text: &'a str,
    events: Peekable<Parser<'a, StrInput<'a>>>,
    anchors: HashMap<usize, Node>,
    comments: Vec<Comment>,
    /// The end of the last token that was not a comment: block scalar headers and empty values are looked for from here.
    cursor: usize,
    nodes: usize,
}

impl<'a> Builder<'a> {
    /// Returns the next event that is not a comment; comments are kept aside.
    fn next(&mut self) -> Result<Option<(Event<'a>, Range<usize>)>, Failure> {
        loop {
            let Some(event) = self.events.next() else { return Ok(None) };
            let (event, span) = event.map_err(|error| {
                Failure::Scan(error.marker().byte_offset().unwrap_or(0), error.kind().to_string())
            })?;
            let span = bytes(span);
            if let Event::Comment(text, _) = event {
                let line = self.text.get(super::edit::line_start(self.text, span.start)..span.start);
                let own_line =
                    line.is_some_and(|before| before.trim_start_matches('\u{feff}').trim().is_empty());
                self.comments.push(Comment { span, text: text.into_owned(), own_line });
            } else {
                return Ok(Some((event, span)));
            }
        }
    }

    fn stream(&mut self) -> Result<Stream, Failure> {
        let mut documents: Vec<Document> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if !matches!(event, Event::DocumentStart(..)) {
                continue;
            }
            // Documents tile the text: one begins at its `---`, the first at the first byte.
            let start = if documents.is_empty() { 0 } else { span.start };
            if let Some(previous) = documents.last_mut() {
                previous.span.end = start;
            }
            self.cursor = span.end;
            self.anchors.clear();
            let Some((event, span)) = self.next()? else { break };
            let root = self.node(event, span, 0)?;
            documents.push(Document { span: start..self.text.len(), root, comments: Vec::new() });
        }
        let mut comments = std::mem::take(&mut self.comments).into_iter().peekable();
        for document in &mut documents {
            while let Some(comment) = comments.next_if(|comment| comment.span.start < document.span.end) {
                document.comments.push(comment);
            }
        }
        Ok(Stream { documents })
    }

    fn node(&mut self, event: Event<'a>, span: Range<usize>, depth: usize) -> Result<Node, Failure> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > 2 * MAX_DEPTH {
            return Err(Failure::TooLarge(span.start));
        }
        let (anchor, node) = match event {
            Event::Alias(id) => {
                self.cursor = span.end;
                let mut node = self.anchors.get(&id).cloned().ok_or(Failure::Recursive(span.start))?;
                self.nodes += share(&mut node);
                if self.nodes > MAX_NODES {
                    return Err(Failure::TooLarge(span.start));
                }
                node.span = span;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.scalar_span(style, &text, span);
                let empty = span.is_empty() && style == ScalarStyle::Plain;
                let text = if empty { String::new() } else { text.into_owned() };
                let value = Value::Scalar(Scalar { text, style: style_of(style) });
                (anchor, Node { span, value, shared: false, tag: tag_of(tag) })
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.cursor = span.end.max(self.cursor);
                let (start, flow) = (span.start, style == StructureStyle::Flow);
                let (items, end) = self.items(span.end, flow, depth)?;
                let value = Value::Sequence { items, flow };
                (anchor, Node { span: start..end.max(start), value, shared: false, tag: tag_of(tag) })
            }
            Event::MappingStart(style, anchor, tag) => {
                self.cursor = span.end.max(self.cursor);
                let (start, flow) = (span.start, style == StructureStyle::Flow);
                let (entries, end) = self.entries(span.end, flow, depth)?;
                let value = Value::Mapping { entries, flow };
                (anchor, Node { span: start..end.max(start), value, shared: false, tag: tag_of(tag) })
            }
            other => return Err(Failure::Scan(span.start, format!("found {other:?} in place of a value"))),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, start: usize, flow: bool, depth: usize) -> Result<(Vec<Node>, usize), Failure> {
        let (mut items, mut end) = (Vec::new(), start);
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                if flow {
                    end = span.end;
                    self.cursor = end;
                }
                break;
            }
            let item = self.node(event, span, depth + 1)?;
            end = end.max(item.span.end);
            items.push(item);
        }
        Ok((items, end))
    }

    fn entries(&mut self, start: usize, flow: bool, depth: usize) -> Result<(Vec<Entry>, usize), Failure> {
        let (mut entries, mut merged, mut end) = (Vec::<Entry>::new(), Vec::new(), start);
        let mut seen = HashMap::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                if flow {
                    end = span.end;
                    self.cursor = end;
                }
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let key_span = key.span.clone();
            let Value::Scalar(scalar) = &key.value else { return Err(Failure::ComplexKey(key_span.start)) };
            let merge = scalar.text == "<<" && scalar.style == Style::Plain;
            let Some((event, span)) = self.next()? else { break };
            let mut value = self.node(event, span, depth + 1)?;
            if value.span.is_empty() {
                let after = self.after_colon(key_span.end);
                value.span = after..after;
                self.cursor = self.cursor.max(after);
            }
            end = end.max(value.span.end);
            if merge {
                merged.push(value);
                continue;
            }
            if let Some(first) = seen.insert(scalar.text.clone(), key_span.start) {
                return Err(Failure::Duplicate { key: scalar.text.clone(), first, second: key_span.start });
            }
            entries.push(Entry {
                key: scalar.text.clone(),
                key_is_string: key.as_str().is_some(),
                key_span,
                value,
            });
        }
        for mut value in merged {
            share(&mut value);
            let sources = if value.is_mapping() { vec![value] } else { value.items().to_vec() };
            for entry in sources.iter().flat_map(super::node::Node::entries) {
                if seen.insert(entry.key.clone(), entry.key_span.start).is_none() {
                    entries.push(entry.clone());
                }
            }
        }
        Ok((entries, end))
    }

    /// Returns the offset behind the colon that follows a key.
    fn after_colon(&self, key_end: usize) -> usize {
        let rest = self.text.get(key_end..).unwrap_or_default();
        let colon = rest.find(':').filter(|at| rest.get(..*at).is_some_and(|gap| gap.trim().is_empty()));
        colon.map_or(key_end, |at| key_end + at + 1)
    }

    /// Widens the span of a block scalar to its header, and cuts the blank lines behind it.
    fn scalar_span(&mut self, style: ScalarStyle, text: &str, span: Range<usize>) -> Range<usize> {
        let span = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let from = self.cursor.min(span.start);
                let gap = self.text.get(from..span.start).unwrap_or_default();
                let indicator = if style == ScalarStyle::Literal { '|' } else { '>' };
                // A verbatim tag, `!<…>`, holds a `>` of its own.
                let skip =
                    gap.find("!<").and_then(|at| Some(at + gap.get(at..)?.find('>')? + 1)).unwrap_or(0);
                // A comment between the key and the header may hold one, too.
                let in_comment = |at: usize| {
                    let near = self.comments.iter().rev().take_while(|comment| comment.span.end > from);
                    near.into_iter().any(|comment| comment.span.contains(&at))
                };
                let candidates = gap.match_indices(indicator).map(|(at, _)| from + at);
                let start = candidates
                    .filter(|at| *at >= from + skip)
                    .find(|at| !in_comment(*at))
                    .unwrap_or(span.start);
                let header_end = self.text.get(start..).and_then(|rest| rest.find(['\r', '\n']));
                let header_end = header_end.map_or(self.text.len(), |at| start + at);
                let body = self.text.get(span.clone()).unwrap_or_default();
                // Of a text of line breaks alone nothing can be told from the gap that follows it.
                let blank = text.trim_matches(['\n', ' ']).is_empty();
                let end = span.start + body.trim_end_matches([' ', '\t', '\r', '\n']).len();
                start..if blank { header_end } else { end.max(header_end) }
            }
            ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => span,
        };
        self.cursor = self.cursor.max(span.end);
        span
    }
}

fn bytes(span: Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted => Style::SingleQuoted,
        ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
    }
}

fn tag_of(tag: Option<std::borrow::Cow<'_, Tag>>) -> Option<String> {
    tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()))
}

/// Marks a node and all below it as shared, and returns how many they are.
fn share(node: &mut Node) -> usize {
    node.shared = true;
    1 + match &mut node.value {
        Value::Scalar(_) => 0,
        Value::Sequence { items, .. } => items.iter_mut().map(share).sum(),
        Value::Mapping { entries, .. } => {
            entries.iter_mut().map(|entry| share(&mut entry.value)).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn slice<'a>(text: &'a str, node: &Node) -> &'a str {
        &text[node.span.clone()]
    }

    #[test]
    fn spans_cover_values() {
        let text = "a: 1 # r\nb: |\n  l1\n  l2\n\n# c\nc:\n- x\n- {k: [1, \"t\"], z: }\nd: 'q''s'\nnul:\ne: >-\n  fo\n  ld\nf: !!str 5\n";
        let doc = parse_one(text).unwrap();
        let at = |key: &str| slice(text, doc.root.get(key).unwrap());
        assert_eq!(at("a"), "1");
        assert_eq!(at("b"), "|\n  l1\n  l2");
        assert_eq!(at("c"), "x\n- {k: [1, \"t\"], z: }");
        assert_eq!(at("d"), "'q''s'");
        assert_eq!(
            doc.root.get("nul").unwrap().span,
            text.find("nul:").unwrap() + 4..text.find("nul:").unwrap() + 4
        );
        assert_eq!(at("e"), ">-\n  fo\n  ld");
        assert_eq!(at("f"), "5");
        assert_eq!(doc.comments.len(), 2);
        assert!(!doc.comments[0].own_line && doc.comments[1].own_line);
        assert_eq!(doc.root.get("b").unwrap().as_str(), Some("l1\nl2\n"));
        assert_eq!(doc.root.get("f").unwrap().as_str(), Some("5"));
    }

    #[test]
    fn a_comment_before_a_block_scalars_header_is_no_header() {
        for (text, want) in [
            ("p:\n  # a|b\n  |\n  x\n", "|\n  x"),
            ("p: !!str # a>b\n  >\n  x\n", ">\n  x"),
            ("p: | # x|y\n  x\n", "| # x|y\n  x"),
        ] {
            let doc = parse_one(text).unwrap();
            assert_eq!(slice(text, doc.root.get("p").unwrap()), want, "{text:?}");
        }
    }

    #[test]
    fn documents_tile_the_text() {
        let text = "# head\n---\na: 1\n---\n# only a comment\n---\nb: 2\n...\n";
        let stream = parse(text).unwrap();
        let spans: Vec<_> = stream.documents.iter().map(|d| &text[d.span.clone()]).collect();
        assert_eq!(spans, ["# head\n---\na: 1\n", "---\n# only a comment\n", "---\nb: 2\n...\n"]);
        assert!(stream.documents[1].root.is_null());
        assert!(parse("").unwrap().documents.is_empty());
    }

    #[test]
    fn aliases_and_merges_are_expanded_and_marked() {
        let doc = parse_one("a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  k: 3\n").unwrap();
        assert_eq!(
            doc.root.to_json(),
            json!({"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 3, "l": 2}})
        );
        assert!(doc.root.get("b").unwrap().shared && !doc.root.get("a").unwrap().shared);
    }

    #[test]
    fn bad_input_has_a_place_and_a_reason() {
        for (text, want) in [
            ("a: 1\na: 2\n", "key `a` is there twice, first on line 1 at line 2, column 1"),
            ("a:\n\tb: 1\n", "found a tab in the indentation at line 2, column 1"),
            ("a: [1,\n", "unclosed bracket '[' at line 1, column 4"),
            ("a: 'x\n", "unclosed quote at line 1, column 4"),
            ("a: b: c\n", "mapping values are not allowed in this context at line 1, column 5"),
            ("{a: 1}: 2\n", "found a list or mapping as a key at line 1, column 1"),
            ("a: \0\n", "found a NUL byte: this is not text at line 1, column 4"),
            ("a: &x [*x]\n", "an alias stands inside what it names at line 1, column 8"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), want);
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().message.contains("expands to more than"));
        assert_eq!(parse_one("\u{feff}a: 1\r\nb: 2\r\n").unwrap().root.to_json(), json!({"a": 1, "b": 2}));
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|[\\n\\t :#'\"{}\\[\\]&*!|>-]){0,80}") {
            if let Ok(stream) = parse(&text) {
                for document in &stream.documents {
                    prop_assert!(text.get(document.root.span.clone()).is_some());
                }
            }
        }
    }
}
