use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::credentials::CredentialsError;
use super::realm::RealmRefused;
use super::redirect::RedirectRefused;
use crate::oci::protocol::RemoteError;

/// A request to a registry that did not give what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{url}: {cause}")]
pub struct ClientError {
    /// What was asked, without query and credentials.
    pub url: String,
    /// What happened.
    pub cause: RequestError,
}

/// What can happen to a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// 404.
    #[error("it is not there{}", after_colon(.0))]
    NotFound(Vec<RemoteError>),
    /// 401 or 403.
    #[error("{} ({status}){}", .asked_as.as_str(), after_colon(.remote_errors))]
    Denied {
        /// As whom we asked.
        asked_as: AskedAs,
        /// Which of the two.
        status: u16,
        /// What the registry says about it.
        remote_errors: Vec<RemoteError>,
    },
    /// 429.
    #[error("it is rate-limited (429){}", .0.map(|pause| format!(", for {} s", pause.as_secs())).unwrap_or_default())]
    TooMany(Option<Duration>),
    /// Another status that is not a success.
    #[error("it answered {status}{}", after_colon(.remote_errors))]
    Status {
        /// Which.
        status: u16,
        /// What the registry says about it.
        remote_errors: Vec<RemoteError>,
    },
    /// The name has no address.
    #[error("the name `{host}` cannot be resolved: {why}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system says.
        why: String,
    },
    /// It is at an address that is not one of the internet.
    #[error("`{0}` is a private address, and is not contacted")]
    PrivateAddress(String),
    /// It is at an address that is not one of a private network, where only those are asked.
    #[error("`{0}` is not in a private network, and is not contacted")]
    OtherNetwork(String),
    /// It could not be reached a moment ago, and is not asked before it answers to a request of our own.
    #[error("`{0}` cannot be reached, and is not asked until it answers again")]
    NotAsked(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No agreement about TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// No connection, no header or no further byte in time.
    #[error("{waited} took longer than {} s", .after.as_secs_f64())]
    TimedOut {
        /// What was waited for.
        waited: Wait,
        /// For how long.
        after: Duration,
    },
    /// The connection went away.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Its redirect is not followed.
    #[error(transparent)]
    Redirect(#[from] RedirectRefused),
    /// Its token server is not asked.
    #[error(transparent)]
    Realm(#[from] RealmRefused),
    /// The token server gives no token, and not because of who asks.
    #[error("its token server: {0}")]
    Token(String),
    /// What came is not what it should be.
    #[error("{0}")]
    Answer(String),
    /// More came than is read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Our own credentials cannot be read.
    #[error("credentials of `{}`: {why}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: CredentialFileError,
    },
}

/// What is wrong with a file of credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CredentialFileError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(Arc<std::io::Error>),
    /// It is read, and is malformed.
    #[error(transparent)]
    Content(#[from] CredentialsError),
    /// It has none for this registry.
    #[error("it has none for {wanted}, only for {found}")]
    Missing {
        /// The hosts that were looked for.
        wanted: String,
        /// Those that are there.
        found: String,
    },
}

/// As whom a registry was asked that denied access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedAs {
    /// Without credentials.
    Anonymous,
    /// With credentials that the registry rejects.
    Rejected,
    /// With credentials that are accepted, and are not enough.
    Authenticated,
}

impl AskedAs {
    /// Returns the words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "it is not public, or not there",
            Self::Rejected => "it rejects the credentials",
            Self::Authenticated => "the credentials do not allow it, or it is not there",
        }
    }
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A connection.
    Connection,
    /// The header of an answer.
    Header,
    /// The next byte of a body.
    Body,
}

impl Wait {
    /// Returns the words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connecting",
            Self::Header => "the answer",
            Self::Body => "the next byte",
        }
    }
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// The registry does not have it.
    NotFound,
    /// The registry denies access.
    Denied,
    /// The registry is rate-limited.
    TooMany,
    /// The registry cannot be reached, or is too slow.
    Down,
    /// The registry is there, and fails.
    Failing,
    /// It is for the operator to put right: our configuration, or what the registry leads to.
    Setup,
}

impl RequestErrorKind {
    /// Returns the word for logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::TooMany => "too-many",
            Self::Down => "down",
            Self::Failing => "failing",
            Self::Setup => "setup",
        }
    }
}

impl RequestError {
    /// Returns the error together with what was asked.
    pub(super) fn at(self, url: &Url) -> ClientError {
        ClientError { url: shown(url), cause: self }
    }

