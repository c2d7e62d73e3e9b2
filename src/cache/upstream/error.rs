use std::time::Duration;

use super::circuit::Pause;
use crate::cache::flight::SourceError;
use crate::oci::{ClientError, RequestError, RequestErrorKind};

/// Why an upstream registry did not give what was asked for, after all of its endpoints were asked that could be.
///
/// The words name no address: they may go to clients. What happened at which URL goes to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Every endpoint says that it is not there.
    #[error("it is not there")]
    NotFound,
    /// It does not let us.
    #[error("access denied: {hint}")]
    Denied {
        /// What the operator can do about it.
        hint: String,
    },
    /// It wants fewer requests.
    #[error("too many requests")]
    TooMany {
        /// For how long none, if it said so.
        retry_after: Option<Duration>,
    },
    /// It cannot be reached, is too slow, or fails.
    #[error("{what}")]
    Unavailable {
        /// What happened.
        what: String,
    },
    /// What it sends is not what its digest says.
    #[error("{0}")]
    Mismatch(String),
}

impl UpstreamError {
    /// Returns what the upstream does, as it can be said of it: `docker.io limits requests`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound => "does not have it",
            Self::Denied { .. } => "denies access",
            Self::TooMany { .. } => Pause::TooMany.as_str(),
            Self::Unavailable { .. } => Pause::Unreachable.as_str(),
            Self::Mismatch(_) => "sends wrong bytes",
        }
    }
}

impl From<UpstreamError> for SourceError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::NotFound => Self::NotFound,
            UpstreamError::Denied { hint } => Self::Denied(hint),
            UpstreamError::TooMany { retry_after } => Self::TooMany(retry_after),
            UpstreamError::Unavailable { what } => Self::Unavailable(what),
            UpstreamError::Mismatch(what) => Self::Mismatch(what),
        }
    }
}

/// Why one endpoint did not give it.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    /// It was asked.
    Asked(ClientError),
    /// It was asked, and what came has another digest.
    Mismatch(String),
    /// It was not asked, because it fails or wants to be left alone.
    Paused(Pause, Duration),
    /// It was not asked, because too much is asked already.
    Busy,
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Asked(error)
    }
}

/// Returns what all endpoints together mean: that something is not there, only if every one of them says so.
pub(super) fn together(failed: &[Failed]) -> UpstreamError {
    let worst = failed.iter().max_by_key(|failed| rank(failed));
    match worst {
        None => UpstreamError::Unavailable { what: "it has no endpoint".to_owned() },
        Some(Failed::Mismatch(what)) => UpstreamError::Mismatch(what.clone()),
        Some(Failed::Busy) => {
            UpstreamError::Unavailable { what: "too many requests to it at once".to_owned() }
        }
        Some(Failed::Paused(Pause::TooMany, _)) => UpstreamError::TooMany { retry_after: soonest(failed) },
        Some(Failed::Paused(pause, _)) => UpstreamError::Unavailable { what: pause.as_str().to_owned() },
        Some(Failed::Asked(error)) => match error.cause.kind() {
            RequestErrorKind::NotFound => UpstreamError::NotFound,
            RequestErrorKind::Denied => {
                UpstreamError::Denied { hint: error.help().unwrap_or_default().to_owned() }
            }
            RequestErrorKind::TooMany => UpstreamError::TooMany { retry_after: soonest(failed) },
            RequestErrorKind::Down | RequestErrorKind::Failing | RequestErrorKind::Setup => {
                UpstreamError::Unavailable { what: error.cause.reason().to_owned() }
            }
        },
    }
}

fn rank(failed: &Failed) -> u8 {
    match failed {
        Failed::Asked(error) => match error.cause.kind() {
            RequestErrorKind::NotFound => 0,
            RequestErrorKind::Denied => 1,
            RequestErrorKind::Setup => 3,
            RequestErrorKind::Down | RequestErrorKind::Failing => 4,
            RequestErrorKind::TooMany => 5,
        },
        Failed::Mismatch(_) => 2,
        Failed::Busy => 4,
        Failed::Paused(Pause::Unreachable | Pause::Failing, _) => 4,
        Failed::Paused(Pause::TooMany, _) => 5,
    }
}

/// Returns when the first of the endpoints takes requests again that want fewer.
fn soonest(failed: &[Failed]) -> Option<Duration> {
    let pauses = failed.iter().filter_map(|failed| match failed {
        Failed::Paused(Pause::TooMany, left) => Some(*left),
        Failed::Asked(ClientError { cause: RequestError::TooMany(pause), .. }) => *pause,
        Failed::Asked(_) | Failed::Mismatch(_) | Failed::Paused(..) | Failed::Busy => None,
    });
    pauses.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::AskedAs;

    fn asked(cause: RequestError) -> Failed {
        Failed::Asked(ClientError { url: "https://h.example/v2/".into(), cause })
    }

    #[test]
    fn nothing_is_missing_unless_everybody_says_so() {
        let gone = || asked(RequestError::NotFound(vec![]));
        let denied = || {
            asked(RequestError::Denied { asked_as: AskedAs::Anonymous, status: 401, remote_errors: vec![] })
        };
        let down = || asked(RequestError::Connect("refused".into()));
        let busy = |seconds| asked(RequestError::TooMany(Some(Duration::from_secs(seconds))));
        let paused = |pause| Failed::Paused(pause, Duration::from_secs(3));
        for (failed, want) in [
            (vec![gone(), gone()], "it is not there"),
            (vec![gone(), denied()], "access denied: check the name; a private one takes `credentials`"),
            (vec![denied(), Failed::Mismatch("wrong".into())], "wrong"),
            (vec![gone(), down()], "no connection"),
            (vec![paused(Pause::Unreachable), gone()], "unreachable"),
            (vec![Failed::Busy, gone()], "too many requests to it at once"),
            (vec![], "it has no endpoint"),
        ] {
            assert_eq!(together(&failed).to_string(), want);
        }
        let error = together(&[busy(7), paused(Pause::TooMany), down()]);
        assert_eq!(error, UpstreamError::TooMany { retry_after: Some(Duration::from_secs(3)) });
        assert_eq!(error.as_str(), "limits requests");
    }
}
