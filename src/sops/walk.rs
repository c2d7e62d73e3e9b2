use std::ops::Range;

use super::path::{Path, Step};
use super::rule::Rule;
use crate::yaml::{Comment, Document, Indent, Node, Stream, Style, Value, line_start};

/// The key that holds what SOPS knows about a file.
pub(super) const METADATA: &str = "sops";

/// Every scalar, empty collection and comment of a stream, in order, and whether the rule selects it.
#[derive(Debug, Default)]
pub(super) struct Walk<'a> {
    pub(super) leaves: Vec<Leaf<'a>>,
    pub(super) remarks: Vec<Remark<'a>>,
}

/// A scalar or an empty collection.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) document: usize,
    pub(super) path: Path,
    pub(super) node: &'a Node,
    /// Its bytes; a block scalar of nothing but line breaks ends with its header.
    pub(super) span: Range<usize>,
    /// Whether the rule says that it is sealed.
    pub(super) selected: bool,
    /// Where the lines of a block scalar in its place stand; [`None`] in `{…}` and `[…]`.
    pub(super) column: Option<usize>,
    /// The offset of its `-`, if it is an item of a list in block style.
    pub(super) dash: Option<usize>,
}

/// A comment.
#[derive(Debug)]
pub(super) struct Remark<'a> {
    pub(super) document: usize,
    pub(super) comment: &'a Comment,
    /// The collection it stands in, whose path binds it when sealed.
    pub(super) path: Path,
    /// Collections that another reader may say it stands in.
    pub(super) others: Vec<Path>,
    pub(super) selected: bool,
    /// The column of the dashes, if it stands in a list.
    pub(super) list: Option<usize>,
}

/// Walks a stream; the `sops:` of each document and the comments in it are left out.
pub(super) fn walk<'a>(text: &str, stream: &'a Stream, rule: &Rule, indent: Indent) -> Walk<'a> {
    let mut out = Walk::default();
    for (number, document) in stream.documents.iter().enumerate() {
        let mut walker = Walker {
            text,
            rule,
            indent,
            number,
            out,
            frames: vec![],
            tokens: vec![],
            cursor: document.span.start,
        };
        walker.node(&document.root, &OpenCollection::root(), Some(0), None);
        if let Some(root) = walker.frames.first_mut().filter(|root| !root.flow) {
            // A comment at the end stands in the root, whether a `sops:` follows it or not.
            root.span.end = document.span.end + 1;
        }
        walker.comments(document);
        out = walker.out;
    }
    out
}

/// A collection with anything in it: where it begins and ends, and the column of its keys or dashes.
#[derive(Clone, Debug)]
struct OpenCollection {
    path: Path,
    hit: bool,
    list: bool,
    flow: bool,
    column: usize,
    span: Range<usize>,
}

impl OpenCollection {
    fn root() -> Self {
        Self { path: Path::default(), hit: false, list: false, flow: false, column: 0, span: 0..0 }
    }
}

struct Walker<'t, 'a> {
    text: &'t str,
    rule: &'t Rule,
    indent: Indent,
    number: usize,
    out: Walk<'a>,
    frames: Vec<OpenCollection>,
    /// The keys and leaves and the frame each stands in, in order.
    tokens: Vec<(Range<usize>, usize)>,
    cursor: usize,
}

