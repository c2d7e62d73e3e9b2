//! What a file's clear parts were when its secrets were sealed.
//!
//! A MAC covers values in their order, not keys and not nesting: a client that can write to the repository and holds no
//! key could put another mirror's `url` beside a sealed password. So a file may hold one sealed value of its own, below
//! `x-structure`, that says what stood where. It is bound to its place as every sealed value is, and in the MAC; it begins
//! with random bytes, so that no clear value can take its place in the MAC.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use super::block::Addition;
use super::path::Step;
use super::rule::Rule;
use super::value::Content;
use super::walk::{Leaf, Walk};
use crate::secret::{Random, Secret};
use crate::yaml::{Document, Edit, Indent, Stream, Value as Yaml, apply};

/// The key at the top below which the value stands; inventories and Kubernetes ignore what begins with `x-`.
pub const STRUCTURE: &str = "x-structure";
/// Names that rules for secrets select, the first choice first.
const NAMES: [&str; 4] = ["key", "password", "identityToken", "structure"];
/// The version of the form, in front of the value.
const VERSION: &str = "1";
const NONCE: usize = 16;
/// Bytes of the hash of one entry: enough to name what changed; the whole is compared by a full hash.
const SHORT: usize = 6;

/// The clear parts of a file: keys, nesting, clear values, and where sealed ones stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Structure {
    /// The path of each leaf, and what stands there unless it is sealed.
    entries: Vec<(String, Secret<String>)>,
}

impl Structure {
    /// Takes the structure of a walk; the value that holds one is left out.
    pub(super) fn of(walk: &Walk<'_>, contents: &[Content]) -> Self {
        let leaves = walk.leaves.iter().zip(contents).filter(|(leaf, _)| !is_own(leaf));
        let entries = leaves.map(|(leaf, content)| {
            let path = format!("{}:{}", leaf.document, leaf.path);
            let text = match content {
                _ if leaf.selected => "sealed".to_owned(),
                Content::Nothing(word) => format!("nothing {word}"),
                Content::Value(value) => format!("{} {}", value.kind().as_str(), value.text()),
            };
            (path, Secret::new(text))
        });
        Self { entries: entries.collect() }
    }

    /// Writes the structure as the value that is sealed.
    pub(super) fn write(&self, random: &mut Random<'_>) -> Secret<String> {
        let mut nonce = [0; NONCE];
        random(&mut nonce);
        Secret::new(self.write_with(&nonce))
    }

    fn write_with(&self, nonce: &[u8]) -> String {
        let mut whole = Sha256::new();
        whole.update(nonce);
        let mut short = Vec::with_capacity(self.entries.len() * SHORT);
        for entry in &self.entries {
            let hash = hash(nonce, entry);
            whole.update(&hash);
            short.extend(hash.iter().take(SHORT));
        }
        let encode = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        format!("{VERSION}.{}.{}.{}", encode(nonce), encode(&whole.finalize()), encode(&short))
    }

    /// Returns the paths that are not as a sealed value says; [`None`] where all are.
    ///
    /// A value that cannot be read counts as one of another file: no path is named.
    pub(super) fn differences(&self, sealed: &str) -> Option<Vec<String>> {
        let mut parts = sealed.split('.');
        let fields = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(VERSION), Some(nonce), Some(_), Some(short)) = fields else { return Some(Vec::new()) };
        let (Ok(nonce), Ok(short)) = (STANDARD_NO_PAD.decode(nonce), STANDARD_NO_PAD.decode(short)) else {
            return Some(Vec::new());
        };
        if self.write_with(&nonce) == sealed {
            return None;
        }
        let known: HashSet<&[u8]> = short.chunks(SHORT).collect();
        let unknown = self.entries.iter().filter(|entry| {
            let hash = hash(&nonce, entry);
            !known.contains(hash.get(..SHORT).unwrap_or_default())
        });
        let name = |(path, _): &(String, _)| path.split_once(':').map_or("", |(_, path)| path).to_owned();
        Some(unknown.map(name).collect())
    }
}

fn hash(nonce: &[u8], (path, text): &(String, Secret<String>)) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(nonce);
    hash.update((path.len() as u64).to_be_bytes());
    hash.update(path.as_bytes());
    hash.update(text.expose().as_bytes());
    hash.finalize().to_vec()
}

/// Returns whether a leaf is the value that holds a structure.
fn is_own(leaf: &Leaf<'_>) -> bool {
    matches!(leaf.path.0.first(), Some(Step::Key(key)) if key == STRUCTURE)
}

