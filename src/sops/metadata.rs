use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::mac::MacScope;
use super::recipient::Recipient;
use super::rule::{Rule, RuleError};
use super::walk::METADATA;
use crate::yaml::{Indent, Node, Resolved, Style, emit, resolve};

/// Recipients that are not age's: their kinds, and the field that tells one from another.
const FOREIGN: [(&str, &[&str]); 6] = [
    ("kms", &["arn"]),
    ("gcp_kms", &["resource_id"]),
    ("hckms", &["key_id"]),
    ("azure_kv", &["vault_url", "name"]),
    ("hc_vault", &["vault_address", "key_name"]),
    ("pgp", &["fp"]),
];

/// What the `sops:` of a file says.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    /// The recipients; more than one group if the data key is split among them.
    pub(super) groups: Vec<Group>,
    /// How many groups are needed.
    pub(super) threshold: usize,
    pub(super) rule: Rule,
    pub(super) scope: MacScope,
    /// As Go would write it: whole seconds, and `Z` for UTC.
    pub(super) last_modified: String,
    pub(super) mac: String,
    pub(super) version: String,
}

/// The recipients who each hold the same key.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) age: Vec<Wrapped>,
    /// Recipients of other kinds, by name.
    pub(super) foreign: Vec<String>,
}

/// The data key for one age recipient.
#[derive(Clone, Debug)]
pub(super) struct Wrapped {
    pub(super) recipient: String,
    pub(super) sealed: String,
}

/// Why the `sops:` of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A field is missing or empty.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field is not what it should be.
    #[error("`{0}` is not {1}")]
    Not(&'static str, &'static str),
    /// The selection is unusable.
    #[error("the selection of what is encrypted cannot be followed")]
    Rule(#[from] RuleError),
}

impl Metadata {
    /// Reads a `sops:` as any version writes it; a missing MAC is left empty.
    pub(super) fn read(node: &Node) -> Result<Self, MetadataError> {
        if !node.is_mapping() {
            return Err(MetadataError::Not(METADATA, "a mapping"));
        }
        let text = |key: &str| node.get(key).and_then(Node::as_str).filter(|text| !text.is_empty());
        let version = text("version").ok_or(MetadataError::Missing("version"))?;
        if version.split(['.', '-', '+']).take(3).filter(|part| part.parse::<u32>().is_ok()).count() != 3 {
            return Err(MetadataError::Not("version", "of the form 3.9.4"));
        }
        let last_modified = text("lastmodified").ok_or(MetadataError::Missing("lastmodified"))?;
        let split: Vec<Group> = node
            .get("key_groups")
            .map(|groups| groups.items().iter().map(Group::read).collect())
            .unwrap_or_default();
        let groups = if split.is_empty() { vec![Group::read(node)] } else { split };
        let threshold = match node.get("shamir_threshold").and_then(Node::resolved) {
            Some(Resolved::Int(threshold)) if threshold > 0 => {
                usize::try_from(threshold).unwrap_or(usize::MAX)
            }
            _ => groups.len(),
        };
        Ok(Self {
            threshold,
            groups,
            rule: Rule::read(text)?.unwrap_or_default(),
            scope: match node.get("mac_only_encrypted").and_then(Node::as_bool) {
                Some(true) => MacScope::Encrypted,
                Some(false) | None => MacScope::All,
            },
            last_modified: go_time(last_modified)
                .ok_or(MetadataError::Not("lastmodified", "an RFC 3339 time"))?,
            mac: text("mac").unwrap_or_default().to_owned(),
            version: version.to_owned(),
        })
    }

