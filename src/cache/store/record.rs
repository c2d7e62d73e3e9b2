use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::image::{Algorithm, Digest, RegistryHost, Repository, Tag};
use crate::oci::digest_of;

/// Where something was fetched from: a repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The registry, as image references name it.
    pub registry: RegistryHost,
    /// The repository there.
    pub repository: Repository,
}

/// A manifest as it is served: the media type and exactly the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What the registry called it; no parameters, one line.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// The name of a small record: a hash of what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey {
    kind: RecordKind,
    hash: Digest,
}

/// What a small record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// What a tag is: [`TagRecord`].
    Tag,
    /// What refers to a manifest: [`ReferrersRecord`].
    Referrers,
    /// An [`Origin`], which grants name by its hash.
    Origin,
}

/// What a tag was last seen to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// Where the tag is.
    pub origin: Origin,
    /// The tag.
    pub tag: Tag,
    /// The manifest it stands for.
    pub digest: Digest,
    /// That manifest's media type.
    pub media_type: String,
    /// When the origin last said so.
    pub checked_at: Timestamp,
}

/// What an origin said about what refers to a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrersRecord {
    /// Who said so.
    pub origin: Origin,
    /// What is referred to.
    pub subject: Digest,
    /// The image index.
    pub index: Bytes,
    /// When the origin last said so.
    pub checked_at: Timestamp,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::FIRST, Self::Referrers, Self::Origin];
    /// The one that is sorted before the others.
    pub const FIRST: Self = Self::Tag;

    /// Returns the folder of its records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tags",
            Self::Referrers => "referrers",
            Self::Origin => "origins",
        }
    }
}

impl RecordKey {
    /// Names the record of a tag.
    pub fn tag(origin: &Origin, tag: &Tag) -> Self {
        Self::of(RecordKind::Tag, &[origin.registry.as_str(), origin.repository.as_str(), tag.as_str()])
    }

    /// Names the record of what refers to a manifest.
    pub fn referrers(origin: &Origin, subject: &Digest) -> Self {
        let subject = subject.to_string();
        Self::of(RecordKind::Referrers, &[origin.registry.as_str(), origin.repository.as_str(), &subject])
    }

    /// Names the record of an origin.
    pub fn origin(origin: &Origin) -> Self {
        Self::of(RecordKind::Origin, &[origin.registry.as_str(), origin.repository.as_str()])
    }

    /// The words have no line feed, so that no two lists of them join to the same text.
    fn of(kind: RecordKind, words: &[&str]) -> Self {
        Self { kind, hash: digest_of(Algorithm::Sha256, words.join("\n").as_bytes()) }
    }

    /// Names a record by its hash.
    pub const fn from_hash(kind: RecordKind, hash: [u8; 32]) -> Self {
        Self { kind, hash: Digest::sha256(hash) }
    }

    /// Returns the hash.
    pub fn hash(&self) -> [u8; 32] {
        self.hash.bytes().try_into().unwrap_or_default()
    }

    /// Returns what it is about.
    pub const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// Returns the hash: 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.hash.hex()
    }
}

impl Origin {
    /// Writes the record.
    pub fn write(&self) -> Vec<u8> {
        json!({ "registry": self.registry.as_str(), "repository": self.repository.as_str() })
            .to_string()
            .into_bytes()
    }

    /// Reads the record; what is damaged is not there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::of(&serde_json::from_slice(bytes).ok()?)
    }

    fn of(value: &Value) -> Option<Self> {
        Some(Self {
            registry: value.get("registry")?.as_str()?.parse().ok()?,
            repository: value.get("repository")?.as_str()?.parse().ok()?,
        })
    }
}

impl TagRecord {
    /// Writes the record.
    pub fn write(&self) -> Vec<u8> {
        json!({
            "registry": self.origin.registry.as_str(),
            "repository": self.origin.repository.as_str(),
            "tag": self.tag.as_str(),
            "digest": self.digest.to_string(),
            "mediaType": self.media_type,
            "checkedAt": self.checked_at.to_string(),
        })
        .to_string()
        .into_bytes()
    }

