use super::declared::Replaced;
use super::kind::is_patch_list;
use super::place::At;
use super::source_file::{Findings, SourceFile};
use crate::finding::Code;
use crate::yaml::{Entry, Node, Value};

/// The parts of the longest path into registries: `/machine/registries/config/H/tls/clientIdentity/key`, and one more.
const DEEPEST: usize = 8;

/// Applies RFC 6902 operations to nothing, so that what they set can be read with its places.
///
/// Parents that a patch takes for granted are made. The result is a tree with `machine.registries` in it.
pub(super) fn tree(
    root: &Node,
    file: &SourceFile<'_>,
    findings: &mut Findings,
    removed: &mut Vec<(String, At)>,
) -> Node {
    let mut tree = mapping();
    let mut others = Vec::new();
    for operation in operations(root) {
        let place = operation.get("path").unwrap_or(operation);
        let path = operation.get("path").and_then(Node::as_str).unwrap_or_default();
        let op = operation.get("op").and_then(Node::as_str).unwrap_or_default();
        let at = file.at(&place.span, path);
        if !path.starts_with('/') {
            let message = format!("the path `{path}` does not begin with `/`");
            findings.add(Code::WrongType, &at, message).reason =
                Some("Talos' patcher drops the first part of such a path without a word".to_owned());
        }
        let parts = steps_of(path);
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let ours =
            matches!(words.as_slice(), ["machine"] | ["machine", "registries", ..]) && words.len() <= DEEPEST;
        match (op, operation.get("value")) {
            ("test", _) => {}
            _ if !ours => others.push(at),
            ("add" | "replace", Some(value)) => {
                if matches!(words.as_slice(), ["machine"] | ["machine", "registries"]) {
                    let problem = findings.add(
                        Code::ReplacesAll,
                        &at,
                        format!("`{op} {path}` replaces all registries that are there"),
                    );
                    problem.help =
                        Some("`talmirror generate --against CONFIG` writes the smallest patch".to_owned());
                }
                set(&mut tree, &words, value, place, op == "add");
            }
            ("remove", _) if unset(&mut tree, &words) => {}
            ("remove", _) => removed.push((words.join("."), at)),
            ("copy" | "move", _) => {
                let from = operation.get("from").and_then(Node::as_str).unwrap_or_default();
                let steps = steps_of(from);
                let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
                if let Some(value) = find(&tree, &steps).cloned() {
                    if op == "move" {
                        unset(&mut tree, &steps);
                    }
                    set(&mut tree, &words, &value, place, true);
                } else {
                    // What it copies is in the config that the patch is for.
                    let message = format!("the operation `{op} {path}` is left out");
                    findings.lose(Code::Dropped, &at, message).reason =
                        Some(format!("the patch itself does not set `{from}`"));
                }
            }
            _ => {
                findings.lose(Code::Dropped, &at, format!("the operation `{op} {path}` is left out"));
            }
        }
    }
    if let Some(first) = others.first() {
        let count = others.len();
        let message = if count == 1 {
            format!("`{}` is not about registries, and is left out", first.path)
        } else {
            format!("`{}` and {} more are not about registries, and are left out", first.path, count - 1)
        };
        findings.add(Code::Dropped, first, message);
    }
    tree
}

/// Returns the steps of a path, as RFC 6901 has it.
fn steps_of(path: &str) -> Vec<String> {
    let parts = path.trim_start_matches('/').split('/');
    parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

fn find<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    let Some((first, rest)) = path.split_first() else { return Some(node) };
    let item = || node.items().get(first.parse::<usize>().ok()?);
    find(node.get(first).or_else(item)?, rest)
}

/// Returns what of mirrors that are there a patch takes the place of.
pub(super) fn replaced(root: &Node) -> Replaced {
    let mut out = Replaced::default();
    for operation in operations(root) {
        if matches!(operation.get("op").and_then(Node::as_str), None | Some("test" | "remove")) {
            continue;
        }
        let steps = steps_of(operation.get("path").and_then(Node::as_str).unwrap_or_default());
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        match steps.as_slice() {
            ["machine"] | ["machine", "registries"] | ["machine", "registries", "mirrors"] => out.all = true,
            ["machine", "registries", "mirrors", name, field @ ..] => {
                let onto = out.by_registry.entry((*name).to_owned()).or_default();
                onto.endpoints |= matches!(field, [] | ["endpoints"]);
                onto.fallback |= matches!(field, [] | ["skipFallback"]);
            }
            _ => {}
        }
    }
    out
}

fn operations(root: &Node) -> &[Node] {
    let list = if is_patch_list(root) { Some(root) } else { root.get("patch") };
    list.map(Node::items).unwrap_or_default()
}

fn mapping() -> Node {
    Node { span: 0..0, value: Value::Mapping { entries: Vec::new(), flow: false }, shared: false, tag: None }
}

fn set(node: &mut Node, path: &[&str], value: &Node, place: &Node, insert: bool) {
    let Some((first, rest)) = path.split_first() else {
        *node = value.clone();
        return;
    };
    if let Value::Sequence { items, .. } = &mut node.value {
        let at = first.parse().unwrap_or(items.len());
        match items.get_mut(at) {
            Some(item) if !(insert && rest.is_empty()) => set(item, rest, value, place, insert),
            _ => items.insert(at.min(items.len()), value.clone()),
        }
        return;
    }
    if *first == "-" || (first.parse::<usize>().is_ok() && rest.is_empty() && node.entries().is_empty()) {
        // A list that the patch takes for granted.
        node.value = Value::Sequence { items: vec![value.clone()], flow: false };
        node.span = place.span.clone();
        return;
    }
    if !node.is_mapping() {
        *node = mapping();
    }
    let Value::Mapping { entries, .. } = &mut node.value else { return };
    if !entries.iter().any(|entry| entry.key == *first) {
        let mut child = mapping();
        child.span = place.span.clone();
        entries.push(Entry {
            key: (*first).to_owned(),
            key_span: place.span.clone(),
            key_is_string: true,
            value: child,
        });
    }
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
        set(&mut entry.value, rest, value, place, insert);
    }
}

fn unset(node: &mut Node, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match &mut node.value {
        Value::Scalar(_) => false,
        Value::Sequence { items, .. } => match first.parse::<usize>() {
            Ok(at) if at < items.len() && rest.is_empty() => {
                items.remove(at);
                true
            }
            Ok(at) => items.get_mut(at).is_some_and(|item| unset(item, rest)),
            Err(_) => false,
        },
        Value::Mapping { entries, .. } => {
            let Some(at) = entries.iter().position(|entry| entry.key == *first) else { return false };
            if rest.is_empty() {
                entries.remove(at);
                return true;
            }
            entries.get_mut(at).is_some_and(|entry| unset(&mut entry.value, rest))
        }
    }
}
