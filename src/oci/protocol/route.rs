use std::borrow::Cow;

use super::error::Refusal;
use crate::image::{Digest, RegistryHost, Repository, Tag, TagOrDigest};

/// The two methods of pulling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Headers and content.
    Get,
    /// Headers only.
    Head,
}

/// What a request asks a registry for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whether a registry is there: `/v2/`.
    Ping {
        /// GET or HEAD.
        method: Method,
        /// The registry that stands before or after `/v2`, if one does.
        registry: Option<String>,
    },
    /// Something in a repository.
    Object {
        /// GET or HEAD.
        method: Method,
        /// Which repository, as far as the request says.
        name: Name,
        /// What of it.
        object: Object,
    },
}

/// A thing in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A manifest.
    Manifest(TagOrDigest),
    /// A blob.
    Blob(Digest),
    /// The tags there are.
    Tags {
        /// How many at most.
        n: Option<usize>,
        /// Only those after this one.
        last: Option<String>,
    },
    /// The manifests that refer to one.
    Referrers {
        /// Which.
        digest: Digest,
        /// Only those of this type.
        artifact_type: Option<String>,
    },
}

/// A repository as a request names it; which upstream that is, [`super::Namespaces::place`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The part before `/v2`.
    pub(super) before: Option<String>,
    /// The part after it: a repository, with or without a registry in front.
    pub(super) path: String,
    /// The query's `ns`.
    pub(super) ns: Option<String>,
}

/// The longest path and query that are read.
const LONGEST: usize = 4096;

/// Reads what a request asks for. `path` is as it came, without having been decoded.
///
/// Nothing in a registry's path needs percent-encoding, so none is decoded: what has any is refused, and with it
/// every trick of decoding twice. Values of the query are decoded once, with `+` for itself, as in media types.
pub fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Route, Refusal> {
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Err(Refusal::Method),
    };
    if path.len() + query.map_or(0, str::len) > LONGEST {
        return Err(Refusal::Request("the path is too long"));
    }
    let segments: Vec<&str> = path.strip_prefix('/').ok_or(Refusal::NotServed)?.split('/').collect();
    let (before, rest) = match segments.as_slice() {
        ["v2", rest @ ..] => (None, rest),
        [before, "v2", rest @ ..] if is_registry(before) => (Some((*before).to_owned()), rest),
        _ => return Err(Refusal::NotServed),
    };
    if path.contains('%') {
        return Err(Refusal::NameInvalid(path.to_owned()));
    }
    match (rest, before.is_some()) {
        ([] | [""], _) => return Ok(Route::Ping { method, registry: before }),
        ([registry, "v2"] | [registry, "v2", ""], false) if is_registry(registry) => {
            return Ok(Route::Ping { method, registry: Some((*registry).to_owned()) });
        }
        _ => {}
    }
    let query = Query::parse(query.unwrap_or_default())?;
    let digest = |text: &str| text.parse::<Digest>().map_err(|error| Refusal::DigestInvalid(error.0));
    let (name, object) = match rest {
        [name @ .., "manifests", reference] => (name, Object::Manifest(tag_or_digest(reference)?)),
        [name @ .., "blobs", text] => (name, Object::Blob(digest(text)?)),
        [name @ .., "tags", "list"] => (name, Object::Tags { n: query.n()?, last: query.last }),
        [name @ .., "referrers", text] => {
            (name, Object::Referrers { digest: digest(text)?, artifact_type: query.artifact_type })
        }
        rest if rest.contains(&"") => return Err(Refusal::NameInvalid(rest.join("/"))),
        _ => return Err(Refusal::NotServed),
    };
    let path = name.join("/");
    if !is_name(&path) {
        return Err(Refusal::NameInvalid(path));
    }
    Ok(Route::Object { method, name: Name { before, path, ns: query.ns }, object })
}

fn tag_or_digest(text: &str) -> Result<TagOrDigest, Refusal> {
    if text.contains(':') {
        text.parse().map(TagOrDigest::Digest).map_err(|_| Refusal::DigestInvalid(text.to_owned()))
    } else {
        // 404 and not 400, so that a client goes on to its next mirror, or reports the usual error.
        let tag = text.parse::<Tag>().map_err(|error| Refusal::ManifestUnknown(error.0))?;
        Ok(TagOrDigest::Tag(tag))
    }
}

fn is_registry(text: &str) -> bool {
    text.parse::<RegistryHost>().is_ok()
}