impl<'a> Walker<'_, 'a> {
    /// Visits a node below the frame `at`, whose path is that of the node.
    fn node(&mut self, node: &'a Node, at: &OpenCollection, column: Option<usize>, dash: Option<usize>) {
        let parent = self.frames.len();
        let mut frame = OpenCollection { span: node.span.clone(), flow: column.is_none(), ..at.clone() };
        match &node.value {
            Value::Mapping { entries, flow } if entries.iter().any(|entry| !is_metadata(at, &entry.key)) => {
                frame.flow |= flow;
                frame.list = false;
                if let Some(first) = entries.first().filter(|_| !frame.flow) {
                    frame.span.start = first.key_span.start;
                }
                frame.column = self.column_of(node.span.start);
                let below = (!frame.flow).then(|| self.indent.below(frame.column));
                self.frames.push(frame.clone());
                for entry in entries.iter().filter(|entry| !is_metadata(at, &entry.key)) {
                    self.token(&entry.key_span, parent);
                    let child = OpenCollection {
                        path: frame.path.join(Step::Key(entry.key.clone())),
                        hit: frame.hit || self.rule.hits(&entry.key),
                        ..frame.clone()
                    };
                    self.child(&entry.value, &child, below, None, parent);
                }
            }
            Value::Sequence { items, flow } if !items.is_empty() => {
                frame.flow |= flow;
                frame.list = true;
                let dashes = !frame.flow;
                let first = items.first().filter(|_| dashes).and_then(|item| self.dash(item.span.start));
                frame.span.start = first.unwrap_or(node.span.start);
                frame.column = self.column_of(frame.span.start);
                let below = dashes.then_some(frame.column + 2);
                self.frames.push(frame.clone());
                for (index, item) in items.iter().enumerate() {
                    let dash = if dashes { self.dash(item.span.start) } else { None };
                    self.cursor = dash.map_or(self.cursor, |dash| dash + 1);
                    let child = OpenCollection { path: frame.path.join(Step::Index(index)), ..frame.clone() };
                    self.child(item, &child, below, dash, parent);
                }
            }
            Value::Mapping { entries, .. } if !entries.is_empty() => {} // a document of nothing but `sops:`
            Value::Mapping { .. } | Value::Sequence { .. } | Value::Scalar(_) => self.out.leaves.push(Leaf {
                document: self.number,
                path: at.path.clone(),
                node,
                span: self.span(node),
                selected: self.rule.selects(at.hit),
                column,
                dash,
            }),
        }
    }

    fn child(
        &mut self,
        node: &'a Node,
        at: &OpenCollection,
        column: Option<usize>,
        dash: Option<usize>,
        parent: usize,
    ) {
        let (leaves, frames) = (self.out.leaves.len(), self.frames.len());
        self.node(node, at, column, dash);
        if self.out.leaves.len() > leaves && self.frames.len() == frames {
            self.token(&node.span, parent);
        }
        self.cursor = self.cursor.max(node.span.end);
    }

    fn token(&mut self, span: &Range<usize>, frame: usize) {
        self.tokens.push((span.clone(), frame));
        self.cursor = self.cursor.max(span.end);
    }

    /// Returns a scalar's bytes; the span of a block scalar of nothing but line breaks goes too far.
    fn span(&self, node: &Node) -> Range<usize> {
        let (Value::Scalar(scalar), span) = (&node.value, node.span.clone()) else {
            return node.span.clone();
        };
        match scalar.style {
            Style::Literal | Style::Folded => {
                let text = self.text.get(span.clone()).unwrap_or_default();
                span.start..span.start + text.trim_end_matches([' ', '\t', '\r', '\n']).len()
            }
            Style::Plain | Style::SingleQuoted | Style::DoubleQuoted => span,
        }
    }

    fn column_of(&self, at: usize) -> usize {
        column(self.text, at)
    }

    /// Returns the offset of the first `-` between the last token and `before` that a blank follows, comments aside.
    fn dash(&self, before: usize) -> Option<usize> {
        // The item may be empty: then its span ends at its own dash, or before the next one.
        let gap = self.text.get(self.cursor..before.max(self.cursor))?;
        let mut comment = false;
        let mut previous = ' ';
        for (at, c) in gap.char_indices() {
            comment = c != '\n' && (comment || c == '#' && previous.is_whitespace());
            let blank = || {
                self.text
                    .get(self.cursor + at + 1..)
                    .is_none_or(|s| s.is_empty() || s.starts_with([' ', '\n', '\r', '\t']))
            };
            if c == '-' && !comment && blank() {
                return Some(self.cursor + at);
            }
            previous = c;
        }
        None
    }

    /// Finds the collection of every comment.
    fn comments(&mut self, document: &'a Document) {
        let hidden = document.root.entry(METADATA).map(|entry| entry.key_span.start..entry.value.span.end);
        // Comments on lines that follow each other are one, where the first stands; a dedent begins another.
        let (mut above, mut block) = (usize::MAX, 0);
        for comment in &document.comments {
            let at = comment.span.start;
            if hidden.as_ref().is_some_and(|hidden| hidden.contains(&at)) {
                continue;
            }
            let next = self.tokens.partition_point(|(span, _)| span.start <= at);
            let previous = next.checked_sub(1).and_then(|index| self.tokens.get(index));
            if previous.is_some_and(|(span, _)| span.contains(&at)) {
                continue; // behind the `|` of a block scalar: it goes with it
            }
            let near = self.near(
                at,
                previous.map_or(0, |(span, _)| span.end),
                self.tokens.get(next).map(|(span, _)| span.start),
            );
            let chosen = if comment.own_line {
                let column = self.column_of(at);
                let inner =
                    previous.and_then(|(_, frame)| self.frames.get(*frame)).map_or(0, |frame| frame.column);
                let gap = self.text.get(above..at).unwrap_or("x");
                if !(gap.trim().is_empty()
                    && gap.matches('\n').count() == 1
                    && (column >= inner || column == block))
                {
                    block = column;
                }
                above = comment.span.end;
                near.choose(block, self.next_column(comment.span.end, document))
            } else {
                previous.and_then(|(_, frame)| self.frames.get(*frame))
            };
            let root = OpenCollection::root();
            let frame = chosen.unwrap_or(&root);
            let others = near.all().map(|frame| frame.path.clone()).chain([Path::default()]).collect();
            self.out.remarks.push(Remark {
                document: self.number,
                comment,
                path: frame.path.clone(),
                others,
                selected: self.rule.selects(frame.hit),
                list: frame.list.then_some(frame.column),
            });
        }
    }

    /// Returns the column of the next line that holds anything; behind the last one, `sops:` comes.
    fn next_column(&self, at: usize, document: &Document) -> usize {
        let rest = self.text.get(at..document.span.end).unwrap_or_default();
        let lines =
            rest.lines().skip(1).map(|line| (line.len() - line.trim_start().len(), line.trim_start()));
        let next = lines.into_iter().find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let root = self.frames.first().map_or(0, |root| root.column);
        next.filter(|(_, line)| !line.starts_with("...")).map_or(root, |(column, _)| column)
    }

    fn near(&self, at: usize, previous: usize, next: Option<usize>) -> Near<'_> {
        let mut near = Near { open: vec![], upcoming: vec![], closing: vec![] };
        for frame in &self.frames {
            if frame.span.start < at && at < frame.span.end {
                near.open.push(frame);
            } else if frame.span.start > at && next.is_some_and(|next| frame.span.start <= next) {
                near.upcoming.push(frame);
            } else if frame.span.end <= at && frame.span.end >= previous {
                near.closing.push(frame);
            }
        }
        near
    }
}

