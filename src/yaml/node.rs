use std::ops::Range;

use serde_json::{Map, Number};

use super::resolve::{Resolved, resolve};
use super::scalar::Scalar;

/// A YAML text, parsed: its documents in order.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The documents that hold anything, empty ones included where a `---` announces them.
    pub documents: Vec<Document>,
}

/// One document of a stream.
#[derive(Clone, Debug)]
pub struct Document {
    /// The bytes of the document: after its `---` line, up to the next document's `---` line or the end.
    pub span: Range<usize>,
    /// The root value.
    pub root: Node,
    /// The comments, in order.
    pub comments: Vec<Comment>,
}

/// A comment in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The bytes from `#` to the end of the line, without the line break.
    pub span: Range<usize>,
    /// What follows the `#`.
    pub text: String,
    /// Whether nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The bytes of the value, without tag and anchor; block scalars include their header (`|`).
    pub span: Range<usize>,
    /// The value.
    pub value: Value,
    /// Whether it stands here through an alias or a merge key, so that editing it here is not possible.
    pub shared: bool,
    /// The tag as written, such as `!!str`.
    pub tag: Option<String>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar.
    Scalar(Scalar),
    /// A sequence.
    Sequence {
        /// The items.
        items: Vec<Node>,
        /// Whether it is written `[…]`.
        flow: bool,
    },
    /// A mapping.
    Mapping {
        /// The entries in order, each key once.
        entries: Vec<Entry>,
        /// Whether it is written `{…}`.
        flow: bool,
    },
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// The bytes of the key.
    pub key_span: Range<usize>,
    /// Whether the key is a string, and not a number, null or truth value.
    pub key_is_string: bool,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Returns the value of a mapping's key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Returns the entry of a mapping's key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Follows keys from mapping to mapping.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Returns the entries of a mapping; of anything else, none.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping { entries, .. } => entries,
            Value::Scalar(_) | Value::Sequence { .. } => &[],
        }
    }

    /// Returns the items of a sequence; of anything else, none.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence { items, .. } => items,
            Value::Scalar(_) | Value::Mapping { .. } => &[],
        }
    }

    /// Returns the scalar's text if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match (&self.value, self.resolved()) {
            (Value::Scalar(scalar), Some(Resolved::String | Resolved::Timestamp(_))) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Returns the truth value of a scalar that is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.resolved() {
            Some(Resolved::Bool(value)) => Some(value),
            _ => None,
        }
    }

    /// Returns whether the node is null, written or left out.
    pub fn is_null(&self) -> bool {
        matches!(self.resolved(), Some(Resolved::Null))
    }

    /// Returns whether the node is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Mapping { .. })
    }

    /// Returns whether the node is a sequence.
    pub fn is_sequence(&self) -> bool {
        matches!(self.value, Value::Sequence { .. })
    }

    /// Returns the type and value of a scalar, as Go's yaml.v3 finds them.
    pub fn resolved(&self) -> Option<Resolved> {
        match &self.value {
            Value::Scalar(scalar) => Some(resolve(&scalar.text, scalar.style, self.tag.as_deref())),
            Value::Sequence { .. } | Value::Mapping { .. } => None,
        }
    }

    /// Returns the word for the node's type that messages use.
    pub fn kind(&self) -> &'static str {
        match self.resolved() {
            None if self.is_mapping() => "a mapping",
            None => "a list",
            Some(Resolved::Null) => "nothing",
            Some(Resolved::Bool(_)) => "a truth value",
            Some(Resolved::Int(_) | Resolved::Unsigned(_)) => "a number",
            Some(Resolved::Float(_)) => "a number",
            Some(Resolved::Timestamp(_)) => "a date",
            Some(Resolved::String) => "a string",
        }
    }

    /// Converts to a plain tree: scalars by their type, dates as strings, keys in order.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar(scalar) => match self.resolved() {
                None | Some(Resolved::String | Resolved::Timestamp(_)) => scalar.text.clone().into(),
                Some(Resolved::Null) => serde_json::Value::Null,
                Some(Resolved::Bool(value)) => value.into(),
                Some(Resolved::Int(value)) => value.into(),
                Some(Resolved::Unsigned(value)) => value.into(),
                Some(Resolved::Float(value)) => {
                    Number::from_f64(value).map_or_else(|| scalar.text.clone().into(), Into::into)
                }
            },
            Value::Sequence { items, .. } => items.iter().map(Node::to_json).collect::<Vec<_>>().into(),
            Value::Mapping { entries, .. } => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}
