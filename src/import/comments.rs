use std::collections::BTreeMap;

use crate::finding::may_name_a_secret;
use crate::image::api_host;
use crate::machineconfig::Role;
use crate::registries::{Endpoint, Kind};
use crate::yaml::{Comment, Document, Node, Stream, line_start, parse_one};

/// What people wrote about registries, and about the hosts that credentials and TLS settings are for, by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Comments {
    registries: Lists,
    hosts: Lists,
    /// Above all of them.
    all: Lists,
}

type Lists = BTreeMap<String, Vec<String>>;

/// The keys of a registry document that name it, and hold no secret.
const NAMES_OF_DOCUMENTS: [&str; 3] = ["apiVersion", "kind", "name"];

/// Collects the comments of a text: of mirrors those above a key and within what stands below it; of credentials and TLS
/// settings only those above the host's name, because others may hold a secret from before.
pub(super) fn collect(text: &str, stream: &Stream, out: &mut Comments) {
    for document in &stream.documents {
        let root = &document.root;
        if let Role::Registry(kind, name) = Role::of(root) {
            match kind {
                Kind::Mirror => add(&mut out.registries, &name, &document.comments),
                Kind::Auth | Kind::Tls => {
                    let entries = root.entries().iter();
                    for entry in entries.take_while(|entry| NAMES_OF_DOCUMENTS.contains(&entry.key.as_str()))
                    {
                        add(&mut out.hosts, &name, above(text, document, entry.key_span.start));
                    }
                }
            }
            continue;
        }
        let section = |name: &str| {
            let below = [&["machine", "registries"][..], &["registries"], &[]];
            below.into_iter().find_map(|path| {
                let node = root.at(path)?.get(name)?;
                node.is_mapping().then_some(node)
            })
        };
        let below = [&["machine", "registries"][..], &["machine", "registries", "mirrors"], &["mirrors"]];
        for (parents, key) in below.iter().filter_map(|path| {
            let (key, parents) = path.split_last()?;
            Some((root.at(parents)?, *key))
        }) {
            if let Some(entry) = parents.entry(key).filter(|entry| entry.value.is_mapping()) {
                let comments = above(text, document, entry.key_span.start).iter();
                add(&mut out.all, "", comments.filter(|comment| !is_of_editors(&comment.text)));
            }
        }
        if let Some(mirrors) = section("mirrors") {
            of_mirrors(text, document, mirrors, &mut out.registries);
        }
        for name in ["config", "configs"] {
            if let Some(hosts) = section(name) {
                for entry in hosts.entries() {
                    add(&mut out.hosts, &entry.key, above(text, document, entry.key_span.start));
                }
            }
        }
    }
}

/// Tells whether a comment is for a program.
fn is_of_editors(text: &str) -> bool {
    ["yaml-language-server", "$schema", "vim:", "yamllint", "prettier-ignore", "code: language"]
        .iter()
        .any(|word| text.contains(word))
}

/// Returns the comments on the lines directly above a key, none of which stands further to the right: that one would be
/// about what stands above it.
fn above<'d>(text: &str, document: &'d Document, key: usize) -> &'d [Comment] {
    let column = |at: usize| at - line_start(text, at);
    let end = document.comments.partition_point(|comment| comment.span.end <= key);
    let before = document.comments.get(..end).unwrap_or_default();
    let (mut from, mut first) = (key, end);
    for (at, comment) in before.iter().enumerate().rev() {
        let gap = text.get(comment.span.end..from).unwrap_or("x");
        let is_above = comment.own_line && gap.trim().is_empty() && gap.matches('\n').count() == 1;
        if !is_above || column(comment.span.start) > column(key) {
            break;
        }
        (from, first) = (comment.span.start, at);
    }
    before.get(first..).unwrap_or_default()
}

fn of_mirrors(text: &str, document: &Document, section: &Node, out: &mut Lists) {
    let mut from =
        section.span.start.min(section.entries().first().map_or(usize::MAX, |entry| entry.key_span.start));
    // The comments above the first key stand before the mapping.
    from = above(text, document, from).first().map_or(from, |comment| comment.span.start);
    for entry in section.entries() {
        let to = text.get(entry.value.span.end..).and_then(|rest| rest.find('\n'));
        let to = to.map_or(text.len(), |line| entry.value.span.end + line);
        let within = document.comments.iter().filter(|comment| (from..to).contains(&comment.span.start));
        add(out, &entry.key, within);
        from = from.max(to);
    }
}

fn add<'c>(out: &mut Lists, name: &str, comments: impl IntoIterator<Item = &'c Comment>) {
    let texts = comments.into_iter().map(|comment| comment.text.trim());
    // The inventory may stay in the clear, and a comment beside a secret may be an older one.
    let is_kept = |text: &&str| !text.is_empty() && !text.starts_with("ENC[") && !may_name_a_secret(text);
    for comment in texts.filter(is_kept) {
        let list = out.entry(name.to_owned()).or_default();
        if !list.iter().any(|known| known == comment) {
            list.push(comment.to_owned());
        }
    }
}

/// Puts comments above the mirrors and registries of an inventory's text.
pub(super) fn put(inventory: &str, comments: &Comments) -> String {
    if [&comments.registries, &comments.hosts, &comments.all].into_iter().all(BTreeMap::is_empty) {
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
    if let Some(entry) = root.entry("mirror").or_else(|| root.entry("mirrors")) {
        place(entry.key_span.start, comments.all.get(""));
    }
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