    /// Reads the record; what is damaged is not there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            origin: Origin::of(&value)?,
            tag: value.get("tag")?.as_str()?.parse().ok()?,
            digest: value.get("digest")?.as_str()?.parse().ok()?,
            media_type: value.get("mediaType")?.as_str()?.to_owned(),
            checked_at: value.get("checkedAt")?.as_str()?.parse().ok()?,
        })
    }
}

impl ReferrersRecord {
    /// Writes the record: a line about it, then the index as it came.
    pub fn write(&self) -> Vec<u8> {
        let head = json!({
            "registry": self.origin.registry.as_str(),
            "repository": self.origin.repository.as_str(),
            "subject": self.subject.to_string(),
            "checkedAt": self.checked_at.to_string(),
            "size": self.index.len(),
        });
        let mut out = head.to_string().into_bytes();
        out.push(b'\n');
        out.extend_from_slice(&self.index);
        out
    }

    /// Reads the record; what is damaged is not there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, index) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        let value: Value = serde_json::from_slice(head).ok()?;
        if value.get("size")?.as_u64()? != index.len() as u64 {
            return None;
        }
        Some(Self {
            origin: Origin::of(&value)?,
            subject: value.get("subject")?.as_str()?.parse().ok()?,
            index: Bytes::copy_from_slice(index),
            checked_at: value.get("checkedAt")?.as_str()?.parse().ok()?,
        })
    }
}

impl Document {
    /// Writes a manifest's file: a line with the media type, then the bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = self.media_type.replace(['\r', '\n'], " ").into_bytes();
        out.push(b'\n');
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads a manifest's file, if it holds what its digest says.
    pub fn read(file: Vec<u8>, digest: &Digest) -> Option<Self> {
        let end = file.iter().position(|byte| *byte == b'\n')?;
        let media_type = str::from_utf8(file.get(..end)?).ok()?.to_owned();
        let bytes = Bytes::from(file).slice(end + 1..);
        (digest_of(digest.algorithm(), &bytes) == *digest).then_some(Self { media_type, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(repository: &str) -> Origin {
        Origin { registry: "docker.io".parse().unwrap(), repository: repository.parse().unwrap() }
    }

    #[test]
    fn records_read_back_and_damaged_ones_are_not_there() {
        let digest = digest_of(Algorithm::Sha512, b"{}");
        let tag = TagRecord {
            origin: origin("library/alpine"),
            tag: "3.20".parse().unwrap(),
            digest,
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            checked_at: "2026-11-01T10:00:00.5Z".parse().unwrap(),
        };
        let referrers = ReferrersRecord {
            origin: origin("library/alpine"),
            subject: digest,
            index: Bytes::from_static(b"{\n \"manifests\": [] }\n"),
            checked_at: "2026-11-01T10:00:00Z".parse().unwrap(),
        };
        let document =
            Document { media_type: "application/json".to_owned(), bytes: Bytes::from_static(b"{}") };
        assert_eq!(TagRecord::read(&tag.write()), Some(tag.clone()));
        assert_eq!(ReferrersRecord::read(&referrers.write()), Some(referrers.clone()));
        assert_eq!(Origin::read(&tag.origin.write()), Some(tag.origin.clone()));
        assert_eq!(Document::read(document.write(), &digest), Some(document.clone()));
        for end in 0..tag.write().len() {
            assert_eq!(TagRecord::read(&tag.write()[..end]), None);
        }
        for end in 0..referrers.write().len() {
            assert_eq!(ReferrersRecord::read(&referrers.write()[..end]), None);
        }
        for end in 0..document.write().len() {
            assert_eq!(Document::read(document.write()[..end].to_vec(), &digest), None);
        }
    }

    #[test]
    fn keys_differ_where_what_they_name_differs() {
        let tag = |repository: &str, tag: &str| RecordKey::tag(&origin(repository), &tag.parse().unwrap());
        assert_eq!(tag("a/b", "c"), tag("a/b", "c"));
        assert_ne!(tag("a/b", "c"), tag("a/b", "d"));
        assert_ne!(tag("a/b", "c"), tag("a", "c"));
        assert_ne!(RecordKey::origin(&origin("a")).hex(), RecordKey::origin(&origin("b")).hex());
    }
}
