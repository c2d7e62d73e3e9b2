use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE,
};
use url::Url;

use super::address_policy::AddressPolicy;
use super::auth::{Authenticator, Presented, Scheme, asked_as, challenges, is_another};
use super::credential_file::CredentialSource;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::error::{AskedAs, ClientError, RequestError, RequestErrorKind};
use super::http::{Answer, Coding, Http};
use super::other_hosts::PausedHost;
use super::realm::TokenServers;
use super::request::{AfterAnswer, Decodes, LoggedIn, Login, RegistryRequest};
use super::sender::Sender;
use super::token::basic;
use crate::image::RegistryHost;
use crate::oci::protocol::{Challenge, Method};
use crate::secret::Secret;

/// The header with which a registry says that it is one (distribution's API).
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// What Harbor's challenges call it (Harbor `src/core/service/token/creator.go`).
const HARBOR_SERVICE: &str = "harbor-registry";
/// How often a request is sent: as it is, with a token that was at hand, with a new one.
const ATTEMPTS: usize = 3;

/// A registry at one endpoint: challenges are met, redirects followed, and nothing is dialled that may not be.
///
/// Credentials and tokens go to the endpoint's own origin and, for a token, to its token server; never to where a
/// redirect leads.
#[derive(Debug)]
pub struct RegistryClient {
    sender: Sender,
    authenticator: Authenticator,
}

impl RegistryClient {
    /// Makes a client. `policy` says what redirects and token servers may lead to; `only` whether this is the one
    /// endpoint of its registry, so that credentials under the registry's name are meant for it; `token_servers` says
    /// which are meant besides the registry's own.
    pub fn new(
        http: Http,
        registry: RegistryHost,
        endpoint: Endpoint,
        policy: AddressPolicy,
        credentials: Option<CredentialSource>,
        only: bool,
        token_servers: TokenServers,
    ) -> Self {
        // Nodes of a cluster follow wherever it leads, and so does what asks as they do.
        let onward = match token_servers {
            TokenServers::Named(_) => AddressPolicy::OwnNetworks,
            TokenServers::AsChallenged => AddressPolicy::Anywhere,
        };
        let authenticator =
            Authenticator::new(registry, endpoint.clone(), policy, credentials, only, token_servers);
        let own_headers = HeaderMap::new();
        Self { sender: Sender { http, endpoint, policy, onward, own_headers }, authenticator }
    }

