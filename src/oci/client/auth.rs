#![expect(clippy::disallowed_methods, reason = "compares tokens with the clock")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use jiff::Timestamp;
use url::Url;

use super::address_policy::AddressPolicy;
use super::credential_file::CredentialSource;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::error::{AskedAs, ClientError, CredentialFileError, RequestError};
use super::hedging::Hedging;
use super::http::Answer;
use super::realm::{Realm, RealmRefused, TokenServers, check_realm};
use super::request::RegistryRequest;
use super::sender::Sender;
use super::token::{Grant, Token, TokenKey, TokenRequest, basic, scopes};
use super::token_cache::TokenCache;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, RegistryHost};
use crate::oci::protocol::{Bearer, Challenge};
use crate::secret::Secret;

/// The largest answer of a token server that is read.
const TOKEN_ANSWER: usize = 64 * 1024;

/// When a token is asked for again: all requests for a repository wait for it.
const HEDGING: Hedging = Hedging { first: Duration::from_secs(3), longest: Duration::from_secs(8), most: 6 };

/// How a registry wants to be asked.
#[derive(Clone, Debug)]
pub(super) enum CachedChallenge {
    Basic,
    Bearer {
        challenge: Bearer,
        /// Whether the scope names the repository, so that another one needs another.
        by_repository: bool,
    },
}

/// What goes with a request.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    pub(super) header: Secret<String>,
    pub(super) how: Scheme,
}

#[derive(Clone, Debug)]
pub(super) enum Scheme {
    Basic,
    Own,
    Token(TokenKey),
}

/// Meets the challenges of one registry at one endpoint, and remembers how it wants to be asked.
#[derive(Debug)]
pub(super) struct Authenticator {
    registry: RegistryHost,
    endpoint: Endpoint,
    policy: AddressPolicy,
    credentials: Option<CredentialSource>,
    /// The hosts that credentials for this endpoint may be under.
    hosts: Vec<String>,
    /// Whether this is the one endpoint of its registry.
    only: bool,
    /// Token servers that the operator names besides those that are the registry's by their name.
    token_servers: TokenServers,
    tokens: TokenCache,
    /// How the registry wanted to be asked last, so that the next request need not be sent twice.
    known: Mutex<Option<CachedChallenge>>,
}

impl Authenticator {
    pub(super) fn new(
        registry: RegistryHost,
        endpoint: Endpoint,
        policy: AddressPolicy,
        credentials: Option<CredentialSource>,
        only: bool,
        token_servers: TokenServers,
    ) -> Self {
        let mut hosts = vec![endpoint.host()];
        if only && !hosts.iter().any(|host| host == registry.as_str()) {
            // Docker Hub's API is under another name than Docker Hub, and the file has only one of the two.
            if !(registry.as_str() == DOCKER_HUB && hosts.iter().any(|host| host == DOCKER_HUB_API)) {
                hosts.push(registry.to_string());
            }
        }
        let (tokens, known) = (TokenCache::default(), Mutex::default());
        Self { registry, endpoint, policy, credentials, hosts, only, token_servers, tokens, known }
    }

    /// Returns whether there are credentials to show.
    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn credential(&self) -> Result<Option<Credential>, RequestError> {
        match self.credentials.as_ref().map(|source| source.get(&self.hosts)).transpose() {
            // Of several endpoints, those are asked with credentials that have some.
            Err(RequestError::Credentials { why: CredentialFileError::Missing { .. }, .. }) if !self.only => {
                Ok(None)
            }
            found => found,
        }
    }

    /// Returns what goes with the first try of a request, as the registry wanted it last time.
    pub(super) async fn prepare(
        &self,
        sender: &Sender,
        request: &RegistryRequest<'_>,
        credential: Option<&Credential>,
    ) -> Result<Option<Presented>, ClientError> {
        if let Some(Credential::Token(token)) = credential {
            let header = Secret::new(format!("Bearer {}", token.expose()));
            return Ok(Some(Presented { header, how: Scheme::Own }));
        }
        let known = self.known().clone();
        match (known, credential) {
            (Some(CachedChallenge::Basic), Some(Credential::Password { user, password })) => {
                Ok(Some(Presented { header: basic(user, password), how: Scheme::Basic }))
            }
            (Some(CachedChallenge::Bearer { mut challenge, by_repository }), _) => {
                if by_repository {
                    challenge.scope = None;
                }
                self.with_token(sender, request, challenge, credential).await.map(Some)
            }
            (None | Some(CachedChallenge::Basic), _) => Ok(None),
        }
    }

