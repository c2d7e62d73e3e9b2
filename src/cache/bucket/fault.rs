use crate::cache::upstream::Signal;

/// What a bucket does instead of what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// No connection, or one that broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("it does not answer in time")]
    Slow,
    /// It limits requests.
    #[error("it limits requests ({0})")]
    Busy(String),
    /// It fails by itself.
    #[error("it answers with an error of its own ({0})")]
    Failing(String),
    /// It does not do what it is asked for, and will not until its operator or ours changes something.
    #[error("{0}")]
    Refuses(String),
}

impl Fault {
    /// Returns what is wrong by an answer's status and the code in its body; [`None`] where nothing is, though the answer
    /// may say that something is not there, or is there already.
    pub(super) fn of_answer(status: u16, code: Option<&str>) -> Option<Self> {
        let named = || code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
        let refuses = |what: &str| Some(Self::Refuses(what.to_owned()));
        match (status, code.unwrap_or_default()) {
            (_, "RequestTimeTooSkewed") => {
                refuses("its clock and the one here are too far apart: set the clock")
            }
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
                refuses("the credentials have expired: renew them")
            }
            (_, code @ ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken")) => {
                Some(Self::Refuses(format!("it does not take the credentials ({code}): check them")))
            }
            (_, "NoSuchBucket") => refuses("there is no such bucket: make it, or name another one"),
            (_, "SlowDown" | "RequestLimitExceeded" | "TooManyRequests") | (429 | 503, _) => {
                Some(Self::Busy(named()))
            }
            (301 | 307 | 400, "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                refuses("the bucket is in another region: set AWS_REGION")
            }
            (401 | 403 | 405, _) => Some(Self::Refuses(format!(
                "it denies access ({}): check what the credentials allow",
                named()
            ))),
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => refuses("it is full: make room in it"),
            // It has no conditional writes: those who write ask for none then.
            (501, "NotImplemented") => None,
            (500.., _) => Some(Self::Failing(named())),
            _ => None,
        }
    }

    /// Returns what that says to a circuit breaker.
    pub(super) const fn signal(&self) -> Signal {
        match self {
            Self::Unreachable(_) | Self::Slow | Self::Refuses(_) => Signal::Down,
            Self::Busy(_) => Signal::TooMany(None),
            Self::Failing(_) => Signal::Failing,
        }
    }
}

/// Returns the code of an error in the XML of an answer.
pub(super) fn code(body: &[u8]) -> Option<&str> {
    let text = str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_and_what_is_there_already_is_no_fault() {
        for (status, code) in [(404, None), (404, Some("NoSuchKey")), (412, None), (409, None), (416, None)] {
            assert_eq!(Fault::of_answer(status, code), None, "{status}");
        }
        assert_eq!(Fault::of_answer(501, Some("NotImplemented")), None);
    }

    #[test]
    fn faults_say_what_to_do() {
        let said = |status, code| Fault::of_answer(status, code).unwrap().to_string();
        assert_eq!(said(503, Some("SlowDown")), "it limits requests (503 SlowDown)");
        assert_eq!(
            said(500, Some("InternalError")),
            "it answers with an error of its own (500 InternalError)"
        );
        assert!(said(403, None).contains("it denies access (403)"));
        assert!(said(403, Some("AccessDenied")).contains("403 AccessDenied"));
        assert!(said(403, Some("RequestTimeTooSkewed")).contains("set the clock"));
        assert!(said(400, Some("ExpiredToken")).contains("expired"));
        assert!(said(404, Some("NoSuchBucket")).contains("no such bucket"));
        assert!(said(400, Some("AuthorizationHeaderMalformed")).contains("AWS_REGION"));
    }

    #[test]
    fn codes_of_answers() {
        assert_eq!(
            code(b"<?xml?><Error><Code>SlowDown</Code><Message>x</Message></Error>"),
            Some("SlowDown")
        );
        for bad in [&b""[..], b"<Code>", b"<Code>\x1b[2J</Code>", b"\xff<Code>A</Code>"] {
            assert_eq!(code(bad), None);
        }
    }
}
