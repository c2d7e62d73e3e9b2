use zeroize::Zeroize;

use super::error::SopsError;
use super::path::{Path, Step};
use crate::secret::Secret;
use crate::yaml::{LineIndex, Node, Position, Stream, Value, parse};

/// A decrypted text and what it holds; all of it is cleared when it goes.
pub(super) struct Plain {
    pub(super) text: Secret<String>,
    pub(super) stream: Stream,
}

impl Plain {
    pub(super) fn parse(text: Secret<String>) -> Result<Self, SopsError> {
        let stream = parse(text.expose())?;
        Ok(Self { text, stream })
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        LineIndex::new(self.text.expose()).position(offset)
    }

    /// Follows a path in a document.
    pub(super) fn at(&self, document: usize, path: &Path) -> Option<&Node> {
        let root = &self.stream.documents.get(document)?.root;
        path.0.iter().try_fold(root, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
        })
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for document in &mut self.stream.documents {
            wipe(&mut document.root);
            document.comments.iter_mut().for_each(|comment| comment.text.zeroize());
        }
    }
}

fn wipe(node: &mut Node) {
    match &mut node.value {
        Value::Scalar(scalar) => scalar.text.zeroize(),
        Value::Sequence { items, .. } => items.iter_mut().for_each(wipe),
        Value::Mapping { entries, .. } => entries.iter_mut().for_each(|entry| wipe(&mut entry.value)),
    }
}
