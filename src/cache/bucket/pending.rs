use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cache::store::{Kind, Object, Origin, RecordKey, TagRecord};
use crate::image::Tag;

/// Something that is to be written to a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// A blob or a manifest, as the local store has it.
    Object(Object),
    /// That a repository has an object.
    Grant(Object, Origin),
    /// What a tag is.
    Tag(TagRecord),
    /// That there was no such tag any more.
    Gone(Origin, Tag, Timestamp),
}

impl Pending {
    /// Returns what it is about: of two with the same name, the later one is written.
    pub(super) fn name(&self) -> String {
        let of = |object: &Object| format!("{} {}", object.kind.as_str(), object.digest);
        match self {
            Self::Object(object) => of(object),
            Self::Grant(object, origin) => {
                format!("grant {} {}/{}", of(object), origin.registry, origin.repository)
            }
            Self::Tag(record) => format!("tag {}", RecordKey::tag(&record.origin, &record.tag).hex()),
            Self::Gone(origin, tag, _) => format!("tag {}", RecordKey::tag(origin, tag).hex()),
        }
    }

    /// Writes it on one line.
    pub(super) fn write(&self) -> String {
        let object = |object: &Object| json!([object.kind.as_str(), object.digest.to_string()]);
        let origin = |origin: &Origin| json!([origin.registry.as_str(), origin.repository.as_str()]);
        let value = match self {
            Self::Object(own) => json!({ "object": object(own) }),
            Self::Grant(own, by) => json!({ "grant": object(own), "origin": origin(by) }),
            Self::Tag(record) => json!({ "tag": String::from_utf8_lossy(&record.write()) }),
            Self::Gone(by, tag, at) => {
                json!({ "gone": tag.as_str(), "origin": origin(by), "at": at.to_string() })
            }
        };
        value.to_string()
    }

    /// Reads such a line; what is damaged is not there.
    pub(super) fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let pair =
            |name: &str| Some((value.get(name)?.get(0)?.as_str()?, value.get(name)?.get(1)?.as_str()?));
        let object = |name: &str| {
            let (kind, digest) = pair(name)?;
            let kind = [Kind::Blob, Kind::Manifest].into_iter().find(|known| known.as_str() == kind)?;
            Some(Object { kind, digest: digest.parse().ok()? })
        };
        let origin = || {
            let (registry, repository) = pair("origin")?;
            Some(Origin { registry: registry.parse().ok()?, repository: repository.parse().ok()? })
        };
        if value.get("object").is_some() {
            return object("object").map(Self::Object);
        }
        if value.get("grant").is_some() {
            return Some(Self::Grant(object("grant")?, origin()?));
        }
        if let Some(tag) = value.get("tag") {
            return TagRecord::read(tag.as_str()?.as_bytes()).map(Self::Tag);
        }
        let tag = value.get("gone")?.as_str()?.parse().ok()?;
        Some(Self::Gone(origin()?, tag, value.get("at")?.as_str()?.parse().ok()?))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::image::Digest;

    pub(in crate::cache::bucket) fn each() -> Vec<Pending> {
        let origin = Origin { registry: "[::1]:5000".parse().unwrap(), repository: "a/b".parse().unwrap() };
        let object = Object::blob(Digest::sha256([1; 32]));
        let record = TagRecord {
            origin: origin.clone(),
            tag: "3.20".parse().unwrap(),
            digest: object.digest,
            media_type: "application/json".to_owned(),
            checked_at: "2026-11-01T10:00:00.5Z".parse().unwrap(),
        };
        let gone = Pending::Gone(origin.clone(), record.tag.clone(), record.checked_at);
        vec![Pending::Object(object), Pending::Grant(object, origin), Pending::Tag(record), gone]
    }

    #[test]
    fn lines_read_back() {
        for pending in each() {
            let line = pending.write();
            assert!(!line.contains('\n'));
            assert_eq!(Pending::read(&line), Some(pending));
            for end in 0..line.len() {
                assert_eq!(Pending::read(&line[..end]), None);
            }
        }
        assert_eq!(each()[2].name(), each()[3].name(), "what a tag is, and that it is gone");
    }
}
