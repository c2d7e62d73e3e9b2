use super::draft::{Draft, Reader};
use super::error::SopsError;
use super::path::Path;
use super::plain::Plain;
use super::rule::Rule;
use crate::secret::Secret;
use crate::yaml::{Indent, Position};

/// A value whose text SOPS does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The value.
    pub path: Path,
    /// Where it stands.
    pub position: Position,
}

/// Returns the values that sops writes in another form when it decrypts or edits a file: `0123456`, `1.10`, `1e10`.
///
/// Fails where the text cannot be kept at all.
pub(super) fn rewritten(
    plaintext: &str,
    rule: &Rule,
    indent: Indent,
    version: &str,
) -> Result<Vec<Rewritten>, SopsError> {
    let plain = Plain::parse(Secret::from(plaintext))?;
    let draft = Draft::new(&plain, rule, indent, Reader::of(version))?;
    let values = draft
        .rewritten()
        .map(|(leaf, _)| Rewritten { path: leaf.path.clone(), position: draft.position(leaf) });
    Ok(values.collect())
}