    /// Adds headers that requests to the endpoint itself have: they go nowhere else.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.sender.own_headers = headers;
        self
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.sender.endpoint
    }

    /// Asks again whatever was left alone.
    pub fn end_pauses(&self) {
        self.sender.http.end_pauses();
    }

    /// Returns the hosts to which this registry leads, and that are not asked now.
    pub fn paused_hosts(&self) -> Vec<PausedHost> {
        self.sender.http.paused_hosts(&self.sender.endpoint)
    }

    /// Returns whether it has credentials to show.
    pub fn has_credentials(&self) -> bool {
        self.authenticator.has_credentials()
    }

    /// Sends a request and waits for the header of an answer that is a success, or 416 to a request for a part.
    pub async fn send(&self, request: &RegistryRequest<'_>) -> Result<Answer, ClientError> {
        let url = match request.object {
            None => self.sender.endpoint.root().clone(),
            Some((repository, what)) => self.sender.endpoint.object(repository, what),
        };
        let credential = self.authenticator.credential().map_err(|error| error.at(&url))?;
        let challenge = self.authenticator.remembered();
        let mut refused = None;
        let mut pass = match self.authenticator.prepare(&self.sender, request, credential.as_ref()).await {
            Ok(pass) => pass,
            Err(error) if error.cause.kind() == RequestErrorKind::TooMany => return Err(error),
            // It may have another token server by now: asked without a token, it says.
            Err(error) => {
                refused = Some(error);
                None
            }
        };
        let mut resolved_again = false;
        let mut elsewhere = None;
        for attempt in 1.. {
            let answer = match &elsewhere {
                None => self.hop(request, url.clone(), pass.as_ref().map(|pass| &pass.header)).await?,
                Some((url, pass)) => self.hop_to(request, Url::clone(url), pass).await?,
            };
            // A registry may hide names from those who show no token: of what it answers to one, what it gives counts, and
            // that it has another token server.
            if !matches!(answer.status(), 200 | 206 | 416)
                && let Some(error) = refused.take()
            {
                if answer.status() != 401 || !is_another(challenge.as_ref(), &answer) {
                    return Err(error);
                }
                self.authenticator.forget();
            }
            match answer.status() {
                // Some registries are a redirect to another one, which wants a token of its own.
                401 if answer.left_origin && elsewhere.is_none() => {
                    let pass = self.authenticator.answer_elsewhere(&self.sender, request, &answer).await?;
                    elsewhere = pass.map(|pass| (answer.url().clone(), pass));
                    if elsewhere.is_none() {
                        if resolved_again {
                            return Err(answer.into_error(AskedAs::Anonymous).await);
                        }
                        resolved_again = true;
                    }
                }
                401 if !answer.left_origin && elsewhere.is_none() && attempt < ATTEMPTS => {
                    pass = Some(
                        self.authenticator
                            .answer(&self.sender, request, answer, credential.as_ref(), pass.as_ref())
                            .await?,
                    );
                }
                // A signed URL that has expired: the registry gives another one.
                401 | 403 | 410 if answer.left_origin && !resolved_again => resolved_again = true,
                200 | 206 | 416 => return Self::plain(request, answer),
                _ => return Err(answer.into_error(asked_as(pass.as_ref())).await),
            }
        }
        Err(RequestError::Answer("it asks for new credentials without end".to_owned()).at(&url))
    }

    /// Asks whether anything is there, without credentials; returns the status of the answer.
    pub async fn ping(&self) -> Result<u16, ClientError> {
        let url = self.sender.endpoint.root().clone();
        let answer = self.hop(&RegistryRequest::ping(), url, None).await?;
        let status = answer.status();
        answer.drain().await;
        Ok(status)
    }

    /// Asks whether the registry is there, and logs in as far as it wants that.
    ///
    /// Where it redirects to another registry, that one is asked, without credentials: they are for this one only.
    pub async fn login(&self) -> Result<LoggedIn, ClientError> {
        let (request, url) = (RegistryRequest::ping(), self.sender.endpoint.root().clone());
        let credential = self.authenticator.credential().map_err(|error| error.at(&url))?;
        let own = match &credential {
            Some(Credential::Token(token)) => {
                let header = Secret::new(format!("Bearer {}", token.expose()));
                Some(Presented { header, how: Scheme::Own })
            }
            Some(Credential::Password { .. } | Credential::Identity { .. }) | None => None,
        };
        let answer = self.hop(&request, url.clone(), own.as_ref().map(|shown| &shown.header)).await?;
        match answer.status() {
            200 => {
                let is_own = own.is_some() && !answer.left_origin;
                let login = led_to(&answer, if is_own { Login::Credentials } else { Login::Open });
                let url = answer.url().clone();
                if is_web_page(answer).await {
                    let problem = "it answers with a web page: this is not the URL of a registry's API";
                    return Err(RequestError::Answer(problem.to_owned()).at(&url));
                }
                return Ok(login);
            }
            401 if answer.left_origin => return self.login_elsewhere(&request, answer).await,
            401 => {}
            _ => return Err(answer.into_error(asked_as(own.as_ref())).await),
        }
        let shown = if let Some(shown) = harbors_basic(&answer, credential.as_ref()) {
            answer.drain().await;
            shown
        } else {
            let credential = credential.as_ref();
            self.authenticator.answer(&self.sender, &request, answer, credential, own.as_ref()).await?
        };
        let answer = self.hop(&request, url, Some(&shown.header)).await?;
        match (answer.status(), &credential) {
            (200, Some(_)) => Ok(led_to(&answer, Login::Credentials)),
            // What a token without a scope allows differs; that anonymous ones are given is all that is asked.
            (200 | 401 | 403 | 404 | 405, None) => Ok(led_to(&answer, Login::Anonymous)),
            _ => Err(answer.into_error(AskedAs::Rejected).await),
        }
    }

    /// Asks a Harbor whether it takes the password that it is shown; [`None`]: it is not a Harbor, or has no password.
    ///
    /// A pull does not tell: its token server gives a token whatever the password is, and where a project is public
    /// such a token is taken (Harbor 2.9.5, 2.12.4, 2.15.2).
    pub async fn harbor_takes_password(&self) -> Result<Option<bool>, ClientError> {
        let (request, url) = (RegistryRequest::ping(), self.sender.endpoint.root().clone());
        let credential = self.authenticator.credential().map_err(|error| error.at(&url))?;
        let answer = self.hop(&request, url.clone(), None).await?;
        let shown = (!answer.left_origin).then(|| harbors_basic(&answer, credential.as_ref())).flatten();
        answer.drain().await;
        let Some(shown) = shown else { return Ok(None) };
        let answer = self.hop(&request, url, Some(&shown.header)).await?;
        match answer.status() {
            200 => Ok(Some(true)),
            401 => Ok(Some(false)),
            _ => Err(answer.into_error(AskedAs::Authenticated).await),
        }
    }

    /// Meets the challenge of another registry, to which this one redirects.
    async fn login_elsewhere(
        &self,
        request: &RegistryRequest<'_>,
        answer: Answer,
    ) -> Result<LoggedIn, ClientError> {
        match self.authenticator.answer_elsewhere(&self.sender, request, &answer).await? {
            // It gives tokens to anyone, which is all that is asked.
            Some(_) => Ok(led_to(&answer, Login::Anonymous)),
            None => Err(answer.into_error(AskedAs::Anonymous).await),
        }
    }

    /// Takes an answer whose bytes are those of the object, or can be made so.
    fn plain(request: &RegistryRequest<'_>, answer: Answer) -> Result<Answer, ClientError> {
        match (answer.coding(), request.decodes) {
            // Some registries store what is compressed already as such, and others compress whatever is asked for.
            (Coding::Identity, _) | (Coding::Gzip, Decodes::Gzip) => Ok(answer),
            (Coding::Gzip, Decodes::Nothing) | (Coding::Other, _) => {
                let problem = "it answers compressed, though it was asked not to";
                Err(answer.failed(RequestError::Answer(problem.to_owned())))
            }
        }
    }

    /// Sends a request to where a redirect led, whose query is that URL's own.
    async fn hop_to(
        &self,
        request: &RegistryRequest<'_>,
        url: Url,
        pass: &Presented,
    ) -> Result<Answer, ClientError> {
        let request = RegistryRequest { query: Vec::new(), ..request.clone() };
        self.hop(&request, url, Some(&pass.header)).await
    }

    /// Sends a request and follows redirects.
    async fn hop(
        &self,
        request: &RegistryRequest<'_>,
        mut url: Url,
        authorization: Option<&Secret<String>>,
    ) -> Result<Answer, ClientError> {
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Head => http::Method::HEAD,
        };
        for (name, value) in &request.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match request.connection {
            AfterAnswer::Keep => {}
            AfterAnswer::Close => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
        }
        insert(&mut headers, ACCEPT, request.accept, &url)?;
        if let Some((range, etag)) = &request.part {
            insert(&mut headers, RANGE, Some(&range.to_string()), &url)?;
            insert(&mut headers, IF_RANGE, etag.as_deref(), &url)?;
        }
        self.sender.send(method, url, self.sender.policy, headers, authorization, None).await
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
        let value = value.map_err(|_| RequestError::Answer(format!("`{name}` cannot be sent")).at(url))?;
        headers.insert(name, value);
    }
    Ok(())
}

