use std::sync::{Arc, Mutex, PoisonError};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use jiff::Timestamp;
use url::Url;

use super::address::Reach;
use super::challenge::{Bearer, Challenge};
use super::credential_file::CredentialFile;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::fault::{ClientError, CredentialFault, Fault, Who};
use super::http_client::{Answer, Http, Outgoing};
use super::range::Range;
use super::ratelimit::retry_after;
use super::realm::check_realm;
use super::redirect::{Pass, Redirect, follow};
use super::route::Method;
use super::token::{Grant, Token, TokenKey, TokenRequest, basic, scopes};
use super::token_client::Tokens;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, RegistryHost, Repository};
use crate::secret::Secret;

/// How often a request is sent: as it is, with a token that was at hand, with a new one.
const ATTEMPTS: usize = 3;
/// The largest answer of a token server that is read.
const TOKEN_ANSWER: usize = 64 * 1024;

/// A registry at one endpoint: challenges are met, redirects followed, and nothing is dialled that may not be.
///
/// Credentials and tokens go to the endpoint's own origin and, for a token, to its token server; never to where a
/// redirect leads.
#[derive(Debug)]
pub struct RegistryClient {
    http: Http,
    registry: RegistryHost,
    endpoint: Endpoint,
    /// What redirects and token servers may lead to.
    reach: Reach,
    credentials: Option<Arc<CredentialFile>>,
    /// The hosts that credentials for this endpoint may be under.
    hosts: Vec<String>,
    /// Whether this is the one endpoint of its registry.
    only: bool,
    tokens: Tokens,
    /// How the registry wanted to be asked last, so that the next request need not be sent twice.
    known: Mutex<Option<Known>>,
}

/// What is asked of a registry.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// What of it; [`None`] is whether it is there.
    pub object: Option<(&'a Repository, &'a str)>,
    /// The query of the URL.
    pub query: Vec<(String, String)>,
    /// Media types that will do.
    pub accept: Option<&'a str>,
    /// A part of it.
    pub part: Option<(Range, Option<String>)>,
}

impl<'a> Ask<'a> {
    /// Asks for something in a repository, such as `manifests/latest`.
    pub fn new(method: Method, repository: &'a Repository, what: &'a str) -> Self {
        Self { method, object: Some((repository, what)), query: Vec::new(), accept: None, part: None }
    }

    /// Asks whether a registry is there, and admits us.
    pub fn ping() -> Self {
        Self { method: Method::Get, object: None, query: Vec::new(), accept: None, part: None }
    }

    /// Says which media types will do.
    #[must_use]
    pub fn accepting(mut self, accept: &'a str) -> Self {
        self.accept = Some(accept);
        self
    }

    /// Asks for a part, if the object still has this entity tag.
    #[must_use]
    pub fn part(mut self, range: Range, etag: Option<String>) -> Self {
        self.part = Some((range, etag));
        self
    }
}

/// How a registry let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It asked for nothing.
    Open,
    /// It gives tokens to anybody.
    Anonymous,
    /// It took the credentials.
    Credentials,
}

impl Login {
    /// Returns the word for tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Anonymous => "anonymous",
            Self::Credentials => "credentials",
        }
    }
}

/// How a registry wants to be asked.
#[derive(Clone, Debug)]
enum Known {
    Basic,
    Bearer {
        challenge: Bearer,
        /// Whether the scope names the repository, so that another one needs another.
        by_repository: bool,
    },
}

/// What goes with a request.
#[derive(Clone, Debug)]
struct Shown {
    header: Secret<String>,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Basic,
    Own,
    Token(TokenKey),
}