/// Returns whether a text is a repository, or a registry and a repository.
fn is_name(path: &str) -> bool {
    path.parse::<Repository>().is_ok()
        || path.split_once('/').is_some_and(|(registry, repository)| {
            is_registry(registry) && repository.parse::<Repository>().is_ok()
        })
}

/// The parameters that mean something.
#[derive(Debug, Default)]
struct Query {
    ns: Option<String>,
    n: Option<String>,
    last: Option<String>,
    artifact_type: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "ns" => &mut query.ns,
                "n" => &mut query.n,
                "last" => &mut query.last,
                "artifactType" => &mut query.artifact_type,
                _ => continue,
            };
            let value = decode(value).ok_or(Refusal::Request("a query parameter is not encoded well"))?;
            if slot.is_some() {
                return Err(Refusal::Request("a query parameter is there twice"));
            }
            *slot = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        Ok(query)
    }

    fn n(&self) -> Result<Option<usize>, Refusal> {
        let number = self.n.as_deref().map(str::parse).transpose();
        number.map_err(|_| Refusal::Request("`n` is not a number"))
    }
}

/// Decodes `%41` once; `None` where that gives no text, or one with control characters.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    let out = String::from_utf8(out).ok()?;
    (!out.chars().any(char::is_control)).then_some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Result<Route, Refusal> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        parse("GET", path, query)
    }

    fn object(path: &str) -> (Name, Object) {
        match get(path) {
            Ok(Route::Object { method: Method::Get, name, object }) => (name, object),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn pings() {
        for (path, registry) in [
            ("/v2", None),
            ("/v2/", None),
            ("/v2/?ns=docker.io", None),
            ("/docker.io/v2", Some("docker.io")),
            ("/docker.io/v2/", Some("docker.io")),
            ("/v2/docker.io/v2/", Some("docker.io")),
        ] {
            let want = Route::Ping { method: Method::Get, registry: registry.map(str::to_owned) };
            assert_eq!(get(path), Ok(want), "{path}");
        }
        assert_eq!(parse("HEAD", "/v2/", None), Ok(Route::Ping { method: Method::Head, registry: None }));
    }

    #[test]
    fn objects() {
        let (short, long) = (Digest::sha256([1; 32]), Digest::sha512([2; 64]));
        let tag = |text: &str| Object::Manifest(TagOrDigest::Tag(text.parse().unwrap()));
        for (path, name, want) in [
            ("/v2/library/alpine/manifests/3".to_owned(), "library/alpine", tag("3")),
            ("/v2/a/b/c/d/manifests/latest".to_owned(), "a/b/c/d", tag("latest")),
            (format!("/v2/a/manifests/{short}"), "a", Object::Manifest(TagOrDigest::Digest(short))),
            (format!("/v2/a/manifests/{long}"), "a", Object::Manifest(TagOrDigest::Digest(long))),
            (format!("/v2/a/blobs/{long}"), "a", Object::Blob(long)),
            ("/v2/a/tags/list".to_owned(), "a", Object::Tags { n: None, last: None }),
            (
                "/v2/a/tags/list?n=0&last=x%2By".to_owned(),
                "a",
                Object::Tags { n: Some(0), last: Some("x+y".into()) },
            ),
            (
                format!("/v2/a/referrers/{short}?artifactType=application/vnd.x+json"),
                "a",
                Object::Referrers { digest: short, artifact_type: Some("application/vnd.x+json".into()) },
            ),
            // Words of the protocol are good names too.
            ("/v2/manifests/manifests/manifests".to_owned(), "manifests", tag("manifests")),
            ("/v2/tags/list/manifests/list".to_owned(), "tags/list", tag("list")),
            ("/v2/tags/manifests/list".to_owned(), "tags", tag("list")),
            ("/v2/a/blobs/tags/list".to_owned(), "a/blobs", Object::Tags { n: None, last: None }),
            ("/v2/host:5000/a/manifests/1".to_owned(), "host:5000/a", tag("1")),
        ] {
            let (found, object) = object(&path);
            assert_eq!((found.path.as_str(), object), (name, want), "{path}");
        }
    }

    #[test]
    fn namespaces_are_decoded_once() {
        let ns = |path: &str| object(path).0.ns;
        assert_eq!(ns("/v2/a/manifests/1?ns=docker.io").as_deref(), Some("docker.io"));
        assert_eq!(ns("/v2/a/manifests/1?ns=h%3A5000&x=y").as_deref(), Some("h:5000"));
        assert_eq!(ns("/v2/a/manifests/1?ns=h%253A5000").as_deref(), Some("h%3A5000"));
        assert_eq!(ns("/v2/a/manifests/1?ns="), None);
        assert_eq!(ns("/v2/a/manifests/1?NS=x"), None);
    }

    #[test]
    fn what_is_refused() {
        let name = |text: &str| Refusal::NameInvalid(text.into());
        let long = "a".repeat(256);
        let blob = |text: &str| format!("/v2/a/blobs/{text}");
        let hex = "a".repeat(64);
        for (path, want) in [
            ("", Refusal::NotServed),
            ("/", Refusal::NotServed),
            ("/v1/", Refusal::NotServed),
            ("/v2x/", Refusal::NotServed),
            ("//v2/", Refusal::NotServed),
            ("/a%2f/v2/", Refusal::NotServed),
            ("/v2/../v2/", name("../v2/")),
            ("/../v2", Refusal::NotServed),
            ("/v2/_catalog", Refusal::NotServed),
            ("/v2/a", Refusal::NotServed),
            ("/v2/a/tags", Refusal::NotServed),
            ("v2/", Refusal::NotServed),
            ("http://h/v2/", Refusal::NotServed),
            ("/v2//", name("/")),
            ("/v2/a/tags/list/", name("a/tags/list/")),
            ("/v2/a/blobs/uploads/", name("a/blobs/uploads/")),
            ("/v2/manifests/1", name("")),
            ("/v2//a/manifests/1", name("/a")),
            ("/v2/a//manifests/1", name("a/")),
            ("/v2/a//b/manifests/1", name("a//b")),
            ("/v2/../etc/manifests/1", name("../etc")),
            ("/v2/a/../b/manifests/1", name("a/../b")),
            ("/v2/a/./b/manifests/1", name("a/./b")),
            ("/v2/A/manifests/1", name("A")),
            ("/v2/Docker.io/a/manifests/1", name("Docker.io/a")),
            ("/v2/a\\b/manifests/1", name("a\\b")),
            ("/v2/a\0/manifests/1", name("a\0")),
            ("/v2/a%2fb/manifests/1", name("/v2/a%2fb/manifests/1")),
            ("/v2/%61/manifests/1", name("/v2/%61/manifests/1")),
            ("/v2/a/manifests/%2e%2e", name("/v2/a/manifests/%2e%2e")),
            ("/v2/a/b:5000/manifests/1", name("a/b:5000")),
            (&format!("/v2/{long}/manifests/1"), name(&long)),
            (&blob("uploads"), Refusal::DigestInvalid("uploads".into())),
            (
                &blob(&format!("sha256:{}", "A".repeat(64))),
                Refusal::DigestInvalid(format!("sha256:{}", "A".repeat(64))),
            ),
            (&blob(&format!("md5:{hex}")), Refusal::DigestInvalid(format!("md5:{hex}"))),
            ("/v2/a/manifests/sha256:ab", Refusal::DigestInvalid("sha256:ab".into())),
            ("/v2/a/referrers/x", Refusal::DigestInvalid("x".into())),
            ("/v2/a/manifests/", Refusal::ManifestUnknown(String::new())),
            ("/v2/a/manifests/..", Refusal::ManifestUnknown("..".into())),
            ("/v2/a/manifests/-x", Refusal::ManifestUnknown("-x".into())),
            ("/v2/a/manifests/1?ns=a&ns=b", Refusal::Request("a query parameter is there twice")),
            ("/v2/a/manifests/1?ns=%", Refusal::Request("a query parameter is not encoded well")),
            ("/v2/a/manifests/1?ns=%0d%0a", Refusal::Request("a query parameter is not encoded well")),
            ("/v2/a/manifests/1?ns=%ff", Refusal::Request("a query parameter is not encoded well")),
            ("/v2/a/tags/list?n=-1", Refusal::Request("`n` is not a number")),
            (&format!("/v2/{}", "a/".repeat(3000)), Refusal::Request("the path is too long")),
        ] {
            assert_eq!(get(path), Err(want), "{path}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", ""] {
            assert_eq!(parse(method, "/v2/", None), Err(Refusal::Method));
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in "\\PC{0,60}|(/(v2|a|docker\\.io|manifests|blobs|tags|list|\\.\\.|%2f|)){0,9}", query in proptest::option::of("\\PC{0,40}|(&?(ns|n|last)=[%0-9a-f]{0,5}){0,4}")) {
            if let Ok(Route::Object { name, .. }) = parse("GET", &path, query.as_deref()) {
                prop_assert!(is_name(&name.path));
            }
        }
    }
}
