use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::challenge::Challenge;
use crate::image::RegistryHost;

/// A word for what went wrong that clients understand: OCI distribution-spec 1.1, code-1 to code-14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification's own words")]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    /// Not of the specification, whose list binds answers of 4xx only: what distribution says with 503, and Docker
    /// tries again after; `TOOMANYREQUESTS` makes it give up.
    Unavailable,
}

impl Code {
    /// Returns the word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// An answer that is not what was asked for. Never 429, which containerd repeats at once and without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The method is neither GET nor HEAD.
    Method,
    /// The path is none of a registry's, or one that nothing here serves.
    NotServed,
    /// The request is malformed in another way, such as a parameter that is there twice.
    Request(&'static str),
    /// The repository's name breaks the grammar.
    NameInvalid(String),
    /// The digest is malformed, or of an unknown algorithm.
    DigestInvalid(String),
    /// No upstream has this name.
    NameUnknown(String),
    /// Upstream has no such repository.
    RepositoryUnknown(String),
    /// Upstream has no such manifest, or the tag breaks the grammar.
    ManifestUnknown(String),
    /// Upstream has no such blob.
    BlobUnknown(String),
    /// A rule of the configuration keeps it from being served.
    Policy(String),
    /// The client has to say who it is.
    Unauthorized(Challenge),
    /// Upstream denies access.
    UpstreamDenied {
        /// Which.
        registry: RegistryHost,
        /// What the operator can do about it.
        hint: String,
    },
    /// Upstream is rate-limited, and nothing older is at hand.
    UpstreamBusy {
        /// Which.
        registry: RegistryHost,
        /// When to come back.
        retry_after: Duration,
    },
    /// Upstream is down or slow, and nothing older is at hand.
    UpstreamDown {
        /// Which.
        registry: RegistryHost,
        /// What happened, in words that name no address.
        reason: String,
    },
    /// A limit of this server is reached.
    Overloaded,
}

impl Refusal {
    /// Returns the status.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Request(_) | Self::NameInvalid(_) | Self::DigestInvalid(_) => 400,
            Self::Unauthorized(_) => 401,
            Self::Policy(_) | Self::UpstreamDenied { .. } => 403,
            Self::NotServed
            | Self::NameUnknown(_)
            | Self::RepositoryUnknown(_)
            | Self::ManifestUnknown(_)
            | Self::BlobUnknown(_) => 404,
            Self::Method => 405,
            // Not 502: of the two, containerd's last host repeats 503 only.
            Self::UpstreamBusy { .. } | Self::UpstreamDown { .. } | Self::Overloaded => 503,
        }
    }

    /// Returns the code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Method | Self::NotServed | Self::Request(_) => Code::Unsupported,
            Self::NameInvalid(_) => Code::NameInvalid,
            Self::DigestInvalid(_) => Code::DigestInvalid,
            Self::NameUnknown(_) | Self::RepositoryUnknown(_) => Code::NameUnknown,
            Self::ManifestUnknown(_) => Code::ManifestUnknown,
            Self::BlobUnknown(_) => Code::BlobUnknown,
            Self::Policy(_) | Self::UpstreamDenied { .. } => Code::Denied,
            Self::Unauthorized(_) => Code::Unauthorized,
            Self::UpstreamBusy { .. } => Code::TooManyRequests,
            Self::UpstreamDown { .. } | Self::Overloaded => Code::Unavailable,
        }
    }

    /// Returns the headers that belong to it, besides the length.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        match self {
            Self::Method => headers.push(("Allow", "GET, HEAD".to_owned())),
            Self::Unauthorized(challenge) => headers.push(("WWW-Authenticate", challenge.to_string())),
            Self::UpstreamBusy { retry_after, .. } => {
                let whole = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                headers.push(("Retry-After", whole.max(1).to_string()));
            }
            Self::Overloaded => headers.push(("Retry-After", "1".to_owned())),
            Self::NotServed
            | Self::Request(_)
            | Self::NameInvalid(_)
            | Self::DigestInvalid(_)
            | Self::NameUnknown(_)
            | Self::RepositoryUnknown(_)
            | Self::ManifestUnknown(_)
            | Self::BlobUnknown(_)
            | Self::Policy(_)
            | Self::UpstreamDenied { .. }
            | Self::UpstreamDown { .. } => {}
        }
        headers
    }

    /// Returns the body.
    pub fn body(&self) -> String {
        let (message, detail) = match self {
            Self::Method => ("only GET and HEAD are served", None),
            Self::NotServed => ("nothing is served under this path", None),
            Self::Request(problem) => (*problem, None),
            Self::NameInvalid(name) => ("invalid repository name", Some(json!({ "name": name }))),
            Self::DigestInvalid(digest) => ("invalid digest", Some(json!({ "digest": digest }))),
            Self::NameUnknown(name) => {
                ("no upstream is configured for this name", Some(json!({ "name": name })))
            }
            Self::RepositoryUnknown(name) => ("repository unknown", Some(json!({ "name": name }))),
            Self::ManifestUnknown(reference) => ("manifest unknown", Some(json!({ "reference": reference }))),
            Self::BlobUnknown(digest) => ("blob unknown", Some(json!({ "digest": digest }))),
            Self::Policy(rule) => ("not allowed by configuration", Some(json!({ "rule": rule }))),
            Self::Unauthorized(_) => ("authentication required", None),
            Self::UpstreamDenied { registry, hint } => {
                ("upstream denied access", Some(json!({ "upstream": registry.as_str(), "hint": hint })))
            }
            Self::UpstreamBusy { registry, .. } => {
                ("upstream limits requests", Some(json!({ "upstream": registry.as_str() })))
            }
            Self::UpstreamDown { registry, reason } => (
                "upstream is not available",
                Some(json!({ "upstream": registry.as_str(), "reason": reason })),
            ),
            Self::Overloaded => ("too many requests at once", None),
        };
        let mut error = json!({ "code": self.code().as_str(), "message": message });
        if let (Some(error), Some(detail)) = (error.as_object_mut(), detail) {
            error.insert("detail".to_owned(), detail);
        }
        json!({ "errors": [error] }).to_string()
    }
}

