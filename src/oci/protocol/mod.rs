//! The protocol as values, which need no socket.

mod challenge;
mod conditional;
mod digest;
mod error;
mod manifest;
mod media;
mod namespaces;
mod range;
mod ratelimit;
mod referrers;
mod route;
mod tags;

pub use challenge::{Bearer, Challenge};
pub use conditional::{etag, if_none_match, if_range};
pub use digest::{DigestMismatch, Hasher, Verifier, digest_of};
pub use error::{Code, Refusal, RemoteError};
pub use manifest::{Content, Descriptor, MAX_MANIFEST_SIZE, Manifest, ManifestError};
pub use media::{ACCEPT_MANIFESTS, Accept, ManifestKind, OCTET_STREAM, essence, passable};
pub use namespaces::{Namespaces, Ns, RepositoryLocation, Shape};
pub use range::{ContentRange, ContentRangeError, Range, Selection, Span, select};
pub use ratelimit::{Quota, retry_after};
pub use referrers::filter_referrers;
pub use route::{Method, Name, Object, Route, parse as parse_route};
pub use tags::{MAX_TAGS_SIZE, TagPage, next_link, parse_tags, tag_page, tags_so_far};
