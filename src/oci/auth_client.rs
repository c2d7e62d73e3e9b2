#![expect(clippy::disallowed_methods, reason = "compares tokens with the clock")]

use std::sync::PoisonError;

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use jiff::Timestamp;
use url::Url;

use super::ask::Ask;
use super::challenge::{Bearer, Challenge};
use super::client::RegistryClient;
use super::credentials::Credential;
use super::fault::{ClientError, CredentialFault, Fault, Who};
use super::http_client::Answer;
use super::realm::check_realm;
use super::token::{Grant, Token, TokenKey, TokenRequest, basic, scopes};
use crate::secret::Secret;

/// The largest answer of a token server that is read.
const TOKEN_ANSWER: usize = 64 * 1024;

/// How a registry wants to be asked.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Basic,
    Bearer {
        challenge: Bearer,
        /// Whether the scope names the repository, so that another one needs another.
        by_repository: bool,
    },
}

/// What goes with a request.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) header: Secret<String>,
    pub(super) how: How,
}

#[derive(Clone, Debug)]
pub(super) enum How {
    Basic,
    Own,
    Token(TokenKey),
}

impl RegistryClient {
    pub(super) fn credential(&self) -> Result<Option<Credential>, Fault> {
        match self.credentials.as_ref().map(|file| file.get(&self.hosts)).transpose() {
            // Of several endpoints, those are asked with credentials that have some.
            Err(Fault::Credentials { why: CredentialFault::Missing { .. }, .. }) if !self.only => Ok(None),
            found => found,
        }
    }

