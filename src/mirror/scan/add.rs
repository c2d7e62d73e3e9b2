use crate::yaml::{self, Edit, Node, Value, block_end, line_start, scalar};

/// Registries cannot be put into an inventory's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The text is not YAML.
    #[error("the inventory cannot be read: {0}")]
    Unreadable(String),
    /// `registries` is written in a form that cannot be edited, such as an alias.
    #[error("`registries` is written in a way that cannot be added to")]
    Form,
}

/// Puts registries into an inventory's text, after those that are there; every other byte stays.
///
/// `via` is the mirror that they go through, where `defaults.via` does not say it.
pub fn add_registries(text: &str, registries: &[&str], via: Option<&str>) -> Result<String, AddError> {
    let document = yaml::parse_one(text).map_err(|error| AddError::Unreadable(error.to_string()))?;
    let value = via.map_or_else(|| "{}".to_owned(), |via| format!("{{via: [{}]}}", scalar(via, 0)));
    let name = |registry: &str| scalar(registry, 0);
    let Some(node) = document.root.get("registries") else {
        let lines: String =
            registries.iter().map(|registry| format!("  {}: {value}\n", name(registry))).collect();
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{gap}registries:\n{lines}"));
    };
    if node.shared {
        return Err(AddError::Form);
    }
    let edit = match &node.value {
        Value::Mapping { entries, flow: true } => {
            let added = registries.iter().map(|registry| format!("{}: {value}", name(registry)));
            in_flow(text, node, entries.is_empty(), &added.collect::<Vec<_>>())?
        }
        Value::Sequence { items, flow: true } => {
            let added = registries.iter().map(|registry| name(registry));
            in_flow(text, node, items.is_empty(), &added.collect::<Vec<_>>())?
        }
        Value::Mapping { entries, flow: false } => {
            let last = entries.last().ok_or(AddError::Form)?;
            let start = line_start(text, last.key_span.start);
            let indent = text.get(start..last.key_span.start).unwrap_or_default();
            let lines = registries.iter().map(|registry| format!("{indent}{}: {value}\n", name(registry)));
            after(text, last.value.span.end.max(last.key_span.end), &lines.collect::<String>())
        }
        Value::Sequence { items, flow: false } => {
            let last = items.last().ok_or(AddError::Form)?;
            let start = line_start(text, last.span.start);
            let dash = text.get(start..last.span.start).unwrap_or_default();
            let lines = registries.iter().map(|registry| format!("{dash}{}\n", name(registry)));
            after(text, last.span.end, &lines.collect::<String>())
        }
        Value::Scalar(_) => return Err(AddError::Form),
    };
    Ok(yaml::apply(text, &[edit]))
}

/// Inserts lines after the line that a value ends on.
fn after(text: &str, value_end: usize, lines: &str) -> Edit {
    // A block's span may end at the start of the line after it.
    let on_it = text.get(..value_end).map_or(value_end, |before| before.trim_end().len());
    let end = block_end(text, on_it);
    let gap = if text.get(..end).is_some_and(|before| before.ends_with('\n')) { "" } else { "\n" };
    Edit::insert(end, format!("{gap}{lines}"))
}

/// Inserts items before the bracket that closes a flow collection.
fn in_flow(text: &str, node: &Node, empty: bool, items: &[String]) -> Result<Edit, AddError> {
    let inner = text.get(node.span.clone()).and_then(|inner| inner.strip_suffix(['}', ']']));
    let inner = inner.ok_or(AddError::Form)?.trim_end();
    let comma = if empty || inner.ends_with(',') { "" } else { ", " };
    Ok(Edit::insert(node.span.start + inner.len(), format!("{comma}{}", items.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_registries() {
        for (text, want) in [
            (
                "registries:\n    a.io: {} # first\n    b.io:\n        via: [x] # second\n# end\nnodes: {}\n",
                "registries:\n    a.io: {} # first\n    b.io:\n        via: [x] # second\n    quay.io: {}\n    h:5000: {}\n# end\nnodes: {}\n",
            ),
            ("registries: {a.io: {}}\n", "registries: {a.io: {}, quay.io: {}, h:5000: {}}\n"),
            ("registries: {}\n", "registries: {quay.io: {}, h:5000: {}}\n"),
            ("registries: [a.io]\nx: 1\n", "registries: [a.io, quay.io, h:5000]\nx: 1\n"),
            ("registries:\n- a.io # c\nx: 1\n", "registries:\n- a.io # c\n- quay.io\n- h:5000\nx: 1\n"),
            ("registries:\n  a.io:", "registries:\n  a.io:\n  quay.io: {}\n  h:5000: {}\n"),
            ("x: 1\n", "x: 1\nregistries:\n  quay.io: {}\n  h:5000: {}\n"),
        ] {
            assert_eq!(add_registries(text, &["quay.io", "h:5000"], None).as_deref(), Ok(want));
        }
        let via = add_registries("registries: {}\n", &["quay.io"], Some("harbor"));
        assert_eq!(via.as_deref(), Ok("registries: {quay.io: {via: [harbor]}}\n"));
        assert_eq!(add_registries("registries: 1\n", &["a"], None), Err(AddError::Form));
    }
}
