use std::ops::Range;

use crate::secret::without_userinfo;
use crate::sops::{Path, Step, is_secret};
use crate::yaml::{Node, Value, parse};

/// Stands where a variable begins, in a text in which variables were made plain words of the same length.
pub(super) const MARK: char = '§';
/// How deep texts within texts are looked into.
const DEPTH: usize = 8;

/// A part of a text in which variables may be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fillable {
    /// Its bytes.
    pub(super) span: Range<usize>,
    /// Whether it names a user.
    pub(super) is_user: bool,
}

/// Returns the names and values of a YAML text that hold no secret, in their order, also those within texts that are YAML
/// themselves, such as patches. Comments are none of them; nothing is where the text cannot be read.
pub(super) fn fillable(text: &str) -> Vec<Fillable> {
    let mut found = below(text, DEPTH).unwrap_or_default();
    found.sort_by_key(|part| part.span.start);
    found
}

/// [`None`]: it cannot be read, or something that is named once stands for a secret elsewhere.
fn below(text: &str, depth: usize) -> Option<Vec<Fillable>> {
    let stream = parse(text).ok()?;
    let mut found = Vec::new();
    for document in &stream.documents {
        let mut search = Search { text, root: &document.root, depth, found: Vec::new() };
        search.look(&document.root, &Path::default())?;
        found.append(&mut search.found);
    }
    Some(found)
}

struct Search<'a> {
    text: &'a str,
    root: &'a Node,
    depth: usize,
    found: Vec<Fillable>,
}

impl Search<'_> {
    fn look(&mut self, node: &Node, path: &Path) -> Option<()> {
        match &node.value {
            Value::Scalar(scalar) => self.look_at_text(node, &scalar.text, path),
            Value::Sequence { items, .. } => items
                .iter()
                .enumerate()
                .try_for_each(|(at, item)| self.look(item, &with(path, Step::Index(at)))),
            Value::Mapping { entries, .. } => entries.iter().try_for_each(|entry| {
                if !node.shared {
                    self.found.push(Fillable { span: entry.key_span.clone(), is_user: false });
                }
                let path = match target(node) {
                    Some(target) if entry.key == "value" => target,
                    Some(_) | None => with(path, Step::Key(entry.key.clone())),
                };
                self.look(&entry.value, &path)
            }),
        }
    }

    fn look_at_text(&mut self, node: &Node, inner: &str, path: &Path) -> Option<()> {
        if !inner.contains(MARK) {
            return Some(());
        }
        if is_secret(self.root, path) || without_userinfo(inner) != inner {
            // What is named elsewhere is filled in there.
            return (!node.shared).then_some(());
        }
        let is_structure = parse(inner)
            .is_ok_and(|stream| stream.documents.iter().any(|document| document.root.as_str().is_none()));
        if is_structure {
            let depth = self.depth.checked_sub(1)?;
            self.look_within(node, inner, &below(inner, depth)?);
        } else if !inner.contains('\n') && !node.shared {
            let is_user = path.keys().last() == Some("username");
            self.found.push(Fillable { span: node.span.clone(), is_user });
        }
        Some(())
    }

    /// Takes over what was found in a text within this one, whose margins, folds and quotes it does not have: there are as
    /// many marks in both.
    fn look_within(&mut self, node: &Node, inner: &str, found: &[Fillable]) {
        let outer = self.text.get(node.span.clone()).unwrap_or_default();
        if node.shared || outer.matches(MARK).count() != inner.matches(MARK).count() {
            return;
        }
        let marks = inner.match_indices(MARK).zip(outer.match_indices(MARK));
        self.found.extend(marks.filter_map(|((within, _), (at, mark))| {
            let part = found.iter().find(|part| part.span.contains(&within))?;
            let start = node.span.start + at;
            Some(Fillable { span: start..start + mark.len(), is_user: part.is_user })
        }));
    }
}

fn with(path: &Path, step: Step) -> Path {
    Path(path.0.iter().cloned().chain([step]).collect())
}

/// Returns where the operation of a JSON patch puts its value.
fn target(operation: &Node) -> Option<Path> {
    operation.get("op")?;
    let pointer = operation.get("path")?.as_str()?.strip_prefix('/')?;
    let name = |step: &str| Step::Key(step.replace("~1", "/").replace("~0", "~"));
    Some(Path(pointer.split('/').map(name).collect()))
}