/// The collections around a comment, outer ones first.
struct Near<'f> {
    /// Begun before it and ended after it.
    open: Vec<&'f OpenCollection>,
    /// Begun by what follows it.
    upcoming: Vec<&'f OpenCollection>,
    /// Ended by what stands before it.
    closing: Vec<&'f OpenCollection>,
}

impl<'f> Near<'f> {
    fn all(&self) -> impl Iterator<Item = &'f OpenCollection> {
        self.upcoming.iter().chain(self.open.iter().rev()).chain(self.closing.iter().rev()).copied()
    }

    /// Returns the collection that a comment alone on its line belongs to, as Go's yaml.v3 attaches it.
    ///
    /// One that stands deeper than what follows it goes with what stands before it, however deep that is.
    fn choose(&self, column: usize, next: usize) -> Option<&'f OpenCollection> {
        if let Some(flow) = self.open.iter().rev().find(|frame| frame.flow) {
            return Some(flow);
        }
        // Between a key and what it holds, the column does not matter.
        let held = |frame: &&&OpenCollection| !matches!(frame.path.0.last(), Some(Step::Index(_)));
        if let Some(first) = self.upcoming.first().filter(held) {
            return Some(first);
        }
        let last = self.closing.iter().rev().find(|frame| !frame.flow && column > next);
        last.or_else(|| self.open.last()).copied()
    }
}