    /// Returns how the registry wanted to be asked last.
    pub(super) fn remembered(&self) -> Option<CachedChallenge> {
        self.known().clone()
    }

    /// Forgets how the registry wanted to be asked.
    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    /// Returns what meets the challenge of an answer.
    pub(super) async fn answer(
        &self,
        sender: &Sender,
        request: &RegistryRequest<'_>,
        answer: Answer,
        credential: Option<&Credential>,
        used: Option<&Presented>,
    ) -> Result<Presented, ClientError> {
        let challenges = challenges(&answer);
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Some(bearer.clone()),
            Challenge::Basic { .. } | Challenge::Other(_) => None,
        });
        let wants_basic = challenges.iter().any(|challenge| matches!(challenge, Challenge::Basic { .. }));
        let denied = async |answer: Answer, asked_as: AskedAs| {
            let url = answer.url().clone();
            RequestError::Denied { asked_as, status: 401, remote_errors: answer.remote_errors().await }
                .at(&url)
        };
        match (used.map(|used| &used.how), bearer, credential) {
            // What is as it was given cannot be renewed here.
            (Some(Scheme::Own), _, _) => Err(denied(answer, AskedAs::Rejected).await),
            (_, Some(bearer), _) => {
                if let Some(Presented { header, how: Scheme::Token(key) }) = used {
                    self.tokens.forget(key, header);
                }
                answer.drain().await;
                let pass = self.with_token(sender, request, bearer.clone(), credential).await?;
                self.remember(request, bearer);
                Ok(pass)
            }
            (Some(Scheme::Basic), None, _) => Err(denied(answer, AskedAs::Rejected).await),
            (_, None, Some(Credential::Password { user, password })) if wants_basic => {
                *self.known() = Some(CachedChallenge::Basic);
                Ok(Presented { header: basic(user, password), how: Scheme::Basic })
            }
            (_, None, Some(_)) => Err(denied(answer, AskedAs::Rejected).await),
            (_, None, None) => Err(denied(answer, AskedAs::Anonymous).await),
        }
    }

    /// Returns what meets the challenge of another registry, to which this one redirects: an anonymous token, if that
    /// is what it asks for. Credentials are for this registry only.
    pub(super) async fn answer_elsewhere(
        &self,
        sender: &Sender,
        request: &RegistryRequest<'_>,
        answer: &Answer,
    ) -> Result<Option<Presented>, ClientError> {
        let bearer = challenges(answer).into_iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Some(bearer),
            Challenge::Basic { .. } | Challenge::Other(_) => None,
        });
        match bearer {
            Some(bearer) => self.token_at(sender, request, bearer, None, answer.url()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps in mind how the registry wants to be asked.
    fn remember(&self, request: &RegistryRequest<'_>, challenge: Bearer) {
        let Some((repository, _)) = request.object else { return };
        let usual = format!("repository:{}:pull", self.endpoint.repository(repository));
        let by_repository = match challenge.scope.as_deref() {
            None => true,
            Some(scope) if scope == usual => true,
            // Which repository it is that another one's scope names cannot be told.
            Some(scope) if scope.contains("repository:") => return,
            Some(_) => false,
        };
        *self.known() = Some(CachedChallenge::Bearer { challenge, by_repository });
    }

    /// Returns a token that a challenge asks for.
    async fn with_token(
        &self,
        sender: &Sender,
        request: &RegistryRequest<'_>,
        challenge: Bearer,
        credential: Option<&Credential>,
    ) -> Result<Presented, ClientError> {
        self.token_at(sender, request, challenge, credential, self.endpoint.root()).await
    }

    /// Returns a token that a challenge at a URL asks for.
    async fn token_at(
        &self,
        sender: &Sender,
        request: &RegistryRequest<'_>,
        challenge: Bearer,
        credential: Option<&Credential>,
        at: &Url,
    ) -> Result<Presented, ClientError> {
        let realm = check_realm(&challenge.realm, at, self.policy, &self.token_servers);
        let realm = realm.map_err(|refused| RequestError::from(refused).at(at))?;
        let scopes = match request.object {
            Some((repository, _)) => {
                scopes(&challenge, &self.registry, &self.endpoint.repository(repository))
            }
            None => Vec::new(),
        };
        let id = credential.map(Credential::id);
        let key = TokenKey::new(&challenge, &scopes, id.as_deref());
        let fetch = async {
            let fetched = fetch_token(sender, &realm, challenge.service.as_deref(), &scopes, credential);
            fetched.await.map_err(|error| stranger(error, &realm, at))
        };
        let token = self.tokens.get(&key, fetch).await?;
        Ok(Presented { header: token.authorization(), how: Scheme::Token(key) })
    }

    fn known(&self) -> MutexGuard<'_, Option<CachedChallenge>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch_token(
    sender: &Sender,
    realm: &Realm,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Token, ClientError> {
    let grant = match credential {
        Some(Credential::Password { user, password }) => Grant::Password(user, password),
        Some(Credential::Identity { token, .. }) => Grant::Identity(token),
        Some(Credential::Token(_)) | None => Grant::Anonymous,
    };
    let request =
        || ask_for_token(sender, realm.policy, TokenRequest::new(realm.url.clone(), service, scopes, grant));
    let mut answer = match grant {
        Grant::Anonymous | Grant::Password(..) => HEDGING.send(request, is_said).await?,
        // What is used up by the first request that comes in is not sent twice.
        Grant::Identity(_) => request().await?,
    };
    // Some servers know no POST, or do not know it for this kind of token (containerd `authorizer.go` does the same).
    if let (Some(Credential::Identity { user, token }), 400 | 401 | 404 | 405) = (credential, answer.status())
    {
        let grant = Grant::Password(user, token);
        let request = TokenRequest::new(realm.url.clone(), service, scopes, grant);
        answer = ask_for_token(sender, realm.policy, request).await?;
    }
    let asked_as = if credential.is_some() { AskedAs::Rejected } else { AskedAs::Anonymous };
    let url = answer.url().clone();
    match answer.status() {
        200 => Token::parse(&answer.bytes(TOKEN_ANSWER).await?, Timestamp::now())
            .map_err(|error| RequestError::Token(error.to_string()).at(&url)),
        // What the token server does not like is the credentials or the scope.
        400 => {
            let remote_errors = answer.remote_errors().await;
            Err(RequestError::Denied { asked_as, status: 400, remote_errors }.at(&url))
        }
        401 | 403 | 429 | 500.. => Err(answer.into_error(asked_as).await),
        // A token server that is not there is not an object that is not there.
        status => Err(RequestError::Token(format!("it answers {status}")).at(&url)),
    }
}

/// Says what to do where a foreign token server turned out to be outside of private networks.
fn stranger(error: ClientError, realm: &Realm, registry: &Url) -> ClientError {
    let is_realm = || Url::parse(&error.url).is_ok_and(|url| url.origin() == realm.url.origin());
    if !matches!(error.cause, RequestError::OtherNetwork(_)) || !is_realm() {
        return error;
    }
    let host = |url: &Url| url.host_str().unwrap_or_default().to_owned();
    let refused = RealmRefused::Stranger { realm: host(&realm.url), registry: host(registry) };
    RequestError::from(refused).at(registry)
}

/// Returns whether a token server has said what it has to say.
fn is_said(answer: &Result<Answer, ClientError>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status() < 500 && answer.status() != 429)
}

async fn ask_for_token(
    sender: &Sender,
    policy: AddressPolicy,
    request: TokenRequest,
) -> Result<Answer, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let TokenRequest { url, authorization, form } = request;
    let method = if form.is_some() { http::Method::POST } else { http::Method::GET };
    if form.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let form = form.map(|form| form.expose().clone());
    sender.send(method, url, policy, headers, authorization.as_ref(), form).await
}

