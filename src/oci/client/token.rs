use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use crate::image::{RegistryHost, Repository};
use crate::oci::protocol::Bearer;
use crate::secret::Secret;

/// How long a token lives that does not say so (distribution's token specification).
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// The longest token, and the largest answer with one.
const LONGEST_TOKEN: usize = 16 * 1024;
const LARGEST_ANSWER: usize = 64 * 1024;
/// What we call ourselves to token servers.
const CLIENT: &str = "talmirror";

/// Returns what a token has to allow, sorted.
///
/// A challenge's scope counts, since a registry knows best what it calls its repositories, but with no more than the
/// right to pull. Where it has none, it is `repository:<name>:pull`, and `aws` on ECR Public, which knows no other.
pub fn scopes(challenge: &Bearer, registry: &RegistryHost, repository: &Repository) -> Vec<String> {
    let asked = challenge.scope.as_deref().unwrap_or_default().split_ascii_whitespace();
    let mut scopes: Vec<String> = asked
        .filter_map(|scope| match scope.split_once(':') {
            None => Some(scope.to_owned()),
            Some(("repository", rest)) => {
                rest.rsplit_once(':').map(|(name, actions)| format!("repository:{name}:{}", reading(actions)))
            }
            // Nothing here asks for the catalogue or anything else that is wider than a repository.
            Some(_) => None,
        })
        .collect();
    if scopes.is_empty() {
        scopes.push(match registry.as_str() {
            "public.ecr.aws" => "aws".to_owned(),
            _ => format!("repository:{repository}:pull"),
        });
    }
    scopes.sort();
    scopes.dedup();
    scopes
}

/// Returns those of a scope's actions that read, such as `pull` and Azure's `metadata_read`.
fn reading(actions: &str) -> String {
    let reads = |action: &&str| *action == "pull" || action.ends_with("_read") || *action == "read";
    let kept: Vec<&str> = actions.split(',').filter(reads).collect();
    if kept.is_empty() { "pull".to_owned() } else { kept.join(",") }
}

/// What a token is good for: requests with the same key can share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    realm: String,
    service: Option<String>,
    scopes: Vec<String>,
    credential: Option<String>,
}

impl TokenKey {
    /// Makes a key; `credential` names whose token it is, `None` for an anonymous one.
    ///
    /// ghcr.io's anonymous tokens are not bound to a repository, so that one is enough for all.
    pub fn new(challenge: &Bearer, scopes: &[String], credential: Option<&str>) -> Self {
        let shared = credential.is_none() && challenge.service.as_deref() == Some("ghcr.io");
        Self {
            realm: challenge.realm.clone(),
            service: challenge.service.clone(),
            scopes: if shared { Vec::new() } else { scopes.to_vec() },
            credential: credential.map(str::to_owned),
        }
    }

    /// Returns whether the token is anonymous.
    pub fn is_anonymous(&self) -> bool {
        self.credential.is_none()
    }
}

/// The account that asks for a token.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// No account.
    Anonymous,
    /// An account with a password.
    Password(&'a str, &'a Secret<String>),
    /// An account with an identity token, as `docker login` stores it for some registries.
    Identity(&'a Secret<String>),
}

/// A request for a token: a GET, or a POST where there is a form.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The URL.
    pub url: Url,
    /// The `Authorization` header.
    pub authorization: Option<Secret<String>>,
    /// The body, of `application/x-www-form-urlencoded`.
    pub form: Option<Secret<String>>,
}

impl TokenRequest {
    /// Makes the request for a realm that [`super::check_realm`] let pass.
    ///
    /// Passwords go as Basic with a GET: every token server knows that, and not all know the POST of OAuth 2.
    pub fn new(realm: Url, service: Option<&str>, scopes: &[String], grant: Grant<'_>) -> Self {
        let mut url = realm;
        match grant {
            Grant::Anonymous | Grant::Password(..) => {
                let mut query = url.query_pairs_mut();
                query.extend_pairs(service.map(|service| ("service", service)));
                query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
                drop(query);
                let authorization = match grant {
                    Grant::Password(user, password) => Some(basic(user, password)),
                    Grant::Anonymous | Grant::Identity(_) => None,
                };
                Self { url, authorization, form: None }
            }
            Grant::Identity(token) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT);
                form.extend_pairs(service.map(|service| ("service", service)));
                form.append_pair("scope", &scopes.join(" ")).append_pair("refresh_token", token.expose());
                Self { url, authorization: None, form: Some(Secret::new(form.finish())) }
            }
        }
    }
}

