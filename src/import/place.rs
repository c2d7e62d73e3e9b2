use crate::yaml::Position;

/// A place in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) file: String,
    pub(super) position: Position,
    pub(super) path: String,
}

impl At {
    /// The beginning of a file.
    pub(super) fn top(file: &str) -> Self {
        Self { file: file.to_owned(), position: Position { line: 1, column: 1 }, path: String::new() }
    }
}

/// A value and where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: At,
}
