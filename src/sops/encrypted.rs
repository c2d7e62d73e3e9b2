use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use super::block::Block;
use super::cipher::{DataKey, is_token};
use super::error::{NoKey, Refusal, SopsError};
use super::identity::Identities;
use super::mac::MacScope;
use super::metadata::{Group, Metadata};
use super::path::Path;
use super::rule::Rule;
use super::shamir;
use super::walk::METADATA;
use crate::yaml::{Indent, LineIndex, Node, Position, Stream, Value, parse};

/// An encrypted file as it stands on disk.
#[derive(Clone, Debug)]
pub struct Encrypted {
    text: String,
    stream: Stream,
    metadata: Metadata,
}

/// Returns whether a stream is a SOPS file: its first document has a `sops:` with a MAC or a version.
pub fn is_encrypted(stream: &Stream) -> bool {
    let metadata = stream.documents.first().and_then(|document| document.root.get(METADATA));
    metadata.is_some_and(|node| node.get("mac").is_some() || node.get("version").is_some())
}

/// Returns whether a text may be a SOPS file, without parsing it.
pub fn looks_encrypted(text: &str) -> bool {
    text.contains(METADATA) && text.contains("ENC[AES256_GCM,")
}

/// Returns where the `sops:` of each document stands in a text; nothing of one that is not YAML.
pub fn metadata_of(text: &str) -> Vec<Range<usize>> {
    let Ok(stream) = parse(text) else { return Vec::new() };
    let blocks = stream.documents.iter().filter_map(|document| Block::of(text, document));
    blocks.map(|block| block.cut.clone()).collect()
}

impl Encrypted {
    /// Reads a file: YAML of one document or many, or JSON.
    ///
    /// Fails if it is not YAML, is not encrypted or by talm, uses aliases, or if its `sops:` cannot be followed.
    pub fn parse(text: &str) -> Result<Self, SopsError> {
        let stream = parse(text)?;
        let position = |offset: usize| LineIndex::new(text).position(offset);
        if !is_encrypted(&stream) {
            let talm = stream.documents.iter().find_map(|document| {
                find(&document.root, &|node| node.as_str().is_some_and(|text| text.starts_with("ENC[AGE,")))
            });
            return Err(talm.map_or(SopsError::NotEncrypted, |at| SopsError::Talm(Some(position(at)))));
        }
        if let Some(at) =
            stream.documents.iter().find_map(|document| find(&document.root, &|node| node.shared))
        {
            return Err(Refusal::Alias.at(&Path::default(), position(at)));
        }
        let node = stream.documents.first().and_then(|document| document.root.get(METADATA));
        let metadata = Metadata::read(node.ok_or(SopsError::NotEncrypted)?)?;
        Ok(Self { text: text.to_owned(), stream, metadata })
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whom the file is for: age recipients as they are written, others by kind and name.
    pub fn recipients(&self) -> Vec<String> {
        self.metadata.recipients()
    }

    /// Returns which values are sealed.
    pub fn rule(&self) -> &Rule {
        &self.metadata.rule
    }

    /// Returns what the MAC covers.
    pub fn mac_scope(&self) -> MacScope {
        self.metadata.scope
    }

    /// Returns when the file was last encrypted, as RFC 3339.
    pub fn lastmodified(&self) -> &str {
        &self.metadata.last_modified
    }

    /// Returns the version of sops that the file names.
    pub fn version(&self) -> &str {
        &self.metadata.version
    }

    pub(super) fn data_key(&self, identities: &Identities) -> Result<DataKey, SopsError> {
        let groups = &self.metadata.groups;
        let open =
            |group: &Group| group.age.iter().find_map(|age| identities.unwrap(&age.sealed, &age.recipient));
        let mut shares: Vec<Zeroizing<Vec<u8>>> =
            groups.iter().filter_map(open).take(self.metadata.threshold).collect();
        let opened = shares.len();
        let key = if groups.len() > 1 {
            (opened >= self.metadata.threshold).then(|| shamir::combine(&shares)).flatten()
        } else {
            shares.pop()
        };
        let bytes = key.and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
        bytes
            .map(|mut bytes| {
                let key = DataKey::new(bytes);
                bytes.zeroize();
                key
            })
            .ok_or_else(|| {
                SopsError::NoKey(Box::new(NoKey {
                    recipients: self.recipients(),
                    identities: identities.names(),
                    locked: identities.locked(),
                    locations: identities.locations().to_vec(),
                    problems: identities.problems().to_vec(),
                    groups: (groups.len() > 1).then_some((self.metadata.threshold, opened)),
                }))
            })
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the `sops:` of a document; of one that has none, that of the first.
    pub(super) fn block(&self, document: usize) -> Option<Block<'_>> {
        let of = |number: usize| {
            self.stream.documents.get(number).and_then(|document| Block::of(&self.text, document))
        };
        of(document).or_else(|| of(0))
    }

    /// Returns the step of indentation, which the `sops:` shows.
    pub(super) fn indent(&self) -> Indent {
        self.block(0)
            .filter(|block| !block.is_flow())
            .map_or_else(Indent::default, |block| Indent::new(block.column()))
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        LineIndex::new(&self.text).position(offset)
    }
}

/// Returns where the first node stands that passes a test.
fn find(node: &Node, test: &dyn Fn(&Node) -> bool) -> Option<usize> {
    if test(node) {
        return Some(node.span.start);
    }
    match &node.value {
        Value::Scalar(_) => None,
        Value::Sequence { items, .. } => items.iter().find_map(|item| find(item, test)),
        Value::Mapping { entries, .. } => entries.iter().find_map(|entry| find(&entry.value, test)),
    }
}

/// Returns the offsets of all values that are still sealed in a text that should hold none.
pub fn sealed_values(stream: &Stream) -> Vec<usize> {
    fn collect(node: &Node, out: &mut Vec<usize>) {
        match &node.value {
            Value::Scalar(scalar) if is_token(&scalar.text) || scalar.text.starts_with("ENC[AGE,") => {
                out.push(node.span.start);
            }
            Value::Scalar(_) => {}
            Value::Sequence { items, .. } => items.iter().for_each(|item| collect(item, out)),
            Value::Mapping { entries, .. } => entries.iter().for_each(|entry| collect(&entry.value, out)),
        }
    }
    let mut out = Vec::new();
    stream.documents.iter().for_each(|document| collect(&document.root, &mut out));
    out
}