/// Returns an `Authorization` header of the scheme Basic.
pub fn basic(user: &str, password: &Secret<String>) -> Secret<String> {
    let pair = Secret::new(format!("{user}:{}", password.expose()));
    Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

/// A token, and until when.
#[derive(Clone, Debug)]
pub struct Token {
    value: Secret<String>,
    refresh_at: Timestamp,
    expires_at: Timestamp,
}

/// Why an answer holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any such answer is.
    #[error("the answer with the token is too large")]
    TooLarge,
    /// It is not JSON of the right form. What it is instead may hold a secret and is not told.
    #[error("the answer with the token cannot be read")]
    Unreadable,
    /// It has neither `token` nor `access_token`.
    #[error("the answer has no token")]
    Missing,
    /// The token cannot stand in a header.
    #[error("the token has characters that a token cannot have")]
    Characters,
}

impl Token {
    /// Reads the answer of a token server that came at `now`.
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self, TokenError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<serde_json::Value>,
            issued_at: Option<serde_json::Value>,
        }
        if body.len() > LARGEST_ANSWER {
            return Err(TokenError::TooLarge);
        }
        let answer: Answer = serde_json::from_slice(body).map_err(|_| TokenError::Unreadable)?;
        let mut values = [answer.token, answer.access_token].into_iter().flatten().map(Secret::new);
        let value = values.find(|value| !value.expose().is_empty()).ok_or(TokenError::Missing)?;
        if value.expose().len() > LONGEST_TOKEN {
            return Err(TokenError::TooLarge);
        }
        if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        let life = answer.expires_in.as_ref().and_then(seconds).unwrap_or(DEFAULT_LIFE);
        let issued_at = answer.issued_at.and_then(|at| at.as_str()?.parse::<Timestamp>().ok());
        // A token may have been issued a while ago and handed out again. Where that would make it dead on arrival or
        // of tomorrow, the two clocks differ, and its life counts from now.
        let age = issued_at.and_then(|at| Duration::try_from(now.duration_since(at)).ok());
        let left = match age {
            Some(age) if age < life => life.saturating_sub(age),
            Some(_) | None => life,
        };
        let after = |time: Duration| now.checked_add(time).unwrap_or(now);
        Ok(Self { value, refresh_at: after(left.mul_f64(0.8)), expires_at: after(left) })
    }

    /// Returns the `Authorization` header.
    pub fn authorization(&self) -> Secret<String> {
        Secret::new(format!("Bearer {}", self.value.expose()))
    }

    /// Returns whether it is time for another, after four fifths of its life.
    pub fn wants_refresh(&self, now: Timestamp) -> bool {
        now >= self.refresh_at
    }

    /// Returns whether it is of no use any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

