//! The OCI distribution protocol as values: what a request asks for, what an answer says, what may follow; no sockets.
//!
//! Both ends use it: the cache that answers, and the client that asks.

mod address;
mod challenge;
mod conditional;
mod digest;
mod error;
mod manifest;
mod media;
mod namespaces;
mod range;
mod ratelimit;
mod realm;
mod redirect;
mod referrers;
mod route;
mod tags;
mod token;

pub use address::{Reach, is_public};
pub use challenge::{Bearer, Challenge};
pub use conditional::{etag, if_none_match, if_range};
pub use digest::{DigestMismatch, Hasher, Verifier, digest_of};
pub use error::{Code, Refusal, RemoteError};
pub use manifest::{Content, Descriptor, MAX_MANIFEST_SIZE, Manifest, ManifestError};
pub use media::{ACCEPT_MANIFESTS, Accept, ManifestKind, OCTET_STREAM, essence, passable};
pub use namespaces::{Namespaces, Ns, Place, Shape};
pub use range::{ContentRange, ContentRangeError, Range, Selection, Span, select};
pub use ratelimit::{Quota, retry_after};
pub use realm::{RealmRefused, check_realm};
pub use redirect::{MAX_REDIRECTS, Pass, Redirect, RedirectRefused, follow};
pub use referrers::filter_referrers;
pub use route::{Method, Name, Object, Route, parse as parse_route};
pub use tags::{MAX_TAGS_SIZE, TagPage, next_link, parse_tags, tag_page};
pub use token::{Grant, Token, TokenError, TokenKey, TokenRequest, basic, scopes};