/// Returns the column of an offset; a byte order mark at the beginning of the text takes up none.
///
/// A block mapping's keys stand in the column of the mapping's span, not always in that of the first key: a tag, an
/// anchor or a `?` may come before it.
pub(super) fn column(text: &str, at: usize) -> usize {
    let line = text.get(line_start(text, at)..at).unwrap_or_default();
    line.strip_prefix('\u{feff}').unwrap_or(line).len()
}

fn is_metadata(at: &OpenCollection, key: &str) -> bool {
    at.path.0.is_empty() && key == METADATA
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn leaves_have_paths_columns_and_dashes() {
        let text = "a:\n    b: 1\n    c: [x, {y: 2}]\nl:\n    # -\n    - p\n    - - q\n      -\n    - k: v # r\nsops:\n    mac: x # y\n";
        let stream = parse(text).unwrap();
        let rule = Rule::encrypted_regex("^a$").unwrap();
        let walk = walk(text, &stream, &rule, Indent::default());
        let leaves: Vec<_> = walk
            .leaves
            .iter()
            .map(|leaf| {
                (leaf.path.to_string(), leaf.selected, leaf.column, leaf.dash.map(|at| &text[at..at + 3]))
            })
            .collect();
        assert_eq!(
            leaves,
            [
                ("[\"a\"][\"b\"]".into(), true, Some(8), None),
                ("[\"a\"][\"c\"][0]".into(), true, None, None),
                ("[\"a\"][\"c\"][1][\"y\"]".into(), true, None, None),
                ("[\"l\"][0]".into(), false, Some(6), Some("- p")),
                ("[\"l\"][1][0]".into(), false, Some(8), Some("- q")),
                ("[\"l\"][1][1]".into(), false, Some(8), walk.leaves[5].dash.map(|at| &text[at..at + 3])),
                ("[\"l\"][2][\"k\"]".into(), false, Some(8), None),
            ]
        );
    }

    #[test]
    fn comments_belong_where_yaml_v3_puts_them() {
        let text = "\
# root
a:
    # in a
    b:
        c: 1 # in b
    # also in b
d:
  # in d
    e: 1
f:
    # in list
    - x
    # also in list
    - y: 1
      # in item
    # end of item
g: 1
h:
# in h
- z
# end of h

# root too
i: {
  # flow
  k: 1 }
# last
";
        let stream = parse(text).unwrap();
        let walk = walk(text, &stream, &Rule::default(), Indent::default());
        let places: Vec<_> = walk
            .remarks
            .iter()
            .map(|r| {
                format!("{} {}{}", r.comment.text.trim(), r.path, if r.list.is_some() { " list" } else { "" })
            })
            .collect();
        assert_eq!(
            places,
            [
                "root ",
                "in a [\"a\"]",
                "in b [\"a\"][\"b\"]",
                "also in b [\"a\"][\"b\"]",
                "in d [\"d\"]",
                "in list [\"f\"] list",
                "also in list [\"f\"] list",
                "in item [\"f\"][1]",
                "end of item [\"f\"][1]",
                "in h [\"h\"] list",
                "end of h ",
                "root too ",
                "flow [\"i\"]",
                "last ",
            ]
        );
    }
}
