//! The OCI distribution protocol as values: what a request asks for, what an answer says, what may follow; and the
//! client of registries over them.
//!
//! Both ends use the values: the cache that answers, and the client that asks.

mod client;
mod protocol;

pub(crate) use client::Outgoing;
pub use client::{
    AddressPolicy, AfterAnswer, Answer, AskedAs, ClientError, Coding, Credential, CredentialFile,
    CredentialFileError, CredentialSource, Credentials, CredentialsError, Decodes, Endpoint, EndpointError,
    Grant, Hedging, HostPause, Http, HttpError, HttpOverrides, HttpSettings, Identity, LoggedIn, Login,
    LookUp, MAX_REDIRECTS, Pass, PausedHost, Proxies, Realm, RealmRefused, Redirect, RedirectRefused,
    RegistryClient, RegistryRequest, RequestError, RequestErrorKind, ServerCheck, SystemNames, Timeouts,
    Token, TokenError, TokenKey, TokenRequest, TokenServers, Wait, basic, check_realm, follow, is_public,
    scopes, send_again,
};
pub use protocol::{
    ACCEPT_MANIFESTS, Accept, Bearer, Challenge, Code, Content, ContentRange, ContentRangeError, Descriptor,
    DigestMismatch, Hasher, MAX_MANIFEST_SIZE, MAX_TAGS_SIZE, Manifest, ManifestError, ManifestKind, Method,
    Name, Namespaces, Ns, OCTET_STREAM, Object, Quota, Range, Refusal, RemoteError, RepositoryLocation,
    Route, Selection, Shape, Span, TagPage, Verifier, digest_of, essence, etag, filter_referrers,
    if_none_match, if_range, next_link, parse_route, parse_tags, passable, retry_after, select, tag_page,
    tags_so_far,
};