    /// Returns what goes with the first try of a request, as the registry wanted it last time.
    pub(super) async fn prepared(
        &self,
        ask: &Ask<'_>,
        credential: Option<&Credential>,
    ) -> Result<Option<Shown>, ClientError> {
        if let Some(Credential::Token(token)) = credential {
            let header = Secret::new(format!("Bearer {}", token.expose()));
            return Ok(Some(Shown { header, how: How::Own }));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (known, credential) {
            (Some(Known::Basic), Some(Credential::Password { user, password })) => {
                Ok(Some(Shown { header: basic(user, password), how: How::Basic }))
            }
            (Some(Known::Bearer { mut challenge, by_repository }), _) => {
                if by_repository {
                    challenge.scope = None;
                }
                self.with_token(ask, challenge, credential).await.map(Some)
            }
            (None | Some(Known::Basic), _) => Ok(None),
        }
    }

    /// Returns what meets the challenge of an answer.
    pub(super) async fn meet(
        &self,
        ask: &Ask<'_>,
        answer: Answer,
        credential: Option<&Credential>,
        used: Option<&Shown>,
    ) -> Result<Shown, ClientError> {
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<Challenge> =
            headers.filter_map(|value| value.to_str().ok()).flat_map(Challenge::parse_all).collect();
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Some(bearer.clone()),
            Challenge::Basic { .. } | Challenge::Other(_) => None,
        });
        let wants_basic = challenges.iter().any(|challenge| matches!(challenge, Challenge::Basic { .. }));
        let denied = async |answer: Answer, who: Who| {
            let url = answer.url().clone();
            Fault::Denied { who, status: 401, said: answer.said().await }.at(&url)
        };
        match (used.map(|used| &used.how), bearer, credential) {
            // What is as it was given cannot be renewed here.
            (Some(How::Own), _, _) => Err(denied(answer, Who::Unknown).await),
            (_, Some(bearer), _) => {
                if let Some(Shown { header, how: How::Token(key) }) = used {
                    self.tokens.forget(key, header);
                }
                // Its body is short; a connection whose body is left unread cannot be used again.
                let _ = answer.said().await;
                let pass = self.with_token(ask, bearer.clone(), credential).await?;
                self.remember(ask, bearer);
                Ok(pass)
            }
            (Some(How::Basic), None, _) => Err(denied(answer, Who::Unknown).await),
            (_, None, Some(Credential::Password { user, password })) if wants_basic => {
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known::Basic);
                Ok(Shown { header: basic(user, password), how: How::Basic })
            }
            (_, None, Some(_)) => Err(denied(answer, Who::Unknown).await),
            (_, None, None) => Err(denied(answer, Who::Anonymous).await),
        }
    }

    /// Keeps in mind how the registry wants to be asked.
    fn remember(&self, ask: &Ask<'_>, challenge: Bearer) {
        let Some((repository, _)) = ask.object else { return };
        let usual = format!("repository:{}:pull", self.endpoint.repository(repository));
        let by_repository = match challenge.scope.as_deref() {
            None => true,
            Some(scope) if scope == usual => true,
            // Which repository it is that another one's scope names cannot be told.
            Some(scope) if scope.contains("repository:") => return,
            Some(_) => false,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Known::Bearer { challenge, by_repository });
    }

    /// Returns a token that a challenge asks for.
    async fn with_token(
        &self,
        ask: &Ask<'_>,
        challenge: Bearer,
        credential: Option<&Credential>,
    ) -> Result<Shown, ClientError> {
        let root = self.endpoint.root();
        let realm = check_realm(&challenge.realm, root, self.reach, &[]);
        let realm = realm.map_err(|refused| Fault::from(refused).at(root))?;
        let scopes = match ask.object {
            Some((repository, _)) => {
                scopes(&challenge, &self.registry, &self.endpoint.repository(repository))
            }
            None => Vec::new(),
        };
        let id = credential.map(Credential::id);
        let key = TokenKey::new(&challenge, &scopes, id.as_deref());
        let fetch = self.fetch_token(realm, challenge.service.as_deref(), &scopes, credential);
        let token = self.tokens.get(&key, fetch).await?;
        Ok(Shown { header: token.authorization(), how: How::Token(key) })
    }

    async fn fetch_token(
        &self,
        realm: Url,
        service: Option<&str>,
        scopes: &[String],
        credential: Option<&Credential>,
    ) -> Result<Token, ClientError> {
        let grant = match credential {
            Some(Credential::Password { user, password }) => Grant::Password(user, password),
            Some(Credential::Identity { token, .. }) => Grant::Identity(token),
            Some(Credential::Token(_)) | None => Grant::Anonymous,
        };
        let mut answer = self.ask_for_token(TokenRequest::new(realm.clone(), service, scopes, grant)).await?;
        // Some servers know no POST, or do not know it for this kind of token (containerd `authorizer.go` does the same).
        if let (Some(Credential::Identity { user, token }), 400 | 401 | 404 | 405) =
            (credential, answer.status())
        {
            let grant = Grant::Password(user, token);
            answer = self.ask_for_token(TokenRequest::new(realm, service, scopes, grant)).await?;
        }
        let who = if credential.is_some() { Who::Unknown } else { Who::Anonymous };
        let url = answer.url().clone();
        match answer.status() {
            200 => Token::parse(&answer.bytes(TOKEN_ANSWER).await?, Timestamp::now())
                .map_err(|error| Fault::Token(error.to_string()).at(&url)),
            // What the token server does not like is the credentials or the scope.
            400 => Err(Fault::Denied { who, status: 400, said: answer.said().await }.at(&url)),
            401 | 403 | 429 | 500.. => Err(Self::error(answer, who).await),
            // A token server that is not there is not an object that is not there.
            status => Err(Fault::Token(format!("it answers {status}")).at(&url)),
        }
    }

    async fn ask_for_token(&self, request: TokenRequest) -> Result<Answer, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let TokenRequest { url, authorization, form } = request;
        let method = if form.is_some() { http::Method::POST } else { http::Method::GET };
        if form.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let form = form.map(|form| form.expose().clone());
        self.follow(method, url, headers, authorization.as_ref(), form).await
    }
}

/// Returns as whom a registry was asked.
pub(super) fn who(pass: Option<&Shown>) -> Who {
    match pass.map(|pass| &pass.how) {
        None => Who::Anonymous,
        Some(How::Basic | How::Own) => Who::Known,
        Some(How::Token(key)) if key.is_anonymous() => Who::Anonymous,
        Some(How::Token(_)) => Who::Known,
    }
}