    /// Returns the names of all recipients.
    pub(super) fn recipients(&self) -> Vec<String> {
        let names = |group: &Group| {
            group.age.iter().map(|age| age.recipient.clone()).chain(group.foreign.clone()).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(names).collect()
    }

    /// Writes the `sops:` block as sops does since 3.13: keys in alphabetical order, so that `sops set` moves none.
    pub(super) fn write(&self, indent: Indent) -> String {
        let age: Vec<Json> = self.groups.iter().flat_map(|group| &group.age).map(Wrapped::to_json).collect();
        let mut fields = Map::new();
        let mut put = |key: &str, value: Json| fields.insert(key.to_owned(), value);
        put("age", age.into());
        put("lastmodified", self.last_modified.clone().into());
        put("mac", self.mac.clone().into());
        if self.scope == MacScope::Encrypted {
            put("mac_only_encrypted", true.into());
        }
        put(self.rule.key(), self.rule.text().into());
        put("version", self.version.clone().into());
        fields.sort_keys();
        emit(&json!({ METADATA: fields }), indent)
    }
}

impl Group {
    fn read(node: &Node) -> Self {
        let list = |key: &str| node.get(key).map(Node::items).unwrap_or_default();
        let text =
            |node: &Node, key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default().to_owned();
        let age = list("age");
        let foreign = FOREIGN.iter().flat_map(|(kind, fields)| {
            list(kind).iter().map(move |entry| {
                fields.iter().fold((*kind).to_owned(), |name, field| name + " " + &text(entry, field))
            })
        });
        Self {
            age: age
                .iter()
                .map(|entry| Wrapped { recipient: text(entry, "recipient"), sealed: text(entry, "enc") })
                .collect(),
            foreign: foreign.collect(),
        }
    }
}

impl Wrapped {
    pub(super) fn new(recipient: &Recipient, sealed: String) -> Self {
        Self { recipient: recipient.to_string(), sealed }
    }

    pub(super) fn to_json(&self) -> Json {
        json!({ "enc": self.sealed, "recipient": self.recipient })
    }
}

/// Formats a time as sops writes `lastmodified`.
pub(super) fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Brings an RFC 3339 time into the form that Go gives it: no fraction, `Z` for no offset. The MAC is bound to that.
fn go_time(text: &str) -> Option<String> {
    let Resolved::Timestamp(time) = resolve(text, Style::Plain, None) else { return None };
    if !text.contains('T') {
        return None;
    }
    let Some((whole, fraction)) = time.split_once('.') else { return Some(time) };
    Some(format!("{whole}{}", fraction.trim_start_matches(|c: char| c.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse_one;

    #[test]
    fn times_are_gos() {
        for (text, want) in [
            ("2026-11-22T10:43:47Z", Some("2026-11-22T10:43:47Z")),
            ("2026-11-22T10:43:47+00:00", Some("2026-11-22T10:43:47Z")),
            ("2026-11-22T10:43:47.5+02:00", Some("2026-11-22T10:43:47+02:00")),
            ("2026-11-22", None),
            ("yesterday", None),
        ] {
            assert_eq!(go_time(text).as_deref(), want, "{text}");
        }
        assert_eq!(format_time("2026-11-22T10:43:47.9Z".parse().unwrap()), "2026-11-22T10:43:47Z");
    }

    #[test]
    fn old_and_new_blocks_read_alike() {
        let read = |text: &str| {
            let document = parse_one(text).unwrap();
            Metadata::read(document.root.get("sops").unwrap())
        };
        for (version, text) in [
            ("3.12.2", include_str!("../../tests/vectors/sops/v3.12.2/v1alpha1.moe.yaml")),
            ("3.13.3", include_str!("../../tests/vectors/sops/v3.13.3/v1alpha1.moe.yaml")),
        ] {
            let metadata = read(text).unwrap();
            assert_eq!(metadata.version, version);
            assert_eq!(metadata.scope, MacScope::Encrypted);
            assert_eq!(
                (metadata.rule.key(), metadata.rule.text()),
                ("encrypted_regex", "^(password|identityToken|key)$")
            );
            assert_eq!(metadata.groups.len(), 1);
            // What the latest version wrote is written again to the byte.
            if version == "3.13.3" {
                assert!(text.ends_with(&metadata.write(Indent::default())));
            }
        }
        let foreign = "sops:\n  pgp: [{fp: ABCD, enc: x}]\n  kms: [{arn: 'arn:x'}]\n  lastmodified: '2026-11-22T10:43:47Z'\n  version: 3.9.4\n";
        assert_eq!(read(foreign).unwrap().recipients(), ["kms arn:x", "pgp ABCD"]);
        for (bad, want) in [
            (foreign.replace("3.9.4", "three"), "`version` is not of the form 3.9.4"),
            (foreign.replace("lastmodified", "x"), "`lastmodified` is missing"),
            ("sops: 1\n".to_owned(), "`sops` is not a mapping"),
        ] {
            assert_eq!(read(&bad).unwrap_err().to_string(), want);
        }
    }
}
