use std::collections::BTreeMap;

use crate::machineconfig::Role;
use crate::registries::Kind;
use crate::yaml::{Document, Node, Stream};

/// What people wrote about registries and hosts, by their names.
pub(super) type Comments = BTreeMap<String, Vec<String>>;

/// Collects the comments at the mirrors of a text: above a key, and within what stands below it.
pub(super) fn collect(text: &str, stream: &Stream, out: &mut Comments) {
    for document in &stream.documents {
        let root = &document.root;
        if let Role::Registry(Kind::Mirror, name) = Role::of(root) {
            add(out, &name, document.comments.iter().map(|comment| comment.text.as_str()));
            continue;
        }
        for path in [&["machine", "registries", "mirrors"][..], &["registries", "mirrors"], &["mirrors"]] {
            if let Some(mirrors) = root.at(path) {
                of_mirrors(text, document, mirrors, out);
                break;
            }
        }
    }
}

fn of_mirrors(text: &str, document: &Document, mirrors: &Node, out: &mut Comments) {
    let mut from =
        mirrors.span.start.min(mirrors.entries().first().map_or(usize::MAX, |entry| entry.key_span.start));
    // The comments above the first key stand before the mapping.
    let above: Vec<_> =
        document.comments.iter().filter(|comment| comment.own_line && comment.span.end <= from).collect();
    for comment in above.into_iter().rev() {
        let gap = text.get(comment.span.end..from).unwrap_or("x");
        if !gap.trim().is_empty() || gap.matches('\n').count() > 1 {
            break;
        }
        from = comment.span.start;
    }
    for entry in mirrors.entries() {
        let to = text.get(entry.value.span.end..).and_then(|rest| rest.find('\n'));
        let to = to.map_or(text.len(), |line| entry.value.span.end + line);
        let within = document.comments.iter().filter(|comment| (from..to).contains(&comment.span.start));
        add(out, &entry.key, within.map(|comment| comment.text.as_str()));
        from = from.max(to);
    }
}

fn add<'c>(out: &mut Comments, name: &str, comments: impl Iterator<Item = &'c str>) {
    for comment in comments.map(str::trim).filter(|text| !text.is_empty() && !text.starts_with("ENC[")) {
        let list = out.entry(name.to_owned()).or_default();
        if !list.iter().any(|known| known == comment) {
            list.push(comment.to_owned());
        }
    }
}

/// Puts comments above the registries of an inventory's text.
pub(super) fn put(inventory: &str, comments: &Comments) -> String {
    if comments.is_empty() {
        return inventory.to_owned();
    }
    let mut left = comments.clone();
    let mut out = String::with_capacity(inventory.len());
    let mut inside = false;
    for line in inventory.split_inclusive('\n') {
        let bare = line.trim_end();
        if !bare.starts_with(' ') && !bare.is_empty() {
            inside = bare == "registries:";
        }
        let pad = line.len() - line.trim_start().len();
        let word = bare.trim_start().trim_start_matches("- ");
        let name =
            word.split(": ").next().unwrap_or_default().trim_end_matches(':').trim_matches(['"', '\'']);
        if inside
            && pad > 0
            && pad <= 4
            && let Some(found) = left.remove(name)
        {
            for comment in found {
                out.push_str(&format!("{}# {comment}\n", " ".repeat(pad)));
            }
        }
        out.push_str(line);
    }
    out
}