/// What another registry says went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RemoteError {
    /// One of the specification's codes, or whatever else.
    #[serde(default)]
    pub code: String,
    /// Words for people, with the reason of a cache such as ours; may be empty.
    #[serde(default)]
    pub message: String,
}

/// The largest error body that is read.
const LARGEST: usize = 64 * 1024;

impl RemoteError {
    /// Reads the body of an answer that is not a success; nothing, where it is not of the usual form.
    ///
    /// What comes back is fit for a log: one line each, of bounded length, at most eight.
    pub fn parse_all(body: &[u8]) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<Said>,
        }
        #[derive(Deserialize)]
        struct Said {
            #[serde(flatten)]
            error: RemoteError,
            #[serde(default)]
            detail: serde_json::Value,
        }
        if body.len() > LARGEST {
            return Vec::new();
        }
        let errors = serde_json::from_slice::<Body>(body).map(|body| body.errors).unwrap_or_default();
        let clean = |text: String| -> String {
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
        };
        errors
            .into_iter()
            .take(8)
            .map(|Said { error, detail }| {
                let details = ["upstream", "reason", "hint"].map(|key| detail.get(key)?.as_str());
                let details: Vec<&str> = details.into_iter().flatten().collect();
                let message = match details.as_slice() {
                    [] => error.message,
                    details => format!("{} ({})", error.message, details.join(": ")),
                };
                Self { code: clean(error.code), message: clean(message) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hub() -> RegistryHost {
        "docker.io".parse().unwrap()
    }

    #[test]
    fn answers_to_the_byte() {
        let busy =
            |millis| Refusal::UpstreamBusy { registry: hub(), retry_after: Duration::from_millis(millis) };
        let realm = Challenge::Basic { realm: "talmirror".into() };
        for (refusal, status, header, body) in [
            (
                Refusal::Method,
                405,
                Some(("Allow", "GET, HEAD")),
                r#"{"errors":[{"code":"UNSUPPORTED","message":"only GET and HEAD are served"}]}"#,
            ),
            (
                Refusal::ManifestUnknown("3".into()),
                404,
                None,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"reference":"3"}}]}"#,
            ),
            (
                Refusal::BlobUnknown("sha256:0".into()),
                404,
                None,
                r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:0"}}]}"#,
            ),
            (
                Refusal::NameUnknown("evil.example".into()),
                404,
                None,
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no upstream is configured for this name","detail":{"name":"evil.example"}}]}"#,
            ),
            (
                Refusal::NameInvalid("A\"\n".into()),
                400,
                None,
                r#"{"errors":[{"code":"NAME_INVALID","message":"invalid repository name","detail":{"name":"A\"\n"}}]}"#,
            ),
            (
                Refusal::Unauthorized(realm),
                401,
                Some(("WWW-Authenticate", "Basic realm=\"talmirror\"")),
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
            ),
            (
                Refusal::UpstreamDenied { registry: hub(), hint: "log in".into() },
                403,
                None,
                r#"{"errors":[{"code":"DENIED","message":"upstream denied access","detail":{"upstream":"docker.io","hint":"log in"}}]}"#,
            ),
            (
                busy(1500),
                503,
                Some(("Retry-After", "2")),
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"upstream limits requests","detail":{"upstream":"docker.io"}}]}"#,
            ),
            (
                busy(0),
                503,
                Some(("Retry-After", "1")),
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"upstream limits requests","detail":{"upstream":"docker.io"}}]}"#,
            ),
            (
                Refusal::UpstreamDown { registry: hub(), reason: "timed out".into() },
                503,
                None,
                r#"{"errors":[{"code":"UNAVAILABLE","message":"upstream is not available","detail":{"upstream":"docker.io","reason":"timed out"}}]}"#,
            ),
            (
                Refusal::Overloaded,
                503,
                Some(("Retry-After", "1")),
                r#"{"errors":[{"code":"UNAVAILABLE","message":"too many requests at once"}]}"#,
            ),
        ] {
            assert_eq!((refusal.status(), refusal.body().as_str()), (status, body));
            let headers = refusal.headers();
            let wanted = [("Content-Type", "application/json")].into_iter().chain(header);
            assert!(headers.iter().map(|(name, value)| (*name, value.as_str())).eq(wanted), "{headers:?}");
            let back = RemoteError::parse_all(body.as_bytes());
            assert_eq!(back.first().map(|error| error.code.as_str()), Some(refusal.code().as_str()));
        }
    }

    #[test]
    fn what_others_say_is_cut_to_size() {
        let long =
            format!(r#"{{"errors":[{{"code":"DENIED","message":"a\nb{}","detail":[1]}}]}}"#, "x".repeat(500));
        let errors = RemoteError::parse_all(long.as_bytes());
        assert_eq!(errors[0].message.chars().count(), 300);
        assert!(errors[0].message.starts_with("a bx"));
        assert_eq!(RemoteError::parse_all(b"<html>"), []);
        assert_eq!(RemoteError::parse_all(br#"{"errors":null}"#), []);
        assert_eq!(RemoteError::parse_all(br#"{"errors":[{}]}"#).len(), 1);
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RemoteError::parse_all(&body);
        }
    }
}