impl CachedChallenge {
    /// Returns whether an answer names the same token server as this does.
    fn is_that_of(&self, answer: &Answer) -> bool {
        let Self::Bearer { challenge, .. } = self else { return false };
        challenges(answer).iter().any(|other| match other {
            Challenge::Bearer(other) => other.realm == challenge.realm && other.service == challenge.service,
            Challenge::Basic { .. } | Challenge::Other(_) => false,
        })
    }
}

/// Returns whether an answer has a challenge, and that is not the one that is known.
pub(super) fn is_another(known: Option<&CachedChallenge>, answer: &Answer) -> bool {
    !challenges(answer).is_empty() && known.is_none_or(|known| !known.is_that_of(answer))
}

/// Returns every challenge of an answer.
pub(super) fn challenges(answer: &Answer) -> Vec<Challenge> {
    let headers = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    headers.filter_map(|value| value.to_str().ok()).flat_map(Challenge::parse_all).collect()
}

/// Returns as whom a registry was asked.
pub(super) fn asked_as(pass: Option<&Presented>) -> AskedAs {
    match pass.map(|pass| &pass.how) {
        None => AskedAs::Anonymous,
        Some(Scheme::Basic | Scheme::Own) => AskedAs::Authenticated,
        Some(Scheme::Token(key)) if key.is_anonymous() => AskedAs::Anonymous,
        Some(Scheme::Token(_)) => AskedAs::Authenticated,
    }
}
