use std::time::Duration;

use super::circuit_breaker::PauseReason;
use crate::cache::download::FetchError;
use crate::oci::{ClientError, RequestError, RequestErrorKind};

/// Why one endpoint did not give it.
#[derive(Clone, Debug)]
pub(super) enum EndpointError {
    /// It was asked.
    Asked(ClientError),
    /// It was asked, and what came has another digest.
    Mismatch(String),
    /// It was not asked, because it fails or limits requests.
    Paused(PauseReason, Duration),
    /// It was not asked, because it sent other bytes for the same digest just now.
    Quarantined,
    /// It was not asked, because too much is asked already.
    Busy,
}

impl From<ClientError> for EndpointError {
    fn from(error: ClientError) -> Self {
        Self::Asked(error)
    }
}

/// Returns what all endpoints together mean: that something is not there, only if every one of them says so.
pub(super) fn together(failed: &[EndpointError]) -> FetchError {
    let worst = failed.iter().max_by_key(|failed| rank(failed));
    match worst {
        None => FetchError::Unavailable { what: "it has no endpoint".to_owned() },
        Some(EndpointError::Mismatch(what)) => FetchError::Mismatch(what.clone()),
        Some(EndpointError::Quarantined) => {
            FetchError::unavailable("it has sent other bytes for this digest just now")
        }
        Some(EndpointError::Busy) => {
            FetchError::Unavailable { what: "too many requests to it at once".to_owned() }
        }
        Some(EndpointError::Paused(PauseReason::TooMany, _)) => {
            FetchError::TooMany { retry_after: soonest(failed) }
        }
        Some(EndpointError::Paused(pause, _)) => FetchError::Unavailable { what: pause.as_str().to_owned() },
        Some(EndpointError::Asked(error)) => match error.cause.kind() {
            RequestErrorKind::NotFound => FetchError::NotFound,
            RequestErrorKind::Denied => {
                FetchError::Denied { hint: error.help().unwrap_or_default().to_owned() }
            }
            RequestErrorKind::TooMany => FetchError::TooMany { retry_after: soonest(failed) },
            RequestErrorKind::Down | RequestErrorKind::Failing | RequestErrorKind::Setup => {
                FetchError::Unavailable { what: error.cause.reason().to_owned() }
            }
        },
    }
}

fn rank(failed: &EndpointError) -> u8 {
    match failed {
        EndpointError::Asked(error) => match error.cause.kind() {
            RequestErrorKind::NotFound => 0,
            RequestErrorKind::Denied => 1,
            RequestErrorKind::Setup => 3,
            RequestErrorKind::Down | RequestErrorKind::Failing => 4,
            RequestErrorKind::TooMany => 5,
        },
        EndpointError::Mismatch(_) | EndpointError::Quarantined => 2,
        EndpointError::Busy => 4,
        EndpointError::Paused(PauseReason::Unreachable | PauseReason::Failing, _) => 4,
        EndpointError::Paused(PauseReason::TooMany, _) => 5,
    }
}

/// Returns when the first of the endpoints that limit requests takes some again.
fn soonest(failed: &[EndpointError]) -> Option<Duration> {
    let pauses = failed.iter().filter_map(|failed| match failed {
        EndpointError::Paused(PauseReason::TooMany, left) => Some(*left),
        EndpointError::Asked(ClientError { cause: RequestError::TooMany(pause), .. }) => *pause,
        EndpointError::Asked(_)
        | EndpointError::Mismatch(_)
        | EndpointError::Paused(..)
        | EndpointError::Quarantined
        | EndpointError::Busy => None,
    });
    pauses.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::AskedAs;

    fn asked(cause: RequestError) -> EndpointError {
        EndpointError::Asked(ClientError { url: "https://h.example/v2/".into(), cause })
    }

    #[test]
    fn nothing_is_missing_unless_every_endpoint_says_so() {
        let gone = || asked(RequestError::NotFound(vec![]));
        let denied = || {
            asked(RequestError::Denied { asked_as: AskedAs::Anonymous, status: 401, remote_errors: vec![] })
        };
        let down = || asked(RequestError::Connect("refused".into()));
        let busy = |seconds| asked(RequestError::TooMany(Some(Duration::from_secs(seconds))));
        let paused = |pause| EndpointError::Paused(pause, Duration::from_secs(3));
        for (failed, want) in [
            (vec![gone(), gone()], "it is not there"),
            (vec![gone(), denied()], "access denied: check the name; a private one takes `credentials`"),
            (vec![denied(), EndpointError::Mismatch("wrong".into())], "wrong"),
            (vec![gone(), down()], "no connection"),
            (vec![paused(PauseReason::Unreachable), gone()], "unreachable"),
            (vec![EndpointError::Busy, gone()], "too many requests to it at once"),
            (vec![], "it has no endpoint"),
        ] {
            assert_eq!(together(&failed).to_string(), want);
        }
        let error = together(&[busy(7), paused(PauseReason::TooMany), down()]);
        assert_eq!(error, FetchError::TooMany { retry_after: Some(Duration::from_secs(3)) });
        assert_eq!(error.as_str(), "limits requests");
    }
}