/// Returns how access was given by what answered, which may be another registry.
fn led_to(answer: &Answer, login: Login) -> LoggedIn {
    let url = answer.url();
    let is_root = url.path().trim_end_matches('/').ends_with("/v2");
    let leads_to = (answer.left_origin && is_root).then(|| Endpoint::new(url).ok()).flatten();
    LoggedIn { login, leads_to: leads_to.map(|endpoint| endpoint.to_string()) }
}

/// Returns the password as Basic credentials, where the challenge is Harbor's: a token of it proves nothing.
fn harbors_basic(answer: &Answer, credential: Option<&Credential>) -> Option<Presented> {
    let Some(Credential::Password { user, password }) = credential else { return None };
    let is_harbors = |challenge: &Challenge| match challenge {
        Challenge::Bearer(bearer) => bearer.service.as_deref() == Some(HARBOR_SERVICE),
        Challenge::Basic { .. } | Challenge::Other(_) => false,
    };
    let challenges = answer.status() == 401 && challenges(answer).iter().any(is_harbors);
    challenges.then(|| Presented { header: basic(user, password), how: Scheme::Basic })
}

/// Returns whether an answer is for people, as that of a portal or of a landing page.
///
/// Registries of static files answer with whatever type their web server gives, and say that they are registries; what
/// others answer with is JSON, or nothing.
async fn is_web_page(answer: Answer) -> bool {
    if answer.header(API_VERSION).is_some() {
        return false;
    }
    let media_type = answer.header(http::header::CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.trim_start().to_ascii_lowercase();
    if media_type.starts_with("text/html") || media_type.starts_with("application/xhtml") {
        return true;
    }
    let first = answer.first_piece().await;
    let text = String::from_utf8_lossy(&first);
    text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').starts_with('<')
}
