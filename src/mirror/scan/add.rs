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
        return checked(format!("{text}{gap}registries:\n{lines}"), 0, registries);
    };
    if node.shared {
        return Err(AddError::Form);
    }
    let edit = match &node.value {
        Value::Mapping { entries, flow: true } => {
            let added = registries.iter().map(|registry| format!("{}: {value}", name(registry)));
            let last = entries.last().map(|last| last.value.span.end.max(last.key_span.end));
            in_flow(node, last, &added.collect::<Vec<_>>())
        }
        Value::Sequence { items, flow: true } => {
            let added = registries.iter().map(|registry| name(registry));
            in_flow(node, items.last().map(|last| last.span.end), &added.collect::<Vec<_>>())
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
    checked(yaml::apply(text, &[edit]), node.entries().len() + node.items().len(), registries)
}

/// Returns a text that was added to if it reads back as it was, and what was added.
fn checked(text: String, before: usize, added: &[&str]) -> Result<String, AddError> {
    let document = yaml::parse_one(&text).map_err(|_| AddError::Form)?;
    let node = document.root.get("registries").ok_or(AddError::Form)?;
    let listed = |name: &str| node.items().iter().any(|item| item.as_str() == Some(name));
    let there = |name: &str| node.get(name).is_some() || listed(name);
    let whole = node.entries().len() + node.items().len() == before + added.len();
    if whole && added.iter().all(|name| there(name)) { Ok(text) } else { Err(AddError::Form) }
}

/// Inserts lines after the line that a value ends on.
fn after(text: &str, value_end: usize, lines: &str) -> Edit {
    // A block's span may end at the start of the line after it.
    let on_it = text.get(..value_end).map_or(value_end, |before| before.trim_end().len());
    let end = block_end(text, on_it);
    let gap = if text.get(..end).is_some_and(|before| before.ends_with('\n')) { "" } else { "\n" };
    Edit::insert(end, format!("{gap}{lines}"))
}

/// Inserts items after the last one of a flow collection, or after the bracket that opens it; what stands before the
/// bracket that closes it may be a comment.
fn in_flow(node: &Node, last: Option<usize>, items: &[String]) -> Edit {
    let items = items.join(", ");
    match last {
        Some(end) => Edit::insert(end, format!(", {items}")),
        None => Edit::insert(node.span.start + 1, items),
    }
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
            (
                "registries: {\n  a.io: {}, # one\n  b.io: {via: [x]} # two\n}\n",
                "registries: {\n  a.io: {}, # one\n  b.io: {via: [x]}, quay.io: {}, h:5000: {} # two\n}\n",
            ),
            (
                "registries: {a.io: {}, # last\n}\n",
                "registries: {a.io: {}, quay.io: {}, h:5000: {}, # last\n}\n",
            ),
            ("registries: { # none\n}\n", "registries: {quay.io: {}, h:5000: {} # none\n}\n"),
            ("registries: [a.io # last\n]\n", "registries: [a.io, quay.io, h:5000 # last\n]\n"),
            ("registries: {a.io: }\n", "registries: {a.io:, quay.io: {}, h:5000: {} }\n"),
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