/// Reads a number of seconds, which some servers write as a text or with a fraction; 0 is as good as nothing.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    let life = Duration::try_from_secs_f64(number).unwrap_or(if number > 0.0 {
        LONGEST_LIFE
    } else {
        Duration::ZERO
    });
    (life >= Duration::from_secs(1)).then(|| life.min(LONGEST_LIFE))
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.realm, self.scopes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(service: &str, scope: Option<&str>) -> Bearer {
        Bearer {
            realm: "https://h/t".into(),
            service: Some(service.into()),
            scope: scope.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn scopes_of_registries() {
        for (registry, scope, want) in [
            ("docker.io", Some("repository:library/x:pull"), "repository:library/x:pull"),
            ("docker.io", None, "repository:a/b:pull"),
            ("docker.io", Some(""), "repository:a/b:pull"),
            ("public.ecr.aws", Some("aws"), "aws"),
            ("public.ecr.aws", None, "aws"),
            ("h", Some("repository:a:metadata_read"), "repository:a:metadata_read"),
            ("h", Some("repository:x/a/b:pull,push,delete"), "repository:x/a/b:pull"),
            ("h", Some("repository:h:5000/a:*"), "repository:h:5000/a:pull"),
            ("h", Some("registry:catalog:*"), "repository:a/b:pull"),
            (
                "h",
                Some("repository:b:pull repository:a:pull repository:b:push"),
                "repository:a:pull repository:b:pull",
            ),
        ] {
            let (registry, repository) = (registry.parse().unwrap(), "a/b".parse().unwrap());
            assert_eq!(scopes(&bearer("s", scope), &registry, &repository).join(" "), want, "{scope:?}");
        }
    }

    #[test]
    fn keys_share_what_can_be_shared() {
        let key =
            |service: &str, scope: &str, who| TokenKey::new(&bearer(service, None), &[scope.to_owned()], who);
        assert_eq!(key("ghcr.io", "a", None), key("ghcr.io", "b", None));
        assert_ne!(key("ghcr.io", "a", Some("me")), key("ghcr.io", "b", Some("me")));
        assert_ne!(key("quay.io", "a", None), key("quay.io", "b", None));
        assert_ne!(key("quay.io", "a", None), key("quay.io", "a", Some("me")));
    }

    #[test]
    fn requests() {
        let scopes = ["repository:a/b:pull".to_owned(), "x".to_owned()];
        let realm = || "https://h/t?p=1".parse::<Url>().unwrap();
        let anonymous = TokenRequest::new(realm(), Some("s s"), &scopes, Grant::Anonymous);
        let url = "https://h/t?p=1&service=s+s&scope=repository%3Aa%2Fb%3Apull&scope=x";
        assert_eq!(anonymous.url.as_str(), url);
        assert!(anonymous.authorization.is_none() && anonymous.form.is_none());

        let secret = Secret::from("p:w&");
        let password = TokenRequest::new(realm(), Some("s s"), &scopes, Grant::Password("u", &secret));
        assert_eq!(password.url.as_str(), url);
        assert_eq!(password.authorization.unwrap().expose(), "Basic dTpwOncm");

        let identity = TokenRequest::new(realm(), None, &scopes, Grant::Identity(&secret));
        assert_eq!(identity.url.as_str(), "https://h/t?p=1");
        assert_eq!(
            identity.form.unwrap().expose(),
            "grant_type=refresh_token&client_id=talmirror&scope=repository%3Aa%2Fb%3Apull+x&refresh_token=p%3Aw%26"
        );
    }

    #[test]
    fn answers_have_a_life() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (body, value, life) in [
            (r#"{"token":"t","access_token":"a","expires_in":300}"#, "t", 300),
            (r#"{"access_token":"a"}"#, "a", 60),
            (r#"{"token":"","access_token":"a","expires_in":null}"#, "a", 60),
            (r#"{"token":"t","expires_in":"300"}"#, "t", 300),
            (r#"{"token":"t","expires_in":300.5}"#, "t", 300),
            (r#"{"token":"t","expires_in":0}"#, "t", 60),
            (r#"{"token":"t","expires_in":-5}"#, "t", 60),
            (r#"{"token":"t","expires_in":1e300}"#, "t", 86400),
            (r#"{"token":"t","expires_in":[]}"#, "t", 60),
            (r#"{"token":"t","expires_in":300,"issued_at":"2025-12-31T23:58:20Z"}"#, "t", 200),
            (r#"{"token":"t","expires_in":300,"issued_at":"2025-12-31T23:50:00Z"}"#, "t", 300),
            (r#"{"token":"t","expires_in":300,"issued_at":"2026-01-01T01:00:00Z"}"#, "t", 300),
            (r#"{"token":"t","expires_in":300,"issued_at":"yesterday"}"#, "t", 300),
            (r#"{"token":"t","expires_in":300,"issued_at":7}"#, "t", 300),
        ] {
            let token = Token::parse(body.as_bytes(), now).unwrap();
            assert_eq!(token.authorization().expose(), &format!("Bearer {value}"), "{body}");
            let at = |seconds: f64| now.checked_add(Duration::from_secs_f64(seconds)).unwrap();
            let life = f64::from(life);
            assert!(!token.is_expired(at(life - 1.0)) && token.is_expired(at(life + 1.0)), "{body}");
            assert!(!token.wants_refresh(at(life * 0.8 - 1.0)) && token.wants_refresh(at(life * 0.8 + 1.0)));
        }
    }

    #[test]
    fn answers_without_a_token() {
        let error =
            |body: &str| Token::parse(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert_eq!(error("{}"), "the answer has no token");
        assert_eq!(error("<html>"), "the answer with the token cannot be read");
        assert_eq!(error(r#"{"token":7}"#), "the answer with the token cannot be read");
        assert_eq!(error(r#"{"token":"a\r\nX: y"}"#), "the token has characters that a token cannot have");
        assert_eq!(
            error(&format!(r#"{{"token":"{}"}}"#, "x".repeat(LONGEST_TOKEN + 1))),
            "the answer with the token is too large"
        );
        assert_eq!(error(&" ".repeat(LARGEST_ANSWER + 1)), "the answer with the token is too large");
        let shown = format!("{:?}", Token::parse(br#"{"token":"hunter2"}"#, Timestamp::UNIX_EPOCH).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    proptest! {
        #[test]
        fn never_panics(body in "\\PC{0,60}|\\{\"token\":\"t\",\"expires_in\":-?[0-9]{1,30}(e[0-9]{1,3})?\\}") {
            let _ = Token::parse(body.as_bytes(), Timestamp::MAX).is_ok();
        }
    }
}
