//! The OCI distribution protocol as values: what a request asks for, what an answer says, what may follow; and the
//! client of registries over them.
//!
//! Both ends use the values: the cache that answers, and the client that asks.

mod address;
mod ask;
mod auth_client;
mod challenge;
mod client;
mod conditional;
mod credential_file;
mod credentials;
mod digest;
mod endpoint;
mod error;
mod fault;
mod http_client;
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
mod token_client;

pub use address::{Reach, is_public};
pub use ask::{Ask, Login};
pub use challenge::{Bearer, Challenge};
pub use client::RegistryClient;
pub use conditional::{etag, if_none_match, if_range};
pub use credential_file::CredentialFile;
pub use credentials::{Credential, Credentials, CredentialsError};
pub use digest::{DigestMismatch, Hasher, Verifier, digest_of};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Code, Refusal, RemoteError};
pub use fault::{ClientError, CredentialFault, Fault, FaultKind, Wait, Who};
pub(crate) use http_client::Outgoing;
pub use http_client::{Answer, Http, HttpError, HttpSettings, LookUp, Proxies, SystemNames, Timeouts};
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
