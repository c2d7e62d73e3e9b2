use std::collections::BTreeMap;

use crate::image::api_host;
use crate::machineconfig::Role;
use crate::registries::{Endpoint, Kind};
use crate::yaml::{Document, Node, Stream, parse_one};

/// What people wrote about registries, and about the hosts that credentials and TLS settings are for, by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Comments {
    registries: Lists,
    hosts: Lists,
}

type Lists = BTreeMap<String, Vec<String>>;

/// Collects the comments at the mirrors and the credentials of a text: above a key, and within what stands below it.
pub(super) fn collect(text: &str, stream: &Stream, out: &mut Comments) {
    for document in &stream.documents {
        let root = &document.root;
        if let Role::Registry(kind, name) = Role::of(root) {
            let list = match kind {
                Kind::Mirror => &mut out.registries,
                Kind::Auth | Kind::Tls => &mut out.hosts,
            };
            add(list, &name, document.comments.iter().map(|comment| comment.text.as_str()));
            continue;
        }
        let section = |name: &str| {
            let below = [&["machine", "registries"][..], &["registries"], &[]];
            below.into_iter().find_map(|path| {
                let node = root.at(path)?.get(name)?;
                node.is_mapping().then_some(node)
            })
        };
        if let Some(mirrors) = section("mirrors") {
            of_entries(text, document, mirrors, &mut out.registries);
        }
        for name in ["config", "configs"] {
            if let Some(hosts) = section(name) {
                of_entries(text, document, hosts, &mut out.hosts);
            }
        }
    }
}

fn of_entries(text: &str, document: &Document, section: &Node, out: &mut Lists) {
    let mut from =
        section.span.start.min(section.entries().first().map_or(usize::MAX, |entry| entry.key_span.start));
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
    for entry in section.entries() {
        let to = text.get(entry.value.span.end..).and_then(|rest| rest.find('\n'));
        let to = to.map_or(text.len(), |line| entry.value.span.end + line);
        let within = document.comments.iter().filter(|comment| (from..to).contains(&comment.span.start));
        add(out, &entry.key, within.map(|comment| comment.text.as_str()));
        from = from.max(to);
    }
}

fn add<'c>(out: &mut Lists, name: &str, comments: impl Iterator<Item = &'c str>) {
    for comment in comments.map(str::trim).filter(|text| !text.is_empty() && !text.starts_with("ENC[")) {
        let list = out.entry(name.to_owned()).or_default();
        if !list.iter().any(|known| known == comment) {
            list.push(comment.to_owned());
        }
    }
}

/// Puts comments above the mirrors and registries of an inventory's text.
pub(super) fn put(inventory: &str, comments: &Comments) -> String {
    if comments.registries.is_empty() && comments.hosts.is_empty() {
        return inventory.to_owned();
    }
    let mut above = by_line(inventory, comments);
    let mut out = String::with_capacity(inventory.len());
    for (at, line) in inventory.split_inclusive('\n').enumerate() {
        let pad = line.len() - line.trim_start().len();
        for comment in above.remove(&at).unwrap_or_default() {
            out.push_str(&format!("{}# {comment}\n", " ".repeat(pad)));
        }
        out.push_str(line);
    }
    out
}

/// Returns the comments that belong above lines of an inventory, which are counted from 0.
fn by_line(inventory: &str, comments: &Comments) -> BTreeMap<usize, Vec<String>> {
    let mut above: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let Ok(document) = parse_one(inventory) else { return above };
    let root = &document.root;
    let line_of = |at: usize| inventory.get(..at).unwrap_or_default().matches('\n').count();
    let mut place = |at: usize, list: Option<&Vec<String>>| {
        let known = above.entry(line_of(at)).or_default();
        for comment in list.into_iter().flatten() {
            if !known.contains(comment) {
                known.push(comment.clone());
            }
        }
    };
    let of_url = |node: Option<&Node>| {
        let host = Endpoint::new(node?.as_str()?, true).host().to_owned();
        comments.hosts.get(&host)
    };
    if let Some(entry) = root.entry("mirror") {
        place(entry.key_span.start, of_url(Some(&entry.value)));
    }
    for entry in root.get("mirrors").map(Node::entries).unwrap_or_default() {
        place(entry.key_span.start, of_url(entry.value.get("url")));
    }
    let registries = root.get("registries");
    let named = registries.map(Node::entries).unwrap_or_default().iter();
    let named = named.map(|entry| (entry.key.as_str(), entry.key_span.start));
    let listed = registries.map(Node::items).unwrap_or_default().iter();
    let listed = listed.filter_map(|item| Some((item.as_str()?, item.span.start)));
    for (name, at) in named.chain(listed) {
        place(at, comments.registries.get(name));
        place(at, comments.hosts.get(api_host(name)));
        place(at, comments.hosts.get(name));
    }
    above
}
