use std::ops::Range;

use super::place::At;
use crate::finding::{Code, Problem, Problems};
use crate::secret::without_userinfo;
use crate::yaml::{LineIndex, Node, ParseError, Position, Style, Value};

/// Findings of all sources, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Problem>,
    /// Whether something of the sources is not in the inventory and should be.
    pub(super) lost: bool,
}

/// Errors of Talos' own schemas after which something could not be read.
const LOSSY: [Code; 9] = [
    Code::Syntax,
    Code::UnknownField,
    Code::WrongType,
    Code::MissingField,
    Code::DuplicateDocument,
    Code::AuthForms,
    Code::ClientIdentity,
    Code::BadPem,
    Code::TwoSources,
];

impl Findings {
    /// Adds a finding; the result takes reason and help.
    pub(super) fn add(&mut self, code: Code, at: &At, message: impl Into<String>) -> &mut Problem {
        self.list.push(Problem {
            code,
            file: at.file.clone(),
            position: at.position,
            path: without_userinfo(&at.path),
            message: message.into(),
            reason: None,
            help: None,
            excerpt: None,
        });
        #[expect(clippy::expect_used, reason = "pushed in the line above")]
        self.list.last_mut().expect("a finding")
    }
}

impl Findings {
    /// Adds a finding about something that the inventory does not hold although it had a meaning.
    pub(super) fn lose(&mut self, code: Code, at: &At, message: impl Into<String>) -> &mut Problem {
        self.lost = true;
        self.add(code, at, message)
    }
}

/// A text that is read, and how its lines lie in the user's file: an inline patch is a text within a text.
#[derive(Debug)]
pub(super) struct SourceFile<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    lines: LineIndex<'a>,
    lift: Lift,
}

/// Where a position of the inner text is in the outer one.
#[derive(Clone, Copy, Debug)]
enum Lift {
    Same,
    /// A literal block: so many lines further down, so many columns further right.
    Block {
        lines: usize,
        columns: usize,
    },
    /// Quoted or folded: lines mean nothing, all is at the scalar.
    Point(Position),
}

impl<'a> SourceFile<'a> {
    /// Takes a file.
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, lines: LineIndex::new(text), lift: Lift::Same }
    }

    /// Takes the text of a scalar.
    pub(super) fn within<'n>(&'n self, node: &'n Node) -> Option<SourceFile<'n>> {
        let Value::Scalar(scalar) = &node.value else { return None };
        let lift = match scalar.style {
            // What stands here through an alias has its lines elsewhere.
            _ if node.shared => Lift::Point(self.position(node.span.start)),
            Style::Literal => self.block(node, &scalar.text),
            Style::Plain | Style::SingleQuoted | Style::DoubleQuoted | Style::Folded => {
                Lift::Point(self.position(node.span.start))
            }
        };
        Some(SourceFile { name: self.name, text: &scalar.text, lines: LineIndex::new(&scalar.text), lift })
    }

    fn block(&self, node: &Node, inner: &str) -> Lift {
        let head = self.position(node.span.start);
        let margin = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let outer = self.text.get(node.span.clone()).unwrap_or_default();
        let outer = outer.lines().skip(1).find(|line| !line.trim().is_empty()).map_or(0, margin);
        let inner = inner.lines().find(|line| !line.trim().is_empty()).map_or(0, margin);
        Lift::Block { lines: head.line, columns: outer.saturating_sub(inner) }
    }

    fn lift(&self, position: Position) -> Position {
        match self.lift {
            Lift::Same => position,
            Lift::Point(point) => point,
            Lift::Block { lines, columns } => {
                Position { line: position.line + lines, column: position.column + columns }
            }
        }
    }

    fn position(&self, offset: usize) -> Position {
        self.lift(self.lines.position(offset))
    }

    /// Returns the place of a span, under a path.
    pub(super) fn at(&self, span: &Range<usize>, path: impl Into<String>) -> At {
        At { file: self.name.to_owned(), position: self.position(span.start), path: path.into() }
    }

    /// Returns the place of a position in this text, under a path.
    pub(super) fn at_position(&self, position: Position, path: impl Into<String>) -> At {
        At { file: self.name.to_owned(), position: self.lift(position), path: path.into() }
    }

    /// Starts findings of this text alone; [`Page::keep`] carries them over.
    pub(super) fn problems(&self) -> Problems<'a> {
        Problems::new(self.name, self.text)
    }

    /// Carries findings over, to where they are in the user's file.
    pub(super) fn keep(&self, problems: Problems<'_>, findings: &mut Findings) {
        for mut problem in problems.into_sorted() {
            problem.position = self.lift(problem.position);
            findings.lost |= LOSSY.contains(&problem.code);
            findings.list.push(problem);
        }
    }

    /// Reports a text that is not YAML.
    pub(super) fn syntax(&self, error: &ParseError, findings: &mut Findings) {
        let mut problems = self.problems();
        problems.add_syntax(error);
        self.keep(problems, findings);
    }
}
