use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::provenance::Provenance;
use crate::cache::store::Origin;

/// Where the bytes of one object come from: a chain of endpoints, any of which may give the rest of what another
/// began.
pub trait Source: Send + Sync + 'static {
    /// Opens the object from byte `from` on; with `Range` and `If-Range` where that is not 0.
    ///
    /// Says which endpoints it tried by choosing what error it gives. An error before the first byte is final;
    /// later ones are tried again where [`FetchError::is_retryable`].
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>>;

    /// Opens a part of the object, from byte `from` up to, and without, byte `end`; more may come.
    fn open_part(&self, from: u64, _end: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        self.open(from)
    }

    /// Takes note that what these endpoints gave together has another digest: they are not to be asked for this
    /// object again for a while.
    fn mismatch(&self, endpoints: &[usize]);

    /// Takes note that what came has the right digest.
    fn complete(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Takes note that it is stored.
    fn kept(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Returns whether the store's copy will do, if it has come to have one: where that may have come from elsewhere,
    /// only what this source gives counts.
    fn may_use_stored(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }

    /// Returns where it notes where the bytes come from that it gives, if it does.
    fn provenance(&self) -> Option<&Provenance> {
        None
    }

    /// Returns the repository that is asked, where it is one.
    fn origin(&self) -> Option<&Origin> {
        None
    }
}

/// An object whose headers have come.
pub struct Opened {
    /// How long the whole object is, if the endpoint said so.
    pub total: Option<u64>,
    /// The first byte's position: what was asked for, or less (0 where the endpoint answered with the whole).
    pub starts_at: u64,
    /// The endpoint's place in the chain; given back to [`Source::mismatch`].
    pub endpoint: usize,
    /// The bytes; ends early or with an error where the transfer breaks.
    pub body: BoxStream<'static, Result<Bytes, FetchError>>,
}

/// Why an upstream did not give what was asked for, after all of its endpoints were asked that could be.
///
/// The words name no address: they may go to clients. What happened at which URL goes to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Every endpoint says that it is not there.
    #[error("it is not there")]
    NotFound,
    /// The upstream denied access.
    #[error("access denied: {hint}")]
    Denied {
        /// What the operator can do about it.
        hint: String,
    },
    /// The upstream is rate-limiting requests.
    #[error("too many requests")]
    TooMany {
        /// For how long it takes none, if it said so.
        retry_after: Option<Duration>,
    },
    /// No endpoint could be reached, is too slow, or gave an answer that is of use.
    #[error("{what}")]
    Unavailable {
        /// What happened.
        what: String,
    },
    /// A transfer broke off.
    #[error("the transfer broke off: {0}")]
    Broken(String),
    /// An endpoint says another length than before.
    #[error("the upstream says that it has {found} bytes, after {expected}")]
    Changed {
        /// How long it was.
        expected: u64,
        /// How long it is now.
        found: u64,
    },
    /// What came is not what its digest says.
    #[error("{0}")]
    Mismatch(String),
    /// Our own store or process failed.
    #[error("{0}")]
    Internal(String),
}

impl FetchError {
    /// Makes the error of an upstream that cannot give it now.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into() }
    }

    /// Returns whether the same request may go well in a moment.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::TooMany { .. } | Self::Unavailable { .. } | Self::Broken(_) => true,
            Self::NotFound
            | Self::Denied { .. }
            | Self::Changed { .. }
            | Self::Mismatch(_)
            | Self::Internal(_) => false,
        }
    }

    /// Returns what the upstream does, as it can be said of it: `docker.io limits requests`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound => "does not have it",
            Self::Denied { .. } => "denies access",
            Self::TooMany { .. } => "limits requests",
            Self::Unavailable { .. } | Self::Broken(_) | Self::Internal(_) => "unreachable",
            Self::Changed { .. } | Self::Mismatch(_) => "sends wrong bytes",
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("total", &self.total)
            .field("starts_at", &self.starts_at)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