impl RegistryClient {
    /// Makes a client. `reach` says what redirects and token servers may lead to; `only` whether this is the one
    /// endpoint of its registry, so that credentials under the registry's name are meant for it.
    pub fn new(
        http: Http,
        registry: RegistryHost,
        endpoint: Endpoint,
        reach: Reach,
        credentials: Option<Arc<CredentialFile>>,
        only: bool,
    ) -> Self {
        let mut hosts = vec![endpoint.host()];
        if only && !hosts.iter().any(|host| host == registry.as_str()) {
            // Docker Hub's API is under another name than Docker Hub, and the file has only one of the two.
            if !(registry.as_str() == DOCKER_HUB && hosts.iter().any(|host| host == DOCKER_HUB_API)) {
                hosts.push(registry.to_string());
            }
        }
        let (tokens, known) = (Tokens::default(), Mutex::default());
        Self { http, registry, endpoint, reach, credentials, hosts, only, tokens, known }
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns whether it has credentials to show.
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Sends a request and waits for the header of an answer that is a success, or 416 to a request for a part.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Answer, ClientError> {
        let url = match ask.object {
            None => self.endpoint.root().clone(),
            Some((repository, what)) => self.endpoint.object(repository, what),
        };
        let credential = self.credential().map_err(|fault| fault.at(&url))?;
        let mut pass = self.prepared(ask, credential.as_ref()).await?;
        let mut resolved_again = false;
        for attempt in 1.. {
            let answer = self.hop(ask, url.clone(), pass.as_ref().map(|pass| &pass.header)).await?;
            match answer.status() {
                401 if !answer.strayed && attempt < ATTEMPTS => {
                    pass = Some(self.meet(ask, answer, credential.as_ref(), pass.as_ref()).await?);
                }
                // A signed URL that somebody kept for too long: the registry gives another one.
                401 | 403 | 410 if answer.strayed && !resolved_again => resolved_again = true,
                200 | 206 | 416 => return Self::plain(answer),
                _ => return Err(Self::error(answer, who(pass.as_ref())).await),
            }
        }
        Err(Fault::Answer("it wants to be asked again and again".to_owned()).at(&url))
    }

    /// Asks whether the registry is there, and logs in as far as it wants that.
    pub async fn login(&self) -> Result<Login, ClientError> {
        let (ask, url) = (Ask::ping(), self.endpoint.root().clone());
        let credential = self.credential().map_err(|fault| fault.at(&url))?;
        let own = match &credential {
            Some(Credential::Token(token)) => {
                let header = Secret::new(format!("Bearer {}", token.expose()));
                Some(Shown { header, how: How::Own })
            }
            Some(Credential::Password { .. } | Credential::Identity { .. }) | None => None,
        };
        let answer = self.hop(&ask, url.clone(), own.as_ref().map(|shown| &shown.header)).await?;
        match answer.status() {
            200 if own.is_some() => return Ok(Login::Credentials),
            200 => return Ok(Login::Open),
            401 => {}
            _ => return Err(Self::error(answer, who(own.as_ref())).await),
        }
        let shown = self.meet(&ask, answer, credential.as_ref(), own.as_ref()).await?;
        let answer = self.hop(&ask, url, Some(&shown.header)).await?;
        match (answer.status(), &credential) {
            (200, Some(_)) => Ok(Login::Credentials),
            // What a token without a scope allows differs; that nobody's are given is all that is to be known.
            (200 | 401 | 403 | 404 | 405, None) => Ok(Login::Anonymous),
            _ => Err(Self::error(answer, Who::Unknown).await),
        }
    }

    /// Takes an answer whose bytes are those of the object.
    fn plain(answer: Answer) -> Result<Answer, ClientError> {
        let coding = answer.header(http::header::CONTENT_ENCODING).unwrap_or("identity").trim();
        if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
            return Ok(answer);
        }
        // Digest and length would be those of the compressed bytes, or of none at all.
        let fault = Fault::Answer("it answers compressed, though it was asked not to".to_owned());
        Err(answer.fault(fault))
    }

    async fn error(answer: Answer, who: Who) -> ClientError {
        let (status, url, strayed) = (answer.status(), answer.url().clone(), answer.strayed);
        let pause = answer.header(RETRY_AFTER).and_then(|pause| retry_after(pause, Timestamp::now()));
        let fault = match status {
            404 => Fault::NotFound(answer.said().await),
            // Where a redirect leads, nobody knows our credentials, so that they are not to blame.
            401 | 403 if strayed => Fault::Status { status, said: answer.said().await },
            401 | 403 => Fault::Denied { who, status, said: answer.said().await },
            429 => Fault::TooMany(pause),
            503 if pause.is_some() => Fault::TooMany(pause),
            _ => Fault::Status { status, said: answer.said().await },
        };
        fault.at(&url)
    }

