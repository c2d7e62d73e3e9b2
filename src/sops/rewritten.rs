use super::draft::Draft;
use super::path::Path;
use crate::yaml::Position;

/// A value whose text SOPS does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The value.
    pub path: Path,
    /// Where it stands.
    pub position: Position,
}

/// Returns the values that sops writes in another form when it decrypts or edits a file: `0123456`, `1.10`, `1e10`.
pub(super) fn rewritten(draft: &Draft<'_>) -> Vec<Rewritten> {
    let values = draft.rewritten();
    values.map(|(leaf, _)| Rewritten { path: leaf.path.clone(), position: draft.position(leaf) }).collect()
}
