use jiff::Timestamp;

use crate::cache::store::{Kind, Object, Origin, RecordKey};
use crate::image::{Algorithm, Digest, Tag};

/// The names of what is in a bucket.
///
/// What is read by other caches is written once: a key has the same bytes as long as it is there. Written again are leases
/// and the beat of a collection, which only say that somebody runs, and manifests that are in use, with the bytes that they
/// have, so that their date is young. What no image needs is removed.
///
/// ```text
/// layout                                           which layout this is
/// blobs/<algorithm>/<hex>                          the bytes
/// manifests/<algorithm>/<hex>                      a line with the media type, then the bytes
/// grants/<kind>/<algorithm>/<hex>/<registry>/<repository>   empty: this repository has that object
/// members/<URL, hexadecimal>/<mark>                a cache that others may ask is there
/// leases/<algorithm>/<hex>                         which cache fetches that blob now
/// collections/<number>/<part>                      what of it all is not needed any more: see `gc`
/// collections/since-<seconds>                      since then what is in use is written again every so many seconds
/// probes/<number>                                  for finding out what the store does
/// tags/<hash>/<time, downwards>-<what it is>       what a tag was at that time: the first name is the newest
/// grants-private/…, tags-private/…                 the same, by caches for whose users alone the registry is
/// ```
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// For whom the content of a registry is, as a cache is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Everyone,
    /// The users of caches that are configured so.
    Users,
}

impl Audience {
    pub(super) const ALL: [Self; 2] = [Self::Everyone, Self::Users];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Everyone => "",
            Self::Users => "-private",
        }
    }
}

/// What an entry of a tag says by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagEntry {
    /// It stood for this manifest.
    Is(Digest),
    /// There was no such tag any more.
    Gone,
}

impl Keys {
    /// Makes the keys that begin with a prefix, which is empty or ends with `/`.
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(super) fn layout(&self) -> String {
        format!("{}layout", self.prefix)
    }

    /// Returns the beginning of the keys that say which caches are there.
    pub(super) fn members(&self) -> String {
        format!("{}members/", self.prefix)
    }

    /// Returns the key by which a cache says that it is there: its URL in hexadecimal digits, and a mark.
    pub(super) fn member(&self, url: &str, mark: &str) -> String {
        let url: String = url.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{url}/{mark}", self.members())
    }

    /// Reads such a key: a URL and a mark.
    pub(super) fn read_member(&self, key: &str) -> Option<(String, String)> {
        let (url, mark) = key.strip_prefix(&self.members())?.split_once('/')?;
        let byte = |at: usize| u8::from_str_radix(url.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..url.len()).step_by(2).map(byte).collect();
        Some((String::from_utf8(bytes?).ok()?, mark.to_owned()))
    }

    /// Returns the beginning of the keys of leases.
    pub(super) fn leases(&self) -> String {
        format!("{}leases/", self.prefix)
    }

    /// Returns the key of the lease that the cache has which fetches a blob.
    pub(super) fn lease(&self, digest: &Digest) -> String {
        format!("{}{}", self.leases(), of(digest))
    }

    /// Returns the beginning of the keys of collections.
    pub(super) fn collections(&self) -> String {
        format!("{}collections/", self.prefix)
    }

    /// Returns the key of a part of a collection.
    pub(super) fn collection(&self, number: u64, part: &str) -> String {
        format!("{}{number:020}/{part}", self.collections())
    }