    /// Sends a request and follows redirects.
    async fn hop(
        &self,
        ask: &Ask<'_>,
        mut url: Url,
        authorization: Option<&Secret<String>>,
    ) -> Result<Answer, ClientError> {
        let method = match ask.method {
            Method::Get => http::Method::GET,
            Method::Head => http::Method::HEAD,
        };
        for (name, value) in &ask.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        insert(&mut headers, ACCEPT, ask.accept, &url)?;
        if let Some((range, etag)) = &ask.part {
            insert(&mut headers, RANGE, Some(&range.to_string()), &url)?;
            insert(&mut headers, IF_RANGE, etag.as_deref(), &url)?;
        }
        self.follow(method, url, headers, authorization, None).await
    }

    async fn follow(
        &self,
        method: http::Method,
        url: Url,
        mut headers: HeaderMap,
        authorization: Option<&Secret<String>>,
        mut form: Option<String>,
    ) -> Result<Answer, ClientError> {
        if let Some(authorization) = authorization {
            let value = HeaderValue::from_str(authorization.expose());
            let mut value = value.map_err(|_| {
                Fault::Answer("the credentials have characters that no header has".to_owned()).at(&url)
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (mut next, mut strayed) = (url, false);
        for before in 0.. {
            let outgoing = Outgoing {
                method: method.clone(),
                url: next.clone(),
                headers: headers.clone(),
                form: form.take(),
            };
            let mut answer = self.http.send(self.reach_of(&next), outgoing).await?;
            if !matches!(answer.status(), 301 | 302 | 303 | 307 | 308) || method == http::Method::POST {
                answer.strayed = strayed;
                return Ok(answer);
            }
            let leads = follow(&next, answer.header(LOCATION), before, self.reach);
            let Redirect { url, credentials } = leads.map_err(|refused| answer.fault(refused.into()))?;
            match credentials {
                Pass::Keep => {}
                Pass::Strip => {
                    headers.remove(AUTHORIZATION);
                    strayed = true;
                }
            }
            // Its body is short; a connection whose body is left unread cannot be used again.
            let _ = answer.said().await;
            next = url;
        }
        Err(Fault::Answer("it redirects again and again".to_owned()).at(&next))
    }

    /// Returns what a URL may be at: the configured endpoint is meant, wherever it is; everything else is checked.
    fn reach_of(&self, url: &Url) -> Reach {
        if self.endpoint.is_own(url) { self.endpoint.own_reach(self.reach) } else { self.reach }
    }

    fn credential(&self) -> Result<Option<Credential>, Fault> {
        match self.credentials.as_ref().map(|file| file.get(&self.hosts)).transpose() {
            // Of several endpoints, those are asked with credentials that have some.
            Err(Fault::Credentials { why: CredentialFault::Missing { .. }, .. }) if !self.only => Ok(None),
            found => found,
        }
    }

    /// Returns what goes with the first try of a request, as the registry wanted it last time.
    async fn prepared(
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
    async fn meet(
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
fn who(pass: Option<&Shown>) -> Who {
    match pass.map(|pass| &pass.how) {
        None => Who::Anonymous,
        Some(How::Basic | How::Own) => Who::Known,
        Some(How::Token(key)) if key.is_anonymous() => Who::Anonymous,
        Some(How::Token(_)) => Who::Known,
    }
}

fn insert(
    headers: &mut HeaderMap,
    name: http::HeaderName,
    value: Option<&str>,
    url: &Url,
) -> Result<(), ClientError> {
    if let Some(value) = value {
        let value = HeaderValue::from_str(value);
        let value = value.map_err(|_| Fault::Answer(format!("`{name}` cannot be sent")).at(url))?;
        headers.insert(name, value);
    }
    Ok(())
}
