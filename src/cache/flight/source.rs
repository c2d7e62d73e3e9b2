use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use futures_util::future::BoxFuture;

/// Where the bytes of one object come from: a chain of endpoints, any of which may give the rest of what another
/// began.
pub trait Source: Send + Sync + 'static {
    /// Opens the object from byte `from` on; with `Range` and `If-Range` where that is not 0.
    ///
    /// Says which endpoints it tried by choosing what error it gives. An error before the first byte is final;
    /// later ones are tried again where [`SourceError::is_retryable`].
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>>;

    /// Takes note that what these endpoints gave together has another digest: they are not to be asked for this
    /// object again for a while.
    fn mismatch(&self, endpoints: &[usize]);
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
    pub body: BoxStream<'static, Result<Bytes, SourceError>>,
}

/// Why an object could not be fetched; carries what the answer to a client needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Every endpoint says that it is not there.
    #[error("no upstream has it")]
    NotFound,
    /// An upstream does not let us.
    #[error("the upstream refused: {0}")]
    Denied(String),
    /// An upstream has had too many requests; with the time to wait, if it said so.
    #[error("the upstream has had too many requests{}", .0.map(|wait| format!("; it says to wait {} s", wait.as_secs())).unwrap_or_default())]
    TooMany(Option<Duration>),
    /// No endpoint could be reached, or none gave an answer that is of use.
    #[error("{0}")]
    Unavailable(String),
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
    /// What came is not what the digest says.
    #[error("{0}")]
    Mismatch(String),
    /// Our own store or process failed.
    #[error("{0}")]
    Internal(String),
}

impl SourceError {
    /// Returns whether the same request may go well in a moment.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::TooMany(_) | Self::Unavailable(_) | Self::Broken(_) => true,
            Self::NotFound
            | Self::Denied(_)
            | Self::Changed { .. }
            | Self::Mismatch(_)
            | Self::Internal(_) => false,
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
