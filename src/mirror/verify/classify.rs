use crate::mirror::cause::Cause;
use crate::oci::{AskedAs, ClientError, RequestError};

/// Returns what an error of a request means for pulls through a host.
pub(in crate::mirror) fn classify(error: &ClientError) -> Cause {
    match &error.cause {
        RequestError::NotFound(said) => {
            // A registry that knows the repository says MANIFEST_UNKNOWN; one that does not, NAME_UNKNOWN.
            let unknown = said.iter().any(|error| error.code == "NAME_UNKNOWN");
            if unknown || said.is_empty() { Cause::PathUnknown } else { Cause::ImageMissing }
        }
        RequestError::Denied { asked_as: AskedAs::Anonymous, .. } => Cause::CredentialsMissing,
        RequestError::Denied { asked_as: AskedAs::Rejected, .. } => Cause::CredentialsRejected,
        RequestError::Denied { asked_as: AskedAs::Authenticated, status: 401, .. } => {
            Cause::CredentialsRejected
        }
        RequestError::Denied { asked_as: AskedAs::Authenticated, .. } => Cause::AccessDenied,
        RequestError::TooMany(_) => Cause::RateLimited,
        // containerd goes on to no other host (`core/remotes/docker/resolver.go`).
        RequestError::Status { status: 300..=399, .. } => Cause::RedirectRefused,
        RequestError::Status { status: 400..=499, .. } => Cause::NotARegistry,
        RequestError::Status { .. } => Cause::ServerFails,
        RequestError::Resolve { .. } => Cause::NameUnresolved,
        RequestError::PrivateAddress(_)
        | RequestError::OtherNetwork(_)
        | RequestError::NotAsked(_)
        | RequestError::Connect(_) => Cause::Unreachable,
        RequestError::Tls(why) => tls(why),
        RequestError::TimedOut { waited: crate::oci::Wait::Connection, .. } => Cause::Unreachable,
        RequestError::TimedOut { .. } => Cause::TooSlow,
        RequestError::Broken(_) | RequestError::Answer(_) | RequestError::TooLarge(_) => Cause::AnswerInvalid,
        RequestError::Redirect(_) => Cause::RedirectRefused,
        RequestError::Realm(_) | RequestError::Token(_) => Cause::TokenServer,
        RequestError::Credentials { .. } => Cause::CredentialsMissing,
    }
}

/// Returns what rustls means by its words.
fn tls(why: &str) -> Cause {
    let has = |words: &str| why.contains(words);
    if has("UnknownIssuer") || has("CaUsedAsEndEntity") || has("BadSignature") {
        Cause::TlsUntrusted
    } else if has("not valid for name") || has("NotValidForName") {
        Cause::TlsName
    } else if has("expired") || has("Expired") || has("not valid yet") || has("NotValidYet") {
        Cause::TlsExpired
    } else {
        Cause::TlsFailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_rustls() {
        use rustls::{CertificateError, Error};
        for (error, want) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), Cause::TlsUntrusted),
            (Error::InvalidCertificate(CertificateError::NotValidForName), Cause::TlsName),
            (Error::InvalidCertificate(CertificateError::Expired), Cause::TlsExpired),
            (Error::InvalidCertificate(CertificateError::NotValidYet), Cause::TlsExpired),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Cause::TlsFailed),
        ] {
            assert_eq!(tls(&error.to_string()), want, "{error}");
        }
    }
}
