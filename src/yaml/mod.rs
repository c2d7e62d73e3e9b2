//! YAML as text: documents with the span of every value, edits that leave every other byte, scalars quoted.
//!
//! One parser serves all: events of `granit-parser` (the parser under serde-saphyr) become a tree whose nodes know
//! the bytes they came from. Three needs meet here, and no serde reader serves them: findings carry a line and a
//! column, machine configs are edited in place, and a SOPS MAC depends on how Go's yaml.v3 resolves a scalar.

mod edit;
mod emit;
mod node;
mod parse;
mod position;
mod resolve;
mod scalar;

pub use edit::{Edit, apply, block_end, line_start};
pub use emit::{Indent, emit, emit_stream, scalar};
pub use node::{Comment, Document, Entry, Node, Stream, Value};
pub use parse::{ParseError, parse, parse_one};
pub use position::{LineIndex, Position};
pub use resolve::{Resolved, format_float, resolve};
pub use scalar::{Scalar, Style};
