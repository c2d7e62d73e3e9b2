#![expect(clippy::disallowed_methods, reason = "dates answers")]

use std::sync::{Arc, Mutex};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use jiff::Timestamp;
use url::Url;

use super::address::Reach;
use super::ask::{Ask, Login};
use super::auth_client::{How, Known, Shown, who};
use super::credential_file::CredentialFile;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::fault::{ClientError, Fault, Who};
use super::http_client::{Answer, Http, Outgoing};
use super::ratelimit::retry_after;
use super::redirect::{Pass, Redirect, follow};
use super::route::Method;
use super::token_client::Tokens;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, RegistryHost};
use crate::secret::Secret;

/// How often a request is sent: as it is, with a token that was at hand, with a new one.
const ATTEMPTS: usize = 3;

/// A registry at one endpoint: challenges are met, redirects followed, and nothing is dialled that may not be.
///
/// Credentials and tokens go to the endpoint's own origin and, for a token, to its token server; never to where a
/// redirect leads.
#[derive(Debug)]
pub struct RegistryClient {
    pub(super) http: Http,
    pub(super) registry: RegistryHost,
    pub(super) endpoint: Endpoint,
    /// What redirects and token servers may lead to.
    pub(super) reach: Reach,
    pub(super) credentials: Option<Arc<CredentialFile>>,
    /// The hosts that credentials for this endpoint may be under.
    pub(super) hosts: Vec<String>,
    /// Whether this is the one endpoint of its registry.
    pub(super) only: bool,
    pub(super) tokens: Tokens,
    /// How the registry wanted to be asked last, so that the next request need not be sent twice.
    pub(super) known: Mutex<Option<Known>>,
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

    pub(super) async fn error(answer: Answer, who: Who) -> ClientError {
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

    pub(super) async fn follow(
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
