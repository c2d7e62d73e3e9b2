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
    /// Parses a text. A last line of blanks alone gets a line break, so that more can be added, or goes if that would
    /// make it a line of a block scalar before it.
    pub(super) fn parse(text: Secret<String>) -> Result<Self, SopsError> {
        let stream = parse(text.expose())?;
        let bare = text.expose().trim_end_matches([' ', '\t']);
        if bare.len() == text.expose().len() || !bare.ends_with('\n') {
            return Ok(Self { text, stream });
        }
        let read = |text: String| parse(&text).map(|stream| Self { text: Secret::new(text), stream });
        let bare = bare.to_owned();
        let plain = Self { text, stream };
        match read(format!("{}\n", plain.text.expose())) {
            Ok(ended) if plain.same(&ended) => Ok(ended),
            _ => Ok(read(bare)?),
        }
    }

    /// Returns whether a text that differs only in its last line holds the same.
    fn same(&self, other: &Self) -> bool {
        let documents = self.stream.documents.iter().zip(&other.stream.documents);
        documents.into_iter().all(|(own, other)| same(&own.root, &other.root))
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

fn same(own: &Node, other: &Node) -> bool {
    if let (Value::Scalar(own), Value::Scalar(other)) = (&own.value, &other.value) {
        return own.text == other.text;
    }
    let entries = own.entries().iter().zip(other.entries());
    let items = own.items().iter().zip(other.items());
    entries.into_iter().all(|(own, other)| own.key == other.key && same(&own.value, &other.value))
        && items.into_iter().all(|(own, other)| same(own, other))
}

fn wipe(node: &mut Node) {
    match &mut node.value {
        Value::Scalar(scalar) => scalar.text.zeroize(),
        Value::Sequence { items, .. } => items.iter_mut().for_each(wipe),
        Value::Mapping { entries, .. } => entries.iter_mut().for_each(|entry| wipe(&mut entry.value)),
    }
}