    /// Returns what it means.
    pub const fn kind(&self) -> RequestErrorKind {
        match self {
            Self::NotFound(_) => RequestErrorKind::NotFound,
            Self::Denied { .. } => RequestErrorKind::Denied,
            Self::TooMany(_) => RequestErrorKind::TooMany,
            Self::Resolve { .. }
            | Self::NotAsked(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::TimedOut { .. } => RequestErrorKind::Down,
            Self::Status { .. } | Self::Broken(_) | Self::Token(_) | Self::Answer(_) | Self::TooLarge(_) => {
                RequestErrorKind::Failing
            }
            Self::PrivateAddress(_)
            | Self::OtherNetwork(_)
            | Self::Redirect(_)
            | Self::Realm(_)
            | Self::Credentials { .. } => RequestErrorKind::Setup,
        }
    }

    /// Returns what happened in words that name no address, as an answer to a client may have them.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not found",
            Self::Denied { .. } => "access denied",
            Self::TooMany(_) => "too many requests",
            Self::Status { .. } => "it answers with an error",
            Self::Resolve { .. } => "its name cannot be resolved",
            Self::PrivateAddress(_) => "it leads to a private address",
            Self::OtherNetwork(_) => "it leads to an address of another network",
            Self::NotAsked(_) => "a host that it leads to cannot be reached",
            Self::Connect(_) => "no connection",
            Self::Tls(_) => "TLS failed",
            Self::TimedOut { .. } => "timed out",
            Self::Broken(_) => "the connection broke",
            Self::Redirect(_) => "its redirect is refused",
            Self::Realm(_) => "its token server is refused",
            Self::Token(_) => "its token server fails",
            Self::Answer(_) | Self::TooLarge(_) => "its answer is malformed",
            Self::Credentials { .. } => "our credentials cannot be read",
        }
    }

    /// Returns what the operator can do about it.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound(_) | Self::Token(_) | Self::Answer(_) | Self::TooLarge(_) | Self::Broken(_) => {
                return None;
            }
            Self::Denied { asked_as: AskedAs::Anonymous, .. } => {
                "check the name; a private one takes `credentials`"
            }
            Self::Denied { asked_as: AskedAs::Rejected, .. } => {
                "log in again and renew the file of credentials"
            }
            Self::Denied { asked_as: AskedAs::Authenticated, .. } => {
                "check the name, and what the account may pull"
            }
            Self::TooMany(_) => "wait, or give `credentials`: most registries allow more then",
            Self::Status { status: 500.., .. } => "wait, or name a second endpoint",
            Self::Status { .. } => "check the URL: is it a registry's?",
            Self::Resolve { .. } => "check the name and the DNS of this machine",
            Self::PrivateAddress(_) | Self::Redirect(RedirectRefused::Private(_)) => {
                "if it is in your own network, mark it `private: true`"
            }
            Self::Realm(RealmRefused::Address(_)) => {
                "if this token server is meant, name it in `tokenServers`, and mark the upstream `private: true`"
            }
            Self::NotAsked(_) | Self::Connect(_) | Self::TimedOut { .. } => {
                "check the URL, firewalls and proxies"
            }
            Self::Tls(_) => "check the certificate; SSL_CERT_FILE names authorities besides the system's",
            Self::OtherNetwork(_) | Self::Realm(RealmRefused::Stranger { .. } | RealmRefused::Port(..)) => {
                "if this token server is meant, name it in `tokenServers`"
            }
            Self::Redirect(_) | Self::Realm(_) => "check the URL: is it the registry that you mean?",
            Self::Credentials { .. } => {
                "name a dockerconfigjson, as `docker login` writes it, with an entry for the host"
            }
        })
    }

    /// Returns whether the same request may go well in a moment.
    pub const fn is_passing(&self) -> bool {
        match self.kind() {
            RequestErrorKind::TooMany | RequestErrorKind::Down | RequestErrorKind::Failing => true,
            RequestErrorKind::NotFound | RequestErrorKind::Denied | RequestErrorKind::Setup => false,
        }
    }
}

impl ClientError {
    /// Returns what the operator can do about it.
    pub fn help(&self) -> Option<&'static str> {
        self.cause.help()
    }
}

/// Returns a URL as it may be logged: without credentials, query (which may hold a signature) and fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot have either.
    let _ = (url.set_username(""), url.set_password(None));
    url.to_string()
}

/// Returns what another registry says, after a colon.
fn after_colon(remote_errors: &[RemoteError]) -> String {
    match remote_errors.first() {
        None => String::new(),
        Some(RemoteError { code, message }) if message.is_empty() => format!(": {code}"),
        Some(RemoteError { code, message }) if code.is_empty() => format!(": {message}"),
        Some(RemoteError { code, message }) => format!(": {code} {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_and_why() {
        let url: Url = "https://u:hunter2@h.example/v2/a/blobs/x?sig=hunter2#f".parse().unwrap();
        let remote_errors = vec![RemoteError { code: "DENIED".into(), message: "no".into() }];
        for (error, want) in [
            (RequestError::NotFound(vec![]), "it is not there"),
            (
                RequestError::Denied { asked_as: AskedAs::Anonymous, status: 401, remote_errors },
                "it is not public, or not there (401): DENIED no",
            ),
            (RequestError::TooMany(Some(Duration::from_secs(7))), "it is rate-limited (429), for 7 s"),
            (
                RequestError::TimedOut { waited: Wait::Header, after: Duration::from_millis(1500) },
                "the answer took longer than 1.5 s",
            ),
            (RedirectRefused::TooMany.into(), "too many redirects"),
        ] {
            assert_eq!(error.at(&url).to_string(), format!("https://h.example/v2/a/blobs/x: {want}"));
        }
    }
}