/// Returns the value that a file holds, sealed before and now decrypted.
pub(super) fn held<'c>(walk: &Walk<'_>, contents: &'c [Content]) -> Option<&'c str> {
    let mut own = walk.leaves.iter().zip(contents).filter(|(leaf, _)| leaf.selected && is_own(leaf));
    own.find_map(|(_, content)| Some(content.value()?.text()))
}

/// Puts the value into a plaintext, in the place of the one that is there or as its last key.
///
/// [`None`] where the rule selects none of the names it could have, and in a text that is not one mapping in block style.
pub(super) fn put(text: &str, stream: &Stream, rule: &Rule, indent: Indent, value: &str) -> Option<String> {
    let [document] = stream.documents.as_slice() else { return None };
    let Yaml::Mapping { entries, flow: false } = &document.root.value else { return None };
    if entries.is_empty() {
        return None;
    }
    if let Some(node) = own_node(document, rule) {
        return Some(apply(text, &[Edit::new(node, value.to_owned())]));
    }
    if document.root.get(STRUCTURE).is_some() {
        return None;
    }
    let name = NAMES.into_iter().find(|name| rule.selects_keys([STRUCTURE, name]))?;
    let block = crate::yaml::emit(&serde_json::json!({ STRUCTURE: { name: value } }), indent);
    Some(apply(text, &Addition::new(block).edits(text, document)))
}

/// Returns the bytes of the value in a plaintext.
fn own_node(document: &Document, rule: &Rule) -> Option<std::ops::Range<usize>> {
    let node = document.root.get(STRUCTURE)?;
    let mut entries = node.entries().iter();
    let entry = entries.find(|entry| rule.selects_keys([STRUCTURE, &entry.key]))?;
    matches!(&entry.value.value, Yaml::Scalar(_)).then(|| entry.value.span.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sops::walk::walk;
    use crate::yaml::parse;

    fn structure(text: &str) -> Structure {
        let stream = parse(text).unwrap();
        let walk = walk(text, &stream, &Rule::encrypted_regex("^password$").unwrap(), Indent::default());
        let contents: Vec<Content> = walk.leaves.iter().map(|leaf| Content::of(leaf.node).unwrap()).collect();
        Structure::of(&walk, &contents)
    }

    #[test]
    fn what_moved_is_named() {
        let old = "mirrors:\n  a:\n    url: https://a.lan\n    password: p\n  b:\n    url: https://b.lan\n";
        let sealed = structure(old).write(&mut |bytes| bytes.fill(7));
        assert_eq!(structure(old).differences(sealed.expose()), None);
        // Another password is not another structure; a comment is none either.
        let rotated = old.replace("password: p", "password: q # new");
        assert_eq!(structure(&rotated).differences(sealed.expose()), None);
        let renamed =
            "mirrors:\n  a:\n    url: https://a.lan\n  b:\n    password: p\n    url: https://b.lan\n";
        assert_eq!(
            structure(renamed).differences(sealed.expose()),
            Some(vec!["[\"mirrors\"][\"b\"][\"password\"]".to_owned()])
        );
        let swapped =
            "mirrors:\n  a:\n    url: https://b.lan\n    password: p\n  b:\n    url: https://a.lan\n";
        assert_eq!(structure(swapped).differences(sealed.expose()).unwrap().len(), 2);
        let reordered =
            "mirrors:\n  b:\n    url: https://b.lan\n  a:\n    url: https://a.lan\n    password: p\n";
        assert_eq!(structure(reordered).differences(sealed.expose()), Some(Vec::new()));
        assert_eq!(structure(old).differences("nonsense"), Some(Vec::new()));
    }

    #[test]
    fn the_value_goes_where_the_rule_selects_it() {
        let put = |text: &str, rule: &str| {
            let rule = Rule::encrypted_regex(rule).unwrap();
            super::put(text, &parse(text).unwrap(), &rule, Indent::default(), "VALUE")
        };
        assert_eq!(put("a: 1\n", "^(password|key)$").unwrap(), "a: 1\nx-structure:\n    key: VALUE\n");
        assert_eq!(put("a: 1", "^password$").unwrap(), "a: 1\nx-structure:\n    password: VALUE\n");
        assert_eq!(
            put("x-structure:\n  key: old # kept\na: 1\n", "^key$").unwrap(),
            "x-structure:\n  key: VALUE # kept\na: 1\n"
        );
        assert_eq!(put("a: 1\n", "^data$"), None);
        assert_eq!(put("{a: 1}\n", "^key$"), None);
        assert_eq!(put("a: 1\n---\nb: 1\n", "^key$"), None);
    }
}
