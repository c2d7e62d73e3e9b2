//! A client of registries: challenges, tokens and redirects, and what may be dialled.

mod address_policy;
mod auth;
#[expect(clippy::module_inception, reason = "the client itself")]
mod client;
mod credential_file;
mod credentials;
mod endpoint;
mod error;
mod hedging;
mod http;
mod other_hosts;
mod proxies;
mod realm;
mod redirect;
mod request;
mod sender;
mod token;
mod token_cache;

pub(crate) use self::http::Outgoing;
pub use self::http::{
    Answer, Coding, Http, HttpError, HttpOverrides, HttpSettings, Identity, LookUp, Proxies, ServerCheck,
    SystemNames, Timeouts,
};
pub use address_policy::{AddressPolicy, is_public};
pub use client::RegistryClient;
pub use credential_file::{CredentialFile, CredentialSource};
pub use credentials::{Credential, Credentials, CredentialsError};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{AskedAs, ClientError, CredentialFileError, RequestError, RequestErrorKind, Wait};
pub use hedging::{Hedging, send_again};
pub use other_hosts::{HostPause, PausedHost};
pub use realm::{Realm, RealmRefused, TokenServers, check_realm};
pub use redirect::{MAX_REDIRECTS, Pass, Redirect, RedirectRefused, follow};
pub use request::{AfterAnswer, Decodes, LoggedIn, Login, RegistryRequest};
pub use token::{Grant, Token, TokenError, TokenKey, TokenRequest, basic, scopes};