    /// Reads such a key: which collection it is of, and the name of the part.
    pub(super) fn read_collection<'a>(&self, key: &'a str) -> Option<(u64, &'a str)> {
        let (number, part) = key.strip_prefix(&self.collections())?.split_once('/')?;
        Some((number.parse().ok()?, part))
    }

    /// Returns the beginning of the keys that say since when what is in use is written again now and then.
    pub(super) fn all_since(&self) -> String {
        format!("{}since-", self.collections())
    }

    /// Returns the key that says since when it is written again every so many seconds.
    pub(super) fn since(&self, seconds: u64) -> String {
        format!("{}{seconds:010}", self.all_since())
    }

    /// Reads such a key: how many seconds lie in between.
    pub(super) fn read_since(&self, key: &str) -> Option<u64> {
        key.strip_prefix(&self.all_since())?.parse().ok()
    }

    /// Returns the beginning of the keys of probes.
    pub(super) fn probes(&self) -> String {
        format!("{}probes/", self.prefix)
    }

    /// Returns whether a key is that of a lease, of a cache's sign of life, or of a probe.
    pub(super) fn is_leftover(&self, key: &str) -> bool {
        let is_lease = key
            .strip_prefix(&self.leases())
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|digest| read_digest(digest).is_some());
        let is_probe = key.strip_prefix(&self.probes()).is_some_and(is_hex);
        let is_member = self.read_member(key).is_some_and(|(_, mark)| is_hex(&mark));
        is_lease || is_probe || is_member
    }

    /// Returns a key for finding out what a store does.
    pub(super) fn probe(&self, name: &str) -> String {
        format!("{}{name}", self.probes())
    }

    /// Returns the beginning of the keys of blobs, or of manifests.
    pub(super) fn objects(&self, kind: Kind) -> String {
        format!("{}{}/", self.prefix, folder(kind))
    }

    /// Reads the key of a blob or a manifest.
    pub(super) fn read_object(&self, kind: Kind, key: &str) -> Option<Object> {
        let digest = read_digest(key.strip_prefix(&self.objects(kind))?.split_once('/')?)?;
        Some(Object { kind, digest })
    }

    /// Returns the beginning of the keys that say which repositories have what.
    pub(super) fn all_grants(&self, audience: Audience) -> String {
        format!("{}grants{}/", self.prefix, audience.suffix())
    }

    /// Reads what a key says that a repository has.
    pub(super) fn read_grant(&self, audience: Audience, key: &str) -> Option<Object> {
        let rest = key.strip_prefix(&self.all_grants(audience))?;
        let mut parts = rest.splitn(4, '/');
        let named = parts.next()?;
        let kind = [Kind::Blob, Kind::Manifest].into_iter().find(|kind| folder(*kind) == named)?;
        let digest = read_digest((parts.next()?, parts.next()?))?;
        parts.next()?;
        Some(Object { kind, digest })
    }

    /// Returns the beginning of the keys of all tags' entries.
    pub(super) fn tags(&self, audience: Audience) -> String {
        format!("{}tags{}/", self.prefix, audience.suffix())
    }

    /// Reads of which tag an entry is: of whose, and its name's hash.
    pub(super) fn read_tag(&self, audience: Audience, key: &str) -> Option<String> {
        let (tag, entry) = key.strip_prefix(&self.tags(audience))?.split_once('/')?;
        let is_own = tag.len() == 64 && is_hex(tag) && !entry.contains('/');
        is_own.then(|| format!("{}{tag}", self.tags(audience)))
    }

    pub(super) fn object(&self, object: &Object) -> String {
        format!("{}{}", self.objects(object.kind), of(&object.digest))
    }

    /// Returns the beginning of the keys that say which repositories have an object.
    pub(super) fn grants(&self, object: &Object, audience: Audience) -> String {
        format!("{}{}/{}/", self.all_grants(audience), folder(object.kind), of(&object.digest))
    }

    pub(super) fn grant(&self, object: &Object, origin: &Origin, audience: Audience) -> String {
        // The brackets of an IPv6 address are not written as they are in a URL.
        let registry = origin.registry.as_str().replace('[', "(").replace(']', ")");
        format!("{}{registry}/{}", self.grants(object, audience), origin.repository)
    }

    /// Returns the repository that a key says has an object.
    pub(super) fn origin(&self, object: &Object, audience: Audience, key: &str) -> Option<Origin> {
        let (registry, repository) = key.strip_prefix(&self.grants(object, audience))?.split_once('/')?;
        let registry = registry.replace('(', "[").replace(')', "]");
        Some(Origin { registry: registry.parse().ok()?, repository: repository.parse().ok()? })
    }

    /// Returns the beginning of the keys of a tag's entries.
    pub(super) fn tag(&self, origin: &Origin, tag: &Tag, audience: Audience) -> String {
        format!("{}{}/", self.tags(audience), RecordKey::tag(origin, tag).hex())
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the end of the key of a tag's entry.
pub(super) fn tag_entry(at: Timestamp, entry: TagEntry) -> String {
    let downwards = u64::MAX - u64::try_from(at.as_microsecond()).unwrap_or_default();
    let what = match entry {
        TagEntry::Is(digest) => format!("{}-{}", digest.algorithm().as_str(), digest.hex()),
        TagEntry::Gone => "gone".to_owned(),
    };
    format!("{downwards:020}-{what}")
}

/// Reads the name of a tag's entry: when that was, and what it says.
pub(super) fn read_tag_entry(key: &str) -> Option<(Timestamp, TagEntry)> {
    let (time, what) = key.rsplit('/').next()?.split_once('-')?;
    let micros = u64::MAX.checked_sub(time.parse().ok()?)?;
    let at = Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()?;
    let entry = match what.split_once('-') {
        None if what == "gone" => TagEntry::Gone,
        Some((algorithm, hex)) => TagEntry::Is(format!("{algorithm}:{hex}").parse().ok()?),
        None => return None,
    };
    Some((at, entry))
}

fn of(digest: &Digest) -> String {
    format!("{}/{}", Algorithm::as_str(digest.algorithm()), digest.hex())
}

fn read_digest((algorithm, hex): (&str, &str)) -> Option<Digest> {
    format!("{algorithm}:{hex}").parse().ok()
}

const fn folder(kind: Kind) -> &'static str {
    match kind {
        Kind::Blob => "blobs",
        Kind::Manifest => "manifests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(registry: &str) -> Origin {
        Origin { registry: registry.parse().unwrap(), repository: "library/alpine".parse().unwrap() }
    }

    #[test]
    fn names() {
        let keys = Keys::new("a/b/".to_owned());
        let object = Object::manifest(Digest::sha256([7; 32]));
        let hex = "07".repeat(32);
        assert_eq!(keys.layout(), "a/b/layout");
        assert_eq!(keys.object(&object), format!("a/b/manifests/sha256/{hex}"));
        for registry in ["docker.io", "localhost:5000", "[::1]:5000"] {
            let key = keys.grant(&object, &origin(registry), Audience::Everyone);
            assert!(key.starts_with(&format!("a/b/grants/manifests/sha256/{hex}/")) && !key.contains('['));
            assert_eq!(keys.origin(&object, Audience::Everyone, &key), Some(origin(registry)));
            assert_eq!(keys.read_grant(Audience::Everyone, &key), Some(object));
            assert_eq!(keys.read_grant(Audience::Users, &key), None);
            assert_eq!(keys.origin(&object, Audience::Users, &key), None);
        }
        assert_eq!(keys.origin(&object, Audience::Users, &keys.grants(&object, Audience::Users)), None);
        assert_eq!(keys.lease(&object.digest), format!("a/b/leases/sha256/{hex}"));
        assert_eq!(keys.read_object(Kind::Manifest, &keys.object(&object)), Some(object));
        for bad in ["a/b/manifests/sha256/07", "a/b/blobs/sha256/x", "manifests/x", "a/b/manifests/sha256"] {
            assert_eq!(keys.read_object(Kind::Manifest, bad), None, "{bad}");
        }
        assert_eq!(keys.read_collection(&keys.collection(7, "claim")), Some((7, "claim")));
        assert_eq!(keys.read_since(&keys.since(86_400)), Some(86_400));
        // A version that does not know it takes it for no collection.
        assert_eq!(keys.read_collection(&keys.since(86_400)), None);
        for bad in ["a/b/collections/x/claim", "a/b/collections/7", "collections/7/claim"] {
            assert_eq!(keys.read_collection(bad), None, "{bad}");
        }
        let member = keys.member("http://[::1]:5001", "7");
        assert_eq!(keys.read_member(&member), Some(("http://[::1]:5001".to_owned(), "7".to_owned())));
        for bad in ["a/b/members/", "a/b/members/6/1", "a/b/members/zz/1", "a/b/members/68"] {
            assert_eq!(keys.read_member(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_newest_entry_of_a_tag_comes_first() {
        let (keys, tag) = (Keys::new(String::new()), "3.20".parse().unwrap());
        let entry = TagEntry::Is(Digest::sha256([1; 32]));
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let of = keys.tag(&origin("docker.io"), &tag, Audience::Everyone);
        assert_ne!(of, keys.tag(&origin("docker.io"), &tag, Audience::Users));
        let key = format!("{of}{}", tag_entry(at("2026-11-01T10:00:00Z"), entry));
        assert_eq!(keys.read_tag(Audience::Everyone, &key).map(|tag| format!("{tag}/")), Some(of.clone()));
        assert_eq!(keys.read_tag(Audience::Users, &key), None);
        let times = ["2026-11-01T10:00:00Z", "2026-11-01T10:00:00.000001Z", "2031-01-01T00:00:00Z"];
        let names: Vec<String> =
            times.iter().map(|time| format!("{of}{}", tag_entry(at(time), entry))).collect();
        assert!(names[0] > names[1] && names[1] > names[2], "{names:?}");
        assert_eq!(read_tag_entry(&names[1]), Some((at(times[1]), entry)));
        let gone = format!("{of}{}", tag_entry(at(times[0]), TagEntry::Gone));
        assert_eq!(read_tag_entry(&gone), Some((at(times[0]), TagEntry::Gone)));
        for bad in ["", "x", "tags/h/1", "tags/h/1-x", "tags/h/y-gone", "tags/h/1-sha256-0"] {
            assert_eq!(read_tag_entry(bad), None, "{bad}");
        }
    }
}
