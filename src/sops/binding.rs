use super::draft::{Draft, Reader};
use super::error::SopsError;
use super::plain::Plain;
use super::rule::Rule;
use super::structure::put;
use crate::secret::{Random, Secret};
use crate::yaml::Indent;

/// Returns a plaintext with the value that says what stands where; [`None`] where the one in it says so already, and
/// where it can hold none.
pub(super) fn bound(
    plain: &Plain,
    rule: &Rule,
    indent: Indent,
    reader: Reader,
    old: Option<&str>,
    random: &mut Random<'_>,
) -> Result<Option<Secret<String>>, SopsError> {
    let draft = Draft::new(plain, rule, indent, reader)?;
    let structure = draft.structure();
    if draft.held_structure().is_some_and(|held| structure.differences(held).is_none()) {
        return Ok(None);
    }
    // What stood there before stays where nothing moved.
    let value = match old.filter(|old| structure.differences(old).is_none()) {
        Some(old) => Secret::from(old),
        None => structure.write(random),
    };
    Ok(put(plain.text.expose(), &plain.stream, rule, indent, value.expose()).map(Secret::new))
}
